# SPDX-License-Identifier: Apache-2.0
"""minGRU, a GRU whose gate and candidate read only the input."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import HiddenCarry
from recurrent_jax._core.types import Flag, PerGate, Size
from recurrent_jax.initializers import glorot_uniform, per_gate, zeros
from recurrent_jax.scans import Diagonal, LinearCell


class MinGRUParams(NamedTuple):
    """Parameters of `MinGRU`, with blocks in the order z, h."""

    kernel: jax.Array  # (in, 2H)
    bias: jax.Array | None  # (2H,)


@dataclasses.dataclass(frozen=True)
class MinGRU(LinearCell[MinGRUParams, HiddenCarry]):
    r"""A GRU without recurrent weights: a moving average with learned rates.

    $$
    \begin{aligned}
    z_t &= \sigma(x_t W_z + b_z) && \text{update gate} \\
    \tilde h_t &= g(x_t W_h + b_h) && \text{candidate} \\
    h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot \tilde h_t, \qquad y_t = h_t
    \end{aligned}
    $$

    with $g(a) = a + 1/2$ if $a \ge 0$ and $g(a) = \sigma(a)$ otherwise, or $g(a) = a$.
    The state is a weighted mean of its start and the candidates, so it never leaves
    their range.

    Args:
        hidden_size: H, the number of units.
        log_space: whether g is that of the log-space form of the paper, which is
            positive. False takes $g(a) = a$.
        use_bias: whether to add biases.
        kernel_init: initialiser of each W, or a tuple of two.
        bias_init: initialiser of each b, or a tuple of two.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MinGRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Feng et al., 2024. Were RNNs all we needed?
        https://arxiv.org/abs/2410.01201

    The paper computes all steps from sums of logarithms, so it needs a positive
    candidate and a positive state. This cell keeps that candidate but adds and
    multiplies the numbers themselves, which is as stable, since $0 < 1 - z_t < 1$. The
    state may then have any sign, and every method gives the same states from the same
    carry. In the paper's code they differ: the parallel form starts from $g(h_0)$, the
    other from $h_0$. The default carry here is zero. To start as the paper's parallel
    form does, pass a carry of $g(0) = 1/2$.
    """

    hidden_size: Size
    log_space: Flag = True
    use_bias: Flag = True
    kernel_init: PerGate = glorot_uniform
    bias_init: PerGate = zeros

    Params = MinGRUParams
    Carry = HiddenCarry
    output = "h"
    chunked = False  # on a CPU, a loop over its steps is faster

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MinGRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_b = jax.random.split(key)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 2, dtype)
        kernel = per_gate(self.kernel_init, key_x, (in_features, H), 2, dtype)
        return MinGRUParams(kernel, bias)

    def project(self, params: MinGRUParams, x: jax.Array) -> Diagonal:
        """Return what the step keeps of the state, and what it adds."""
        z, h = jnp.split(affine(x, params.kernel, params.bias), 2, axis=-1)
        # sigmoid(-z) is 1 - sigmoid(z) without the rounding near zero.
        keep, take = jax.nn.sigmoid(-z), jax.nn.sigmoid(z)
        return Diagonal(keep, HiddenCarry(take * candidate(h, self.log_space)))

    def element(self, params: MinGRUParams, z: Diagonal) -> Diagonal:
        """Return the step."""
        return z

    def emit(self, params: MinGRUParams, carry: HiddenCarry, z: Diagonal) -> jax.Array:
        """Return the state as the output."""
        return carry.h


def candidate(a: jax.Array, log_space: bool) -> jax.Array:
    """Return a positive number that grows with `a`, or `a` itself."""
    return jnp.where(a >= 0, a + 0.5, jax.nn.sigmoid(a)) if log_space else a
