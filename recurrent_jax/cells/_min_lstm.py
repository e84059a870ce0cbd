# SPDX-License-Identifier: Apache-2.0
"""minLSTM, an LSTM whose gates and candidate read only the input."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import HiddenCarry
from recurrent_jax._core.types import Flag, PerGate, Real, Size
from recurrent_jax.cells._min_gru import candidate
from recurrent_jax.initializers import glorot_uniform, per_gate, zeros
from recurrent_jax.scans import Diagonal, LinearCell


class MinLSTMParams(NamedTuple):
    """Parameters of `MinLSTM`, with blocks in the order f, i, h."""

    kernel: jax.Array  # (in, 3H)
    bias: jax.Array | None  # (3H,)


@dataclasses.dataclass(frozen=True)
class MinLSTM(LinearCell[MinLSTMParams, HiddenCarry]):
    r"""An LSTM without recurrent weights, whose two gates sum to one.

    $$
    \begin{aligned}
    f_t &= \sigma(x_t W_f + b_f) && \text{forget gate} \\
    i_t &= \sigma(x_t W_i + b_i) && \text{input gate} \\
    \tilde h_t &= g(x_t W_h + b_h) && \text{candidate} \\
    h_t &= \frac{f_t}{f_t + i_t} \odot h_{t-1} +
        \frac{i_t}{f_t + i_t} \odot \tilde h_t, \qquad y_t = h_t
    \end{aligned}
    $$

    with $g(a) = a + 1/2$ if $a \ge 0$ and $g(a) = \sigma(a)$ otherwise, or $g(a) = a$.
    There is no second state and no output gate. The quotients are computed as
    $\sigma(\log f - \log i)$ and $\sigma(\log i - \log f)$. They are right even where
    both gates are too close to zero for a float.

    Args:
        hidden_size: H, the number of units.
        log_space: whether g is that of the log-space form of the paper, which is
            positive. False takes $g(a) = a$.
        forget_bias: a constant that `init` adds to the bias of the forget gate. In the
            paper, larger values make training faster.
        use_bias: whether to add biases. Without them, `forget_bias` has no effect.
        kernel_init: initialiser of each W, or a tuple of three.
        bias_init: initialiser of each b, or a tuple of three.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MinLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Feng et al., 2024. Were RNNs all we needed?
        https://arxiv.org/abs/2410.01201

    The paper computes all steps from sums of logarithms, so it needs a positive
    candidate and a positive state. This cell keeps that candidate but adds and
    multiplies the numbers themselves, which is as stable, since the share that is kept
    is between 0 and 1. The state may then have any sign, and every method gives the
    same states from the same carry. In the paper's code they differ: the parallel form
    starts from $g(h_0)$, the other from $h_0$. The default carry here is zero. To start
    as the paper's parallel form does, pass a carry of $g(0) = 1/2$.
    """

    hidden_size: Size
    log_space: Flag = True
    forget_bias: Real = 1.0
    use_bias: Flag = True
    kernel_init: PerGate = glorot_uniform
    bias_init: PerGate = zeros

    Params = MinLSTMParams
    Carry = HiddenCarry
    output = "h"
    chunked = False  # on a CPU, a loop over its steps is faster

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MinLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_b = jax.random.split(key)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 3, dtype)
            bias = bias.at[:H].add(self.forget_bias)
        kernel = per_gate(self.kernel_init, key_x, (in_features, H), 3, dtype)
        return MinLSTMParams(kernel, bias)

    def project(self, params: MinLSTMParams, x: jax.Array) -> Diagonal:
        """Return what the step keeps of the state, and what it adds."""
        f, i, h = jnp.split(affine(x, params.kernel, params.bias), 3, axis=-1)
        odds = jax.nn.log_sigmoid(f) - jax.nn.log_sigmoid(i)
        keep, take = jax.nn.sigmoid(odds), jax.nn.sigmoid(-odds)
        return Diagonal(keep, HiddenCarry(take * candidate(h, self.log_space)))

    def element(self, params: MinLSTMParams, z: Diagonal) -> Diagonal:
        """Return the step."""
        return z

    def emit(self, params: MinLSTMParams, carry: HiddenCarry, z: Diagonal) -> jax.Array:
        """Return the state as the output."""
        return carry.h
