# SPDX-License-Identifier: Apache-2.0
"""Attention: a cell that reads a memory, such as the outputs of an encoder."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Initializer, Size
from recurrent_jax.initializers import glorot_uniform
from recurrent_jax.wrappers import _check
from recurrent_jax.wrappers._wrapper import plain, replace


class Memory(NamedTuple):
    """The memory of `Attention`, built by `bind` and the same at every step."""

    values: jax.Array  # (*batch, S, M), zero in the padding
    keys: jax.Array  # (*batch, S, A)
    valid: jax.Array  # (*batch, S), bool


class AttentionParams(NamedTuple):
    """Parameters of `Attention`, with the memory that `bind` adds."""

    cell: Any  # parameters of the inner cell
    query_kernel: jax.Array | None  # (H, A), for the additive score only
    memory_kernel: jax.Array  # (M, A), with A = H if multiplicative
    vector: jax.Array | None  # (A,), for the additive score only
    memory: Memory | None


class AttentionCarry(NamedTuple):
    """State of `Attention`: the carry of the inner cell, and the last context."""

    cell: Any
    context: jax.Array  # (*batch, M)


@dataclasses.dataclass(frozen=True)
class Attention(Cell[AttentionParams, AttentionCarry]):
    r"""A cell that also reads the context that it last looked up in a memory.

    $$
    \begin{aligned}
    (s_t, h_t) &= \mathrm{step}(s_{t-1}, [x_t, c_{t-1}]) \\
    e_{tj} &= v^\top \tanh(h_t W + m_j U) && \text{additive} \\
    e_{tj} &= h_t \cdot (m_j U) && \text{multiplicative} \\
    \alpha_t &= \mathrm{softmax}(e_t), \qquad c_t = \sum_j \alpha_{tj} m_j \\
    y_t &= [h_t, c_t]
    \end{aligned}
    $$

    The memory does not change between steps, so it is not part of the carry. `bind`
    adds it to the parameters, and computes the products $m_j U$ once:

        params = cell.bind(params, memory, lengths=lengths)
        carry, ys = rj.unroll(cell, params, xs)

    Gradients flow to the memory. A reset restarts the inner cell and clears the
    context. It does not change the memory. A memory without batch axes is shared by all
    sequences.

    Args:
        cell: any cell with one array as its input and one as its output.
        memory_features: M, the number of features of a memory entry.
        attention_size: A, the number of units of the additive score. If None, it is the
            number of outputs of `cell`. The multiplicative score does not take it.
        score: `"additive"` (Bahdanau et al.) or `"multiplicative"` (Luong et al.,
            their general form).
        kernel_init: initialiser of W, of U and, as a column, of v.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is not positive, or if
            `score` is not one of these names.

    Notes:
        The order within a step is that of Luong et al. with input feeding. Here the
        context c itself is fed to the next step. Bahdanau et al. read the memory before
        the step, with the old state, so they read it once more at the start. Here the
        first step reads a context of zeros.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Attention(rj.GRU(4), memory_features=6, attention_size=5)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> memory = jnp.ones((9, 5, 6))  # time, batch, features
        >>> params = cell.bind(params, memory, lengths=jnp.array([9, 3, 1, 0, 9]))
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, cell.weights(params, ys).shape
        ((7, 5, 10), (7, 5, 9))

    References:
        Bahdanau, Cho and Bengio, 2015. Neural machine translation by jointly learning
        to align and translate. https://arxiv.org/abs/1409.0473
        Luong, Pham and Manning, 2015. Effective approaches to attention-based neural
        machine translation. https://arxiv.org/abs/1508.04025
    """

    cell: Cell[Any, Any, Any]
    memory_features: Size
    attention_size: Size | None = None
    score: Literal["additive", "multiplicative"] = "additive"
    kernel_init: Initializer = glorot_uniform

    Params = AttentionParams
    Carry = AttentionCarry

    def __post_init__(self) -> None:
        _checks.part("Attention", "cell", self.cell, (Cell,))
        super().__post_init__()
        _check.score(self.score, self.attention_size)

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> AttentionParams:
        """Return fresh parameters, without a memory."""
        key_c, key_q, key_m, key_v = jax.random.split(key, 4)
        H = self.cell.out_features(in_features + self.memory_features)
        A, M = self.attention_size or H, self.memory_features
        additive = self.score == "additive"
        draw = self.kernel_init
        return AttentionParams(
            cell=self.cell.init(key_c, in_features + M, dtype),
            query_kernel=draw(key_q, (H, A), dtype) if additive else None,
            memory_kernel=draw(key_m, (M, A), dtype),
            vector=draw(key_v, (A, 1), dtype)[:, 0] if additive else None,
            memory=None,
        )

    @_checks.checked
    def bind(
        self,
        params: AttentionParams,
        memory: jax.Array,
        *,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        time_axis: int = 0,
    ) -> AttentionParams:
        """Return the parameters with a memory. Padded entries are never read.

        Args:
            params: what `init` returned.
            memory: `(time, *batch, M)`, with time at `time_axis`.
            lengths: integers, `(*batch)`: the number of valid entries of each memory.
            mask: bool, `(time, *batch)`: False hides an entry. A memory without a valid
                entry gives a context of zeros.
            time_axis: the time axis of `memory` and `mask`.
        """
        _check.attention_params("Attention.bind", params)
        memory = _checks.array("Attention.bind", "memory", memory)
        size = self.memory_features
        valid = _check.memory(memory, size, params, lengths, mask, time_axis)
        values = jnp.moveaxis(memory, time_axis, -2)
        # Mask before the product. Otherwise a NaN in the padding would reach the
        # gradient, as 0 * NaN.
        values = jnp.where(valid[..., None], values, jnp.zeros_like(values))
        keys = affine(values, params.memory_kernel)
        return params._replace(memory=Memory(values, keys, valid))

    def weights(self, params: AttentionParams, ys: jax.Array) -> jax.Array:
        r"""Return the weights $\alpha$, `(*lead, S)`, of outputs `(*lead, H + M)`.

        They follow from the outputs, so a run need not store them.
        """
        ys = _check.outputs(params, ys, self.memory_features)
        return self._look(params, ys[..., : -self.memory_features])

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> AttentionCarry:
        """Return the initial carry of the inner cell, and a context of zeros."""
        if params is not None:
            _check.attention_params("Attention.initial_carry", params)
        inner = None if params is None else params.cell
        return AttentionCarry(
            self.cell.initial_carry(batch_shape, dtype, inner),
            jnp.zeros((*batch_shape, self.memory_features), dtype),
        )

    def out_features(self, in_features: int) -> int:
        """Return the number of features of the inner output and the context."""
        M = self.memory_features
        return self.cell.out_features(in_features + M) + M

    @property
    def declares_output(self) -> bool:
        """Whether the inner cell declares its output."""
        return self.cell.declares_output

    def read(self, carry: AttentionCarry, y: Any) -> Any:
        """Return the output of the inner cell, followed by the context."""
        h = self.cell.read(carry.cell, y[..., : -self.memory_features])
        return jnp.concatenate([h, carry.context], axis=-1)

    def prepare(self, params: AttentionParams) -> AttentionParams:
        """Return the parameters in the form that the inner cell uses."""
        return params._replace(cell=self.cell.prepare(params.cell))

    def sample(
        self, key: jax.Array, xs: Any, lead: tuple[int, ...], dtype: DTypeLike = float
    ) -> Any:
        """Return the inputs with the random numbers of the inner cell."""
        # Only the shape of the context matters to the draws, so zeros will do.
        unread = jnp.zeros((*lead, self.memory_features), dtype)
        seen = jnp.concatenate([xs, unread], axis=-1)
        return replace(self.cell.sample(key, seen, lead, dtype), xs)

    def recur(
        self, params: AttentionParams, carry: AttentionCarry, z: Any
    ) -> tuple[AttentionCarry, jax.Array]:
        """Return the new state, and the inner output followed by the context."""
        seen = replace(z, jnp.concatenate([plain(z), carry.context], axis=-1))
        inside = self.cell.project(params.cell, seen)
        after, h = self.cell.recur(params.cell, carry.cell, inside)
        a = self._look(params, h)
        values = expand_like(_check.bound(params.memory, h).values, a[..., None])
        c = jnp.matmul(a[..., None, :], values)[..., 0, :]
        return AttentionCarry(after, c), jnp.concatenate([h, c], axis=-1)

    def _look(self, params: AttentionParams, h: jax.Array) -> jax.Array:
        """Return the attention weights, which are exactly zero at hidden entries."""
        memory = _check.bound(params.memory, h)
        keys = expand_like(memory.keys, h[..., None])
        if params.query_kernel is None or params.vector is None:
            e = jnp.matmul(keys, h[..., None])[..., 0]
        else:
            query = affine(h, params.query_kernel)[..., None, :]
            e = jnp.tanh(query + keys) @ params.vector
        valid = expand_like(memory.valid, e)
        lowest = jnp.asarray(jnp.finfo(e.dtype).min, e.dtype)
        a = jax.nn.softmax(jnp.where(valid, e, lowest), axis=-1)
        return jnp.where(valid, a, jnp.zeros_like(a))
