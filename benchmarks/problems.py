# SPDX-License-Identifier: Apache-2.0
"""What is timed: cells, shapes, and the numbers that every contender is given."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import recurrent_jax as rj

FORWARD, BOTH = "forward", "forward+backward"


class Shape(NamedTuple):
    """Time, batch, input features and hidden units."""

    T: int
    B: int
    D: int
    H: int

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Read `T,B,D,H`, such as `100,32,64,64`."""
        sizes = [int(part) for part in text.split(",")]
        if len(sizes) != 4 or min(sizes) < 1:
            raise ValueError(f"{text!r} is not a shape T,B,D,H")
        return cls(*sizes)

    def __str__(self) -> str:
        return ",".join(map(str, self))


SHAPES = (
    Shape(100, 32, 64, 64),
    Shape(100, 32, 128, 256),
    Shape(1000, 1, 64, 128),
    Shape(200, 8, 64, 512),
    Shape(200, 1, 256, 1024),
    Shape(200, 128, 32, 128),
    Shape(100, 64, 512, 512),
    Shape(784, 128, 1, 128),
)

# Haiku has the GRU that resets before the product, and a plain network with relu: two
# more cells for us, timed beside it.
CELLS: dict[str, Callable[[int], rj.Cell]] = {
    "lstm": rj.LSTM,
    "gru": rj.GRU,
    "gru reset-before": lambda H: rj.GRU(H, reset_after=False),
    "elman": rj.Elman,
    "elman relu": lambda H: rj.Elman(H, activation=jax.nn.relu),
}
QUICK = (
    ("lstm", SHAPES[0]),
    ("lstm", SHAPES[2]),
    ("gru", SHAPES[0]),
    ("elman", SHAPES[0]),
)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A cell, and arrays in our layout, time first.

    Attributes:
        cell: ours.
        shape: T, B, D, H.
        params: of the cell.
        xs: inputs, `(T, B, D)`.
        cotangent: the gradient of a loss with respect to the outputs, `(T, B, H)`.
    """

    cell: rj.Cell
    shape: Shape
    params: Any
    xs: jax.Array
    cotangent: jax.Array

    @classmethod
    def draw(cls, name: str, shape: Shape, seed: int = 0) -> "Problem":
        """Draw the arrays; biases too, so that a bias in a wrong place shows.

        The recurrent bias of a GRU stays zero, since the GRU of nnx has none.
        """
        cell = CELLS[name](shape.H)
        keys = jax.random.split(jax.random.key(seed), 4)
        params = cell.init(keys[0], shape.D, jnp.float32)
        noise = 0.1 * jax.random.normal(keys[1], params.bias.shape, jnp.float32)
        T, B, D, H = shape
        return cls(
            cell=cell,
            shape=shape,
            params=params._replace(bias=params.bias + noise),
            xs=jax.random.normal(keys[2], (T, B, D), jnp.float32),
            cotangent=jax.random.normal(keys[3], (T, B, H), jnp.float32),
        )

    def flops(self, which: str) -> int:
        """Count the products with W and U; backward has twice those of forward.

        Forward is `2 T B (D + H) G H` with G gates. Elementwise work is not counted,
        nor is anything that a contender computes a second time.
        """
        T, B, D, H = self.shape
        columns = self.params.kernel.shape[-1]  # G H
        forward = 2 * T * B * (D + H) * columns
        return forward if which == FORWARD else 3 * forward
