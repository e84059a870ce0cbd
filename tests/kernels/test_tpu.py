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
from recurrent_jax._loop.loop import Flags, Loop, run_steps
from recurrent_jax.kernels import _pallas, _tpu
from recurrent_jax.kernels._primitives import new_call
from recurrent_jax.kernels._steps import dot

from .common import FEW, MAKE, cast, close, draw, flags, score

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
TIME, BATCH, D, H = 6, 5, 3, 16
# Time is cut into blocks of two steps: both the grid and the loop in it are tested.
assert _tpu.blocks(kernels.find(rj.LSTM(H)), H, "float32", TIME, BATCH).steps == 2


@pytest.fixture(autouse=True)
def not_switched_off(monkeypatch):
    """Part of the tests of kernels run where the environment turns all of them off."""
    monkeypatch.delenv("RECURRENT_JAX_KERNELS", raising=False)


def problem(name, dtype, *, flagged=True, reverse=False, batch=BATCH):
    """Return a call, its leaves, and cotangents of its results."""
    cell, params, xs, carry = draw(name, TIME, batch, D, H)
    valid = reset = None
    if flagged:
        drawn = flags(TIME, batch)
        valid = jnp.asarray(drawn["mask"])
        reset = jnp.asarray(drawn["resets"]) & valid
    fresh = jax.tree.map(lambda a: a[::-1] / 2, carry)
    params, xs, carry, fresh = cast((params, xs, carry, fresh), dtype)
    flag = Flags(valid, reset)
    loop = Loop(cell, params, xs, flag, fresh, reverse, (batch,), 0, rj.Fused())
    call, leaves = new_call(kernels.find(cell), loop, rj.Sequential(), carry)
    rng = np.random.default_rng(1)
    like = [jax.ShapeDtypeStruct((TIME, batch, H), dtype), *jax.tree.leaves(carry)]
    d = [jnp.asarray(rng.normal(size=a.shape), dtype) for a in like]
    return call, leaves, d


def of_kernels(call, leaves, d, interpret=True):
    """Return the results of both directions of the kernels."""
    along = tuple(a.dtype != bool for a in leaves)
    run = functools.partial(_tpu.run, interpret=interpret)

    @jax.jit
    def both(leaves, d):
        out = _pallas.forward(*leaves, call=call, saving=True, run=run)
        results, residuals = out[: len(d)], out[len(d) :]
        kept = (results[0], *residuals)
        return results, _pallas.backward(
            *leaves, *kept, *d, call=call, along=along, run=run
        )

    return both(leaves, d)


def of_loop(call, leaves, d):
    """Return the same of the plain loop, differentiated by JAX, in float32."""
    where = [i for i, a in enumerate(leaves) if a.dtype != bool]

    def plain(*some):
        full = list(leaves)
        for i, a in zip(where, some, strict=True):
            full[i] = a
        final, ys, _ = run_steps(*call.loop(full))
        return [ys, *jax.tree.leaves(final)]

    @jax.jit
    def both(some, d):
        results, pull = jax.vjp(plain, *some)
        return results, list(pull(d))

    def wide(arrays):
        return [a.astype("float32") for a in arrays]

    return both(wide(leaves[i] for i in where), wide(d))


TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}
CASES = [(name, "float32") for name in MAKE] + [(name, "bfloat16") for name in FEW]


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


@pytest.mark.parametrize("name", FEW)
def test_no_races(name, capfd):
    """The interpreter copies blocks as a TPU does, and watches who reads and writes."""
    given = problem(name, "float32")
    how = pltpu.InterpretParams(detect_races=True, uninitialized_memory="nan")
    close(of_kernels(*given, how), of_loop(*given), 1e-5)
    assert "RACE" not in "".join(capfd.readouterr())


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


def text_for(function, *given, platform="tpu"):
    return (
        jax.jit(function).trace(*given).lower(lowering_platforms=(platform,)).as_text()
    )


def loss(cell, method, params, xs):
    return score(rj.unroll(cell, params, xs, method=method))


def example(cell, dtype="float32"):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    return place((params, jax.ShapeDtypeStruct((TIME, BATCH, D), float)), TPU, dtype)


@pytest.mark.parametrize("name, dtype", [("lstm", "bfloat16"), ("gru", "float32")])
def test_lowered_for_a_tpu(name, dtype):
    """A gradient is two kernels, also of a mapped function, and has no loop besides."""
    cell = MAKE[name](H)
    given = example(cell, dtype)
    fused = jax.grad(functools.partial(loss, cell, rj.Fused()))
    mapped = jax.vmap(fused, (None, 1))
    for function, number in ((fused, 2), (mapped, 1)):
        text = text_for(function, *given)
        assert text.count("stablehlo.custom_call @tpu_custom_call") == number
    assert "stablehlo.while" not in text_for(fused, *given)
    loop = jax.grad(functools.partial(loss, cell, rj.Sequential()))
    assert "tpu_custom_call" not in text_for(loop, *given)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("precision", ["high", "tensorfloat32", "highest"])
def test_the_precision_of_products(precision, dtype):
    """A kernel has two precisions, and takes the better one if more is asked for."""
    cell = rj.Elman(H)
    function = functools.partial(loss, cell, rj.Fused())
    with jax.default_matmul_precision(precision):
        assert "tpu_custom_call" in text_for(function, *example(cell, dtype))
        jaxpr = str(jax.make_jaxpr(dot)(*(jnp.ones((8, 8), dtype),) * 2))
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
        jax.eval_shape(run, *example(cell, dtype))
    assert str(error.value).endswith("; rj.Sequential() runs every cell")


def test_never_by_default(monkeypatch):
    monkeypatch.setenv("RECURRENT_JAX_KERNELS", "on")
    cell = rj.LSTM(H)
    text = text_for(functools.partial(loss, cell, None), *example(cell))
    assert "tpu_custom_call" not in text
