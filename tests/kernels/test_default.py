# SPDX-License-Identifier: Apache-2.0
"""Which method is chosen, what is refused, and how the kernels are turned off."""

import concurrent.futures
import os
import pickle
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import kernels
from recurrent_jax._loop.tuning import tuning
from recurrent_jax.kernels import _library
from recurrent_jax.methods._default import default_method

from .common import MAKE, cast, close, draw, needs_library, score


class Mine(rj.LSTM):
    """A cell that may compute another step."""


def given(cell, dtype="float32"):
    return cell.init(jax.random.key(0), 3, dtype), jnp.ones((5, 2, 3), dtype)


@pytest.mark.parametrize(
    "cell, reason",
    [
        (rj.Zoneout(rj.LSTM(4), 0.1), "Zoneout changes the step of LSTM"),
        (rj.LearnedCarry(rj.GRU(4)), "LearnedCarry changes the step of GRU"),
        (Mine(4), "there is no kernel for Mine"),
        (rj.MGU(4), "there is no kernel for MGU"),
        (
            rj.LSTM(4, activation=jax.nn.relu),
            "activation=jax.nn.relu, for which there is no kernel",
        ),
        (
            rj.LSTM(4, gate_activation=rj.activations.HardSigmoid(0.2, 0.5)),
            "gate_activation=recurrent_jax.activations.HardSigmoid",
        ),
        (rj.GRU(4, activation=jax.nn.sigmoid), "activation=jax.nn.sigmoid"),
        (rj.Elman(4, activation=jax.nn.gelu), "activation=jax.nn.gelu"),
    ],
)
def test_refused_cells(cell, reason, monkeypatch):
    with pytest.raises(TypeError) as error:
        rj.unroll(cell, *given(cell), method=rj.Fused())
    text = str(error.value)
    assert text.startswith("unroll: method=Fused() cannot run ")
    assert reason in text and text.endswith("; rj.Sequential() runs every cell")
    monkeypatch.setenv(_library.SWITCH, "on")  # as by default
    assert default_method(cell, *given(cell), 5, None) == rj.Sequential()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_refused_dtypes(dtype):
    cell = rj.GRU(4)
    arrays = given(cell, dtype)
    with pytest.raises(TypeError, match=f"float32 and float64, and .* are {dtype}"):
        rj.unroll(cell, *arrays, method=rj.Fused())
    assert rj.unroll(cell, *arrays)[1].dtype == dtype


@needs_library
@pytest.mark.parametrize("name", MAKE)
def test_the_default(name, monkeypatch):
    cell = MAKE[name](16)
    monkeypatch.setenv(_library.SWITCH, "off")
    assert default_method(cell, *given(cell), 5, None) == rj.Sequential()
    monkeypatch.delenv(_library.SWITCH)
    assert default_method(cell, *given(cell), 5, None) == rj.Fused()
    assert default_method(cell, *given(cell), 5, rj.Autodiff()) == rj.Sequential()
    assert default_method(cell, *given(cell), 5, rj.Deferred()) == rj.Sequential()
    assert default_method(cell, *given(cell), 1, None) == rj.Sequential()
    wide = MAKE[name](tuning(()).fused_units + 1)
    params, xs = jax.eval_shape(lambda: given(wide))
    assert default_method(wide, params, xs, 5, None) == rj.Sequential()


@needs_library
def test_many_weights_need_many_rows():
    cell = rj.LSTM(512)
    params, xs = jax.eval_shape(lambda: given(cell))  # 1 M weights
    for time, method in (12, rj.Sequential()), (14, rj.Fused()):
        xs = jax.ShapeDtypeStruct((time, 1, 3), xs.dtype)
        assert default_method(cell, params, xs, time, None) == method


@pytest.mark.slow
@needs_library
def test_the_memory_of_a_gradient_is_bounded(monkeypatch):
    cell = rj.LSTM(8)
    params, xs = given(cell)
    xs = jnp.tile(xs, (40, 1, 1))

    def grad():
        def loss(params):
            return score(rj.unroll(cell, params, xs, method=rj.Fused()))

        return jax.jit(lambda p: jax.grad(loss)(p)).lower(params).compile()

    kept = 4 * xs[..., 0].size * 5 * 8
    full = grad()
    few = tuning(())._replace(fused_bytes=kept / 4)
    monkeypatch.setattr("recurrent_jax.methods._fused.tuning", lambda _: few)
    jax.clear_caches()
    less = grad()
    sizes = [one.memory_analysis().temp_size_in_bytes for one in (full, less)]
    assert sizes[0] > kept and sizes[1] < kept / 2, (sizes, kept)
    close(full(params), less(params), 1e-6)


@needs_library
def test_networks_choose_for_each_layer(monkeypatch):
    monkeypatch.setenv(_library.SWITCH, "on")
    network = rj.Deep((rj.LSTM(4), rj.Zoneout(rj.LSTM(4), 0.1), rj.GRU(4)))
    params, xs = given(network)
    text = jax.jit(lambda p, x: rj.unroll(network, p, x)).lower(params, xs).as_text()
    assert "lstm_forward" in text and "gru_forward" in text and "while" in text


def test_a_method_is_a_value():
    assert rj.Fused() == pickle.loads(pickle.dumps(rj.Fused()))
    assert hash(rj.Fused()) == hash(rj.Fused()) and repr(rj.Fused()) == "Fused()"


PROGRAM = """
import jax, jax.numpy as jnp, recurrent_jax as rj
cell = rj.LSTM(8)
params = cell.init(jax.random.key(0), 3)

def run(p, x, **how):
    return rj.unroll(cell, p, x, **how)[1]

xs = jnp.ones((5, 2, 3))
text = jax.jit(run).lower(params, xs).as_text()
print("kernel" if "lstm_forward" in text else "loop")
jax.grad(lambda p: run(p, xs, method=rj.Fused()).sum())(params)
print(rj.show_backends())
"""


def run_with(switch, program=PROGRAM):
    asked = os.environ | {"RECURRENT_JAX_KERNELS": switch}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=asked,
    )


@pytest.mark.slow
def test_the_switch():
    off = run_with("off")
    assert off.stdout.splitlines() == [
        "loop",
        "kernels for CPUs: not in use: RECURRENT_JAX_KERNELS=off",
        "kernels for TPUs: not in use: RECURRENT_JAX_KERNELS=off",
        "kernels for GPUs: not in use: RECURRENT_JAX_KERNELS=off",
    ], off.stderr
    wrong = run_with("no")
    assert "RECURRENT_JAX_KERNELS must be on or off, got 'no'" in wrong.stderr


@needs_library
def test_what_is_in_use():
    line, *_ = rj.show_backends().splitlines()
    assert "in use" in line and "Elman, GRU, LSTM" in line
    assert kernels.loaded().isa in line


def test_a_library_that_does_not_fit(tmp_path, monkeypatch):
    file = tmp_path / _library.FILE.name
    monkeypatch.setattr(_library, "FILE", file)

    def reason():
        return _library._load.__wrapped__().reason

    monkeypatch.setenv(_library.SWITCH, "on")
    assert "was not built; install a wheel for this platform" in reason()
    file.write_text("not a library")
    assert f"{file} does not load" in reason()
    compiler = shutil.which("cc")
    if compiler is None:
        return

    def make(version, interface):
        source = tmp_path / "made.c"
        source.write_text(
            f"int rj_version() {{ return {version}; }}"
            f"int rj_ffi_version() {{ return {interface}; }}"
            'const char* rj_isa() { return "none"; }'
        )
        # Another file each time: the loader does not read the same one again.
        path = tmp_path / f"{version}-{interface}"
        subprocess.run([compiler, "-shared", "-o", path, source], check=True)
        monkeypatch.setattr(_library, "FILE", path)

    needed = _library.VERSION
    make(99, 1)
    assert f"is of version 99, and {needed} is needed; install a wheel" in reason()
    make(needed, 999)
    assert "was built for version 0.999 of XLA's interface, and jaxlib has" in reason()
    make(needed, 1)
    assert "cannot be registered" in reason()


@needs_library
def test_handlers_check_their_arguments():
    """A call that Python would not make is an error, and reads no memory."""
    target = _library.target("elman", "forward")

    def real(*shape):
        return jnp.zeros(shape, "float32")

    right = [
        *(real(5, 2, 3), real(3, 4), real(4), real(4, 4)),
        *(jnp.zeros((0, 0), bool), jnp.zeros((0, 0), bool), real(2, 4), real(0, 0)),
    ]
    results = [jax.ShapeDtypeStruct(s, "float32") for s in ((5, 2, 4), (2, 4))]

    def call(operands, results=results, activation="tanh", batch_major=False):
        made = jax.ffi.ffi_call(target, results)
        order = {"reverse": np.bool_(False), "batch_major": np.bool_(batch_major)}
        return made(*operands, **order, activation=activation)

    assert call(right)[0].shape == (5, 2, 4)
    wrong = [
        [*right[:1], real(4, 4), *right[2:]],
        [*right[:6], real(3, 4), right[7]],
        [*right[:4], jnp.zeros((5, 1), bool), *right[5:]],
        [*right[:3], jnp.zeros((4, 4), "int32"), *right[4:]],
        [*right[:3], real(4, 4).astype("bfloat16"), *right[4:]],
        right[:-1],
        [*right, real(1)],
    ]
    for operands in wrong:
        with pytest.raises(jax.errors.JaxRuntimeError):
            jax.block_until_ready(call(operands))
    with pytest.raises(jax.errors.JaxRuntimeError):
        jax.block_until_ready(call(right, results[:1]))
    with pytest.raises(jax.errors.JaxRuntimeError):
        jax.block_until_ready(call(right, activation="gelu"))
    with pytest.raises(jax.errors.JaxRuntimeError):  # five sequences, and two carries
        jax.block_until_ready(call(right, batch_major=True))


@needs_library
def test_many_callers_at_once(x64):
    cell, *arrays = draw("lstm", 20, 6, 3, 24)
    params, xs, carry = cast(tuple(arrays), "float32")

    @jax.jit
    def step(params, xs, carry):

        def run(p):
            return score(rj.unroll(cell, p, xs, carry=carry, method=rj.Fused()))

        return jax.value_and_grad(run)(params)

    want = step(params, xs, carry)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(step, params, xs, carry) for _ in range(64)]
        for call in calls:
            jax.tree.map(np.testing.assert_array_equal, call.result(), want)


def test_no_steps_and_no_sequences():
    cell, *arrays = draw("gru", 4, 3, 2, 5)
    params, xs, carry = cast(tuple(arrays), "float32")
    for part, start in (
        (xs[:0], carry),
        (xs[:, :0], jax.tree.map(lambda a: a[:0], carry)),
    ):
        final, ys = rj.unroll(cell, params, part, carry=start, method=rj.Fused())
        close(final, start, 0)
        assert ys.shape == (*part.shape[:2], 5)
