# SPDX-License-Identifier: Apache-2.0
"""One step of each cell and its cotangent, as a kernel in Pallas computes them.

All numbers are float32, whatever the dtype of the arrays: `dot` rounds the operands of
a product to the dtype of the weights, and sums in float32. The carry is never rounded
between two steps.

A step saves what its cotangent reads, in arrays of the widths `Kernel.residuals`.
"""

import dataclasses
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax.kernels._kernel import Kernel

Values = list[jax.Array]


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

    def forward(self, z: jax.Array, carry: Values, params: Values) -> Any:
        """Return the new carry, of which the first is h, and what is saved."""
        ...

    def backward(self, d: Values, hs: Values, saved: Values, params: Values) -> Any:
        """Return what the cotangent makes, and that of the carry before the step.

        The one parameter is V, the transpose of U.
        """
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

    def forward(self, z: jax.Array, carry: Values, params: Values) -> Any:
        """Return h and c, and what is saved."""
        h, c = carry
        (U,) = params
        i, f, g, o = jnp.split(z + dot(h, U), 4, axis=-1)
        i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
        new = f * c + i * g
        return [o * jnp.tanh(new), new], [jnp.concatenate([i, f, g, o], -1), c]

    def backward(self, d: Values, hs: Values, saved: Values, params: Values) -> Any:
        """Return the cotangent of z, and those of h and c before the step."""
        dh, dc = d
        gates, c = saved
        (V,) = params
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        s = jnp.tanh(f * c + i * g)
        dc = dc + dh * o * (1 - s * s)
        di, df, dg, do = dc * g, dc * c, dc * i, dh * s
        parts = [of_sigmoid(di, i), of_sigmoid(df, f), of_tanh(dg, g)]
        dz = jnp.concatenate([*parts, of_sigmoid(do, o)], -1)
        return [dz], [dot(dz, V), dc * f]


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

    def forward(self, z: jax.Array, carry: Values, params: Values) -> Any:
        """Return h, and what is saved."""
        (h,) = carry
        U, *d = params
        H = h.shape[-1]
        r, z, n = jnp.split(z, 3, axis=-1)
        if self.reset_after:
            u_r, u_z, u = jnp.split(dot(h, U), 3, axis=-1)
            u = u + d[0] if d else u
            r, z = sigmoid(r + u_r), sigmoid(z + u_z)
            n = jnp.tanh(n + r * u)
            saved = jnp.concatenate([r, z, n, u], -1)
        else:
            u_r, u_z = jnp.split(dot(h, U[:, : 2 * H]), 2, axis=-1)
            r, z = sigmoid(r + u_r), sigmoid(z + u_z)
            n = jnp.tanh(n + dot(r * h, U[:, 2 * H :]))
            saved = jnp.concatenate([r, z, n], -1)
        return [(1 - z) * n + z * h], [saved]

    def backward(self, d: Values, hs: Values, saved: Values, params: Values) -> Any:
        """Return what the cotangent makes, and that of h before the step."""
        (dh,), (h,) = d, hs
        (V,), H = params, dh.shape[-1]
        r, z, n = (saved[0][:, k * H : (k + 1) * H] for k in range(3))
        dn = of_tanh(dh * (1 - z), n)
        dz = of_sigmoid(dh * (h - n), z)
        if self.reset_after:
            dr = of_sigmoid(dn * saved[0][:, 3 * H :], r)
            before = dot(jnp.concatenate([dr, dz, dn * r], -1), V)
            made = [jnp.concatenate([dr, dz, dn, dn * r], -1)]
        else:
            drh = dot(dn, V[2 * H :])  # the cotangent of r * h
            dr = of_sigmoid(drh * h, r)
            both = jnp.concatenate([dr, dz], -1)
            before = drh * r + dot(both, V[: 2 * H])
            made = [jnp.concatenate([dr, dz, dn], -1), r * h]
        return made, [before + dh * z]


@dataclasses.dataclass(frozen=True)
class Elman:
    """It saves nothing: the derivative follows from the output."""

    activation: str

    reads = "after"
    makes: ClassVar[tuple[int, ...]] = (1,)

    def forward(self, z: jax.Array, carry: Values, params: Values) -> Any:
        """Return h, and nothing that is saved."""
        (h,) = carry
        (U,) = params
        z = z + dot(h, U)
        nothing: Values = []
        h = jnp.maximum(z, 0) if self.activation == "relu" else jnp.tanh(z)
        return [h], nothing

    def backward(self, d: Values, hs: Values, saved: Values, params: Values) -> Any:
        """Return the cotangent of z, and that of h before the step."""
        (dh,), (h,), (V,) = d, hs, params
        if self.activation == "relu":
            dz = jnp.where(h > 0, dh, jnp.zeros_like(dh))
        else:
            dz = of_tanh(dh, h)
        return [dz], [dot(dz, V)]


def sigmoid(a: jax.Array) -> jax.Array:
    """Return 1 / (1 + exp(-a))."""
    return lax.logistic(a)


def of_sigmoid(d: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cotangent of the argument of a sigmoid, from that of its value y."""
    return d * y * (1 - y)


def of_tanh(d: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cotangent of the argument of a tanh, from that of its value y."""
    return d * (1 - y * y)


def dot(a: jax.Array, U: jax.Array) -> jax.Array:
    """Return a U, summed in float32."""
    how = {"precision": _precision(U), "preferred_element_type": jnp.float32}
    return jnp.dot(a.astype(U.dtype), U, **how)


# What `jax_default_matmul_precision` calls one product of bfloat16 numbers.
_ONE_PASS = None, "default", "fastest", "bfloat16", "BF16_BF16_F32"


def _precision(U: jax.Array) -> lax.Precision:
    """Return the precision of products with U: in one pass, or exact.

    A kernel has nothing in between. Products of bfloat16 numbers are exact in one pass.
    """
    asked = getattr(jax.config, "jax_default_matmul_precision", None)
    one_pass = U.dtype == jnp.bfloat16 or asked in _ONE_PASS
    return lax.Precision.DEFAULT if one_pass else lax.Precision.HIGHEST
