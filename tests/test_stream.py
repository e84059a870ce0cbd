# SPDX-License-Identifier: Apache-2.0
"""The example `examples/stream.py`: its data, gradients, and a run that is killed."""

import csv
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

for needed in ("matplotlib", "optax", "orbax", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import stream  # noqa: E402
import stream_data as data  # noqa: E402
import stream_report as report  # noqa: E402
from stream_ways import Forward, Truncated, init, surprise  # noqa: E402

import recurrent_jax as rj  # noqa: E402
from recurrent_jax import training  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_heap")]
TINY = ("--hidden-size", "2", "--every", "4", "--window", "8", "--gru-window", "8")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of programs, so that no test depends on Python's own library."""
    folder = tmp_path_factory.mktemp("source")
    for n in range(40):
        lines = [f"x{n} = {i * n}  # {i}\n" for i in range(10)]
        (folder / f"{n}.py").write_text("".join(lines))
    return folder


def start(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["stream.py", *map(str, flags)])
    monkeypatch.setenv("COLUMNS", "100")
    try:
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
            return stream.main()
    except SystemExit as stop:
        return stop.code


def test_letters_count_as_one_and_so_do_digits(tmp_path, source):
    for name in "abc":
        (tmp_path / f"{name}.py").write_text("b3 = 12\n")
    shown = "".join(data.SYMBOLS[n] for n in data.stream(12, tmp_path))
    assert shown == "a0 = 00\na0 ="
    longer = data.stream(900, source)
    np.testing.assert_array_equal(data.stream(500, source), longer[:500])


def test_baselines_are_counts_in_a_loop():
    symbols = np.random.default_rng(0).integers(0, 4, 60)
    D = len(data.SYMBOLS)
    same, want = 0, []
    for n, (before, now) in enumerate(zip(symbols, symbols[1:], strict=False)):
        p = (same + 1) / (n + 2)
        want.append(p if before == now else (1 - p) / (D - 1))
        same += before == now
    np.testing.assert_allclose(data.persistence(symbols), -np.log2(want))
    counts, want = {}, []
    padded = [0, *symbols]  # nothing counts as the symbol 0
    for n in range(1, len(symbols)):
        seen = counts.setdefault(tuple(padded[n - 1 : n + 1]), np.full(D, 0.05))
        want.append(seen[symbols[n]] / seen.sum())
        seen[symbols[n]] += 1
    np.testing.assert_allclose(data.counting(symbols, 2), -np.log2(want))


def drawn(cell):
    params = init(cell, 5, jax.random.key(0))
    kernel = jax.random.normal(jax.random.key(1), params.kernel.shape)
    symbols = jax.random.randint(jax.random.key(2), (9,), 0, 5)
    return params._replace(kernel=kernel), jax.nn.one_hot(symbols[:-1], 5), symbols[1:]


def test_both_ways_have_one_gradient_at_the_start(x64):
    cell = rj.DiagonalGRU(3)
    params, xs, targets = drawn(cell)
    ways = Forward(rj.online.RTRL(cell), 8, bound=1e3), Truncated(cell, 8, 8)
    found = [
        jax.jit(way.gradient)(params, way.start(params, jax.random.key(0)), xs, targets)
        for way in ways
    ]
    one = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
    jax.tree.map(one, found[0][1:], found[1][1:])


def test_a_window_goes_back_as_far_as_it_says(x64):
    """The second of two updates of 4 steps, whose window has 6 steps."""
    cell = rj.DiagonalGRU(3)
    params, xs, targets = drawn(cell)
    way = Truncated(cell, every=4, window=6)
    gradient = jax.jit(way.gradient)
    state = way.start(params, jax.random.key(0))._replace(xs=jnp.zeros((2, 5)))
    state, _, _ = gradient(params, state, xs[:4], targets[:4])

    def loss(params):
        # Two steps of zeros come before the stream; then the past is a constant.
        seen = jnp.concatenate([jnp.zeros((2, 5)), xs])
        carry, _ = rj.unroll(cell, jax.lax.stop_gradient(params.cell), seen[:4])
        _, ys = rj.unroll(cell, params.cell, seen[4:], carry=carry)
        return surprise(params, ys[-4:], targets[4:]).mean()

    got = gradient(params, state, xs[4:], targets[4:])[2]
    one = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12)
    jax.tree.map(one, got, jax.grad(loss)(params))


def test_the_networks_learn_and_the_table_has_all(
    tmp_path, source, monkeypatch, capsys
):
    ways = "rtrl", "gru_chunks"
    flags = *TINY, "--steps", "160", "--stretch", "80", "--ways", *ways
    assert start(monkeypatch, *flags, "--source", source, "--output", tmp_path) == 0
    out = capsys.readouterr().out
    for name in ("the last symbol again", "4 symbols", *map(report.NAMES.get, ways)):
        assert name in out
    assert (tmp_path / "stream.png").stat().st_size > 10_000
    with open(tmp_path / "stream.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 * 2 + 3)
    mine = [r for r in rows if (r["way"], r["seed"]) == ("rtrl", "0")]
    first, last = (float(row["bits"]) for row in mine)
    assert last < first < np.log2(len(data.SYMBOLS)) + 0.1


def test_each_way_keeps_as_much_at_each_step():
    """The state has one size for any number of steps; Ctrl-C and all else need that."""
    config = stream.Config(hidden_size=2)
    for name in report.NAMES:
        way = config.way(name)
        params = jax.eval_shape(lambda w=way: init(w.cell, 5, jax.random.key(0)))
        before = jax.eval_shape(way.start, params, jax.random.key(0))
        xs, targets = jnp.zeros((config.every, 5)), jnp.zeros(config.every, int)
        after = jax.eval_shape(way.gradient, params, before, xs, targets)[0]
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, before)


def test_killed_and_resumed_is_never_killed(tmp_path, source, monkeypatch, capsys):
    flags = [*TINY, "--ways", "uoro", "--seeds", "1"]
    flags += ["--steps", "1200", "--stretch", "20", "--source", str(source)]
    once, killed = tmp_path / "once", tmp_path / "killed"
    # A process that saves after each stretch.
    code = "import stream, sys; stream.SAVE = 0; sys.exit(stream.main())"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    child = subprocess.Popen(
        [sys.executable, "-c", code, *flags, "--output", str(killed)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and not list(killed.glob("stream-*/[2-9]")):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert start(monkeypatch, *flags, "--output", once) == 0
    capsys.readouterr()
    assert start(monkeypatch, *flags, "--output", killed) == 0
    assert "Resuming after" in capsys.readouterr().out

    sizes = {"hidden_size": 2, "every": 4, "window": 8, "gru_window": 8, "seeds": 1}
    sizes |= {"steps": 1200, "stretch": 20, "source": source}
    config = stream.Config(ways=("uoro",), **sizes)

    def bits(folder):
        """Return all that was saved at the end but the times, as arrays."""
        place = folder / f"stream-{stream.name_of(config)}"
        saved = training.restore(place, stream.begin(config))
        assert int(saved.done) == 60
        leaves = jax.tree.leaves(saved._replace(seconds=None))
        keys = jax.dtypes.prng_key
        return [
            jax.random.key_data(a) if jnp.issubdtype(a.dtype, keys) else a
            for a in leaves
        ]

    for one, other in zip(bits(once), bits(killed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_figures_of_the_pages_are_those_of_the_run():
    docs = ROOT / "docs"
    with open(docs / "results" / "stream.csv") as file:
        rows = list(csv.DictReader(file))
    steps = {int(row["steps"]) for row in rows}
    assert max(steps) == 1_000_000 and len(steps) == 100
    lines = report.markdown(rows)
    assert len(lines) == 2 + len(report.NAMES) + 3
    assert "\n".join(lines) in (docs / "online.md").read_text()
    text = (docs / "online.md").read_text()

    def whole(way, seed):
        mine = [float(r["bits"]) for r in rows if (r["way"], r["seed"]) == (way, seed)]
        return np.mean(mine)

    first, second = (f"{whole('window', seed):.3f}" for seed in "01")
    assert f"loss is {second}, and that of the other seed {first}." in text
    first, second = (f"{whole('rtrl', seed):.3f}" for seed in "01")
    assert f"RTRL has {first} and {second}." in text
    ahead = np.mean([whole("chunks", n) - whole("rtrl", n) for n in "01"])
    assert f"by {ahead:.3f} bits on the whole" in text
    bits = {line.split(" | ")[0][2:]: line.split(" | ")[2] for line in lines[2:]}
    readme = (ROOT / "README.md").read_text()
    (row,) = (line for line in readme.splitlines() if "| `stream.py` |" in line)
    for name in ("rtrl", "window", "chunks"):
        assert bits[report.NAMES[name]] in row
    assert bits["counts after 4 symbols"] in row


def test_bad_flags(monkeypatch, capsys):
    assert start(monkeypatch, "--steps", "15") == 2
    assert "multiple of stretch" in capsys.readouterr().err
    assert start(monkeypatch, "--ways", "bptt") == 2
    assert "ways must be some of rtrl" in capsys.readouterr().err
