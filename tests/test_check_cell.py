# SPDX-License-Identifier: Apache-2.0
"""check_cell passes a user's cell, and says which law a broken one breaks."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax.testing import LAWS, LawViolation, check_cell

pytestmark = pytest.mark.usefixtures("small_heap")


class Params(NamedTuple):
    kernel: jax.Array
    recurrent: jax.Array


@dataclasses.dataclass(frozen=True)
class Leaky(rj.Cell):
    """A user's own cell: a leaky integrator with a plain array as its carry."""

    hidden_size: int

    def init(self, key, in_features, dtype=float):
        kernel = jax.random.normal(key, (in_features, self.hidden_size), dtype)
        return Params(kernel, jnp.full(self.hidden_size, 0.5, dtype))

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return jnp.zeros((*batch_shape, self.hidden_size), dtype)

    def project(self, params, x):
        return x @ params.kernel

    def recur(self, params, carry, z):
        h = 0.9 * carry + 0.1 * jnp.tanh(params.recurrent * carry + z)
        return h, h


class LeaksNaN(Leaky):
    def recur(self, params, carry, z):
        # Finite for every input but zero, which is what a skipped step is given.
        h = jnp.tanh(carry + z / jnp.sqrt(jnp.sum(z * z, -1, keepdims=True)))
        return h, h


class LooksAhead(Leaky):
    def project(self, params, x):
        z = x @ params.kernel
        return z + jnp.roll(z, -1, axis=0) if z.ndim > 2 else z


class ChangesDtype(Leaky):
    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry.astype(jnp.float32), y


class ChangesStructure(Leaky):
    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return (carry,), y


class MixesBatch(Leaky):
    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry - carry.mean(0), y


class CutsGradient(Leaky):
    def recur(self, params, carry, z):
        return super().recur(params, jax.lax.stop_gradient(carry), z)


class GrowsWithTime(Leaky):
    def project(self, params, x):
        if x.ndim == 1:
            return x @ params.kernel
        return jnp.stack([x_t @ params.kernel for x_t in x])


def is_traced(x):
    return isinstance(x, jax.core.Tracer)


class LiesUnderJit(Leaky):
    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, 2 * y if is_traced(y) else y


class IgnoresDtypeAtFirst(Leaky):
    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return jnp.zeros((*batch_shape, self.hidden_size), jnp.float32)


class IgnoresDtypeInInit(Leaky):
    def init(self, key, in_features, dtype=float):
        return super().init(key, in_features, jnp.float32)


class IsAnotherInHalfPrecision(Leaky):
    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, y if z.dtype.itemsize > 2 else 2 * y


class ReadsWhatInitLeft(Leaky):
    """Reads the parameters that were drawn last, not those that it is given."""

    last = {}

    def init(self, key, in_features, dtype=float):
        params = super().init(key, in_features, dtype)
        if not is_traced(params.kernel):
            self.last["kernel"] = params.kernel
        return params

    def project(self, params, x):
        return x @ self.last["kernel"].astype(x.dtype)


class CountsItsCalls(Leaky):
    calls = []

    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        self.calls.append(None)
        return carry, y + len(self.calls)


class DrawsWithoutKey(Leaky):
    def init(self, key, in_features, dtype=float):
        kernel = np.random.default_rng().normal(size=(in_features, self.hidden_size))
        return Params(
            jnp.asarray(kernel, dtype), jnp.full(self.hidden_size, 0.5, dtype)
        )


class NeedsABatch(Leaky):
    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, y if y.ndim > 1 else 2 * y


class NormalisesTheBatch(Leaky):
    def project(self, params, x):
        z = x @ params.kernel
        return z / z.max(-2, keepdims=True) if z.ndim > 1 else z


class OutputsOneDtype(Leaky):
    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, y.astype(jnp.float32)


@jax.custom_jvp
def wrong_slope(x):
    return jnp.tanh(x)


wrong_slope.defjvp(lambda x, d: (jnp.tanh(x[0]), d[0] * (1 - jnp.tanh(x[0]))))


@jax.custom_jvp
def wrong_bend(x):
    return jnp.tanh(x)


@wrong_bend.defjvp
def _(x, d):
    y = jnp.tanh(x[0])
    return y, d[0] * (1 - jax.lax.stop_gradient(y) ** 2)


class DeclaresAnotherOutput(rj.Elman):
    output = "h"

    def update(self, params, carry, z, u):
        carry, y = super().update(params, carry, z, u)
        return carry, -y


class WrongSlope(Leaky):
    def recur(self, params, carry, z):
        h = wrong_slope(carry + z)
        return h, h


class WrongBend(Leaky):
    def recur(self, params, carry, z):
        h = wrong_bend(carry + z)
        return h, h


class HidesItsSize(Leaky):
    """Not declared as a dataclass of its own, so `gain` is no field."""

    def __init__(self, hidden_size, gain=2.0):
        object.__setattr__(self, "hidden_size", hidden_size)
        object.__setattr__(self, "gain", gain)


@dataclasses.dataclass(frozen=True)
class ComparesByIdentity(Leaky):
    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__


@dataclasses.dataclass(frozen=True)
class StartsElsewhere(Leaky):
    """Not broken: a carry does not need to start from zero."""

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return jnp.ones((*batch_shape, self.hidden_size), dtype)


@dataclasses.dataclass(frozen=True)
class NamesItsFieldsFreely(Leaky):
    """Not broken: these names mean something else elsewhere in the library."""

    step_size: float = 0.1
    weight_init: float = 0.5


class PairInput(Leaky):
    """Not broken: takes a pair, an input and whether to count it."""

    def project(self, params, x):
        values, counts = x
        return jnp.where(counts[..., None], values @ params.kernel, 0)


@dataclasses.dataclass(frozen=True)
class Plus(rj.Wrapper):
    """Not broken: a wrapper may override the recurrence of a cell that splits."""

    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, y + 1


@dataclasses.dataclass(frozen=True)
class Ignored(Plus):
    """Has its recurrence overridden, and that of the cell inside run by `unroll`."""


Ignored._splits = True


def test_a_recurrence_that_is_overridden_is_what_runs():
    inside = rj.Elman(3)
    params, xs = inside.init(jax.random.key(0), 2), jnp.ones((5, 2))
    want = rj.unroll(inside, params, xs)[1] + 1
    for cell in (Plus(inside), rj.InputDropout(Plus(inside), 0.1)):
        np.testing.assert_allclose(rj.unroll(cell, params, xs)[1], want, rtol=1e-6)


def test_a_users_cell_keeps_the_laws():
    check_cell(Leaky(4))


@pytest.mark.slow
def test_a_carry_may_start_from_what_is_not_zero():
    check_cell(StartsElsewhere(2), laws=["scan", "empty", "reset", "types"])


def test_a_user_names_fields_freely():
    assert NamesItsFieldsFreely(4, step_size=0.2).step_size == 0.2


@pytest.mark.slow
def test_a_cell_with_a_pair_as_input_keeps_the_laws():
    def inputs(key, shape, dtype):
        values = jax.random.normal(key, (*shape, 3), dtype)
        return values, jax.random.bernoulli(key, 0.5, shape)

    check_cell(PairInput(4), inputs=inputs)


@pytest.mark.parametrize(
    "cell, laws, sentence",
    [
        (LeaksNaN, ["padding"], "in skipped steps reached a gradient"),
        (LooksAhead, ["project", "causality"], "changing inputs after step 0"),
        (ChangesDtype, ["types"], "as float64[4,4] and comes out as float32[4,4]"),
        (ChangesStructure, ["types"], "the carry goes in as"),
        (MixesBatch, ["batch"], "a batch differs from vmap"),
        (CutsGradient, ["gradients"], ""),
        (ComparesByIdentity, ["compilation"], "built twice is not equal"),
        (GrowsWithTime, ["compilation"], "the jaxpr grows with time"),
        (LiesUnderJit, ["project"], "step differs outside of jit"),
        (IgnoresDtypeAtFirst, ["types"], "starts from has a part of float32"),
        (IgnoresDtypeInInit, ["types"], "made a parameter of float32: .kernel"),
        (IsAnotherInHalfPrecision, ["types"], "in float16, a step gave other numbers"),
        (ReadsWhatInitLeft, ["compilation"], "step is another after one more call"),
        (CountsItsCalls, ["compilation"], "step is another after one more call"),
        (DrawsWithoutKey, ["compilation"], "other parameters from the same key"),
        (NeedsABatch, ["batch"], "a batch differs from vmap"),
        (NormalisesTheBatch, ["batch"], "a batch differs from vmap"),
        (OutputsOneDtype, ["types"], "a step gave an output of float32"),
        (DeclaresAnotherOutput, ["project"], "not what the cell declares"),
        (WrongSlope, ["gradients"], "gradients are not those of differences"),
        (WrongBend, ["gradients"], "second derivatives are not those of differences"),
        (HidesItsSize, ["compilation"], "make HidesItsSize a frozen dataclass"),
    ],
)
def test_a_broken_cell_is_told_which_law_it_breaks(cell, laws, sentence):
    with pytest.raises(LawViolation) as caught:
        check_cell(cell(4), laws=laws)
    message = str(caught.value)
    assert f"{cell.__name__}(hidden_size=4) breaks" in message
    assert sentence in message
    for law in laws:
        assert f"law {list(LAWS).index(law) + 1} ({law})" in message


def test_a_wrapper_may_override_the_recurrence():
    check_cell(Plus(rj.GRU(3)), laws=["scan", "project", "gradients", "strategies"])


def test_a_wrapper_whose_recurrence_does_not_run_breaks_laws():
    with pytest.raises(LawViolation, match=r"law 1 \(scan\): unroll is not a Python"):
        check_cell(Ignored(rj.Elman(3)), laws=["scan"])
    with pytest.raises(LawViolation, match=r"law 11 .* unroll is not the loop"):
        check_cell(Ignored(rj.Elman(3)), laws=["gradients"])


def test_every_broken_law_is_reported_at_once():
    with pytest.raises(LawViolation, match=r"(?s)law 2 .*law 7 .*law 9 "):
        check_cell(LooksAhead(4), laws=["project", "scan", "batch", "causality"])


def test_a_lambda_is_reported_since_it_does_not_print_as_code():
    with pytest.raises(LawViolation, match=r"law 12 \(compilation\)"):
        check_cell(rj.Elman(4, activation=lambda x: x), laws=["compilation"])


def test_an_unknown_law_is_named():
    with pytest.raises(ValueError, match="no law is called .'gravity'."):
        check_cell(rj.Elman(4), laws=["gravity"])


def test_a_step_that_returns_the_output_first_is_told_so():
    @dataclasses.dataclass(frozen=True)
    class Swapped(rj.Elman):
        def recur(self, params, carry, z):
            return z, carry

    cell = Swapped(3)
    params = cell.init(jax.random.key(0), 2)
    with pytest.raises(TypeError) as caught:
        rj.unroll(cell, params, jnp.ones((4, 2)))
    assert any("(carry, y), the carry first" in n for n in caught.value.__notes__)


def test_step_cannot_be_overridden():
    with pytest.raises(TypeError, match="`step` is final"):

        class Overrides(Leaky):
            def step(self, params, carry, x):
                return carry, x


def test_a_cell_without_a_recurrence_says_what_to_define():
    @dataclasses.dataclass(frozen=True)
    class Empty(rj.Cell):
        def init(self, key, in_features):
            return ()

        def initial_carry(self, batch_shape=(), dtype=float, params=None):
            return jnp.zeros(batch_shape, dtype)

    with pytest.raises(NotImplementedError, match="define recur, or feedback and up"):
        rj.unroll(Empty(), (), jnp.ones((3, 2)))
