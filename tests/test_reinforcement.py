# SPDX-License-Identifier: Apache-2.0
"""Agents with memory: resets, burn-in, and replays that differ from the rollout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax._core.arrays import select
from recurrent_jax.reinforcement import burn_in, check_replay, resets_from_dones

pytestmark = pytest.mark.slow

T, N, H, D = 9, 4, 3, 2
KEYS = jax.random.split(jax.random.key(0), 5)
XS = jax.random.normal(KEYS[0], (T, N, D))
# Sequence 0 has no end; the others have one, two in a row, and one at the last step.
DONES = np.zeros((T, N), bool)
DONES[3, 1] = DONES[4, 2] = DONES[5, 2] = DONES[8, 3] = True
CELLS = {
    "lstm": rj.LSTM(H),
    "gru": rj.GRU(H),
    "min_gru": rj.MinGRU(H),
    "lru": rj.LRU(H),
    "start": rj.LearnedCarry(rj.GRU(H)),
    "deep": rj.Deep((rj.GRU(H), rj.LSTM(2))),
    "stack": rj.Stack((rj.GRU(H), rj.LSTM(2))),
}


@functools.cache
def params_of(name):
    params = CELLS[name].init(KEYS[1], D)
    # Biases are zero at first, and a step that is left out would not show.
    return jax.tree.map(
        lambda p: (
            p
            + 0.3
            * jnp.cos(jnp.arange(1.0, 1 + p.size)).reshape(p.shape).astype(p.dtype)
        ),
        params,
    )


@functools.cache
def rollout(name):
    """Return the carries and outputs of an agent whose episodes end at `DONES`."""
    return act(name)


def act(name, dones=DONES, carry=None, xs=XS):
    """Act step by step as an agent does: a Python loop, and a reset after each done."""
    cell, params = CELLS[name], params_of(name)
    fresh = cell.initial_carry((N,), params=params)
    carry = fresh if carry is None else carry
    step = jax.jit(functools.partial(rj.streaming.step, cell, params))
    carries, ys = [], []
    for x, done in zip(xs, dones, strict=True):
        carries.append(carry)
        carry, y = step(carry, x)
        carry = select(jnp.asarray(done), fresh, carry)
        ys.append(y)
    return carries, jnp.stack(ys)


# Resets.


def test_a_reset_is_the_done_of_the_step_before():
    resets = np.asarray(resets_from_dones(DONES))
    assert not resets[0].any()
    np.testing.assert_array_equal(resets[1:], DONES[:-1])


@pytest.mark.parametrize("time_axis", [0, 1, -1, -2])
def test_resets_are_laid_out_as_dones_are(time_axis):
    initial = np.array([True, False, True, False])
    dones = np.moveaxis(DONES, 0, time_axis)
    resets = resets_from_dones(dones, initial, time_axis=time_axis)
    assert resets.shape == dones.shape and resets.dtype == bool
    want = np.concatenate([initial[None], DONES[:-1]])
    np.testing.assert_array_equal(np.moveaxis(resets, time_axis, 0), want)


def test_chunks_that_pass_their_last_dones_on_are_the_whole():
    whole, chunks, last = resets_from_dones(DONES), [], None
    for chunk in (DONES[:2], DONES[2:4], DONES[4:]):
        chunks.append(jax.jit(resets_from_dones)(chunk, last))
        last = chunk[-1]
    np.testing.assert_array_equal(jnp.concatenate(chunks), whole)


@pytest.mark.parametrize("shape", [(0, N), (1, N), (T,), (T, 2, 2)])
def test_resets_of_any_shape(shape):
    assert resets_from_dones(np.ones(shape, bool)).shape == shape


@pytest.mark.parametrize("name", CELLS)
def test_a_replay_is_the_rollout(name):
    _, ys = rollout(name)
    resets = resets_from_dones(DONES)
    check_replay(CELLS[name], params_of(name), XS, ys, resets=resets)


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
@pytest.mark.parametrize("name", ["min_gru", "lru"])
def test_a_replay_in_parallel_is_the_rollout(name, method):
    _, ys = rollout(name)
    one, options = (CELLS[name], params_of(name), XS, ys), {"method": method}
    check_replay(*one, resets=resets_from_dones(DONES), **options)
    assert "at step 3 of sequence 1" in failure(*one, resets=DONES, **options)


@pytest.mark.parametrize("name", CELLS)
def test_a_replay_from_a_stored_carry_is_the_rollout(name):
    carries, ys = rollout(name)
    for start in (1, 4, 5):
        # The stored carry is that after the reset, so `initial` is left out.
        resets = resets_from_dones(DONES[start:])
        options = {"carry": carries[start], "resets": resets}
        check_replay(CELLS[name], params_of(name), XS[start:], ys[start:], **options)


def test_a_carry_stored_before_the_reset_needs_the_dones_before():
    cell, params = CELLS["lstm"], params_of("lstm")
    _, ys = rollout("lstm")
    start, resets = 5, resets_from_dones(DONES)
    before, _ = rj.unroll(cell, params, XS[:start], resets=resets[:start])
    replay = functools.partial(check_replay, cell, params, XS[start:], ys[start:])
    late = resets_from_dones(DONES[start:], DONES[start - 1])
    replay(carry=before, resets=late)
    for early, text in (
        (
            resets_from_dones(DONES[start:]),
            "pass its dones, resets_from_dones(dones, i",
        ),
        (DONES[start:], "resets are the dones of the same steps"),
    ):
        with pytest.raises(AssertionError) as caught:
            replay(carry=before, resets=early)
        assert "of sequence 2" in str(caught.value)
        assert text in str(caught.value)


# The check finds mistakes and names them.


def failure(*args, **options):
    with pytest.raises(AssertionError) as caught:
        check_replay(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("time_axis", [0, 1])
def test_dones_in_the_place_of_resets_are_found(name, time_axis):
    _, ys = rollout(name)
    xs, ys, dones = (jnp.moveaxis(a, 0, time_axis) for a in (XS, ys, DONES))
    text = failure(
        CELLS[name], params_of(name), xs, ys, resets=dones, time_axis=time_axis
    )
    # Its last step is replayed without the memory of the episode.
    assert "differ from those of unroll first at step 3 of sequence 1, by" in text
    assert "in 3 of 4 sequences" in text
    assert "pass resets=resets_from_dones(dones)" in text


def test_resets_that_are_shifted_twice_are_found():
    _, ys = rollout("gru")
    resets = resets_from_dones(resets_from_dones(DONES))
    text = failure(CELLS["gru"], params_of("gru"), XS, ys, resets=resets)
    assert "at step 4 of sequence 1" in text and "one step late" in text


def test_a_rollout_without_resets_is_found():
    _, ys = act("gru", dones=np.zeros_like(DONES))
    resets = resets_from_dones(DONES)
    text = failure(CELLS["gru"], params_of("gru"), XS, ys, resets=resets)
    assert "at step 4 of sequence 1" in text and "made no resets" in text


def test_a_carry_that_the_rollout_did_not_start_from_is_found():
    _, ys = rollout("lstm")
    carry = jax.tree.map(lambda c: c + 1, CELLS["lstm"].initial_carry((N,)))
    resets = resets_from_dones(DONES)
    one = CELLS["lstm"], params_of("lstm"), XS
    text = failure(*one, ys, resets=resets, carry=carry)
    assert "at step 0 of sequence 0" in text and "started from cell.initial_ca" in text
    _, ys = act("lstm", carry=carry)
    assert "pass it as carry=..." in failure(*one, ys, resets=resets)
    late = jax.tree.map(lambda c: c + 1, carry)
    text = failure(*one, ys, resets=resets, carry=late)
    assert "store it before that step" in text


def test_resets_that_are_left_out_and_other_inputs_are_told():
    one = CELLS["gru"], params_of("gru")
    _, ys = rollout("gru")
    text = failure(*one, XS, ys)
    assert "at step 4 of sequence 1" in text and "If an episode ended" in text
    resets = resets_from_dones(DONES)
    text = failure(*one, XS.at[6, 3].set(5.0), ys, resets=resets)
    assert "at step 6 of sequence 3" in text and "in 1 of 4" in text
    assert "compare resets and inputs of this step" in text


def test_sequences_of_no_and_of_two_batch_axes():
    one = CELLS["gru"], params_of("gru")
    _, ys = rollout("gru")
    text = failure(*one, XS[:, 1], ys[:, 1], resets=DONES[:, 1])
    assert "at step 3, by" in text and "sequences" not in text
    shape = (T, 2, 2)
    xs, ys = XS.reshape(*shape, D), ys.reshape(*shape, H)
    text = failure(*one, xs, ys, resets=DONES.reshape(shape))
    assert "at step 3 of sequence (0, 1)" in text


@pytest.mark.nans
def test_what_is_skipped_is_not_compared():
    one = CELLS["gru"], params_of("gru")
    _, ys = act("gru", dones=np.zeros_like(DONES))
    lengths = np.array([T, 3, 0, 5])
    padded = np.arange(T)[:, None] >= lengths
    broken = jnp.where(padded[..., None], jnp.nan, ys)
    check_replay(*one, XS, broken, lengths=lengths)
    check_replay(*one, XS, broken, mask=~padded)
    assert "at step 0 of sequence 2" in failure(*one, XS, broken)


@pytest.mark.nans
def test_nan_is_equal_to_nothing():
    one = CELLS["gru"], params_of("gru")
    xs = XS.at[2, 1].set(jnp.nan)
    _, ys = rj.unroll(*one, xs)
    assert "at step 2 of sequence 1, by inf" in failure(*one, xs, ys)


def test_the_tolerance():
    one = CELLS["gru"], params_of("gru")
    _, ys = rj.unroll(*one, XS)
    check_replay(*one, XS, ys + 1e-4)
    assert "by 0.01" in failure(*one, XS, ys + 0.01)
    check_replay(*one, XS, ys + 0.01, tolerance=0.02)


@pytest.mark.parametrize(
    "changed, error, text",
    [
        ({"outputs": XS}, ValueError, "outputs must be like those of unroll, float32"),
        ({"resets": DONES.T}, ValueError, "unroll: resets must be (9, 4)"),
        ({"cell": rj.GRU}, TypeError, "check_replay: cell is the class GRU"),
        ({"cell": rj.Bidirectional(rj.GRU(H))}, TypeError, "reads later inputs"),
        ({"tolerance": 0.0}, ValueError, "check_replay: tolerance must be above 0"),
        ({"reset_carry": rj.GRU.Carry(XS)}, ValueError, "without resets"),
    ],
)
def test_wrong_arguments_of_a_check(changed, error, text):
    given = {"cell": CELLS["gru"], "params": params_of("gru"), "xs": XS}
    with pytest.raises(error) as caught:
        check_replay(**given | {"outputs": jnp.ones((T, N, H))} | changed)
    assert text in str(caught.value)


def test_a_check_needs_values():
    def loss(ys):
        check_replay(CELLS["gru"], params_of("gru"), XS, ys)

    with pytest.raises(TypeError, match="outputs is traced, .* outside of jit"):
        jax.eval_shape(loss, jnp.ones((T, N, H)))


# Burn-in.


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("length", [0, 1, 4, T - 1])
def test_the_rest_goes_on_where_the_burn_in_ends(name, length):
    cell, params = CELLS[name], params_of(name)
    resets = resets_from_dones(DONES)
    stored = cell.initial_carry((N,), params=params)
    want, ys = rj.unroll(cell, params, XS, carry=stored, resets=resets)
    burn = jax.jit(
        lambda p, xs: burn_in(cell, p, xs, length, carry=stored, resets=resets)
    )
    rest = burn(params, XS)
    assert rest.lengths is None and rest.mask is None
    got, late = rj.unroll(cell, params, rest.xs, carry=rest.carry, resets=rest.resets)
    np.testing.assert_allclose(late, ys[length:], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint8"])
def test_lengths_and_masks_are_cut_as_well(dtype):
    cell, params = CELLS["lstm"], params_of("lstm")
    xs = jnp.swapaxes(XS, 0, 1)
    lengths = np.array([T, 3, 0, 5], dtype)
    mask = np.ones((N, T), bool)
    mask[0, 1] = mask[0, 6] = False
    options = {"lengths": lengths, "mask": mask, "time_axis": 1}
    want, ys = rj.unroll(cell, params, xs, **options)
    rest = burn_in(cell, params, xs, 4, **options)
    assert rest.lengths.tolist() == [T - 4, 0, 0, 1] and rest.mask.shape == (N, T - 4)
    options |= {"lengths": rest.lengths, "mask": rest.mask}
    got, late = rj.unroll(cell, params, rest.xs, carry=rest.carry, **options)
    np.testing.assert_allclose(late, ys[:, 4:], atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)


def test_lengths_of_few_bits_count_beyond_what_they_hold():
    xs = jnp.ones((300, 1, D))
    lengths = np.array([127], "int8")
    rest = burn_in(CELLS["gru"], params_of("gru"), xs, 200, lengths=lengths)
    assert rest.lengths.tolist() == [0]


@pytest.mark.parametrize("length", [0, 4])
def test_no_gradient_flows_into_a_burn_in(length):
    cell, params = rj.LearnedCarry(rj.GRU(H)), params_of("start")

    def loss(params, early, carry):
        xs = jnp.concatenate([early, XS[length:]])
        rest = burn_in(cell, params, xs, length, carry=carry)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(rest.carry))

    carry = cell.initial_carry((N,), params=params)
    for given in (carry, None):
        slopes = jax.grad(loss, argnums=(0, 1))(params, XS[:length], given)
        assert not any(leaf.any() for leaf in jax.tree.leaves(slopes))
    assert not jax.grad(loss, argnums=2)(params, XS[:length], carry).h.any()


def test_the_gradient_of_the_rest_is_that_from_a_constant_carry():
    cell, params = CELLS["gru"], params_of("gru")
    known, _ = rj.unroll(cell, params, XS[:4])

    def burned(params):
        rest = burn_in(cell, params, XS, 4)
        return jnp.sum(rj.unroll(cell, params, rest.xs, carry=rest.carry)[1] ** 2)

    def constant(params):
        return jnp.sum(rj.unroll(cell, params, XS[4:], carry=known)[1] ** 2)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        jax.grad(burned)(params),
        jax.grad(constant)(params),
    )


def test_target_parameters_have_a_carry_of_their_own():
    cell, target = CELLS["gru"], jax.tree.map(lambda p: 0.5 * p, params_of("gru"))
    online = burn_in(cell, params_of("gru"), XS, 4)
    other = burn_in(cell, target, XS, 4)
    want, _ = rj.unroll(cell, target, XS[:4])
    np.testing.assert_allclose(other.carry.h, want.h, atol=1e-6)
    assert not np.allclose(online.carry.h, other.carry.h, atol=1e-3)


def test_a_stale_carry_is_forgotten():
    cell, params = CELLS["gru"], params_of("gru")
    stale = jax.tree.map(lambda c: c - 1.0, cell.initial_carry((N,)))
    xs = jnp.concatenate([XS] * 4)
    want, _ = rj.unroll(cell, params, xs[:-1])

    def distance(length):
        carry = burn_in(cell, params, xs[-length - 1 :], length, carry=stale).carry
        return float(jnp.abs(carry.h - want.h).max())

    assert distance(30) < 0.3 * distance(4) < distance(0)


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_every_method(method):
    cell, params = CELLS["min_gru"], params_of("min_gru")
    rest = burn_in(cell, params, XS, 4, method=method)
    want, _ = rj.unroll(cell, params, XS[:4])
    np.testing.assert_allclose(rest.carry.h, want.h, atol=1e-5)


@pytest.mark.parametrize(
    "changed, error, text",
    [
        ({"length": T}, ValueError, "burn_in: length must be below 9, the number of"),
        ({"length": -1}, ValueError, "burn_in: length must be at least 0, got -1"),
        ({"length": jnp.array(2)}, TypeError, "length must be a Python integer"),
        ({"resets": DONES[:4]}, ValueError, "unroll: resets must be (9, 4)"),
        ({"mask": DONES.T}, ValueError, "unroll: mask must be (9, 4)"),
        ({"lengths": np.full(N, T + 1)}, ValueError, "lengths must lie between 0 and"),
        ({"reset_carry": rj.GRU.Carry(XS)}, ValueError, "without resets"),
        ({"cell": rj.Bidirectional(rj.GRU(H))}, TypeError, "reads later inputs"),
        ({"time_axis": 2}, ValueError, "unroll: time_axis must be one of"),
    ],
)
def test_wrong_arguments_of_a_burn_in(changed, error, text):
    given = {"cell": CELLS["gru"], "params": params_of("gru"), "xs": XS, "length": 2}
    with pytest.raises(error) as caught:
        jax.eval_shape(lambda: burn_in(**given | changed).carry)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "dones, options, error, text",
    [
        (DONES.astype("float32"), {}, TypeError, "compared first: dones != 0"),
        (True, {}, ValueError, "of 1 or more axes"),
        (
            DONES,
            {"initial": DONES},
            ValueError,
            "initial must be bool[4], one for each",
        ),
        (DONES, {"initial": np.ones(N)}, TypeError, "initial must be a bool array"),
        (DONES, {"time_axis": 2}, ValueError, "time_axis must be one of the first 2"),
    ],
)
def test_wrong_dones(dones, options, error, text):
    with pytest.raises(error) as caught:
        resets_from_dones(dones, **options)
    assert str(caught.value).startswith("resets_from_dones: ")
    assert text in str(caught.value)
