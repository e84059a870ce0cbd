# SPDX-License-Identifier: Apache-2.0
"""The scalar LSTM of xLSTM, with stabilised exponential gates."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Activation, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class SLSTMParams(NamedTuple):
    """Parameters of `SLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (heads, H / heads, 4H / heads)
    bias: jax.Array | None  # (4H,)


class SLSTMCarry(NamedTuple):
    """State of `SLSTM`, where c and n are scaled by exp(-m)."""

    h: jax.Array  # (*batch, H)
    c: jax.Array  # (*batch, H), the cell state
    n: jax.Array  # (*batch, H), the normaliser
    m: jax.Array  # (*batch, H), the stabiliser


@dataclasses.dataclass(frozen=True)
class SLSTM(Cell[SLSTMParams, SLSTMCarry]):
    r"""An LSTM with an exponential input gate and a normaliser.

    $$
    \begin{aligned}
    (\tilde i_t, \tilde f_t, \tilde g_t, \tilde o_t) &= x_t W + h_{t-1} U + b \\
    m_t &= \max(\log f_t + m_{t-1}, \tilde i_t), \qquad
        \log f_t = \log \sigma(\tilde f_t) \\
    i_t &= \exp(\tilde i_t - m_t), \qquad
        f_t = \exp(\log f_t + m_{t-1} - m_t) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot \phi(\tilde g_t) \\
    n_t &= f_t \odot n_{t-1} + i_t \\
    h_t &= \sigma(\tilde o_t) \odot c_t / n_t, \qquad y_t = h_t
    \end{aligned}
    $$

    Mathematically, m cancels. It keeps the exponentials from overflowing. U is block
    diagonal: a head reads only its own units.

    In theory $m_0 = -\infty$, since no input was added yet. In practice $m_0$ is half
    the most negative number of the dtype. Then $n_t \ge 1$ from the first step on,
    however small the first input is. The group normalisation that follows in an xLSTM
    block is not part of the cell.

    Args:
        hidden_size: H, the number of units.
        heads: the number of blocks of U, a divisor of H. The paper has 4.
        activation: $\phi$, for the candidate (z in the paper).
        output_gate_activation: $\sigma$, for the output gate.
        log_forget_activation: the function from $\tilde f$ to $\log f$.
            `jax.nn.identity` gives the exponential forget gate, the other choice of the
            paper.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each block of each U. The authors' code
            uses zeros.
        bias_init: initialiser of each b, or a tuple of four.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            the heads do not divide the units.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.SLSTM(hidden_size=8)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> params.recurrent_kernel.shape
        (4, 2, 8)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.m.shape
        ((7, 5, 8), (5, 8))

    References:
        Beck et al., 2024. xLSTM: extended long short-term memory.
        https://arxiv.org/abs/2405.04517
    """

    hidden_size: Size
    heads: Size = 4
    activation: Activation = jnp.tanh
    output_gate_activation: Activation = jax.nn.sigmoid
    log_forget_activation: Activation = jax.nn.log_sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = SLSTMParams
    Carry = SLSTMCarry
    output = "h"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.heads:
            raise ValueError(
                f"SLSTM: heads must divide hidden_size={self.hidden_size}, got "
                f"{self.heads}; heads=1 always does"
            )

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> SLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, D = self.hidden_size, self.hidden_size // self.heads
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        blocks = [
            per_gate(self.recurrent_kernel_init, k, (D, D), 4, dtype)
            for k in jax.random.split(key_h, self.heads)
        ]
        return SLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=jnp.stack(blocks),
            bias=bias,
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> SLSTMCarry:
        """Return a state of zeros, with a stabiliser in place of minus infinity."""
        _checks.own(self, params)
        zero = jnp.zeros((*batch_shape, self.hidden_size), dtype)
        lowest = jnp.finfo(zero.dtype).min / 2
        return SLSTMCarry(h=zero, c=zero, n=zero, m=jnp.full_like(zero, lowest))

    def project(self, params: SLSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for the four gates."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: SLSTMParams, carry: SLSTMCarry) -> jax.Array:
        """Return $h U$ for the four gates, head by head."""
        batch, D = carry.h.shape[:-1], self.hidden_size // self.heads
        # With heads first on both sides, the product is far faster on a CPU.
        h = jnp.moveaxis(carry.h.reshape(*batch, self.heads, D), -2, 0)
        u = jnp.einsum("n...d,nde->n...e", h, params.recurrent_kernel)
        by_gate = jnp.moveaxis(u.reshape(self.heads, *batch, 4, D), 0, -2)
        return by_gate.reshape(*batch, 4 * self.hidden_size)

    def update(
        self, params: SLSTMParams, carry: SLSTMCarry, z: jax.Array, u: jax.Array
    ) -> tuple[SLSTMCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        i, f, g, o = jnp.split(z + u, 4, axis=-1)
        kept = self.log_forget_activation(f) + carry.m
        m = jnp.maximum(kept, i)
        i = jnp.exp(i - m)
        f = jnp.exp(kept - m)
        c = f * carry.c + i * self.activation(g)
        n = f * carry.n + i
        h = self.output_gate_activation(o) * c / n
        return SLSTMCarry(h, c, n, m), h
