# SPDX-License-Identifier: Apache-2.0
"""What `Deferred` reads off a cell: seen where it is so, and nowhere else."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax._core.cell import update
from recurrent_jax.backward._engine import facts as facts_of

pytestmark = pytest.mark.usefixtures("x64")
H, D, TIME, BATCH = 3, 2, 5, 4


def facts(cell):
    """Return what is read off the recurrent product and off the rest of the step."""
    params = cell.init(jax.random.key(0), D)
    carry = cell.initial_carry((BATCH,))
    z = cell.project(params, jnp.ones((BATCH, D)))
    u = cell.feedback(params, carry)
    product = facts_of.product(cell.feedback, params, carry, 2)
    rest = functools.partial(update, cell)
    gates = z.shape[-1] // H
    return product, facts_of.of_update(rest, params, carry, z, u, gates)


def agrees(cell):
    """Compare all gradients with those of `Autodiff`, every parameter being drawn."""
    keys = jax.random.split(jax.random.key(1), 3)
    params = jax.tree.map(
        lambda a: jax.random.normal(keys[0], a.shape), cell.init(keys[0], D)
    )
    xs = jax.random.normal(keys[1], (TIME, BATCH, D))
    weights = jax.random.normal(keys[2], (TIME, BATCH, H))

    def score(backward, params, xs):
        return jnp.vdot(weights, rj.unroll(cell, params, xs, backward=backward)[1])

    one, other = (
        jax.grad(functools.partial(score, backward), (0, 1))(params, xs)
        for backward in (rj.Deferred(block=2), rj.Autodiff())
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), one, other)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("cell", "summed", "biased"),
    [
        (rj.Elman(H), (True,), False),
        (rj.LSTM(H), (True,) * 4, False),
        (rj.GRU(H), (True, True, False), True),
        (rj.GRU(H, use_bias=False), (True, True, False), False),
    ],
)
def test_it_is_seen(cell, summed, biased):
    product, update = facts(cell)
    assert product is not None and product.biased == biased
    assert update.summed == summed and not update.reads
    agrees(cell)


class Feeds(rj.Elman):
    """An Elman network with another feedback."""

    def init(self, key, in_features, dtype=float):
        params = super().init(key, in_features, dtype)
        return params._replace(bias=params.bias + 0.5)


class BiasOfTheKernel(Feeds):
    def feedback(self, params, carry):
        u = carry.h @ params.recurrent_kernel
        return u + params.recurrent_kernel.sum(0)[None]


class BiasOfAnother(Feeds):
    def feedback(self, params, carry):
        u = carry.h @ params.recurrent_kernel
        return u + jnp.square(params.bias)[None]


class BiasOfTheCarry(Feeds):
    def feedback(self, params, carry):
        return carry.h @ params.recurrent_kernel + carry.h


class Transposed(Feeds):
    def feedback(self, params, carry):
        return carry.h @ params.recurrent_kernel.T


class Jitted(Feeds):
    @functools.partial(jax.jit, static_argnums=0)
    def feedback(self, params, carry):
        return jax.jit(jnp.matmul)(carry.h, params.recurrent_kernel) + params.bias[None]


class JittedTwice(Feeds):
    def feedback(self, params, carry):
        square = jax.jit(jnp.matmul)
        return square(square(carry.h, params.recurrent_kernel), params.recurrent_kernel)


class Squared(Feeds):
    def feedback(self, params, carry):
        return jnp.square(carry.h @ params.recurrent_kernel)


class Twice(Feeds):
    def feedback(self, params, carry):
        return (carry.h @ params.recurrent_kernel) @ params.recurrent_kernel


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("kind", "is_product"),
    [
        (BiasOfTheKernel, False),
        (BiasOfAnother, True),
        (BiasOfTheCarry, False),
        (Transposed, False),
        (Jitted, True),
        (JittedTwice, False),
        (Squared, False),
        (Twice, False),
    ],
)
def test_what_a_product_is(kind, is_product):
    cell = kind(H)
    assert (facts(cell)[0] is not None) is is_product
    agrees(cell)


@dataclasses.dataclass(frozen=True)
class Reads(rj.GRU):
    """Three gates, read in a way of its own."""

    how: str = ""

    def update(self, params, carry, z, u):
        (a, b, c), (p, q, r) = jnp.split(z, 3, -1), jnp.split(u, 3, -1)
        h = {
            "all": lambda: (a + p) * jnp.tanh(b + q) + jnp.sin(c + r),
            "swapped": lambda: (a + q) * jnp.tanh(b + p) + jnp.sin(c + r),
            "again": lambda: (a + p) * jnp.tanh(b + q) + jnp.sin(c + r) * a,
            "difference": lambda: (a - p) * jnp.tanh(b + q) + jnp.sin(c + r),
            "doubled": lambda: (a + a) * jnp.tanh(b + q) + jnp.sin(c + r) * p,
            "whole": lambda: (a + p) * jnp.tanh(b + q) * z[:, :1] + jnp.sin(c + r),
            "odd": lambda: (a + p) * jnp.tanh(b + q) * z[..., 1 : H + 1],
            "given": lambda: a + p,
        }[self.how]()
        return rj.GRU.Carry(h), p if self.how == "given" else h


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("how", "summed"),
    [
        ("all", "yyy"),
        ("swapped", "nny"),
        ("again", "nyy"),
        ("difference", "nyy"),
        ("doubled", "nyy"),
        ("whole", "nnn"),
        ("odd", "nnn"),
        ("given", "nnn"),
    ],
)
def test_what_a_sum_is(how, summed):
    cell = Reads(H, how=how)
    assert facts(cell)[1].summed == tuple(letter == "y" for letter in summed)
    agrees(cell)
