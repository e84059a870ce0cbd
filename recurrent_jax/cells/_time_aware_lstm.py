# SPDX-License-Identifier: Apache-2.0
"""The time-aware LSTM, for series with irregular time steps."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.cells import _timed
from recurrent_jax.cells._timed import Timed
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class TimeAwareLSTMParams(NamedTuple):
    """Parameters of `TimeAwareLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H)
    bias: jax.Array | None  # (4H,)
    memory_kernel: jax.Array  # (H, H)
    memory_bias: jax.Array | None  # (H,)


def log_decay(elapsed: jax.Array) -> jax.Array:
    r"""Return $1 / \log(e + \Delta)$, which is 1 at 0 and decreases slowly."""
    return 1 / jnp.log(jnp.e + elapsed)


@dataclasses.dataclass(frozen=True)
class TimeAwareLSTM(Cell[TimeAwareLSTMParams, HiddenCellCarry]):
    r"""An LSTM that forgets the short-term part of its memory as time passes.

    $$
    \begin{aligned}
    s_t &= \tanh(c_{t-1} V + d) && \text{short-term memory} \\
    \hat c_t &= c_{t-1} - s_t + \gamma(\Delta_t) \, s_t && \text{memory by now} \\
    i_t, f_t, o_t &= \sigma(x_t W + h_{t-1} U + b) && \text{gates, each its own} \\
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) && \text{candidate} \\
    c_t &= f_t \odot \hat c_t + i_t \odot g_t \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    The input is `Timed(x, elapsed)`, where $\Delta_t$ is the time since the step
    before. The short-term memory uses tanh, as in the paper. A version of the authors'
    code uses a sigmoid there.

    Args:
        hidden_size: H, the number of units.
        decay: $\gamma$, a function that decreases with time. The paper advises
            $1 / \log(e + \Delta)$, the default, for long times, and $1 / \Delta$ for
            short ones. It must be finite at 0, because skipped steps are computed with
            an elapsed time of 0.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add biases.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U and of V.
        bias_init: initialiser of each b and of d.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            an input is not `Timed`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.TimeAwareLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = rj.cells.Timed(jnp.ones((7, 5, 2)), elapsed=jnp.ones((7, 5)))
        >>> carry, ys = rj.unroll(cell, params, xs)
        >>> ys.shape
        (7, 5, 3)

    References:
        Baytas et al., 2017. Patient subtyping via time-aware LSTM networks.
        https://doi.org/10.1145/3097983.3097997
    """

    hidden_size: Size
    decay: Activation = log_decay
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = TimeAwareLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> TimeAwareLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_v, key_d = jax.random.split(key, 5)
        bias = memory_bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
            memory_bias = self.bias_init(key_d, (H,), dtype)
        return TimeAwareLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 4, dtype
            ),
            bias=bias,
            memory_kernel=self.recurrent_kernel_init(key_v, (H, H), dtype),
            memory_bias=memory_bias,
        )

    def out_features(self, in_features: int) -> int:
        """Return the number of units, H."""
        return self.hidden_size

    def project(
        self, params: TimeAwareLSTMParams, x: Timed
    ) -> tuple[jax.Array, jax.Array]:
        r"""Return $x W + b$ for the four gates, and $\gamma(\Delta)$."""
        _timed.check(self, x, params.kernel)
        return affine(x.x, params.kernel, params.bias), self.decay(x.elapsed)[..., None]

    def feedback(
        self, params: TimeAwareLSTMParams, carry: HiddenCellCarry
    ) -> tuple[jax.Array, jax.Array]:
        """Return $h U$ for the four gates, and $c V + d$."""
        return (
            affine(carry.h, params.recurrent_kernel),
            affine(carry.c, params.memory_kernel, params.memory_bias),
        )

    def update(
        self,
        params: TimeAwareLSTMParams,
        carry: HiddenCellCarry,
        z: tuple[jax.Array, jax.Array],
        u: tuple[jax.Array, jax.Array],
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        (z_gates, gamma), (u_gates, u_memory) = z, u
        s = jnp.tanh(u_memory)
        i, f, g, o = jnp.split(z_gates + u_gates, 4, axis=-1)
        i = self.gate_activation(i)
        f = self.gate_activation(f)
        g = self.activation(g)
        o = self.gate_activation(o)
        c = f * (carry.c - s + gamma * s) + i * g
        h = o * self.output_activation(c)
        return HiddenCellCarry(h, c), h
