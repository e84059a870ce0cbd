# SPDX-License-Identifier: Apache-2.0
"""The liquid time-constant network: an ODE whose speed depends on the input."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.cells import _timed
from recurrent_jax.cells._timed import Timed
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class LTCParams(NamedTuple):
    """Parameters of `LTC`."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)
    rate_logit: jax.Array  # (H,), whose softplus is 1 / tau
    reversal: jax.Array  # (H,), A


def signs(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Return random signs: 1 for excitatory and -1 for inhibitory units."""
    return jax.random.rademacher(key, shape, jnp.int32).astype(dtype)


class LTCPrepared(NamedTuple):
    """Parameters of `LTC` in the form that its steps use."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)
    rate: jax.Array  # (H,), 1 / tau
    reversal: jax.Array  # (H,), A


@dataclasses.dataclass(frozen=True)
class LTC(Cell[LTCParams, HiddenCarry]):
    r"""A liquid time-constant network, with the fused solver of the paper.

    The state follows an equation whose time constant depends on the input,

    $$
    \frac{dh}{dt} = -\Big(\frac{1}{\tau} + f\Big) \odot h + f \odot A,
    \qquad f = \sigma(x_t W + h U + b),
    $$

    and a step integrates it over the elapsed time in N equal parts,
    $\delta = \Delta_t / N$, with a semi-implicit solver that stays bounded for any
    $\delta$:

    $$
    h \leftarrow \frac{h + \delta \, f \odot A}{1 + \delta \, (1 / \tau + f)},
    \qquad y_t = h_t
    $$

    The input is `Timed(x, elapsed)`. $f$ is one layer, as in the paper's algorithm. The
    authors' code and `ncps` give each pair of neurons its own sigmoid, which takes
    $O(H^2)$ sigmoids for each sequence and part. The rate $1/\tau$ is the softplus of a
    parameter, so it stays positive. For bounded states, $f$ must not be negative.

    Args:
        hidden_size: H, the number of units.
        unfolds: N, the number of parts of a step.
        activation: $\sigma$.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of b.
        reversal_init: initialiser of A. The default draws signs, as in the authors'
            code.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            an input is not `Timed`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LTC(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = rj.cells.Timed(jnp.ones((7, 5, 2)), elapsed=jnp.ones((7, 5)))
        >>> carry, ys = rj.unroll(cell, params, xs)
        >>> ys.shape
        (7, 5, 3)

    References:
        Hasani, Lechner, Amini, Rus and Grosu, 2021. Liquid time-constant networks.
        https://arxiv.org/abs/2006.04439
    """

    hidden_size: Size
    unfolds: Size = 6
    activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros
    reversal_init: Initializer = signs

    Params = LTCParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LTCParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_a = jax.random.split(key, 4)
        return LTCParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
            rate_logit=jnp.full((H,), math.log(math.expm1(1.0)), dtype),  # tau = 1
            reversal=self.reversal_init(key_a, (H,), dtype),
        )

    def prepare(self, params: LTCParams) -> LTCPrepared:
        r"""Return the parameters with $1 / \tau$ in place of its logit."""
        W, U, b, rate, reversal = params
        return LTCPrepared(W, U, b, jax.nn.softplus(rate), reversal)

    def out_features(self, in_features: int) -> int:
        """Return the number of units, H."""
        return self.hidden_size

    def project(self, params: LTCPrepared, x: Timed) -> tuple[jax.Array, jax.Array]:
        r"""Return $x W + b$ and $\delta$."""
        _timed.check(self, x, params.kernel)
        z = affine(x.x, params.kernel, params.bias)
        return z, x.elapsed[..., None] / self.unfolds

    def recur(
        self, params: LTCPrepared, carry: HiddenCarry, z: tuple[jax.Array, jax.Array]
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        h, (a, delta) = carry.h, z
        rate, A = expand_like(params.rate, h), expand_like(params.reversal, h)
        for _ in range(self.unfolds):
            f = self.activation(a + affine(h, params.recurrent_kernel))
            h = (h + delta * f * A) / (1 + delta * (rate + f))
        return HiddenCarry(h), h
