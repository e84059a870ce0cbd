# SPDX-License-Identifier: Apache-2.0
"""The simple recurrent unit, a forget gate and a highway."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.types import Activation, Flag, Initializer, PerGate, Real, Size
from recurrent_jax.initializers import Uniform, lecun_uniform, per_gate, zeros
from recurrent_jax.scans import Diagonal, LinearCell


class SRUParams(NamedTuple):
    """Parameters of `SRU`, with blocks in the order candidate, f, r, highway."""

    kernel: jax.Array  # (in, 3H) if H inputs are the highway, else (in, 4H)
    bias: jax.Array  # (2H,), of f and r
    peephole: jax.Array | None  # (2, H), v of f and r


class SRUCarry(NamedTuple):
    """The carry of an `SRU`."""

    c: jax.Array  # (*batch, H)


class Gates(NamedTuple):
    """What an input contributes to a step: arrays of shape `(*lead, H)`."""

    candidate: jax.Array
    f: jax.Array  # before the sigmoid
    r: jax.Array  # before the sigmoid
    highway: jax.Array


@dataclasses.dataclass(frozen=True)
class SRU(LinearCell[SRUParams, SRUCarry]):
    r"""The SRU: a running mean with learned rates, and a highway around it.

    $$
    \begin{aligned}
    f_t &= \sigma(x_t W_f + b_f) && \text{forget gate} \\
    r_t &= \sigma(x_t W_r + b_r) && \text{reset gate} \\
    c_t &= f_t \odot c_{t-1} + (1 - f_t) \odot (x_t W) \\
    h_t &= r_t \odot \phi(c_t) + (1 - r_t) \odot \alpha x_t, \qquad y_t = h_t
    \end{aligned}
    $$

    The constant $\alpha = \sqrt{1 + 2 e^{b}}$, with the $b_r = b$ of `init`, keeps the
    variance of h near that of x. If the inputs are not as many as the units, their
    product with a fourth kernel takes the place of $\alpha x_t$.

    With peepholes, $v_f \odot c_{t-1}$ is added in the forget gate and
    $v_r \odot c_{t-1}$ in the reset gate. The step is then not linear in c, so that
    `Sequential` runs it and `Associative` and `Chunked` refuse it. Units still do not
    read each other, so that an iteration of `rj.Newton` is cheap.

    Args:
        hidden_size: H, the number of units.
        peepholes: whether the gates read the state.
        highway_bias: b, which `init` adds to the bias of the reset gate. Less than zero
            prefers the highway, as is good for many layers.
        activation: $\phi$.
        kernel_init: initialiser of each W. That of the highway is multiplied by
            $\alpha$ and, with peepholes, those of the gates by $\sqrt{1/2}$.
        bias_init: initialiser of each b, or a tuple of two.
        peephole_init: initialiser of v.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.SRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 3)))
        >>> ys.shape, params.kernel.shape
        ((7, 5, 3), (3, 9))

    References:
        Lei et al., 2018. Simple recurrent units for highly parallelizable recurrence.
        https://arxiv.org/abs/1709.02755

    The first version of the paper has no peepholes, with $\phi = \tanh$ and
    $\alpha = 1$. The published version has peepholes. Initialisers and $\alpha$ are
    those of the authors' code.
    """

    hidden_size: Size
    peepholes: Flag = False
    highway_bias: Real = 0.0
    activation: Activation = jax.nn.identity
    kernel_init: Initializer = lecun_uniform
    bias_init: PerGate = zeros
    peephole_init: Initializer = Uniform(-(1.5**0.5), 1.5**0.5)

    Params = SRUParams
    Carry = SRUCarry
    output = None
    chunked = False  # on a CPU, a loop over its steps is faster

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether no gate reads the state."""
        return type(self).recur is SRU.recur and not self.peepholes

    @property
    def _alpha(self) -> float:
        return math.sqrt(1 + 2 * math.exp(self.highway_bias))

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> SRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, blocks = self.hidden_size, 3 if in_features == self.hidden_size else 4
        key_x, key_b, key_p = jax.random.split(key, 3)
        kernel = per_gate(self.kernel_init, key_x, (in_features, H), blocks, dtype)
        kernel = kernel.at[:, 3 * H :].multiply(self._alpha)
        peephole = None
        if self.peepholes:
            kernel = kernel.at[:, H : 3 * H].multiply(0.5**0.5)
            peephole = self.peephole_init(key_p, (2, H), dtype)
        bias = per_gate(self.bias_init, key_b, (H,), 2, dtype)
        return SRUParams(kernel, bias.at[H:].add(self.highway_bias), peephole)

    def project(self, params: SRUParams, x: jax.Array) -> Gates:
        """Return what both gates and the candidate read of x, and the highway."""
        H = self.hidden_size
        u = affine(x, params.kernel)
        gates = u[..., H : 3 * H]
        f, r = jnp.split(gates + expand_like(params.bias, gates), 2, axis=-1)
        own = params.kernel.shape[-1] == 3 * H
        return Gates(u[..., :H], f, r, self._alpha * x if own else u[..., 3 * H :])

    def element(self, params: SRUParams, z: Gates) -> Diagonal:
        """Return what the step keeps of the state, and what it adds."""
        # sigmoid(-f) is 1 - sigmoid(f) without the rounding near one.
        take = jax.nn.sigmoid(-z.f)
        return Diagonal(jax.nn.sigmoid(z.f), SRUCarry(take * z.candidate))

    def emit(self, params: SRUParams, carry: SRUCarry, z: Gates) -> jax.Array:
        """Return the mean of the state and the highway that the reset gate takes."""
        r = jax.nn.sigmoid(z.r)
        return r * self.activation(carry.c) + jax.nn.sigmoid(-z.r) * z.highway

    def recur(
        self, params: SRUParams, carry: SRUCarry, z: Gates
    ) -> tuple[SRUCarry, Any]:
        """Return `(carry, y)`: the linear step, of gates that may read the state."""
        if params.peephole is not None:
            v_f, v_r = (expand_like(v, carry.c) for v in params.peephole)
            z = z._replace(f=z.f + v_f * carry.c, r=z.r + v_r * carry.c)
        return super().recur(params, carry, z)
