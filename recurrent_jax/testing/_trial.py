# SPDX-License-Identifier: Apache-2.0
"""A cell with the random parameters, carry and inputs that a law needs."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from recurrent_jax._core.cell import Cell
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.backward import Backward, Deferred
from recurrent_jax.methods import Chunked, Method, Sequential
from recurrent_jax.testing import _programs
from recurrent_jax.testing._programs import How
from recurrent_jax.testing._trees import at, cast, stack, waves


@dataclasses.dataclass(frozen=True)
class Trial:
    """A cell with random parameters and inputs, and a carry that it has reached.

    Attributes:
        cell: the cell under test.
        in_features: D, the number of input features.
        time: T, the number of steps.
        batch_shape: the sizes of the batch axes, any number of them.
        seed: the seed of all random draws.
        dtype: the dtype of parameters, carry and inputs.
        inputs: a function that builds an input with a given leading shape from
            `(key, shape, dtype)`. By default, inputs are standard normal numbers of
            shape `(*shape, in_features)`.
        method: how time is run. None is the default of `unroll`, with chunks short
            enough that there are several.
        backward: the strategy that all runs use. None is the default of the method,
            with blocks short enough that there are several.
    """

    cell: Cell
    in_features: int = 3
    time: int = 4
    batch_shape: tuple[int, ...] = (4,)
    seed: int = 0
    dtype: str = "float64"
    inputs: Callable[[jax.Array, tuple[int, ...], Any], Any] | None = None
    method: Method | None = None
    backward: Backward | None = None

    @property
    def how(self) -> How:
        """The method and the strategy that all runs use."""
        method, backward = self.method, self.backward
        if method is None:
            needs_steps = backward is not None and getattr(backward, "steps", True)
            at_once = self.cell.linear and not needs_steps
            method = Chunked(size=2) if at_once else Sequential()
        if backward is None:
            is_loop = isinstance(method, Sequential)
            backward = Deferred(block=2) if is_loop else method.backward
        return How(method, backward)

    def key(self, stream: int) -> jax.Array:
        """Return a key for one kind of draw."""
        return jax.random.fold_in(jax.random.key(self.seed), stream)

    def rng(self, stream: int) -> np.random.Generator:
        """Return a NumPy generator for one kind of draw. JAX would compile the draw."""
        return np.random.default_rng((self.seed, stream))

    @functools.cached_property
    def params(self) -> Any:
        """The parameters. None is exactly zero, since that could hide a gradient."""
        return cast(_params(self.cell, self.in_features, self.seed), self.dtype)

    @functools.cached_property
    def xs(self) -> Any:
        """The inputs, `(time, *batch, features)`."""
        return self.draw(1, (self.time, *self.batch_shape))

    @functools.cached_property
    def carry(self) -> Any:
        """The carry after two steps from the initial one."""
        return self.loop(self.draw(2, (2, *self.batch_shape)), self.start())[0]

    def draw(self, stream: int, shape: tuple[int, ...]) -> Any:
        """Return inputs with the given leading shape."""
        if self.inputs is not None:
            return jax.device_get(self.inputs(self.key(stream), shape, self.dtype))
        drawn = self.rng(stream).normal(size=(*shape, self.in_features))
        return cast(drawn, self.dtype)

    def start(self) -> Any:
        """Return the carry at the start of a sequence."""
        return self.cell.initial_carry(self.batch_shape, self.dtype, self.params)

    def run(self, xs: Any = None, carry: Any = None, **options: Any) -> tuple[Any, Any]:
        """Return the result of `unroll` for these inputs, from this carry."""
        xs = self.xs if xs is None else xs
        carry = self.carry if carry is None else carry
        options = self.how._asdict() | options
        return jax.device_get(
            unroll(self.cell, self.params, xs, carry=carry, **options)
        )

    def flags(self, **given: Any) -> dict[str, Any]:
        """Return `lengths`, `mask` and `resets`. Those not given have no effect.

        All three are always present, so that laws share one compiled program.
        """
        shape = (self.time, *self.batch_shape)
        return {
            "lengths": np.full(self.batch_shape, self.time),
            "mask": np.ones(shape, bool),
            "resets": np.zeros(shape, bool),
        } | given

    def loop(self, xs: Any = None, carry: Any = None) -> tuple[Any, Any]:
        """Return the result that `unroll` must equal, from a loop over `cell.step`."""
        xs = self.xs if xs is None else xs
        carry = self.carry if carry is None else carry
        step = _programs.step(self.cell)
        ys: list[Any] = []
        time = jax.tree.leaves(xs)[0].shape[0]
        if time == 0:  # no step tells the shape of an output
            return self.run(xs, carry)
        for t in range(time):
            carry, y = step(self.params, carry, at(xs, t))
            ys.append(y)
        return jax.device_get((carry, stack(ys)))

    def loop_gradients(self) -> Any:
        """Return the gradients of `loop`, by explicit back-propagation."""
        return _programs.back_propagate(self.cell, self.params, self.carry, self.xs)

    def gradients(
        self, xs: Any = None, how: How | None = None, **options: Any
    ) -> tuple[Any, Any]:
        """Return the result of `run`, and gradients for params, carry and inputs.

        The gradients are those of a weighted sum of the final carry and the outputs,
        with different weights.
        """
        xs = self.xs if xs is None else xs
        run = _programs.gradients(self.cell, how or self.how)
        return jax.device_get(run((self.params, self.carry, xs), options))


@functools.lru_cache
def _params(cell: Cell, in_features: int, seed: int) -> Any:
    """Return the parameters of a cell, shifted a little from their initial values."""
    # Not under `jit`, so that cells share the small programs that draw.
    params = jax.device_get(cell.init(jax.random.key(seed), in_features))
    return jax.tree.map(lambda p, w: p + w / 10, params, waves(params))
