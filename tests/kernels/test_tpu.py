# SPDX-License-Identifier: Apache-2.0
"""The kernels for a TPU: interpreted against the plain loop, and lowered for a TPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices import TPU, place
from jax import export
from jax.experimental.pallas import tpu as pltpu

import recurrent_jax as rj
from recurrent_jax import kernels
from recurrent_jax._loop.loop import Flags
from recurrent_jax.kernels import _tpu
from recurrent_jax.kernels._primitives import new_call

from . import pallas
from .common import FEW, MAKE, close
from .pallas import BATCH, TIME, TOLERANCE, D, H, loss, of_loop, problem

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
# Time is cut into blocks of two steps: both the grid and the loop in it are tested.
assert _tpu.blocks(kernels.find(rj.LSTM(H)), H, "float32", TIME, BATCH).steps == 2
text_for = functools.partial(pallas.text_for, platform="tpu")
example = functools.partial(pallas.example, kind=TPU)


@pytest.fixture(autouse=True)
def not_switched_off(monkeypatch):
    """Part of the tests of kernels run where the environment turns all of them off."""
    monkeypatch.delenv("RECURRENT_JAX_KERNELS", raising=False)


def of_kernels(call, leaves, d, interpret=True):
    """Return the results of both directions of the kernels."""
    run = functools.partial(_tpu.run, interpret=interpret)
    return pallas.of_kernels(call, leaves, d, run)


CASES = [(name, "float32") for name in MAKE] + [(name, "bfloat16") for name in FEW]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name, dtype", CASES)
def test_interpreted(name, dtype):
    """Values and gradients, with skipped steps and resets."""
    reverse = name.startswith("gru")
    given = problem(name, dtype, reverse=reverse)
    close(of_kernels(*given), of_loop(*given), TOLERANCE[dtype])


def test_no_flags_and_several_blocks_of_sequences(monkeypatch):
    """The last block has fewer sequences than the others."""
    given = problem("lstm", "float32", flagged=False, batch=20)
    kernel = given[0].kernel
    monkeypatch.setattr(_tpu, "VMEM", _tpu._bytes(kernel, H, "float32", 16, 2))
    assert _tpu.blocks(kernel, H, "float32", TIME, 20)[:2] == (16, 2)
    close(of_kernels(*given), of_loop(*given), 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_no_races(name, capfd):
    """The interpreter copies blocks as a TPU does, and watches who reads and writes."""
    given = problem(name, "float32")
    how = pltpu.InterpretParams(detect_races=True, uninitialized_memory="nan")
    close(of_kernels(*given, how), of_loop(*given), 1e-5)
    assert "RACE" not in "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.nans
def test_numbers_that_are_not_finite():
    """What a skipped step reads reaches nothing, and a reset ends what came before."""
    call, leaves, d = problem("lstm", "float32")
    loop, carry = call.loop(leaves)
    valid, reset = loop.flags
    reset = reset.at[3].set(valid[3])
    xs = jnp.where(valid[..., None], loop.xs, jnp.inf).at[1, 0].set(jnp.nan)
    loop = loop._replace(xs=xs, flags=Flags(valid, reset))
    call, leaves = new_call(call.kernel, loop, rj.Sequential(), carry)
    got, want = of_kernels(call, leaves, d), of_loop(call, leaves, d)
    for a, b in zip(got[0], want[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.any(np.isnan(got[0][0])) and not np.all(np.isnan(got[0][0]))


@pytest.mark.parametrize("name, dtype", [("lstm", "bfloat16"), ("gru", "float32")])
def test_lowered_for_a_tpu(name, dtype):
    """A gradient is two kernels, also of a mapped function, and has no loop besides."""
    cell = MAKE[name](H)
    given = example(cell, dtype=dtype)
    fused = jax.grad(functools.partial(loss, cell, rj.Fused()))
    mapped = jax.vmap(fused, (None, 1))
    for function, number in ((fused, 2), (mapped, 1)):
        text = text_for(function, *given)
        assert text.count("stablehlo.custom_call @tpu_custom_call") == number
    assert "stablehlo.while" not in text_for(fused, *given)
    loop = jax.grad(functools.partial(loss, cell, rj.Sequential()))
    assert "tpu_custom_call" not in text_for(loop, *given)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("precision", ["high", "tensorfloat32", "highest"])
def test_the_precision_of_products(precision, dtype):
    """A kernel has two precisions, and takes the better one if more is asked for."""
    cell = rj.Elman(H)
    function = functools.partial(loss, cell, rj.Fused())
    with jax.default_matmul_precision(precision):
        assert "tpu_custom_call" in text_for(function, *example(cell, dtype=dtype))
        jaxpr = str(jax.make_jaxpr(_tpu.dot)(*(jnp.ones((8, 8), dtype),) * 2))
    assert ("HIGHEST" in jaxpr) == (dtype == "float32")


def test_lowered_inside_shard_map():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    cell = rj.LSTM(H)
    spec = jax.sharding.PartitionSpec(None, "data")
    none = jax.sharding.PartitionSpec()
    run = functools.partial(loss, cell, rj.Fused())

    def gradient(params, xs):
        return jax.grad(lambda p: jax.lax.psum(run(p, xs), "data"))(params)

    mapped = jax.shard_map(gradient, mesh=mesh, in_specs=(none, spec), out_specs=none)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    xs = jax.ShapeDtypeStruct((TIME, BATCH, D), "float32")
    assert text_for(mapped, params, xs).count("@tpu_custom_call") == 2


def test_where_no_kernel_runs(monkeypatch, x64):
    """The loop runs in an exported program, in float64, and where kernels are off."""
    cell = rj.LSTM(H)
    fused = functools.partial(loss, cell, rj.Fused())
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D, "float32"))
    given = params, jax.ShapeDtypeStruct((TIME, BATCH, D), "float32")
    assert "tpu_custom_call" in text_for(fused, *given)
    exported = export.export(jax.jit(fused), platforms=("tpu",))(*given)
    wide = place(given, "cpu", "float64")
    for text in (exported.mlir_module(), text_for(fused, *wide)):
        assert "tpu_custom_call" not in text and "while" in text
    monkeypatch.setenv("RECURRENT_JAX_KERNELS", "off")
    again = functools.partial(loss, rj.LSTM(H, use_bias=False), rj.Fused())
    given = given[0]._replace(bias=None), given[1]
    assert "tpu_custom_call" not in text_for(again, *given)
    assert rj.show_backends().splitlines()[1].endswith("RECURRENT_JAX_KERNELS=off")


@pytest.mark.parametrize(
    "cell, dtype, reason",
    [
        (rj.LSTM(4096), "float32", r"take \d+ MiB with 4096 units in float32, and a"),
        (rj.LSTM(2048), "bfloat16", r"take \d+ MiB with 2048 units in bfloat16"),
        (rj.GRU(8), "float16", "kernels for float32 and bfloat16, and .* are float16"),
        (rj.MGU(8), "float32", "there is no kernel for MGU"),
    ],
)
def test_refused(cell, dtype, reason):
    run = functools.partial(rj.unroll, cell, method=rj.Fused())
    with pytest.raises(TypeError, match=reason) as error:
        jax.eval_shape(run, *example(cell, dtype=dtype))
    assert str(error.value).endswith("; rj.Sequential() runs every cell")


def test_never_by_default(monkeypatch):
    monkeypatch.setenv("RECURRENT_JAX_KERNELS", "on")
    cell = rj.LSTM(H)
    text = text_for(functools.partial(loss, cell, None), *example(cell))
    assert "tpu_custom_call" not in text
