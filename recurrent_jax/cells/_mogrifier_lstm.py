# SPDX-License-Identifier: Apache-2.0
"""The LSTM whose input and state gate each other before each step."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import (
    Activation,
    Count,
    Initializer,
    PerGate,
    Real,
    Size,
)
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class MogrifierLSTMParams(NamedTuple):
    """Parameters of `MogrifierLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H)
    bias: jax.Array | None  # (4H,)
    # One entry per round: Q (H, in) in odd rounds, R (in, H) in even ones. Each is a
    # tuple of one matrix, or of the two factors whose product it is.
    rounds: tuple[tuple[jax.Array, ...], ...]


@dataclasses.dataclass(frozen=True)
class MogrifierLSTM(Cell[MogrifierLSTMParams, HiddenCellCarry]):
    r"""An LSTM whose input and hidden state gate each other in alternating rounds.

    $$
    \begin{aligned}
    x^{i} &= 2 \sigma(h^{i-1} Q^i) \odot x^{i-2} && i = 1, 3, \ldots \le r \\
    h^{i} &= 2 \sigma(x^{i-1} R^i) \odot h^{i-2} && i = 2, 4, \ldots \le r \\
    h_t, c_t &= \mathrm{LSTM}(x^{\mathrm{last}}, h^{\mathrm{last}}, c_{t-1}),
        \qquad y_t = h_t
    \end{aligned}
    $$

    The rounds start from $x^{-1} = x_t$ and $h^0 = h_{t-1}$. The LSTM is that of
    `rj.LSTM`. The state scales the input before any product, so no product can be
    computed for many steps at once. A step has r more products, one after the other.

    Args:
        hidden_size: H, the number of units.
        rounds: r, the number of rounds. With 0 it is an LSTM.
        rank: if given, each Q and R is the product of two factors of this rank.
        activation: the activation of the candidate.
        output_activation: the activation of the cell state.
        gate_activation: $\sigma$, for the gates and the rounds.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        round_init: initialiser of each Q and R, or of their factors.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MogrifierLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> [q.shape for (q,) in params.rounds]
        [(3, 2), (2, 3), (3, 2), (2, 3), (3, 2)]
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Melis, Kocisky and Blunsom, 2020. Mogrifier LSTM.
        https://arxiv.org/abs/1909.01792
    """

    hidden_size: Size
    rounds: Count = 5
    rank: Size | None = None
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    round_init: Initializer = glorot_uniform

    Params = MogrifierLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MogrifierLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, *keys = jax.random.split(key, 3 + self.rounds)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        ends = ((in_features, H), (H, in_features))
        return MogrifierLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 4, dtype
            ),
            bias=bias,
            rounds=tuple(
                self._factors(key, *ends[i % 2], dtype)
                for i, key in enumerate(keys, start=1)
            ),
        )

    def _factors(
        self, key: jax.Array, start: int, end: int, dtype: DTypeLike
    ) -> tuple[jax.Array, ...]:
        if self.rank is None:
            return (self.round_init(key, (start, end), dtype),)
        left, right = jax.random.split(key)
        return (
            self.round_init(left, (start, self.rank), dtype),
            self.round_init(right, (self.rank, end), dtype),
        )

    def recur(
        self, params: MogrifierLSTMParams, carry: HiddenCellCarry, z: jax.Array
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        x, h = z, carry.h
        for i, factors in enumerate(params.rounds, start=1):
            if i % 2:
                x = 2 * self.gate_activation(functools.reduce(affine, factors, h)) * x
            else:
                h = 2 * self.gate_activation(functools.reduce(affine, factors, x)) * h
        gates = affine(x, params.kernel, params.bias)
        gates = gates + affine(h, params.recurrent_kernel)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        i = self.gate_activation(i)
        f = self.gate_activation(f)
        o = self.gate_activation(o)
        c = f * carry.c + i * self.activation(g)
        h = o * self.output_activation(c)
        return HiddenCellCarry(h, c), h
