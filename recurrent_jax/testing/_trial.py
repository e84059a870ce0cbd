# SPDX-License-Identifier: Apache-2.0
"""A cell with all that a law needs drawn."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._core.cell import Cell
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.backward import Autodiff, Backward
from recurrent_jax.testing._trees import at, cast, waves, weigh


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
        backward: the strategy that all runs use.
    """

    cell: Cell
    in_features: int = 3
    time: int = 3
    batch_shape: tuple[int, ...] = (3,)
    seed: int = 0
    dtype: str = "float64"
    inputs: Callable[[jax.Array, tuple[int, ...], Any], Any] | None = None
    backward: Backward = Autodiff()

    def key(self, stream: int) -> jax.Array:
        """Return a key for one kind of draw."""
        return jax.random.fold_in(jax.random.key(self.seed), stream)

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
        return _reached(dataclasses.replace(self, time=2, backward=Autodiff()))

    def draw(self, stream: int, shape: tuple[int, ...]) -> Any:
        """Return inputs of the leading shape."""
        if self.inputs is not None:
            return jax.device_get(self.inputs(self.key(stream), shape, self.dtype))
        # NumPy where it will do: JAX would compile every shape.
        rng = np.random.default_rng((self.seed, stream))
        return cast(rng.normal(size=(*shape, self.in_features)), self.dtype)

    def start(self) -> Any:
        """Return the carry that a sequence starts from."""
        return self.cell.initial_carry(self.batch_shape, self.dtype, self.params)

    def run(self, xs: Any = None, carry: Any = None, **options: Any) -> tuple[Any, Any]:
        """Return `unroll` of these inputs from this carry."""
        xs = self.xs if xs is None else xs
        carry = self.carry if carry is None else carry
        return jax.device_get(self.unroll(self.params, carry, xs, **options))

    def unroll(
        self, params: Any, carry: Any, xs: Any, **options: Any
    ) -> tuple[Any, Any]:
        """Return `unroll` of any arguments, with the strategy on trial."""
        options = {"backward": self.backward, **options}
        return unroll(self.cell, params, xs, carry=carry, **options)

    def loop(self, params: Any, carry: Any, xs: Any, time: int) -> Any:
        """Return what `unroll` must: a Python loop over `cell.step`."""
        ys = []
        for t in range(time):
            carry, y = self.cell.step(params, carry, at(xs, t))
            ys.append(y)
        return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)

    def gradients(self, run: Callable[..., Any], xs: Any = None) -> Any:
        """Return gradients with respect to params, carry and inputs.

        Of a linear function of final carry and outputs, every weight another.
        """
        xs = self.xs if xs is None else xs
        return jax.device_get(_gradient(run)(self.params, self.carry, xs))


@functools.lru_cache
def _params(cell: Cell, in_features: int, seed: int) -> Any:
    """Return parameters of a cell, a little off what it draws."""
    params = jax.jit(lambda: cell.init(jax.random.key(seed), in_features))()
    params = jax.device_get(params)
    return jax.tree.map(lambda p, w: p + w / 10, params, waves(params))


@functools.lru_cache
def _reached(trial: Trial) -> Any:
    """Return the carry after the steps of a trial."""
    xs = trial.draw(2, (trial.time, *trial.batch_shape))
    run = jax.jit(lambda p, x: trial.loop(p, trial.start(), x, trial.time)[0])
    return jax.device_get(run(trial.params, xs))


@functools.lru_cache(maxsize=8)
def _gradient(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradient, compiled once for all inputs that a law tries."""
    score = lambda *arguments: weigh(run(*arguments))  # noqa: E731
    return jax.jit(jax.grad(score, argnums=(0, 1, 2), allow_int=True))
