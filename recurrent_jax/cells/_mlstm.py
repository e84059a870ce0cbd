# SPDX-License-Identifier: Apache-2.0
"""The matrix LSTM of xLSTM, with stabilised exponential gates."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.types import Activation, Initializer, NonNegative, Size
from recurrent_jax.cells._heads import (
    HeadsCell,
    by_head,
    scaled,
    side_by_side,
)
from recurrent_jax.initializers import glorot_uniform
from recurrent_jax.scans import Read, Stabilised, StabilisedCarry


class MLSTMParams(NamedTuple):
    """Parameters of `MLSTM`, with N heads of K key channels."""

    query_kernel: jax.Array  # (in, N K)
    key_kernel: jax.Array  # (in, N K)
    value_kernel: jax.Array  # (in, H)
    output_gate_kernel: jax.Array  # (in, H)
    gate_kernel: jax.Array  # (in, 2N), with gates in the order i, f
    gate_bias: jax.Array  # (2N,)
    query_bias: jax.Array | None  # (N K,)
    key_bias: jax.Array | None  # (N K,)
    value_bias: jax.Array | None  # (H,)
    output_gate_bias: jax.Array | None  # (H,)


class MLSTMInput(NamedTuple):
    """What a step of `MLSTM` reads of its input."""

    query: jax.Array  # (*lead, N, K)
    output_gate: jax.Array  # (*lead, H)
    step: Stabilised


@dataclasses.dataclass(frozen=True)
class MLSTM(HeadsCell[MLSTMParams, StabilisedCarry]):
    r"""An LSTM with a matrix as its cell state, and an exponential input gate.

    $$
    \begin{aligned}
    q_t &= K^{-1/2} (x_t W_q + b_q), \qquad
        k_t = x_t W_k + b_k, \qquad v_t = x_t W_v + b_v \\
    \tilde i_t &= x_t W_i + b_i, \qquad \log f_t = \log \sigma(x_t W_f + b_f) \\
    m_t &= \max(\log f_t + m_{t-1}, \tilde i_t) \\
    i_t &= \exp(\tilde i_t - m_t), \qquad
        f_t = \exp(\log f_t + m_{t-1} - m_t) \\
    C_t &= f_t C_{t-1} + i_t\, k_t v_t^\top, \qquad n_t = f_t n_{t-1} + i_t\, k_t \\
    y_t &= \sigma(x_t W_o + b_o) \odot
        \frac{C_t^\top q_t}{\max(|n_t^\top q_t|, e^{-m_t}) + \epsilon}
    \end{aligned}
    $$

    for each head; i and f are one number for each head. Mathematically, m cancels but
    for $\epsilon$. It keeps the exponentials from overflowing. No gate reads the state,
    so all steps of a chunk are computed at once.

    Args:
        hidden_size: H, the number of output features, H / N of each head.
        heads: N, the number of heads, a divisor of H.
        key_size: K, the number of key channels of a head. None takes H / N.
        output_gate_activation: $\sigma$, for the output gate.
        epsilon: $\epsilon$, which keeps the quotient finite where the query finds
            nothing in a large state. The authors' code has it and the paper has not.
        use_bias: whether queries, keys, values and the output gate have a bias. The
            gates i and f always have one.
        kernel_init: initialiser of $W_q$, $W_k$, $W_v$ and $W_o$.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            the heads do not divide the units.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MLSTM(hidden_size=8, heads=2, key_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.C.shape, carry.n.shape, carry.m.shape
        ((7, 5, 8), (5, 2, 3, 4), (5, 2, 3), (5, 2))

    References:
        Beck et al., 2024. xLSTM: extended long short-term memory.
        https://arxiv.org/abs/2405.04517

    The paper divides the keys by $\sqrt{K}$ and not the queries, which changes C and n
    but no output. It also allows an exponential forget gate. As in the authors' code,
    $W_i$ and $W_f$ start at zero, $b_i$ normal with a deviation of 0.1, and $b_f$
    evenly spaced from 3 to 6 over the heads. There the gates read q, k and v; here, as
    in the paper, they read x. Projections, convolution and norm around the cell belong
    to the block.
    """

    hidden_size: Size
    heads: Size = 4
    key_size: Size | None = None
    output_gate_activation: Activation = jax.nn.sigmoid
    epsilon: NonNegative = 1e-6
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform

    Params = MLSTMParams
    Carry = StabilisedCarry
    output = None

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        N, K, _ = self.sizes
        H = self.hidden_size
        widths = N * K, N * K, H, H
        k_i, *keys = jax.random.split(key, 1 + len(widths))
        q, k, v, o = (
            self.kernel_init(k, (in_features, width), dtype)
            for k, width in zip(keys, widths, strict=True)
        )
        i = 0.1 * jax.random.normal(k_i, (N,), dtype)
        f = jnp.linspace(3, 6, N, dtype=dtype)
        gates = jnp.zeros((in_features, 2 * N), dtype)
        biases = (jnp.zeros(w, dtype) if self.use_bias else None for w in widths)
        return MLSTMParams(q, k, v, o, gates, jnp.concatenate([i, f]), *biases)

    def project(self, params: MLSTMParams, x: jax.Array) -> MLSTMInput:
        """Return the query and output gate of a step, and what it does to the state."""
        q, k, v, o = (affine(x, *w) for w in zip(params[:4], params[6:], strict=True))
        i, f = jnp.split(affine(x, params.gate_kernel, params.gate_bias), 2, axis=-1)
        q, k, v = (by_head(a, self.heads) for a in (q, k, v))
        step = Stabilised(jax.nn.log_sigmoid(f), i, k, v)
        return MLSTMInput(scaled(q), self.output_gate_activation(o), step)

    def finish(self, params: MLSTMParams, read: Read, z: MLSTMInput) -> jax.Array:
        """Return the values that were read, divided by their weight, and gated."""
        # Both sides of the quotient times exp(m) if m < 0, since exp(-m) may overflow.
        scale = jnp.exp(jnp.minimum(read.m, 0))
        weight = jnp.maximum(
            scale * jnp.abs(read.total), jnp.exp(-jnp.maximum(read.m, 0))
        )
        weight = weight + self.epsilon * scale
        h = scale[..., None] * read.value / weight[..., None]
        return z.output_gate * side_by_side(h)
