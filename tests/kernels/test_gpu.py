# SPDX-License-Identifier: Apache-2.0
"""The kernels for a GPU: interpreted against the plain loop, and lowered for a GPU."""

import functools
import types

import jax
import numpy as np
import pytest
from devices import GPU, on
from jax import export
from jax.experimental.pallas import mosaic_gpu as plgpu

import recurrent_jax as rj
from recurrent_jax import kernels
from recurrent_jax.kernels import _gpu
from recurrent_jax.kernels._gpu_block import in_parts

from . import pallas
from .common import FEW, MAKE, close
from .pallas import TOLERANCE, H, gradient, loss, of_loop, problem

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
text_for = functools.partial(pallas.text_for, platform="cuda")
example = functools.partial(pallas.example, kind=GPU)
CALL = "@mosaic_gpu"
# The interpreter of JAX 0.10 knows no products.
interpreted = pytest.mark.skipif(
    not hasattr(plgpu, "InterpretGPUParams"), reason="this JAX cannot interpret wgmma"
)


@pytest.fixture(autouse=True)
def not_switched_off(monkeypatch):
    """Part of the tests of kernels run where the environment turns all of them off."""
    monkeypatch.delenv("RECURRENT_JAX_KERNELS", raising=False)


def of_kernels(call, leaves, d, **how):
    """Return the results of both directions of the kernels."""
    how = plgpu.InterpretGPUParams(uninitialized_memory="nan", **how)
    run = functools.partial(_gpu.run, interpret=how)
    return pallas.of_kernels(call, leaves, d, run)


FAST = ("lstm", "bfloat16"), ("gru", "float32"), ("elman_relu", "float32")
CASES = [(name, "float32") for name in MAKE] + [(name, "bfloat16") for name in FEW]
SLOW = [
    pytest.param(*case, marks=pytest.mark.slow) for case in CASES if case not in FAST
]


@interpreted
@pytest.mark.parametrize("name, dtype", [*FAST, *SLOW])
def test_interpreted(name, dtype):
    """Values and gradients, with skipped steps and resets."""
    given = problem(name, dtype, reverse=name.startswith("gru"), time=3)
    close(of_kernels(*given), of_loop(*given), TOLERANCE[dtype])


@interpreted
@pytest.mark.parametrize(
    "name, dtype",
    [
        ("gru_reset_before", "float32"),
        pytest.param("lstm", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_several_groups_of_units_and_blocks_of_sequences(name, dtype):
    """Groups wait for one another, and there is no race between them."""
    given = problem(name, dtype, batch=70, time=2, H=80)
    got = of_kernels(*given, detect_races=True, on_race="raise")
    close(got, of_loop(*given), TOLERANCE[dtype])


def test_three_parts_are_a_float32():
    """And no conversion is optimised away."""
    a = np.float32(np.random.default_rng(0).normal(size=100) * 1e3)
    found = jax.jit(lambda a: [p.astype("float32") for p in in_parts(a, 3)])(a)
    first, second, third = (np.asarray(part, "float64") for part in found)
    np.testing.assert_array_equal(first + second + third, a)
    assert np.max(np.abs(second) / np.abs(a)) < 2**-7
    assert np.max(np.abs(third) / np.abs(a)) < 2**-15
    assert np.any(second) and np.any(third)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name, dtype", [("lstm", "bfloat16"), ("gru", "float32")])
def test_lowered_for_a_gpu(name, dtype):
    """A gradient is two kernels, also of a mapped function, and has no loop besides."""
    cell = MAKE[name](H)
    given = example(cell, dtype=dtype)
    fused = gradient(cell, rj.Fused())
    for function, number in ((fused, 2), (jax.vmap(fused, (None, 1)), 1)):
        assert text_for(function, *given).count(CALL) == number
    assert "stablehlo.while" not in text_for(fused, *given)
    for method in (rj.Sequential(), None):
        assert CALL not in text_for(gradient(cell, method), *given)


@pytest.mark.parametrize("kind", ["NVIDIA A100-SXM4-80GB", "NVIDIA B200", "AMD MI300X"])
def test_other_gpus_run_the_loop(kind):
    cell = rj.LSTM(256)
    text = text_for(gradient(cell, rj.Fused()), *example(cell, kind=kind))
    assert CALL not in text and "stablehlo.while" in text


def test_without_a_mesh_it_is_the_default_device(monkeypatch):
    device = types.SimpleNamespace(device_kind=GPU)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda name: [device])
    assert _gpu.is_here(np.zeros(3))
    device.device_kind = "NVIDIA A100-SXM4-80GB"
    assert not _gpu.is_here(np.zeros(3))


def test_where_no_kernel_runs(monkeypatch):
    """The loop runs in an exported program, and where kernels are off."""
    cell = rj.GRU(H)
    fused = gradient(cell, rj.Fused())
    given = example(cell)
    exported = export.export(jax.jit(fused), platforms=("cuda",))(*given)
    assert CALL not in exported.mlir_module()
    monkeypatch.setenv("RECURRENT_JAX_KERNELS", "off")
    off = gradient(rj.GRU(H + 1), rj.Fused())
    assert CALL not in text_for(off, *example(rj.GRU(H + 1)))
    assert rj.show_backends().splitlines()[2].endswith("RECURRENT_JAX_KERNELS=off")


@pytest.mark.parametrize(
    "cell, dtype, reason",
    [
        (
            rj.LSTM(65),
            "float32",
            r"take \d+ KiB with 65 units in float32, and a .* 227 KiB",
        ),
        (rj.GRU(129), "bfloat16", r"take \d+ KiB with 129 units in bfloat16"),
        (rj.GRU(8), "float16", "kernels for float32 and bfloat16, and .* are float16"),
        (rj.MGU(8), "float32", "there is no kernel for MGU"),
    ],
)
def test_refused(cell, dtype, reason):
    run = functools.partial(rj.unroll, cell, method=rj.Fused())
    with pytest.raises(TypeError, match=reason) as error:
        jax.eval_shape(run, *example(cell, dtype=dtype))
    assert str(error.value).endswith("; rj.Sequential() runs every cell")


@pytest.mark.parametrize("cell", [rj.LSTM(64), rj.GRU(64), rj.Elman(128)])
@pytest.mark.parametrize("dtype", _gpu.DTYPES)
def test_the_largest(cell, dtype):
    """As docs/kernels.md says."""
    units = cell.hidden_size * (2 if dtype == "bfloat16" else 1)
    kernel = kernels.find(cell)
    assert _gpu.refuses(kernel, units, dtype) is None
    assert _gpu.refuses(kernel, units + 1, dtype) is not None


@pytest.mark.newest
def test_lowered_inside_shard_map():
    cell = rj.LSTM(H)
    mesh = on(GPU).mesh
    spec = jax.sharding.PartitionSpec(None, "batch")
    none = jax.sharding.PartitionSpec()

    def grad(params, xs):
        def total(params):
            return jax.lax.psum(loss(cell, rj.Fused(), params, xs), "batch")

        return jax.grad(total)(params)

    mapped = jax.shard_map(grad, mesh=mesh, in_specs=(none, spec), out_specs=none)
    assert text_for(mapped, *example(cell)).count(CALL) == 2


def test_lowered_beside_float64(x64):
    """Indices are int64 then."""
    cell = rj.Elman(H)
    assert text_for(gradient(cell, rj.Fused()), *example(cell)).count(CALL) == 2
