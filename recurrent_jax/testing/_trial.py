# SPDX-License-Identifier: Apache-2.0
"""A cell with all that a law needs drawn."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from recurrent_jax._core.cell import Cell
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.backward import Backward, Deferred
from recurrent_jax.testing import _programs
from recurrent_jax.testing._trees import at, cast, stack, waves


@dataclasses.dataclass(frozen=True)
class Trial:
    """A cell with parameters, a carry that it has reached, and inputs, all drawn.

    Attributes:
        cell: the cell on trial.
        in_features: D.
        time: T.
        batch_shape: any number of leading axes.
        seed: of all draws.
        dtype: of parameters, carry and inputs.
        inputs: makes the input of given leading shape from `(key, shape, dtype)`;
            by default standard normal numbers of shape `(*shape, in_features)`.
        backward: the strategy that all runs use. By default that of `unroll`, with
            blocks so short that there are several.
    """

    cell: Cell
    in_features: int = 3
    time: int = 4
    batch_shape: tuple[int, ...] = (4,)
    seed: int = 0
    dtype: str = "float64"
    inputs: Callable[[jax.Array, tuple[int, ...], Any], Any] | None = None
    backward: Backward = Deferred(block=2)

    def key(self, stream: int) -> jax.Array:
        """Return a key for one kind of draw."""
        return jax.random.fold_in(jax.random.key(self.seed), stream)

    def rng(self, stream: int) -> np.random.Generator:
        """Return a NumPy generator for one kind of draw; JAX would compile it."""
        return np.random.default_rng((self.seed, stream))

    @functools.cached_property
    def params(self) -> Any:
        """Parameters, none exactly zero, so that no gradient hides."""
        return cast(_params(self.cell, self.in_features, self.seed), self.dtype)

    @functools.cached_property
    def xs(self) -> Any:
        """Inputs, `(time, *batch, features)`."""
        return self.draw(1, (self.time, *self.batch_shape))

    @functools.cached_property
    def carry(self) -> Any:
        """A carry reached after two steps from the initial one."""
        return self.loop(self.draw(2, (2, *self.batch_shape)), self.start())[0]

    def draw(self, stream: int, shape: tuple[int, ...]) -> Any:
        """Return inputs of the leading shape."""
        if self.inputs is not None:
            return jax.device_get(self.inputs(self.key(stream), shape, self.dtype))
        drawn = self.rng(stream).normal(size=(*shape, self.in_features))
        return cast(drawn, self.dtype)

    def start(self) -> Any:
        """Return the carry that a sequence starts from."""
        return self.cell.initial_carry(self.batch_shape, self.dtype, self.params)

    def run(self, xs: Any = None, carry: Any = None, **options: Any) -> tuple[Any, Any]:
        """Return `unroll` of these inputs from this carry."""
        xs = self.xs if xs is None else xs
        carry = self.carry if carry is None else carry
        options = {"backward": self.backward, **options}
        return jax.device_get(
            unroll(self.cell, self.params, xs, carry=carry, **options)
        )

    def flags(self, **given: Any) -> dict[str, Any]:
        """Return `lengths`, `mask` and `resets`, those not given without effect.

        All are always there, so that one program serves every law that needs one.
        """
        shape = (self.time, *self.batch_shape)
        return {
            "lengths": np.full(self.batch_shape, self.time),
            "mask": np.ones(shape, bool),
            "resets": np.zeros(shape, bool),
        } | given

    def loop(self, xs: Any = None, carry: Any = None) -> tuple[Any, Any]:
        """Return what `unroll` must: a Python loop over `cell.step`, of one step up."""
        xs = self.xs if xs is None else xs
        carry = self.carry if carry is None else carry
        step = _programs.step(self.cell)
        ys: list[Any] = []
        time = jax.tree.leaves(xs)[0].shape[0]
        if time == 0:  # without a step, nothing says what an output looks like
            return self.run(xs, carry)
        for t in range(time):
            carry, y = step(self.params, carry, at(xs, t))
            ys.append(y)
        return jax.device_get((carry, stack(ys)))

    def loop_gradients(self) -> Any:
        """Return the gradients of `loop`: back-propagation written out."""
        return _programs.back_propagate(self.cell, self.params, self.carry, self.xs)

    def gradients(
        self, xs: Any = None, backward: Backward | None = None, **options: Any
    ) -> tuple[Any, Any]:
        """Return what `run` does, and gradients for params, carry and inputs.

        Of a linear function of final carry and outputs, every weight another.
        """
        xs = self.xs if xs is None else xs
        run = _programs.gradients(self.cell, backward or self.backward)
        return jax.device_get(run((self.params, self.carry, xs), options))


@functools.lru_cache
def _params(cell: Cell, in_features: int, seed: int) -> Any:
    """Return parameters of a cell, a little off what it draws."""
    # Outside of jit, where cells share the small programs that draw.
    params = jax.device_get(cell.init(jax.random.key(seed), in_features))
    return jax.tree.map(lambda p, w: p + w / 10, params, waves(params))
