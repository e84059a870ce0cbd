# SPDX-License-Identifier: Apache-2.0
"""Two ways to a gradient while a stream goes by: carried forward, or truncated."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import recurrent_jax as rj


class Params(NamedTuple):
    """Parameters of a network: a cell and a linear head."""

    cell: Any
    kernel: jax.Array  # (H, symbols)
    bias: jax.Array  # (symbols,)


def init(cell: rj.Cell, symbols: int, key: jax.Array) -> Params:
    """Return fresh parameters. The head is zero, so all symbols are equally likely."""
    params, H = cell.init(key, symbols), cell.hidden_size
    return Params(params, jnp.zeros((H, symbols)), jnp.zeros(symbols))


def surprise(params: Params, y: jax.Array, target: jax.Array) -> jax.Array:
    """Return the cross-entropy of the next symbols in nats, of outputs `(..., H)`."""
    scores = jax.nn.log_softmax(rj.affine(y, params.kernel, params.bias))
    return -jnp.take_along_axis(scores, target[..., None], -1)[..., 0]


@dataclasses.dataclass(frozen=True)
class Forward:
    """The gradient of `rj.online`, which reaches back to the start of the stream.

    Attributes:
        learner: the learner.
        every: steps between two updates.
        bound: of the numbers that the learner keeps of the past. While the network
            learns, the Jacobian of a step may exceed one, and nothing else would stop
            their growth.
    """

    learner: rj.online.Learner
    every: int
    bound: float

    @property
    def cell(self) -> rj.Cell:
        """The cell."""
        return self.learner.cell

    def start(self, params: Params, key: jax.Array) -> rj.online.OnlineState:
        """Return the state before the first step."""
        symbols = len(params.bias)
        return self.learner.init(params.cell, jnp.zeros(symbols), key=key)

    def gradient(self, params: Params, state: Any, xs: jax.Array, targets: Any) -> Any:
        """Return the state after some steps, the losses and the gradient of their mean.

        Args:
            params: the parameters.
            state: what the way keeps of the past.
            xs: the inputs, `(every, symbols)`.
            targets: the symbol after each of them, `(every,)`.
        """

        def loss(params: Params, y: jax.Array, target: jax.Array) -> jax.Array:
            return surprise(params, y, target) / self.every

        def one(now: Any, step: Any) -> tuple[Any, jax.Array]:
            state, total = now
            x, target = step
            state, y = self.learner.step(params.cell, state, x)
            value, (slope, d_y) = jax.value_and_grad(loss, (0, 1))(params, y, target)
            slope = slope._replace(cell=self.learner.gradient(state, d_y))
            total = jax.tree.map(jnp.add, total, slope)
            bounded = jax.tree.map(
                lambda m: jnp.clip(m, -self.bound, self.bound), state.memory
            )
            return (state._replace(memory=bounded), total), value

        zero = jax.tree.map(jnp.zeros_like, params)
        (state, slope), losses = jax.lax.scan(one, (state, zero), (xs, targets))
        return state, losses * self.every, slope


class Window(NamedTuple):
    """What truncated back-propagation keeps."""

    carry: Any  # before the first step of the window
    xs: jax.Array  # (window - every, symbols)


@dataclasses.dataclass(frozen=True)
class Truncated:
    """Back-propagation through the last steps.

    Attributes:
        cell: the cell.
        every: steps between two updates.
        window: steps that each gradient goes back, at least `every`.
    """

    cell: rj.Cell
    every: int
    window: int

    def start(self, params: Params, key: jax.Array) -> Window:
        """Return the state before the first step."""
        carry = self.cell.initial_carry((), float, params.cell)
        return Window(carry, jnp.zeros((self.window - self.every, len(params.bias))))

    def gradient(self, params: Params, state: Window, xs: Any, targets: Any) -> Any:
        """Return the state after some steps, the losses and the gradient of their mean.

        Args:
            params: the parameters.
            state: what the way keeps of the past.
            xs: the inputs, `(every, symbols)`.
            targets: the symbol after each of them, `(every,)`.
        """
        xs = jnp.concatenate([state.xs, xs])
        k1 = self.every

        def loss(params: Params) -> tuple[jax.Array, Any]:
            # The next window begins after the first steps of this one.
            carry, first = rj.unroll(self.cell, params.cell, xs[:k1], carry=state.carry)
            _, rest = rj.unroll(self.cell, params.cell, xs[k1:], carry=carry)
            losses = surprise(params, jnp.concatenate([first, rest])[-k1:], targets)
            return losses.mean(), (losses, carry)

        slope, (losses, carry) = jax.grad(loss, has_aux=True)(params)
        return Window(carry, xs[k1:]), losses, slope
