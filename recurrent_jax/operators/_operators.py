# SPDX-License-Identifier: Apache-2.0
"""Linear operators for `Structured`: how a square matrix is stored and built."""

import abc
import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._checks.array_kinds import FloatArray
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.skew import exp_skew
from recurrent_jax._core.types import Size
from recurrent_jax._core.value import settle
from recurrent_jax.initializers import orthogonal

Square = Annotated[jax.Array, FloatArray(("H", "H"))]
Blocks = Annotated[jax.Array, FloatArray(("blocks", "n", "n"))]


@dataclasses.dataclass(frozen=True)
class Operator(abc.ABC):
    """A structured square matrix: how it is stored, and how the matrix is built.

    A subclass is a frozen dataclass that defines `init` and `dense` for one gate.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> operator = rj.operators.BlockDiagonal(blocks=2)
        >>> stored = operator.init(jax.random.key(0), 4)
        >>> stored.shape, operator.dense(stored).shape
        ((2, 2, 2), (4, 4))
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "init" in vars(cls):
            cls.init = _checks.protocol(cls.init)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        settle(self)
        _checks.fields(self)

    @abc.abstractmethod
    def init(self, key: jax.Array, size: int, dtype: DTypeLike = float) -> Any:
        """Return the stored form of a `(size, size)` matrix."""

    @abc.abstractmethod
    def dense(self, stored: Any) -> jax.Array:
        """Return the dense matrix, `(size, size)`."""

    def __repr__(self) -> str:
        # Print as code, like a cell. The package is named, since operators are not at
        # the top level.
        return f"operators.{Cell.__repr__(self)}"  # type: ignore[arg-type]

    __reduce__ = Cell.__reduce__  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True, repr=False)
class BlockDiagonal(Operator):
    """A block-diagonal matrix, stored as H^2 / blocks numbers.

    Units of different blocks are not connected. Each block starts as an orthogonal
    matrix, and so does the whole.

    Args:
        blocks: the number of blocks, a divisor of the hidden size.

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.Structured(rj.LSTM(8), rj.operators.BlockDiagonal(blocks=4))

    References:
        Beck et al., 2024. xLSTM: extended long short-term memory (heads).
        https://arxiv.org/abs/2405.04517
    """

    blocks: Size

    def init(self, key: jax.Array, size: int, dtype: DTypeLike = float) -> jax.Array:
        """Return the blocks, `(blocks, size / blocks, size / blocks)`."""
        _checks.blocks("BlockDiagonal", self.blocks, size)
        n = size // self.blocks
        keys = jax.random.split(key, self.blocks)
        return jnp.stack([orthogonal(k, (n, n), dtype) for k in keys])

    @_checks.checked
    def dense(self, stored: Blocks) -> jax.Array:
        """Return the matrix, which is zero outside the blocks."""
        if len(stored) != self.blocks:
            raise ValueError(
                f"BlockDiagonal.dense: stored must hold {self.blocks} blocks, got "
                f"{_checks.describe(stored)}"
            )
        return jax.scipy.linalg.block_diag(*stored)


class LowRankFactors(NamedTuple):
    """The two stored factors of a `LowRank` matrix."""

    left: jax.Array  # (H, rank)
    right: jax.Array  # (rank, H)


@dataclasses.dataclass(frozen=True, repr=False)
class LowRank(Operator):
    """A product of two thin matrices, stored as 2 H rank numbers.

    Both factors start orthogonal, so that all singular values are one or zero.

    Args:
        rank: the rank, at most the hidden size.

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.Structured(rj.LSTM(8), rj.operators.LowRank(rank=2))

    References:
        Mastrogiuseppe and Ostojic, 2018. Linking connectivity, dynamics, and
        computations in low-rank recurrent neural networks.
        https://arxiv.org/abs/1711.09672
    """

    rank: Size

    def init(
        self, key: jax.Array, size: int, dtype: DTypeLike = float
    ) -> LowRankFactors:
        """Return both factors."""
        if self.rank > size:
            raise ValueError(f"LowRank: rank {self.rank} is more than {size} units")
        left, right = jax.random.split(key)
        return LowRankFactors(
            left=orthogonal(left, (size, self.rank), dtype),
            right=orthogonal(right, (self.rank, size), dtype),
        )

    def dense(self, stored: LowRankFactors) -> jax.Array:
        """Return the product of the factors."""
        _factors(self.rank, stored)
        return stored.left @ stored.right


def _factors(rank: int, stored: Any) -> None:
    """Check what `LowRank` stores."""
    parts = (("left", ("H", f"rank={rank}")), ("right", (f"rank={rank}", "H")))
    if not isinstance(stored, LowRankFactors):
        raise TypeError(
            "LowRank.dense: stored must be LowRankFactors, got "
            f"{_checks.outline(stored)}; init returns them"
        )
    for name, axes in parts:
        part = getattr(stored, name)
        FloatArray(axes).check("LowRank.dense", f"stored.{name}", part)
    left, right = stored
    fits = left.shape[::-1] == right.shape and left.shape[1] == rank
    if not fits or left.dtype != right.dtype:
        got = f"{_checks.describe(left)} and {_checks.describe(right)}"
        raise ValueError(
            f"LowRank.dense: stored must have parts of one dtype and of shapes (H, "
            f"{rank}) and ({rank}, H), got {got}"
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Diagonal(Operator):
    """A diagonal matrix, stored as H numbers.

    Each unit is connected only to itself. The numbers start uniform in [-1, 1].

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.Structured(rj.GRU(8), rj.operators.Diagonal())

    References:
        Li et al., 2018. Independently recurrent neural network (IndRNN).
        https://arxiv.org/abs/1803.04831
    """

    def init(self, key: jax.Array, size: int, dtype: DTypeLike = float) -> jax.Array:
        """Return the diagonal, `(size,)`."""
        return jax.random.uniform(key, (size,), dtype, -1.0, 1.0)

    @_checks.checked
    def dense(self, stored: Annotated[jax.Array, FloatArray(("H",))]) -> jax.Array:
        """Return the matrix, which is zero off the diagonal."""
        return jnp.diag(stored)


@dataclasses.dataclass(frozen=True, repr=False)
class Orthogonal(Operator):
    r"""An orthogonal matrix, $U = \exp(A - A^\top)$, which stays so in training.

    Only the part of A below the diagonal is used. U starts as a rotation of pairs of
    units, by angles uniform in $(-\pi, \pi)$. Matrices of determinant -1 cannot be
    reached. The exponential is computed in at least float32.

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.Structured(rj.Elman(8), rj.operators.Orthogonal())

    References:
        Lezcano-Casado and Martinez-Rubio, 2019. Cheap orthogonal constraints in neural
        networks. https://arxiv.org/abs/1901.08428
        Henaff, Szlam and LeCun, 2016. Recurrent orthogonal networks and long-memory
        tasks (the initial angles). https://arxiv.org/abs/1602.06662
    """

    def init(self, key: jax.Array, size: int, dtype: DTypeLike = float) -> jax.Array:
        """Return A, `(size, size)`."""
        first = np.arange(0, size - 1, 2)
        angles = jax.random.uniform(key, first.shape, dtype, -jnp.pi, jnp.pi)
        return jnp.zeros((size, size), dtype).at[first + 1, first].set(angles)

    @_checks.checked
    def dense(self, stored: Square) -> jax.Array:
        """Return the matrix exponential."""
        wide = jnp.float32 if jnp.finfo(stored.dtype).bits < 32 else stored.dtype
        below = jnp.tril(stored.astype(wide), -1)
        return exp_skew(below - below.T).astype(stored.dtype)
