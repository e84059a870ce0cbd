# SPDX-License-Identifier: Apache-2.0
"""The LSTM with batch normalisation."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import Features
from recurrent_jax._core.mesh import take
from recurrent_jax._core.types import Activation, PerGate, Positive, Real, Size
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.cells._batch_norm import (
    BatchNormInput,
    Moments,
    Recorder,
    normalise,
    over_batch,
    over_steps,
)
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class BatchNormStatistics(NamedTuple):
    """The moments that evaluation normalises by, each `(max_steps, features)`."""

    input: Moments  # of x W, 4H features
    recurrent: Moments  # of h U, 4H features
    cell: Moments  # of c, H features


class BatchNormLSTMParams(NamedTuple):
    """Parameters of `BatchNormLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H)
    bias: jax.Array | None  # (4H,)
    input_scale: jax.Array  # (4H,)
    recurrent_scale: jax.Array  # (4H,)
    cell_scale: jax.Array  # (H,)
    cell_bias: jax.Array | None  # (H,)
    statistics: BatchNormStatistics  # measured, not trained


class BatchNormLSTMCarry(NamedTuple):
    """State of `BatchNormLSTM`."""

    h: jax.Array  # (*batch, H)
    c: jax.Array  # (*batch, H)
    step: jax.Array  # (*batch), an integer: the step whose statistics come next


@dataclasses.dataclass(frozen=True)
class BatchNormLSTM(Cell[BatchNormLSTMParams, BatchNormLSTMCarry]):
    r"""An LSTM with batch-normalised input part, recurrent part and cell state.

    $$
    \begin{aligned}
    \mathrm{BN}(a; \gamma) &= \gamma \odot (a - \hat{\mathrm E}\, a) \big/
        \sqrt{\hat{\mathrm V}\, a + \epsilon} \\
    (i_t, f_t, g_t, o_t) &= \mathrm{BN}(x_t W; \gamma_x)
        + \mathrm{BN}(h_{t-1} U; \gamma_h) + b \\
    c_t &= \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \phi(g_t) \\
    h_t &= \sigma(o_t) \odot \psi(\mathrm{BN}(c_t; \gamma_c) + \beta_c),
        \qquad y_t = h_t
    \end{aligned}
    $$

    The type of the input decides which moments $\hat{\mathrm E}$ and $\hat{\mathrm V}$
    are:

    - For a plain array, they are those in `params.statistics`. This is evaluation. Rows
      of a batch are independent.
    - For `cell.training(xs)`, they are those of the batch at each step, and the
      gradient flows through them. They are taken over the last batch axis, over the
      rows that are not skipped. A single row has variance 0. Rows therefore depend on
      each other, and `vmap` over rows computes something else. Where sequences start at
      different steps, because of resets, masks with gaps or lengths in reverse, a step
      mixes their beginnings and ends.

    `cell.measure(params, xs)` returns the statistics of a batch. Replace
    `params.statistics` by their mean over batches, as the paper does, or by a running
    average during training: `optax.incremental_update(new, old, 0.1)`. The statistics
    have gradient 0 in training. Still exclude them from weight decay.

    Args:
        hidden_size: H, the number of units.
        max_steps: the number of steps that have their own statistics. Later steps share
            those of the last. With 1, all steps share them. The paper has one for every
            step.
        epsilon: $\epsilon$, added to the variance.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add $b$ and $\beta_c$.
        scale: the initial value of each $\gamma$. It is small, so that no tanh
            saturates.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b. $\beta_c$ starts at 0.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.BatchNormLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jax.random.normal(jax.random.key(1), (7, 5, 2))
        >>> _, ys = rj.unroll(cell, params, cell.training(xs))
        >>> params = params._replace(statistics=cell.measure(params, xs))
        >>> _, ys = rj.unroll(cell, params, xs)
        >>> ys.shape
        (7, 5, 3)

    References:
        Cooijmans, Ballas, Laurent, Gulcehre and Courville, 2017. Recurrent batch
        normalization. https://arxiv.org/abs/1603.09025
    """

    hidden_size: Size
    max_steps: Size = 1
    epsilon: Positive = 1e-5
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    scale: Positive = 0.1
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = BatchNormLSTMParams
    Carry = BatchNormLSTMCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> BatchNormLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        wide, narrow = (
            Moments(
                *(fill((self.max_steps, n), dtype) for fill in (jnp.zeros, jnp.ones))
            )
            for n in (4 * H, H)
        )
        return BatchNormLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 4, dtype
            ),
            bias=bias,
            input_scale=jnp.full(4 * H, self.scale, dtype),
            recurrent_scale=jnp.full(4 * H, self.scale, dtype),
            cell_scale=jnp.full(H, self.scale, dtype),
            cell_bias=jnp.zeros(H, dtype) if self.use_bias else None,
            statistics=BatchNormStatistics(input=wide, recurrent=wide, cell=narrow),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> BatchNormLSTMCarry:
        """Return a state of zeros, with the counter at the first step."""
        _checks.own(self, params)
        zero = jnp.zeros((*batch_shape, self.hidden_size), dtype)
        return BatchNormLSTMCarry(
            h=zero, c=zero, step=jnp.zeros(batch_shape, jnp.int32)
        )

    @_checks.checked
    def training(self, xs: Features) -> BatchNormInput:
        """Return an input that is normalised by the moments of its own batch."""
        xs = jnp.asarray(xs)
        return BatchNormInput(xs, jnp.ones_like(xs[..., :1]))

    def measure(
        self,
        params: BatchNormLSTMParams,
        xs: jax.Array,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        resets: ArrayLike | None = None,
        reverse: bool = False,
        time_axis: int = 0,
    ) -> BatchNormStatistics:
        """Return the moments of a batch. The arguments are those of `unroll`.

        They are the moments of the batch as a training input. Steps that share moments
        contribute all their rows.
        """
        _, (a, counted, slot) = unroll(
            Recorder(self),
            params,
            self.training(xs),
            lengths=lengths,
            mask=mask,
            resets=resets,
            reverse=reverse,
            time_axis=time_axis,
        )
        return BatchNormStatistics(
            *(over_steps(part, counted, slot, self.max_steps) for part in a)
        )

    def project(
        self, params: BatchNormLSTMParams, x: jax.Array | BatchNormInput
    ) -> tuple[jax.Array, jax.Array | None]:
        """Return $x W$ for the four gates, unnormalised, and which rows count."""
        if isinstance(x, BatchNormInput):
            return affine(x.x, params.kernel), x.counted
        return affine(x, params.kernel), None

    def feedback(
        self, params: BatchNormLSTMParams, carry: BatchNormLSTMCarry
    ) -> jax.Array:
        """Return $h U$ for the four gates before normalisation."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: BatchNormLSTMParams,
        carry: BatchNormLSTMCarry,
        z: tuple[jax.Array, jax.Array | None],
        u: jax.Array,
    ) -> tuple[BatchNormLSTMCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        (x, counted), known = z, params.statistics

        def norm(
            a: jax.Array, stored: Moments, scale: jax.Array, bias: jax.Array | None
        ) -> jax.Array:
            if counted is None:
                moments = jax.tree.map(lambda m: take(m, carry.step), stored)
            else:
                moments = over_batch(a, counted)
            return normalise(a, moments, scale, bias, self.epsilon)

        gates = norm(x, known.input, params.input_scale, params.bias)
        gates = gates + norm(u, known.recurrent, params.recurrent_scale, None)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        i = self.gate_activation(i)
        f = self.gate_activation(f)
        o = self.gate_activation(o)
        c = f * carry.c + i * self.activation(g)
        normed = norm(c, known.cell, params.cell_scale, params.cell_bias)
        h = o * self.output_activation(normed)
        step = jnp.minimum(carry.step + 1, self.max_steps - 1)
        return BatchNormLSTMCarry(h, c, step), h
