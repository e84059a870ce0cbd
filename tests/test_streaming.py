# SPDX-License-Identifier: Apache-2.0
"""Streams: steps against the whole sequence, here and in another process."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEW, trial

import recurrent_jax as rj
from recurrent_jax import streaming

NETWORKS = {
    "deep": rj.Deep((rj.LSTM(3), rj.GRU(4)), residual=False),
    "nested": rj.Deep((rj.GRU(3), rj.Deep((rj.GRU(3), rj.GRU(3)), residual=True))),
    "skip": rj.Deep((rj.Elman(3), rj.GRU(2)), skip=True),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_of_layers_are_the_whole_run(x64, name):
    network = NETWORKS[name]
    params = network.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    step = jax.jit(functools.partial(streaming.step, network, params))
    carry, ys = network.initial_carry((2,)), []
    for x in xs:
        carry, y = step(carry, x)
        ys.append(y)
    want = jax.jit(functools.partial(rj.unroll, network, params))(xs)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
        (carry, jnp.stack(ys)),
        want,
    )


def test_a_step_of_a_cell_is_its_step():
    one = trial("lstm", dtype="float32")
    x = one.xs[0]
    got = streaming.step(one.cell, one.params, one.start(), x)
    want = one.cell.step(one.params, one.start(), x)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def stream(one, **options):
    """Return the cell of a trial, exported and loaded back."""
    return streaming.load(
        streaming.export(
            functools.partial(one.cell.step, one.params),
            lambda shape: one.cell.initial_carry(shape, one.dtype, one.params),
            jax.ShapeDtypeStruct((3,), one.dtype),
            **options,
        )
    )


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", sorted(FEW))
def test_a_loaded_stream_is_the_whole_run_of_any_batch(x64, name):
    one = trial(name, time=4)
    loaded = stream(one)
    for batch in (1, 3):
        xs = one.xs[:, :batch]
        carry, ys = loaded.start(xs[0]), []
        for x in xs:
            carry, y = loaded.step(carry, x)
            ys.append(y)
        final, want = rj.unroll(one.cell, one.params, xs)
        np.testing.assert_allclose(jnp.stack(ys), want, atol=1e-12)
        for a, b in zip(carry, jax.tree.leaves(final), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("batch", [None, 2])
def test_a_stream_of_one_size(x64, batch):
    one = trial("gru", time=2)
    x = one.xs[0, 0] if batch is None else one.xs[0, :batch]
    loaded = stream(one, batch=batch)
    (h,), y = loaded.step(loaded.start(x), x)
    _, want = one.cell.step(one.params, one.cell.initial_carry(x.shape[:-1]), x)
    np.testing.assert_allclose(y, want, atol=1e-12)
    assert h.shape == y.shape


def test_a_learned_start_is_exported_with_the_step(x64):
    cell = rj.LearnedCarry(rj.GRU(3))
    params = cell.init(jax.random.key(0), 2)
    params = jax.tree.map(lambda p: p + 0.5, params)
    data = streaming.export(
        functools.partial(cell.step, params),
        functools.partial(cell.initial_carry, params=params),
        jax.ShapeDtypeStruct((2,), float),
    )
    x = jnp.ones((4, 2))
    loaded = streaming.load(data)
    _, y = loaded.step(loaded.start(x), x)
    np.testing.assert_allclose(y, rj.unroll(cell, params, x[None])[1][0], atol=1e-12)


ELSEWHERE = """
import io, sys, zipfile
import numpy as np
from jax import export
with zipfile.ZipFile(sys.argv[1]) as archive:
    start, step = (export.deserialize(bytearray(archive.read(n))).call
                   for n in ("start", "step"))
carry = start(np.ones((5, 3), "float32"))
for t in range(4):
    carry, y = step(carry, np.full((5, 3), t, "float32"))
assert not any("recurrent_jax" in name for name in sys.modules)
np.save(sys.argv[2], y)
"""


@pytest.mark.slow
def test_another_process_runs_it_with_jax_alone(tmp_path):
    """A network with a head, and no import of this library."""
    network = NETWORKS["deep"]
    params = network.init(jax.random.key(0), 3, "float32")

    def step(carry, x):
        carry, y = streaming.step(network, params, carry, x)
        return carry, jax.nn.softmax(y)

    start = functools.partial(network.initial_carry, dtype="float32")
    data = streaming.export(step, start, jax.ShapeDtypeStruct((3,), "float32"))
    (tmp_path / "stream").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, tmp_path / "stream", tmp_path / "y.npy"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    xs = jnp.arange(4.0, dtype="float32")[:, None, None] * jnp.ones((5, 3), "float32")
    _, ys = rj.unroll(network, params, xs)
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), jax.nn.softmax(ys[-1]), atol=1e-6
    )


def test_the_package_that_jax_writes_with_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    cell = rj.GRU(2)
    params = cell.init(jax.random.key(0), 2)
    step = functools.partial(cell.step, params)
    with pytest.raises(
        ModuleNotFoundError, match="export .* pip install 'flatbuffers'"
    ):
        rj.streaming.export(step, cell.initial_carry, jnp.zeros(2))
    with pytest.raises(ModuleNotFoundError, match="load needs FlatBuffers"):
        rj.streaming.load(b"")
