# SPDX-License-Identifier: Apache-2.0
"""Fresh parameters: gate by gate, in every precision, and as other libraries draw."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEW

import recurrent_jax as rj
from recurrent_jax import initializers

FEATURES, HIDDEN = 60, 50
GATED = {"lstm": rj.LSTM, "peephole_lstm": rj.PeepholeLSTM, "gru": rj.GRU}
ALL = {"elman": rj.Elman, **GATED}
GATES = {"elman": 1, "lstm": 4, "peephole_lstm": 4, "gru": 3}
PRESETS = ("torch", "keras", "flax", "haiku")

gated = pytest.mark.parametrize("name", GATED)
every = pytest.mark.parametrize("name", ALL)


def init(cell, seed=0, dtype=jnp.float32):
    return cell.init(jax.random.key(seed), FEATURES, dtype)


def gates(array, name):
    return np.split(np.asarray(array), GATES[name], axis=-1)


def distance_from_orthogonal(q):
    q = np.asarray(q, "float64")
    q = q if q.shape[0] <= q.shape[1] else q.T
    return np.max(np.abs(q @ q.T - np.eye(len(q))))


@every
def test_each_gate_is_orthogonal_by_itself(name):
    for q in gates(init(ALL[name](HIDDEN)).recurrent_kernel, name):
        assert distance_from_orthogonal(q) < 1e-5


@every
def test_vmap_factors_one_matrix_at_a_time_where_jax_hangs_otherwise(name):
    keys = jax.random.split(jax.random.key(0), 3)
    draw = jax.jit(jax.vmap(lambda key: ALL[name](4).init(key, 3)))
    together, alone = draw(keys), [ALL[name](4).init(key, 3) for key in keys]
    for a, b in zip(together.recurrent_kernel, alone, strict=True):
        np.testing.assert_allclose(a, b.recurrent_kernel, rtol=0, atol=1e-6)
    text = draw.lower(keys).as_text()
    assert "geqrf" in text  # the name of the factorisation on a CPU
    assert ('num_batch_dims = "1"' in text) == (jax.__version_info__ >= (0, 12))


@gated
def test_fused_draws_one_orthogonal_matrix_for_all_gates(name):
    fused = initializers.Fused(initializers.orthogonal)
    kernel = init(GATED[name](HIDDEN, recurrent_kernel_init=fused)).recurrent_kernel
    assert distance_from_orthogonal(kernel) < 1e-5
    assert all(distance_from_orthogonal(q) > 0.1 for q in gates(kernel, name))


@every
def test_glorot_looks_at_the_fans_of_one_gate(name):
    bound = np.sqrt(6 / (FEATURES + HIDDEN))
    for kernel in gates(init(ALL[name](HIDDEN)).kernel, name):
        assert 0.98 * bound < np.abs(kernel).max() <= bound
        assert np.var(kernel) == pytest.approx(bound**2 / 3, rel=0.05)
        assert abs(kernel.mean()) < 4 * bound / np.sqrt(3 * kernel.size)


@gated
def test_fused_glorot_looks_at_the_fans_of_all_gates(name):
    fused = initializers.Fused(initializers.glorot_uniform)
    cell = GATED[name](HIDDEN, kernel_init=fused)
    bound = np.sqrt(6 / (FEATURES + GATES[name] * HIDDEN))
    assert 0.98 * bound < np.abs(init(cell).kernel).max() <= bound


@pytest.mark.parametrize("cell", [rj.LSTM, rj.PeepholeLSTM])
@pytest.mark.parametrize("forget", [1.0, 0.0, 2.5])
def test_the_forget_bias_is_stored_and_nothing_else_is(cell, forget):
    want = np.zeros(4 * HIDDEN, "float32")
    want[HIDDEN : 2 * HIDDEN] = forget
    assert np.array_equal(init(cell(HIDDEN, forget_bias=forget)).bias, want)
    assert cell(HIDDEN).forget_bias == 1.0


def test_the_forget_bias_adds_to_the_draw():
    bias = initializers.torch_bias
    with_it, without = (
        init(rj.LSTM(HIDDEN, bias_init=bias, forget_bias=forget)).bias
        for forget in (1.0, 0.0)
    )
    change = np.zeros(4 * HIDDEN)
    change[HIDDEN : 2 * HIDDEN] = 1
    np.testing.assert_allclose(with_it - without, change, atol=1e-6)


@every
def test_no_bias_without_use_bias(name):
    params = init(ALL[name](HIDDEN, use_bias=False))
    assert params.bias is None
    assert getattr(params, "recurrent_bias", None) is None


def test_the_recurrent_bias_belongs_to_reset_after():
    assert init(rj.GRU(HIDDEN)).recurrent_bias.shape == (HIDDEN,)
    assert init(rj.GRU(HIDDEN, reset_after=False)).recurrent_bias is None


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@every
def test_every_precision(name, dtype, preset, x64):
    cell = ALL[name](4)
    if preset is not None:
        cell = initializers.preset(preset, cell, in_features=3)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3, jnp.dtype(dtype)))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_orthogonal_up_to_its_rounding(dtype):
    q = initializers.orthogonal(jax.random.key(0), (8, 8), jnp.dtype(dtype))
    wide = initializers.orthogonal(jax.random.key(0), (8, 8), jnp.float32)
    assert np.array_equal(q, wide.astype(dtype))
    assert distance_from_orthogonal(q) < 4 * float(jnp.finfo(dtype).eps)


def test_double_precision_is_orthogonal_to_its_own(x64):
    q = initializers.orthogonal(jax.random.key(0), (8, 8), jnp.float64)
    assert distance_from_orthogonal(q) < 1e-14


@every
def test_draws_depend_on_the_key_alone_and_differ_between_gates(name):
    cell = initializers.preset("torch", ALL[name](HIDDEN))
    first, again, other = init(cell), init(cell), init(cell, seed=1)
    for a, b, c in zip(*map(jax.tree.leaves, (first, again, other)), strict=True):
        assert np.array_equal(a, b)
        assert not np.any(a == c) or name == "peephole_lstm"
    blocks = gates(first.kernel, name) + gates(first.recurrent_kernel, name)
    corners = {block[:HIDDEN].tobytes() for block in blocks}
    assert len(corners) == 2 * GATES[name]


def test_per_gate_takes_one_initialiser_for_each_gate():
    zeros, torch = initializers.zeros, initializers.torch_uniform
    kernel = init(rj.GRU(HIDDEN, kernel_init=(zeros, torch, zeros))).kernel
    assert [bool(np.any(k)) for k in gates(kernel, "gru")] == [False, True, False]


def test_an_initialiser_of_jax_works_too():
    cell = rj.LSTM(HIDDEN, kernel_init=jax.nn.initializers.he_normal())
    assert init(cell).kernel.shape == (FEATURES, 4 * HIDDEN)


# What the other libraries draw, as `{part: [gate, ...]}`, gates in our order.


def from_torch(name, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is in the oldest lane alone")
    torch.manual_seed(seed)
    layer = {"elman": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[name](
        FEATURES, HIDDEN
    )
    weights = {
        k: gates(v.detach().numpy().T, name) for k, v in layer.named_parameters()
    }
    inner, outer = weights["bias_ih_l0"], weights["bias_hh_l0"]
    bias = [a + b for a, b in zip(inner, outer, strict=True)]
    kernel, recurrent_kernel = weights["weight_ih_l0"], weights["weight_hh_l0"]
    parts = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
    if name == "gru":
        bias[2] = inner[2]
        parts["recurrent_bias"] = [outer[2]]
    return parts


def from_keras(name, seed):
    keras = pytest.importorskip("keras", reason="Keras is an optional oracle")
    keras.utils.set_random_seed(seed)
    layer = {
        "elman": keras.layers.SimpleRNN,
        "lstm": keras.layers.LSTM,
        "gru": keras.layers.GRU,
    }[name](HIDDEN)
    layer.build((None, None, FEATURES))
    kernel, recurrent_kernel, bias = (np.asarray(v.value) for v in layer.weights)
    parts = {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
    if name == "gru":
        parts["bias"] = bias[0]
        parts["recurrent_bias"] = bias[1][-HIDDEN:]
    return split(parts, name)


def from_flax(name, seed):
    nn = pytest.importorskip("flax.linen", reason="Flax is an optional oracle")
    cell = {"elman": nn.SimpleCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[name](
        HIDDEN
    )
    h = jnp.zeros(HIDDEN)
    carry = (h, h) if name == "lstm" else h
    key = jax.random.key(seed)
    params = jax.jit(cell.init)(key, carry, jnp.zeros(FEATURES))["params"]
    letters = {"elman": [""], "lstm": list("ifgo"), "gru": list("rzn")}[name]
    biased = "h" if name == "lstm" else "i"
    parts = {
        "kernel": [params["i" + gate]["kernel"] for gate in letters],
        "recurrent_kernel": [params["h" + gate]["kernel"] for gate in letters],
        "bias": [params[biased + gate]["bias"] for gate in letters],
    }
    if name == "gru":
        parts["recurrent_bias"] = [params["hn"]["bias"]]
    return parts


def from_haiku(name, seed):
    hk = pytest.importorskip("haiku", reason="Haiku is an optional oracle")
    layer = {"elman": hk.VanillaRNN, "lstm": hk.LSTM, "gru": hk.GRU}[name]

    def net(x):
        core = layer(HIDDEN, name="core")
        return core(x, core.initial_state(None))

    params = jax.jit(hk.transform(net).init)(jax.random.key(seed), jnp.zeros(FEATURES))
    if name == "elman":
        parts = {
            "kernel": params["core/linear"]["w"],
            "recurrent_kernel": params["core/linear_1"]["w"],
            "bias": params["core/linear"]["b"],
        }
    elif name == "lstm":
        w, bias = params["core/linear"]["w"], params["core/linear"]["b"]
        # Its gates stand as i, g, f, o, and each step adds 1 to the forget gate.
        bias = np.asarray(bias).copy()
        bias[HIDDEN : 2 * HIDDEN] += 1
        parts = {"kernel": w[:FEATURES], "recurrent_kernel": w[FEATURES:], "bias": bias}
    else:
        parts = {
            "kernel": params["core"]["w_i"],
            "recurrent_kernel": params["core"]["w_h"],
            "bias": params["core"]["b"],
        }
    return split(parts, name)


def from_us(cell, name, seed):
    params = init(cell, seed)
    return split({k: v for k, v in params._asdict().items() if v is not None}, name)


def split(parts, name):
    return {
        k: [np.asarray(v)] if k == "recurrent_bias" else gates(v, name)
        for k, v in parts.items()
    }


def pool(draws):
    """Return all draws of each gate as one sorted row of numbers."""
    return {
        part: [
            np.sort(np.concatenate([np.ravel(draw[part][gate]) for draw in draws]))
            for gate in range(len(draws[0][part]))
        ]
        for part in draws[0]
    }


def same_distribution(got, want, where):
    """Compare two sorted samples: mean, deviation, extremes and Kolmogorov-Smirnov."""
    n = len(want)
    assert len(got) == n, where
    deviation = want.std()
    if deviation == 0:
        assert np.array_equal(got, want), where
        return
    assert abs(got.mean() - want.mean()) < 6 * deviation / np.sqrt(n), where
    assert got.std() == pytest.approx(deviation, rel=5 / np.sqrt(n)), where
    # Kernels have a bound that many draws come near; orthogonal matrices have tails.
    near = 0.02 if where.startswith("kernel") else 0.3
    assert got[0] == pytest.approx(want[0], rel=near), where
    assert got[-1] == pytest.approx(want[-1], rel=near), where
    both = np.concatenate([got, want])
    ranks = (np.searchsorted(one, both, side="right") / n for one in (got, want))
    assert np.max(np.abs(np.subtract(*ranks))) < 2.5 * np.sqrt(2 / n), where


# PyTorch draws its biases, so it takes many layers to see their distribution.
PEERS = {
    "torch": (from_torch, 40),
    "keras": (from_keras, 4),
    "flax": (from_flax, 4),
    "haiku": (from_haiku, 4),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_draws_as_the_library_does(preset, name):
    peer, seeds = PEERS[preset]
    with jax.numpy_dtype_promotion("standard"):
        theirs = pool([peer(name, seed) for seed in range(seeds)])
    options = {"reset_after": False} if (preset, name) == ("haiku", "gru") else {}
    cell = initializers.preset(preset, ALL[name](HIDDEN, **options), FEATURES)
    ours = pool([from_us(cell, name, seed) for seed in range(seeds)])
    assert ours.keys() == theirs.keys()
    for part in ours:
        assert len(ours[part]) == len(theirs[part])
        for gate, pair in enumerate(zip(ours[part], theirs[part], strict=True)):
            same_distribution(*pair, where=f"{part}, gate {gate}")


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
@pytest.mark.parametrize("preset", ["keras", "flax"])
def test_a_preset_is_orthogonal_where_the_library_is(preset, name):
    peer, _ = PEERS[preset]
    with jax.numpy_dtype_promotion("standard"):
        theirs = peer(name, 0)["recurrent_kernel"]
    cell = initializers.preset(preset, ALL[name](HIDDEN))
    ours = from_us(cell, name, 0)["recurrent_kernel"]
    for blocks in (ours, theirs):
        matrices = [np.concatenate(blocks, axis=-1)] if preset == "keras" else blocks
        assert max(map(distance_from_orthogonal, matrices)) < 1e-5


def test_a_preset_keeps_all_else():
    cell = rj.LSTM(4, activation=jax.nn.relu, use_bias=False)
    for preset in PRESETS:
        changed = initializers.preset(preset, cell, in_features=3)
        assert (changed.activation, changed.use_bias) == (jax.nn.relu, False)
        assert changed.forget_bias == {"torch": 0, "flax": 0}.get(preset, 1)


@pytest.mark.parametrize(
    "preset, cell, message",
    [
        ("tf", rj.LSTM(4), "name must be one of .*, got 'tf'"),
        ("haiku", rj.LSTM(4), "'haiku' needs in_features"),
        ("haiku", rj.PeepholeLSTM(4), "'haiku' needs in_features"),
    ],
)
def test_a_preset_that_cannot_be_is_refused(preset, cell, message):
    with pytest.raises(ValueError, match=f"^preset: {message}"):
        initializers.preset(preset, cell)


VALUES = {
    **FEW,
    **{
        f"{name}_{preset}": initializers.preset(preset, cell(4), in_features=3)
        for name, cell in ALL.items()
        for preset in PRESETS
    },
    "tuple": rj.GRU(4, kernel_init=(initializers.zeros,) * 3),
}


@pytest.mark.parametrize("cell", VALUES.values(), ids=VALUES.keys())
def test_a_cell_is_a_value(cell):
    # Fused and TruncatedNormal print without their module.
    names = {**vars(initializers), **vars(rj), "jax": jax, "recurrent_jax": rj}
    fields = {f.name: getattr(cell, f.name) for f in dataclasses.fields(cell)}
    for twin in (
        type(cell)(**fields),
        eval(repr(cell), names),
        pickle.loads(pickle.dumps(cell)),
        copy.deepcopy(cell),
        copy.copy(cell),
        dataclasses.replace(cell),
    ):
        assert type(twin) is type(cell)
        assert twin == cell
        assert hash(twin) == hash(cell)
        assert repr(twin) == repr(cell)
    other = dataclasses.replace(cell, hidden_size=5)
    assert other != cell
    assert dataclasses.replace(other, hidden_size=4) == cell


def test_presets_tell_cells_apart():
    assert len(set(VALUES.values())) == len(VALUES)


# Memory of many spans.


def biases(initializer, cell, size=2000):
    cell = dataclasses.replace(
        initializers.timescales(initializer, cell), hidden_size=size
    )
    cell = dataclasses.replace(
        cell, kernel_init=initializers.zeros, recurrent_kernel_init=initializers.zeros
    )
    return np.split(np.asarray(init(cell).bias), GATES[NAMES[type(cell)]])


NAMES = {cell: name for name, cell in ALL.items()}
chrono, power_law = initializers.Chrono(100), initializers.PowerLaw()
DRAWS = (chrono, initializers.uniform_gate, power_law)


@pytest.mark.parametrize("draw", DRAWS, ids=["chrono", "uniform_gate", "power_law"])
def test_timescales_of_an_lstm_and_a_gru(draw):
    for cell in (rj.LSTM(4), rj.PeepholeLSTM(4, forget_bias=3.0)):
        i, f, g, o = biases(draw, cell, 20)
        assert np.array_equal(i, -f) and np.all(f != 0)
        assert not g.any() and not o.any()
    r, z, n = biases(draw, rj.GRU(4), 20)
    assert np.all(z != 0) and not r.any() and not n.any()


def kolmogorov_smirnov(sample, distribution):
    """Check a sample against a cumulative distribution, at the level 1e-6 or so."""
    sample = np.sort(np.asarray(sample, "float64"))
    ranks = (np.arange(len(sample)) + 0.5) / len(sample)
    distance = np.max(np.abs(distribution(sample) - ranks))
    assert distance < 2.7 / np.sqrt(len(sample)), distance


def draw(initializer, size=20_000):
    return np.asarray(initializer(jax.random.key(3), (size,), jnp.float32))


def test_chrono_spans_are_uniform():
    kolmogorov_smirnov(np.exp(draw(chrono)), lambda span: (span - 1) / 98)


def test_uniform_gates_are_uniform():
    gate = 1 / (1 + np.exp(-draw(initializers.uniform_gate).astype("float64")))
    assert 1 / 20_001 < gate.min() and gate.max() < 1 - 1 / 20_001
    kolmogorov_smirnov(gate, lambda u: u)


def test_power_law_memory_fades_as_a_power():
    f = draw(power_law).astype("float64")
    # Over the units, the mean of a gate to the t-th is (1 + t)^-alpha: the mean of
    # exp(-t r) over a Gamma(alpha) variable r.
    for t in (1, 10, 100):
        faded = np.exp(-t * np.log1p(np.exp(-f)))
        error = faded.std() / np.sqrt(len(f))
        assert abs(faded.mean() - (1 + t) ** -0.56) < 5 * error


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("initializer", DRAWS, ids=["chrono", "uniform", "power_law"])
def test_timescales_are_finite_in_every_precision(initializer, dtype, x64):
    b = initializer(jax.random.key(0), (5000,), jnp.dtype(dtype))
    assert b.dtype == dtype
    assert bool(jnp.all(jnp.isfinite(b)))


# Recurrent kernels.


def test_spectral_radius_is_that_of_the_eigenvalues(x64):
    for radius, initializer in ((0.9, initializers.lecun_normal), (1.3, triangle)):
        draw = initializers.SpectralRadius(radius, initializer)
        U = jax.jit(lambda key, draw=draw: draw(key, (40, 40), jnp.float64))(
            jax.random.key(0)
        )
        largest = np.abs(np.linalg.eigvals(np.asarray(U))).max()
        assert largest == pytest.approx(radius, rel=1e-3)
    zero = initializers.SpectralRadius(0.9, initializers.zeros)
    assert not zero(jax.random.key(0), (4, 4), jnp.float32).any()


def triangle(key, shape, dtype):
    """Draw a matrix far from normal, whose norm is no hint at its radius."""
    far = jnp.triu(jnp.full(shape, 5.0, dtype), 1)
    return far + jnp.diag(jnp.linspace(0.1, 0.7, shape[0], dtype=dtype))


@pytest.mark.parametrize("variance", [0.0, 0.5, 2.0])
def test_a_critical_gain_keeps_the_mean_square_of_a_signal(variance):
    gain = initializers.critical_gain(jnp.tanh, variance)
    # The integral once more, by brute force.
    z = np.linspace(-9, 9, 200_001)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    slope = 1 / np.cosh(np.sqrt(variance) * z) ** 2
    mean = np.sum(density * slope**2) * (z[1] - z[0])
    assert gain == pytest.approx(mean**-0.5, rel=1e-5)
    # The Jacobian of a step, tanh'(a) U, over drawn pre-activations.
    scaled = initializers.Scaled(initializers.orthogonal, gain)
    U = np.asarray(scaled(jax.random.key(0), (300, 300), jnp.float32))
    rng = np.random.default_rng(0)
    a = np.sqrt(variance) * rng.standard_normal((50, 300))
    squares = [np.sum((U * (1 / np.cosh(row) ** 2)) ** 2) / 300 for row in a]
    assert np.mean(squares) == pytest.approx(1, abs=0.03)


def test_a_critical_gain_of_relu_is_that_of_he(x64):
    assert initializers.critical_gain(jax.nn.relu, 1.0) == pytest.approx(2**0.5)


def test_block_diagonal_draws_each_block():
    block = initializers.BlockDiagonal(5)
    U = np.asarray(block(jax.random.key(0), (20, 20), jnp.float32))
    blocks = [U[n : n + 4, n : n + 4] for n in range(0, 20, 4)]
    assert max(map(distance_from_orthogonal, blocks)) < 1e-5
    assert not np.allclose(blocks[0], blocks[1])
    assert np.all(U[np.kron(np.eye(5), np.ones((4, 4))) == 0] == 0)


NEW = {
    "chrono": initializers.timescales(chrono, rj.LSTM(4)),
    "power_law": initializers.timescales(power_law, rj.GRU(4)),
    "uniform_gate": initializers.timescales(initializers.uniform_gate, rj.LSTM(4)),
    "radius": rj.Elman(4, recurrent_kernel_init=initializers.SpectralRadius(0.9)),
    "scaled": rj.Elman(
        4, recurrent_kernel_init=initializers.Scaled(initializers.identity, 0.5)
    ),
    "blocks": rj.Elman(4, recurrent_kernel_init=initializers.BlockDiagonal(2)),
}


@pytest.mark.parametrize("cell", NEW.values(), ids=NEW.keys())
def test_a_cell_with_a_new_initialiser_is_a_value(cell):
    test_a_cell_is_a_value(cell)
