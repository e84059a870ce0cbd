# SPDX-License-Identifier: Apache-2.0
"""The LSTM whose gates read the gates of the step before."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class FullGateRecurrenceLSTMParams(NamedTuple):
    """Parameters of `FullGateRecurrenceLSTM`, with blocks in the order i, f, o, g."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H)
    bias: jax.Array | None  # (4H,)
    peephole: jax.Array  # (3, H), in the order i, f, o
    gate_kernel: jax.Array  # (3H, 3H), from the gates i, f, o to the same


class FullGateRecurrenceLSTMCarry(NamedTuple):
    """State of `FullGateRecurrenceLSTM`."""

    h: jax.Array  # (*batch, H)
    c: jax.Array  # (*batch, H)
    gates: jax.Array  # (*batch, 3H), in the order i, f, o


@dataclasses.dataclass(frozen=True)
class FullGateRecurrenceLSTM(
    Cell[FullGateRecurrenceLSTMParams, FullGateRecurrenceLSTMCarry]
):
    r"""A peephole LSTM whose gates are also fed back to the gates (FGR).

    $$
    \begin{aligned}
    r_t &= (i_{t-1}, f_{t-1}, o_{t-1}) \\
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + r_t R_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + r_t R_f + p_f \odot c_{t-1} + b_f) \\
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + r_t R_o + p_o \odot c_t + b_o) \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    The LSTM of 1997 also fed all gates back. The candidate, which is not a gate, comes
    last here, so that the gates are one slice.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U, and of each of the nine (H, H)
            blocks of R.
        bias_init: initialiser of each b.
        peephole_init: initialiser of p.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.FullGateRecurrenceLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.gates.shape
        ((7, 5, 3), (5, 9))

    References:
        Hochreiter and Schmidhuber, 1997. Long short-term memory.
        https://doi.org/10.1162/neco.1997.9.8.1735
        Greff et al., 2017. LSTM: a search space odyssey.
        https://doi.org/10.1109/TNNLS.2016.2582924
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: PerGate = zeros
    peephole_init: Initializer = zeros

    Params = FullGateRecurrenceLSTMParams
    Carry = FullGateRecurrenceLSTMCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> FullGateRecurrenceLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, draw = self.hidden_size, self.recurrent_kernel_init
        key_x, key_h, key_b, key_p, *keys = jax.random.split(key, 7)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        rows = [per_gate(draw, k, (H, H), 3, dtype) for k in keys]
        return FullGateRecurrenceLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(draw, key_h, (H, H), 4, dtype),
            bias=bias,
            peephole=self.peephole_init(key_p, (3, H), dtype),
            gate_kernel=jnp.concatenate(rows),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> FullGateRecurrenceLSTMCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        zero = jnp.zeros((*batch_shape, self.hidden_size), dtype)
        gates = jnp.zeros((*batch_shape, 3 * self.hidden_size), dtype)
        return FullGateRecurrenceLSTMCarry(h=zero, c=zero, gates=gates)

    def project(self, params: FullGateRecurrenceLSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for i, f, o and g."""
        return affine(x, params.kernel, params.bias)

    def feedback(
        self, params: FullGateRecurrenceLSTMParams, carry: FullGateRecurrenceLSTMCarry
    ) -> tuple[jax.Array, jax.Array]:
        """Return $h U$ for i, f, o and g, and $r R$ for i, f and o."""
        u = affine(carry.h, params.recurrent_kernel)
        return u, affine(carry.gates, params.gate_kernel)

    def update(
        self,
        params: FullGateRecurrenceLSTMParams,
        carry: FullGateRecurrenceLSTMCarry,
        z: jax.Array,
        u: tuple[jax.Array, jax.Array],
    ) -> tuple[FullGateRecurrenceLSTMCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        i, f, o, g = jnp.split(z + u[0], 4, axis=-1)
        r_i, r_f, r_o = jnp.split(u[1], 3, axis=-1)
        p_i, p_f, p_o = (expand_like(p, carry.c) for p in params.peephole)
        i = self.gate_activation(i + r_i + p_i * carry.c)
        f = self.gate_activation(f + r_f + p_f * carry.c)
        c = f * carry.c + i * self.activation(g)
        o = self.gate_activation(o + r_o + p_o * c)
        h = o * self.output_activation(c)
        gates = jnp.concatenate([i, f, o], axis=-1)
        return FullGateRecurrenceLSTMCarry(h, c, gates), h
