# SPDX-License-Identifier: Apache-2.0
"""Networks: layer by layer and in both directions, against peers and by their laws."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.common import SIZES, Draw, assert_same, values_and_grads

import recurrent_jax as rj

T, B, D, H = SIZES.time, SIZES.batch, SIZES.features, SIZES.hidden
LENGTHS = np.array([4, 1, 6])
LSTM, GRU = rj.LSTM(H), rj.GRU(H)
BOTH = rj.Bidirectional(rj.GRU(H), rj.Elman(H))
NETWORKS = {
    "residual": rj.Deep((rj.Elman(D), rj.GRU(D)), residual=True, dropout=0.5),
    "skip": rj.Deep((LSTM, GRU), skip=True),
    "deep_of_both": rj.Deep((BOTH, rj.Bidirectional(rj.Elman(H), merge="mean"))),
    "both_of_deep": rj.Bidirectional(
        rj.Deep((GRU, rj.Deep((rj.Elman(H),), residual=True))), merge="product"
    ),
}
networks = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def drawn(network, seed=0, dtype="float64"):
    """Return parameters, inputs and a carry, none of them zero."""
    draw = Draw(dtype, seed)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), D))
    carry = jax.eval_shape(lambda: network.initial_carry((B,)))
    return draw.like(shapes), draw(T, B, D), draw.like(carry)


def same(got, want, dtype="float64"):
    assert_same(got, want, 1e-10, dtype)


def cotangents(run, args):
    return Draw("float64", 9).like(jax.eval_shape(run, *args))


def flip(tree):
    return jax.tree.map(lambda a: jnp.flip(a, 0), tree)


# Peers.


def torch_weights(params, suffix):
    """Return one direction's parameters as PyTorch names and stores them."""
    return {
        f"weight_ih_{suffix}": params.kernel.T,
        f"weight_hh_{suffix}": params.recurrent_kernel.T,
        f"bias_ih_{suffix}": params.bias,
        f"bias_hh_{suffix}": jnp.zeros_like(params.bias),
    }


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "packed"])
def test_pytorch_with_two_layers_in_both_directions(lengths, x64):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rnn = torch.nn.utils.rnn
    network = rj.Deep((rj.Bidirectional(LSTM),) * 2)
    params, xs, carry = drawn(network)
    run = jax.jit(lambda p, x, c: rj.unroll(network, p, x, carry=c, lengths=lengths))
    ct = cotangents(run, (params, xs, carry))
    (final, ys), (d_params, d_xs, d_carry) = values_and_grads(
        run, (params, xs, carry), ct
    )

    layer = torch.nn.LSTM(D, H, 2, bidirectional=True, dtype=torch.float64)
    ours = {}
    for n in range(2):
        ours |= torch_weights(params[n].forward, f"l{n}")
        ours |= torch_weights(params[n].backward, f"l{n}_reverse")
    layer.load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in ours.items()})

    def leaf(a):
        return torch.tensor(np.asarray(a), requires_grad=True)

    def stacked(tree, part):
        return np.stack([getattr(c, part) for pair in tree for c in pair])

    x, h, c = leaf(xs), leaf(stacked(carry, "h")), leaf(stacked(carry, "c"))
    if lengths is None:
        out, last = layer(x, (h, c))
    else:
        packed = rnn.pack_padded_sequence(
            x, torch.tensor(lengths), enforce_sorted=False
        )
        packed, last = layer(packed, (h, c))
        out, _ = rnn.pad_packed_sequence(packed, total_length=T)
    goals = [torch.tensor(np.asarray(a)) for a in (ct[1], *map_parts(stacked, ct[0]))]
    torch.autograd.backward([out, *last], goals)

    close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)
    close(ys, out.detach().numpy())
    for part, theirs in zip("hc", last, strict=True):
        close(stacked(final, part), theirs.detach().numpy())
    close(d_xs, x.grad.numpy())
    close(stacked(d_carry, "h"), h.grad.numpy())
    close(stacked(d_carry, "c"), c.grad.numpy())
    for n in range(2):
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            mine = torch_weights(getattr(d_params[n], direction), f"l{n}{suffix}")
            for name, gradient in mine.items():
                if "bias_hh" not in name:
                    close(gradient, getattr(layer, name).grad.numpy())


def map_parts(stacked, tree):
    return stacked(tree, "h"), stacked(tree, "c")


MERGES = {"concat": "concatenate", "sum": "sum", "ave": "mean", "mul": "product"}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("merge", MERGES)
def test_keras_in_both_directions(merge):
    keras = pytest.importorskip("keras", reason="Keras is an optional oracle")
    inner = keras.layers.SimpleRNN(
        H, return_sequences=True, zero_output_for_mask=True, dtype="float32"
    )
    layer = keras.layers.Bidirectional(inner, merge_mode=merge)
    layer.build((B, T, D))
    network = rj.Bidirectional(rj.Elman(H), merge=MERGES[merge])
    params, xs, _ = drawn(network, dtype="float32")
    xs = np.swapaxes(xs, 0, 1)
    mask = np.arange(T) < LENGTHS[:, None]

    def ours(params, xs):
        return rj.unroll(network, params, xs, lengths=LENGTHS, time_axis=1)[1]

    def theirs(params, xs):
        weights = jax.tree.leaves(params)
        rest = [variable.value for variable in layer.non_trainable_variables]
        return layer.stateless_call(weights, rest, xs, mask=jnp.asarray(mask))[0]

    goal = Draw("float32", 9)(*jax.eval_shape(ours, params, xs).shape)
    got, want = (values_and_grads(f, (params, xs), goal) for f in (ours, theirs))
    assert_same(got, want, 1e-5, "float32")


def test_haiku_with_skip_connections(x64):
    hk = pytest.importorskip("haiku", reason="Haiku is an optional oracle")
    network = rj.Deep((rj.Elman(H),) * 3, skip=True)
    params, xs, _ = drawn(network)

    def net(xs):
        cells = [hk.VanillaRNN(H, double_bias=False) for _ in range(3)]
        core = hk.deep_rnn_with_skip_connections(cells)
        return hk.dynamic_unroll(core, xs, core.initial_state(B))[0]

    def theirs(params, xs):
        weights = {}
        for n, p in enumerate(params):
            name = f"vanilla_rnn_{n}" if n else "vanilla_rnn"
            # There the input comes before what the layer below gives.
            kernel = jnp.concatenate([p.kernel[-D:], p.kernel[:-D]])
            weights[f"{name}/linear"] = {"w": kernel, "b": p.bias}
            weights[f"{name}/linear_1"] = {"w": p.recurrent_kernel}
        return hk.without_apply_rng(hk.transform(net)).apply(weights, xs)

    relu = rj.Deep((rj.Elman(H, activation=jax.nn.relu),) * 3, skip=True)

    def ours(params, xs):
        return rj.unroll(relu, params, xs)[1]

    goal = Draw("float64", 9)(T, B, 3 * H)
    with jax.numpy_dtype_promotion("standard"):
        got, want = (values_and_grads(f, (params, xs), goal) for f in (ours, theirs))
    same(got, want)


# Laws.


@pytest.mark.mostly_slow
@networks
def test_padding_changes_nothing(network, x64):
    params, xs, carry = drawn(network)
    mask = Draw("float64", 3)(T, B) > -0.4
    valid = mask & (np.arange(T)[:, None] < LENGTHS)

    def run(params, xs, carry):
        return rj.unroll(network, params, xs, carry=carry, lengths=LENGTHS, mask=mask)

    goal = cotangents(run, (params, xs, carry))
    clean = values_and_grads(run, (params, xs, carry), goal)
    spoilt = np.where(valid[..., None], xs, np.nan)
    same(values_and_grads(run, (params, spoilt, carry), goal), clean)
    for a in (*jax.tree.leaves(clean[0][1]), clean[1][1]):
        assert np.all(np.asarray(a)[~valid] == 0)


@pytest.mark.mostly_slow
@networks
def test_a_padded_batch_is_each_sequence_alone(network, x64):
    params, xs, carry = drawn(network)
    run = functools.partial(rj.unroll, network, params)
    final, ys = run(xs, carry=carry, lengths=LENGTHS)
    for b, n in enumerate(LENGTHS):
        at_b = functools.partial(jax.tree.map, lambda a: a[b])
        same((at_b(final), ys[:n, b]), run(xs[:n, b], carry=at_b(carry)))


@pytest.mark.mostly_slow
@networks
@pytest.mark.parametrize("reverse, time_axis", [(False, 1), (True, 0)])
def test_a_reset_cuts_the_sequence_in_two(network, reverse, time_axis, x64):
    params, xs, _ = drawn(network)
    run = functools.partial(rj.unroll, network, params, reverse=reverse)
    at = {0: 3, 1: 1}  # of the first two sequences; the third has none
    resets = np.zeros((T, B), bool)
    # A gap right where the first cut is, and padding: skipped steps are not there.
    mask = np.ones((T, B), bool)
    mask[[2, 4], 0] = False
    lengths = np.array([6, 5, 6])
    for b, t in at.items():
        resets[t, b] = True
    resets[4, 0] = True  # in a skipped step, so without effect
    swap = functools.partial(jax.tree.map, lambda a: jnp.moveaxis(a, 0, time_axis))
    _, ys = run(
        swap(xs),
        resets=swap(resets),
        mask=swap(mask),
        lengths=lengths,
        time_axis=time_axis,
    )
    for b in range(B):
        steps = np.flatnonzero(mask[:, b] & (np.arange(T) < lengths[b]))
        cut = at.get(b, -1)
        for part in (
            steps[steps <= cut - (not reverse)],
            steps[steps > cut - (not reverse)],
        ):
            if part.size:
                _, want = run(xs[part, b])
                same(swap(ys)[part, b], want)


def test_a_reset_carry_is_that_of_each_direction(x64):
    params, xs, fresh = drawn(BOTH)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    _, ys = rj.unroll(BOTH, params, xs, resets=resets, reset_carry=fresh, carry=fresh)
    for part in (slice(0, 2), slice(2, T)):
        same(ys[part], rj.unroll(BOTH, params, xs[part], carry=fresh)[1])


@networks
def test_reversed_is_flipped(network, x64):
    params, xs, carry = drawn(network)
    run = functools.partial(rj.unroll, network, params, carry=carry)
    carry_, ys = run(flip(xs))
    same(run(xs, reverse=True), (carry_, flip(ys)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skip", "deep_of_both"])
def test_every_strategy_gives_the_same_gradient(name, x64):
    network, backward = NETWORKS[name], rj.Deferred(block=2)
    params, xs, carry = drawn(network)

    def run(backward, params, xs, carry):
        options = {"carry": carry, "lengths": LENGTHS, "key": jax.random.key(0)}
        return rj.unroll(network, params, xs, backward=backward, **options)

    plain, chosen = (functools.partial(run, b) for b in (rj.Autodiff(), backward))
    goal = cotangents(plain, (params, xs, carry))
    want = values_and_grads(plain, (params, xs, carry), goal)
    same(values_and_grads(chosen, (params, xs, carry), goal), want)


@networks
def test_batched_is_vmap_and_any_layout(network, x64):
    params, xs, carry = drawn(network)
    run = functools.partial(rj.unroll, network, params)
    want = run(xs, carry=carry)
    same(jax.vmap(lambda x, c: run(x, carry=c), (1, 0), (0, 1))(xs, carry), want)
    got_carry, ys = run(np.swapaxes(xs, 0, 1), carry=carry, time_axis=-2)
    same((got_carry, jax.tree.map(lambda y: jnp.swapaxes(y, 0, 1), ys)), want)


@networks
@pytest.mark.parametrize("time, batch", [(0, 2), (3, 0)])
def test_nothing_in_nothing_out(network, time, batch, x64):
    params, *_ = drawn(network)
    start = network.initial_carry((batch,))
    run = functools.partial(rj.unroll, network, params, jnp.zeros((time, batch, D)))
    carry, ys = run(resets=np.ones((time, batch), bool))
    same(carry, start)
    assert ys.shape == (time, batch, network.out_features(D))


@pytest.mark.parametrize("name", ["residual", "skip"])
def test_running_in_two_parts_is_running_in_one(name, x64):
    params, xs, carry = drawn(NETWORKS[name])
    run = functools.partial(rj.unroll, NETWORKS[name], params)
    want = run(xs, carry=carry)
    middle, early = run(xs[:2], carry=carry)
    final, late = run(xs[2:], carry=middle)
    same((final, jnp.concatenate([early, late])), want)


def test_residual_and_skip_are_sums_and_concatenations(x64):
    params, xs, _ = drawn(NETWORKS["residual"])
    first, second = NETWORKS["residual"].layers
    y1 = rj.unroll(first, params[0], xs)[1] + xs
    y2 = rj.unroll(second, params[1], y1)[1] + y1
    same(rj.unroll(NETWORKS["residual"], params, xs)[1], y2)

    params, xs, _ = drawn(NETWORKS["skip"])
    y1 = rj.unroll(LSTM, params[0], xs)[1]
    y2 = rj.unroll(GRU, params[1], jnp.concatenate([y1, xs], -1))[1]
    same(rj.unroll(NETWORKS["skip"], params, xs)[1], jnp.concatenate([y1, y2], -1))


# Dropout between layers. A linear layer that copies shows what was dropped.


COPY = rj.Elman(50, activation=jax.nn.identity, use_bias=False)
COPIES = (rj.Elman.Params(jnp.eye(50), jnp.zeros((50, 50)), None),) * 3


def copied(rate, key, layers=2, **options):
    network = rj.Deep((COPY,) * layers, dropout=rate)
    ones = jnp.ones((40, 40, 50))
    return rj.unroll(network, COPIES[:layers], ones, key=key, **options)[1]


def test_dropout_is_between_layers_and_keeps_the_mean():
    key = jax.random.key(0)
    assert np.all(copied(0.3, None) == 1)
    assert np.all(copied(0.3, key, layers=1) == 1)
    once, twice = np.asarray(copied(0.3, key)), np.asarray(copied(0.3, key, 3))
    for ys, kept in ((once, 0.7), (twice, 0.7**2)):
        np.testing.assert_allclose(np.unique(ys), [0, 1 / kept], rtol=1e-6)
        deviation = np.sqrt(kept * (1 - kept) / ys.size)
        assert abs((ys > 0).mean() - kept) < 4 * deviation
    # Each step, each sequence and each unit by itself.
    for axis in range(3):
        assert np.all(once.std(axis=axis) > 0)


def test_the_same_key_drops_the_same():
    key = jax.random.key(3)
    want = copied(0.5, key)
    assert np.array_equal(jax.jit(lambda k: copied(0.5, k))(key), want)
    assert np.array_equal(copied(0.5, key, backward=rj.Deferred()), want)
    assert not np.array_equal(copied(0.5, jax.random.key(4)), want)
    keys = jax.random.split(key, 2)
    each = jnp.stack([copied(0.5, k) for k in keys])
    assert np.array_equal(jax.vmap(lambda k: copied(0.5, k))(keys), each)


def test_dropout_does_not_depend_on_where_time_is():
    network = rj.Deep((GRU, GRU), dropout=0.5)
    params, xs, _ = drawn(network, dtype="float32")
    run = functools.partial(rj.unroll, network, params, key=jax.random.key(0))
    _, ys = run(np.swapaxes(xs, 0, 1), time_axis=1)
    assert np.array_equal(np.swapaxes(ys, 0, 1), run(xs)[1])


def test_dropout_is_on_the_way_and_not_on_the_bypass():
    network = rj.Deep((COPY, COPY), residual=True, dropout=0.5)
    ys = rj.unroll(network, COPIES[:2], jnp.ones((9, 50)), key=jax.random.key(0))[1]
    assert set(np.unique(ys)) == {2.0, 6.0}  # 2 by the bypass, and 0 or 2 / 0.5


# Values.


@networks
def test_a_network_is_a_value(network):
    names = {**vars(rj), "jax": jax}
    for twin in (eval(repr(network), names), pickle.loads(pickle.dumps(network))):
        assert twin == network
        assert hash(twin) == hash(network)


@networks
def test_sizes_are_known_before_the_run(network):
    params = network.init(jax.random.key(0), D)
    carry, ys = jax.eval_shape(
        lambda x: rj.unroll(network, params, x), jnp.ones((T, B, D))
    )
    assert ys.shape == (T, B, network.out_features(D))
    start = network.initial_carry((B,))
    assert jax.tree.structure(carry) == jax.tree.structure(start)
    assert [c.shape for c in jax.tree.leaves(carry)] == [
        c.shape for c in jax.tree.leaves(start)
    ]


def test_no_merge_gives_both_outputs(x64):
    pair = rj.Bidirectional(GRU, merge=None)
    params, xs, _ = drawn(pair)
    _, (forward, backward) = rj.unroll(pair, params, xs)
    same(forward, rj.unroll(GRU, params.forward, xs)[1])
    same(backward, rj.unroll(GRU, params.backward, xs, reverse=True)[1])
    last = rj.Deep((GRU, pair))
    assert len(rj.unroll(last, last.init(jax.random.key(0), D), xs)[1]) == 2
