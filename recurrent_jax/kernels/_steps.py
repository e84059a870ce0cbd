# SPDX-License-Identifier: Apache-2.0
"""One step of each cell and its cotangent, as a kernel in Pallas computes them.

All numbers are float32, whatever the dtype of the arrays. The carry is never rounded
between two steps. The gates of a step are a list of arrays with one unit a column: a
platform may give each part of a kernel units of its own. Only products need the others,
so the platform computes them: `Product`.

A step saves what its cotangent reads, in arrays of the widths `Kernel.residuals`.
"""

import dataclasses
from collections.abc import Callable
from operator import add
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax.kernels._kernel import Kernel

Values = list[jax.Array]
# From some arrays and the gates that are meant, by default all of them, to others.
# Forward it is [h] -> [h U of each gate], and backward [d of each gate] -> [d U^T].
Product = Callable[..., Values]
ALL = slice(None)


class Step(Protocol):
    """The recurrence of one cell.

    Attributes:
        reads: which h the cotangent reads: the one `before` the step, the one `after`
            it, or none.
        makes: the widths of the arrays that the cotangent makes, as multiples of the
            hidden size. Side by side, they begin with the cotangent of z.
    """

    @property
    def reads(self) -> str | None:
        """Return which h the cotangent reads."""
        ...

    @property
    def makes(self) -> tuple[int, ...]:
        """Return the widths of what the cotangent makes."""
        ...

    def forward(self, zs: Values, carry: Values, U: Product, bias: Values) -> Any:
        """Return the new carry, of which the first is h, and the gates to save."""
        ...

    def backward(self, d: Values, hs: Values, saved: list[Values], V: Product) -> Any:
        """Return what the cotangent makes, and that of the carry before the step."""
        ...


def step_of(kernel: Kernel) -> Step:
    """Return the step that a kernel runs."""
    kinds: dict[str, Any] = {"lstm": LSTM, "gru": GRU, "elman": Elman}
    step: Step = kinds[kernel.name](**dict(kernel.attributes))
    return step


@dataclasses.dataclass(frozen=True)
class LSTM:
    """It saves the gates i, f, g, o and the c before the step."""

    reads: ClassVar[str | None] = None
    makes: ClassVar[tuple[int, ...]] = (4,)

    def forward(self, zs: Values, carry: Values, U: Product, bias: Values) -> Any:
        """Return h and c, and what is saved."""
        h, c = carry
        i, f, g, o = map(add, zs, U([h]))
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        new = f * c + i * g
        return [o * jnp.tanh(new), new], [[i, f, g, o], [c]]

    def backward(self, d: Values, hs: Values, saved: list[Values], V: Product) -> Any:
        """Return the cotangent of z, and those of h and c before the step."""
        dh, dc = d
        (i, f, g, o), (c,) = saved
        s = jnp.tanh(f * c + i * g)
        dc = dc + dh * o * (1 - s * s)
        di, df, dg, do = dc * g, dc * c, dc * i, dh * s
        dz = [of_sigmoid(di, i), of_sigmoid(df, f), of_tanh(dg, g), of_sigmoid(do, o)]
        return [dz], [*V(dz), dc * f]


@dataclasses.dataclass(frozen=True)
class GRU:
    """It saves r, z and n, and h U of n if the reset comes after this product.

    Backwards it makes the cotangents of r, z and n, and what the gradient of the U of n
    reads: the cotangent of h U of n if the reset comes after this product, and else r
    h. So nothing reads again what was saved, and what is made can take its place.
    """

    reset_after: bool

    reads = "before"

    @property
    def makes(self) -> tuple[int, ...]:
        """Return the widths of what the cotangent makes."""
        return (4,) if self.reset_after else (3, 1)

    def forward(self, zs: Values, carry: Values, U: Product, bias: Values) -> Any:
        """Return h, and what is saved."""
        (h,) = carry
        r, z, n = zs
        if self.reset_after:
            u_r, u_z, u = U([h])
            u = u + bias[0] if bias else u
            r, z = sigmoid(r + u_r), sigmoid(z + u_z)
            n = jnp.tanh(n + r * u)
            saved = [r, z, n, u]
        else:
            u_r, u_z = U([h], slice(2))
            r, z = sigmoid(r + u_r), sigmoid(z + u_z)
            (u,) = U([r * h], slice(2, 3))
            n = jnp.tanh(n + u)
            saved = [r, z, n]
        return [(1 - z) * n + z * h], [saved]

    def backward(self, d: Values, hs: Values, saved: list[Values], V: Product) -> Any:
        """Return what the cotangent makes, and that of h before the step."""
        (dh,), (h,), ((r, z, n, *u),) = d, hs, saved
        dn = of_tanh(dh * (1 - z), n)
        dz = of_sigmoid(dh * (h - n), z)
        if self.reset_after:
            dr = of_sigmoid(dn * u[0], r)
            (before,) = V([dr, dz, dn * r])
            made = [[dr, dz, dn, dn * r]]
        else:
            (drh,) = V([dn], slice(2, 3))  # the cotangent of r * h
            dr = of_sigmoid(drh * h, r)
            (both,) = V([dr, dz], slice(2))
            before = drh * r + both
            made = [[dr, dz, dn], [r * h]]
        return made, [before + dh * z]


@dataclasses.dataclass(frozen=True)
class Elman:
    """It saves nothing: the derivative follows from the output."""

    activation: str

    reads = "after"
    makes: ClassVar[tuple[int, ...]] = (1,)

    def forward(self, zs: Values, carry: Values, U: Product, bias: Values) -> Any:
        """Return h, and nothing that is saved."""
        (a,) = map(add, zs, U(carry))
        nothing: list[Values] = []
        h = jnp.maximum(a, 0) if self.activation == "relu" else jnp.tanh(a)
        return [h], nothing

    def backward(self, d: Values, hs: Values, saved: list[Values], V: Product) -> Any:
        """Return the cotangent of z, and that of h before the step."""
        (dh,), (h,) = d, hs
        if self.activation == "relu":
            dz = jnp.where(h > 0, dh, jnp.zeros_like(dh))
        else:
            dz = of_tanh(dh, h)
        return [[dz]], V([dz])


def sigmoid(a: jax.Array) -> jax.Array:
    """Return 1 / (1 + exp(-a))."""
    return lax.logistic(a)


def of_sigmoid(d: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cotangent of the argument of a sigmoid, from that of its value y."""
    return d * y * (1 - y)


def of_tanh(d: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cotangent of the argument of a tanh, from that of its value y."""
    return d * (1 - y * y)
