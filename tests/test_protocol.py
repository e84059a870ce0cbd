# SPDX-License-Identifier: Apache-2.0
"""The protocol of cells: which recurrence counts, where a sequence starts, outputs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj

KEY, XS = jax.random.key(0), jnp.linspace(-1.0, 1.0, 7 * 2 * 3).reshape(7, 2, 3)


@dataclasses.dataclass(frozen=True)
class Negated(rj.Wrapper):
    """A wrapper that overrides the whole recurrence."""

    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, -y


@dataclasses.dataclass(frozen=True)
class Shifted(rj.LSTM):
    """A subclass of a cell that splits, which redefines `recur`."""

    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, y + 1


@dataclasses.dataclass(frozen=True)
class Halved(Shifted):
    """A subclass of a cell that does not split, which redefines `update`."""

    def update(self, params, carry, z, u):
        carry, y = super().update(params, carry, z, u)
        return carry, y / 2


class Tripled:
    """A mix-in, no cell itself."""

    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, 3 * y


@dataclasses.dataclass(frozen=True)
class Mixed(Tripled, rj.GRU):
    pass


def stepped(cell, params, xs):
    carry, ys = cell.initial_carry((2,), params=params), []
    for x in xs:
        carry, y = cell.step(params, carry, x)
        ys.append(y)
    return jnp.stack(ys)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "cell",
    [
        Negated(rj.LSTM(4)),
        Negated(rj.LTC(4)),
        Negated(Negated(rj.GRU(4))),
        rj.InputDropout(Negated(rj.GRU(4)), 0.1),
        rj.Stack((rj.GRU(4), Negated(rj.GRU(4)))),
        Shifted(4),
        Halved(4),
        Mixed(4),
    ],
    ids=repr,
)
@pytest.mark.parametrize("backward", [rj.Deferred(block=2), rj.Autodiff()], ids=str)
def test_every_strategy_runs_what_step_runs(cell, backward):
    params = cell.init(KEY, 3)
    xs = XS
    if "LTC" in repr(cell):
        xs = rj.cells.Timed(XS, jnp.ones((7, 2)))
        carry, want = cell.initial_carry((2,)), []
        for t in range(7):
            carry, y = cell.step(params, carry, jax.tree.map(lambda a, t=t: a[t], xs))
            want.append(y)
        want = jnp.stack(want)
    else:
        want = stepped(cell, params, xs)
    _, ys = rj.unroll(cell, params, xs, backward=backward)
    np.testing.assert_allclose(ys, want, rtol=1e-6, atol=1e-6)


def test_a_wrapper_negates_under_the_default_strategy(x64):
    cell, xs = Negated(rj.LSTM(4)), XS.astype(float)
    params = cell.init(KEY, 3)
    _, ys = rj.unroll(cell, params, xs)
    _, inner = rj.unroll(rj.LSTM(4), params, xs)
    assert ys.dtype == "float64"
    np.testing.assert_allclose(ys, -inner, rtol=1e-12)


def test_a_class_defines_one_form_of_the_recurrence():
    with pytest.raises(TypeError, match="Both defines recur as well as update"):

        class Both(rj.GRU):
            def recur(self, params, carry, z):
                return carry, z

            def update(self, params, carry, z, u):
                return carry, z


def test_initial_carry_takes_params():
    with pytest.raises(TypeError, match="Old: initial_carry must take params"):

        class Old(rj.GRU):
            def initial_carry(self, batch_shape=(), dtype=float):
                return None


# Where a sequence starts.

LEARNED = rj.LearnedCarry(rj.GRU(3))
STARTS = {
    "cell": LEARNED,
    "deep": rj.Deep((rj.GRU(3), LEARNED)),
    "bidirectional_in_deep": rj.Deep((rj.Bidirectional(LEARNED), rj.GRU(3))),
    "stack": rj.Stack((LEARNED, rj.GRU(3))),
    "structured": rj.Structured(rj.GRU(3), rj.operators.Diagonal()),
    "attention": rj.Attention(LEARNED, memory_features=2),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", STARTS)
def test_unroll_starts_from_initial_carry(name):
    cell = STARTS[name]
    params = jax.tree.map(lambda p: p + 0.5, cell.init(KEY, 3))
    if name == "attention":
        params = cell.bind(params, jnp.ones((4, 2, 2)))
    start = cell.initial_carry((2,), params=params)
    got = rj.unroll(cell, params, XS)
    want = rj.unroll(cell, params, XS, carry=start)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_stream_starts_where_unroll_does():
    network = STARTS["deep"]
    params = jax.tree.map(lambda p: p + 0.5, network.init(KEY, 3))
    carry = network.initial_carry((2,), params=params)
    _, y = rj.streaming.step(network, params, carry, XS[0])
    np.testing.assert_allclose(y, rj.unroll(network, params, XS)[1][0], rtol=1e-6)


@pytest.mark.parametrize("name", ["cell", "deep", "bidirectional_in_deep", "stack"])
def test_a_learned_start_needs_params(name):
    with pytest.raises(TypeError, match="pass params=params"):
        STARTS[name].initial_carry((2,))


@dataclasses.dataclass(frozen=True)
class Pointwise(rj.Cell):
    """A layer without a state."""

    def init(self, key, in_features, dtype=float):
        return ()

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return ()

    def recur(self, params, carry, z):
        return carry, jnp.tanh(z)


@pytest.mark.parametrize("kind", [rj.Deep, rj.Stack])
def test_a_layer_without_a_state(kind):
    network = kind((rj.GRU(3), Pointwise(), rj.GRU(4)))
    params = network.init(KEY, 3)
    assert params[2].kernel.shape == (3, 12)
    carry, ys = rj.unroll(network, params, XS, lengths=jnp.array([7, 3]))
    assert ys.shape == (7, 2, 4) and carry[1] == ()


@pytest.mark.parametrize(
    "backward", [rj.Checkpointed(budget=10_000), rj.Checkpointed(), rj.Truncated(2)]
)
def test_strategies_run_a_cell_without_a_state(backward):
    def loss(xs):
        return rj.unroll(Pointwise(), (), xs, backward=backward)[1].sum()

    want = 1 - jnp.tanh(XS) ** 2
    np.testing.assert_allclose(jax.grad(loss)(XS), want, rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Faulty(rj.GRU):
    def update(self, params, carry, z, u):
        raise ValueError("a mistake in the user's own update")


@pytest.mark.parametrize("kind", [rj.Deep, rj.Stack])
def test_init_shows_the_errors_of_a_cell(kind):
    with pytest.raises(ValueError, match="a mistake in the user's own update"):
        kind((Faulty(4), rj.GRU(3))).init(KEY, 3)


# Outputs that follow from the carry.


@dataclasses.dataclass(frozen=True)
class Copied(rj.GRU):
    """A GRU whose output is the state, but not the very same array."""

    output = "h"

    def update(self, params, carry, z, u):
        carry, y = super().update(params, carry, z, u)
        return carry, y + 0


@pytest.mark.parametrize("key", [None, jax.random.key(1)], ids=["without", "with"])
def test_zoneout_reads_the_output_off_the_carry(key):
    params = rj.GRU(4).init(KEY, 3)
    both = [
        rj.unroll(rj.Zoneout(cell, 0.3), params, XS, key=key)
        for cell in (rj.GRU(4), Copied(4))
    ]
    jax.tree.map(np.testing.assert_array_equal, *both)
    (carry, ys), _ = both
    np.testing.assert_array_equal(carry.h, ys[-1])


def test_zoneout_refuses_an_output_that_nobody_declares():
    class Undeclared(rj.GRU):
        def update(self, params, carry, z, u):
            carry, y = super().update(params, carry, z, u)
            return carry, 2 * y

    assert rj.GRU(4).declares_output and not Undeclared(4).declares_output
    for cell in (Undeclared(4), Negated(rj.GRU(4)), rj.Stack((Undeclared(4),))):
        with pytest.raises(TypeError, match='^Zoneout: .* Set output = "h"'):
            rj.Zoneout(cell, 0.1)


def test_zoneout_changes_the_output_of_a_continuous_time_network():
    cell = rj.Zoneout(rj.CTRNN(4), 0.3)
    carry, ys = rj.unroll(cell, cell.init(KEY, 3), XS)
    want = cell.cell.activation(carry.v)
    np.testing.assert_allclose(ys[-1], want, rtol=1e-6)


# Stored and prepared parameters.


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "cell",
    [rj.FastGRNN(4), rj.FastRNN(4), rj.AntisymmetricRNN(4), rj.ExpRNN(4)],
    ids=repr,
)
def test_stored_parameters_are_not_prepared_ones(cell):
    params = cell.init(KEY, 3)
    prepared = cell.prepare(params)
    assert type(prepared) is not type(params)
    carry, z = cell.initial_carry((2,)), cell.project(prepared, XS[0])
    cell.recur(prepared, carry, z)
    with pytest.raises(AttributeError):
        cell.recur(params, carry, z)


def test_a_structured_cell_is_not_structured_again():
    cell = rj.Structured(rj.GRU(4), rj.operators.LowRank(2))
    with pytest.raises(ValueError, match="^Structured: .* has no recurrent_kernel of"):
        rj.Structured(cell, rj.operators.Diagonal()).init(KEY, 3)


@pytest.mark.parametrize(
    "cell",
    [rj.GRU(4), rj.SLSTM(4), rj.ProjectedLSTM(4, 2), rj.Deep((rj.GRU(4),))],
    ids=repr,
)
@pytest.mark.parametrize("params", ["abc", 5, jnp.ones(3), (jnp.ones(3),)], ids=repr)
def test_initial_carry_takes_no_other_params(cell, params):
    with pytest.raises(TypeError, match="params must be"):
        cell.initial_carry((2,), params=params)


# What a cell holds takes part in its comparisons: it is static, and keys a program.


class Scaled(rj.GRU):
    def __init__(self, hidden_size, scale):
        super().__init__(hidden_size)
        self.scale = scale

    def update(self, params, carry, z, u):
        carry, y = super().update(params, carry, z, u)
        return carry, self.scale * y


@dataclasses.dataclass(frozen=True)
class Hidden(rj.GRU):
    scale: float = dataclasses.field(default=1.0, compare=False)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: Scaled(4, 2.0), "Scaled: scale is no field.*make Scaled a frozen"),
        (lambda: Hidden(4, scale=2.0), "Hidden: the field scale has compare=False"),
    ],
)
def test_a_number_that_is_not_compared_is_refused(make, sentence):
    params = rj.GRU(4).init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match=sentence):
        rj.unroll(make(), params, jnp.ones((5, 2, 3)))


@pytest.mark.parametrize("rate", [np.float32(0.5), np.float64(0.5)])
def test_a_number_of_numpy_in_a_field_leaves_the_dtype_as_it_is(rate):
    cell, x = rj.OutputDropout(rj.GRU(4), rate), jnp.ones((5, 2, 3), jnp.bfloat16)
    assert type(cell.rate) is float
    params = cell.init(jax.random.key(0), 3, jnp.bfloat16)
    _, ys = rj.unroll(cell, params, x, key=jax.random.key(1))
    assert ys.dtype == jnp.bfloat16


def test_an_init_with_another_name_for_its_features():
    class Own(rj.Elman):
        def init(self, key, features, dtype=float):
            return super().init(key, features, dtype)

    params = Own(4).init(jax.random.key(0), 3)
    assert params.kernel.shape == (3, 4)


@pytest.mark.parametrize("method", [rj.Newton(), rj.Fused(), rj.Sequential()])
def test_a_method_is_no_strategy(method):
    cell = rj.MGU(4)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match="got the method .* pass method="):
        rj.unroll(cell, params, jnp.ones((5, 2, 3)), backward=method)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    """A strategy of a user that has slots."""

    def run(self, loop, carry):
        return rj.Autodiff().run(loop, carry)


@dataclasses.dataclass(eq=False)
class Counting:
    """A strategy of a user that is equal to itself alone, so it may hold anything."""

    seen: list

    def run(self, loop, carry):
        self.seen.append(loop.time)
        return rj.Autodiff().run(loop, carry)


def test_strategies_of_a_user_that_need_no_comparison():
    cell, counting = rj.MGU(4), Counting([])
    counting.note = "no field"
    params = cell.init(jax.random.key(0), 3)
    for strategy in (Slotted(), counting):
        rj.unroll(cell, params, jnp.ones((5, 2, 3)), backward=strategy)
    assert counting.seen == [5]


@dataclasses.dataclass(frozen=True)
class Forgetful(rj.Deferred):
    scale: float = dataclasses.field(default=1.0, compare=False)


def test_a_strategy_is_compared_as_a_cell_is():
    cell = rj.MGU(4)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match="the field scale has compare=False"):
        rj.unroll(cell, params, jnp.ones((5, 2, 3)), backward=Forgetful(scale=2.0))
