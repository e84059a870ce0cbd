# SPDX-License-Identifier: Apache-2.0
"""What is counted of compiled programs, and that a fault of one platform is found."""

import dataclasses
import functools
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import pytest
from devices import place

import recurrent_jax as rj
from recurrent_jax._core.mesh import are_on_cpu

ROOT = pathlib.Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from benchmarks.accelerators import hlo  # noqa: E402

T, B, H = 6, 2, 8


def text(run, *shapes):
    given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(run).lower(*given).compile().as_text()


def test_a_loop_counts_as_often_as_it_runs():
    def run(h, kernel):
        return jax.lax.scan(lambda h, _: (jnp.tanh(h @ kernel), None), h, length=T)[0]

    counts = hlo.count(text(run, (B, H), (H, H)))
    assert counts.flops == T * 2 * B * H * H
    assert T <= counts.launches <= 8 * T
    assert not counts.collectives


PROGRAM = """HloModule m, entry_computation_layout={()->f32[]}

%body (p: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %p = (s32[]{:T(128)}, f32[4,8]{1,0:T(8,128)}) parameter(0)
  %h = f32[4,8]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %w = bf16[8,8]{1,0:T(8,128)(2,1)} constant({...})
  %z = f32[4,8]{1,0} convolution(%h, %w), dim_labels=bf_io->bf
  %r = f32[4,8]{1,0} all-reduce(%z), replica_groups={{0,1}}, to_apply=%add
  %s = (f32[4,8]{1,0}, f32[4,16]{1,0}) all-gather-start(%r), dimensions={1}
  %d = f32[4,16]{1,0} all-gather-done(%s)
  ROOT %t = (s32[]{:T(128)}, f32[4,8]{1,0:T(8,128)}) tuple(%i, %r)
}

%condition (p: (s32[], f32[4,8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(5), metadata={op_name="jit(f)/while"}
  %p = (s32[]{:T(128)}, f32[4,8]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

ENTRY %main (x: f32[4,8]) -> f32[4,8] {
  %x = f32[4,8]{1,0} parameter(0)
  %loop = (s32[], f32[4,8]{1,0}) while(%x), condition=%condition, body=%body
  ROOT %out = f32[4,8]{1,0} all-reduce(%x), replica_groups={}, to_apply=%add
}
"""


def test_a_program_of_a_tpu_is_read():
    counts = hlo.count(PROGRAM)
    assert counts.flops == 5 * 2 * 4 * 8 * 8
    assert counts.collectives == {"all-reduce": 6, "all-gather": 5}
    assert counts.bytes["all-reduce"] == 6 * 4 * 8 * 4


HIDDEN = """HloModule m

%start (x: f32[4]) -> (f32[4], f32[8]) {
  %x = f32[4]{0} parameter(0)
  %all-gather.1 = f32[8]{0} all-gather(%x), channel_id=2, dimensions={0}
  ROOT %both = (f32[4]{0}, f32[8]{0}) tuple(%x, %all-gather.1)
}

%done (x: f32[4], y: f32[8]) -> f32[8] {
  %x = f32[4]{0} parameter(0)
  ROOT %all-gather.2 = f32[8]{0} all-gather(%x), channel_id=2, dimensions={0}
}

ENTRY %main (x: f32[4]) -> f32[8] {
  %x = f32[4]{0} parameter(0)
  %s = (f32[4]{0}, f32[8]{0}) fusion(%x), kind=kCustom, calls=%start
  %y = f32[8]{0} get-tuple-element(%s), index=1
  ROOT %d = f32[8]{0} fusion(%x, %y), kind=kCustom, calls=%done
}
"""


def test_an_exchange_behind_other_work_counts_once():
    counts = hlo.count(HIDDEN)
    assert counts.collectives == {"all-gather": 1}
    assert counts.bytes == {"all-gather": 8 * 4}


@pytest.mark.parametrize("kind", ["cpu", "TPU v5 lite", "NVIDIA H100 80GB HBM3"])
def test_the_device_is_read_off_the_arrays(kind):
    """A CPU walks through the steps of a linear cell, and no other device does."""
    cell = rj.LRU(4)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))

    seen = []

    def run(params, xs):
        seen.append(are_on_cpu(xs))
        return rj.unroll(cell, params, xs)

    given = place((params, jax.ShapeDtypeStruct((T, B, 3), float)), kind, "float32")
    walked = " scan[" in str(jax.make_jaxpr(run)(*given))
    assert seen == [kind == "cpu"] and walked == (kind == "cpu")


def test_without_a_mesh_it_is_the_default_device(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    x = jnp.ones(3)
    assert not are_on_cpu(x)
    with jax.default_device(jax.devices("cpu")[0]):
        assert are_on_cpu(x)
    with jax.default_device("cpu"):
        assert are_on_cpu(x)


@dataclasses.dataclass(frozen=True)
class Broken(rj.Elman):
    """An Elman network whose step does not compile for a TPU."""

    def update(self, params, carry, z, u):
        def broken(a):  # a TPU has no such decomposition
            return a + jnp.linalg.eigvals(jnp.eye(2)).real[0]

        a = jax.lax.platform_dependent(z + u, tpu=broken, default=lambda a: a)
        h = jnp.tanh(a)
        return self.Carry(h), h


def test_growth_is_limited():
    from benchmarks.accelerators import compiled

    row = functools.partial(compiled.Row, "v5e", "lstm", "Deferred", T=8, B=2)
    linear = row("forward+backward", temporary_mib=500, longer_mib=2000)
    square = row("forward+backward", temporary_mib=500, longer_mib=8000)
    stays = row("forward", temporary_mib=100, longer_mib=150, input_mib=1)
    leaks = row("forward", temporary_mib=100, longer_mib=400, input_mib=1)
    talks = row("forward", collectives=2)
    failed = [bool(compiled.wrong(r)) for r in (linear, square, stays, leaks, talks)]
    assert failed == [False, True, False, True, True]


def test_the_memory_of_a_kernel_is_read():
    from benchmarks.accelerators import kernels

    def line(direction, size):
        memory = f'[{{"memory_space":"1","offset":"0","size":"{size}"}}]'
        limit = '"scoped_memory_configs":[{"memory_space":"1","size":"1"}]'
        return (
            f"  %recurrent_jax_lstm_{direction}.1 = (f32[2]) custom-call(%x), "
            f'custom_call_target="tpu_custom_call", backend_config={{{limit},'
            f'"used_scoped_memory_configs":{memory},"retry":[]}}'
        )

    text = "\n".join([line("forward", 4096), line("backward", 8192)])
    assert kernels.used(text, "forward") == 4096
    assert kernels.used(text, "backward") == 8192


TOLD = """\
ptxas info    : Compiling entry function 'recurrent_jax_gru_{}_mosaic_gpu_kernel' for
ptxas info    : Function properties for recurrent_jax_gru_{}_mosaic_gpu_kernel
    232 bytes stack frame, {} bytes spill stores, 392 bytes spill loads
ptxas info    : Used 255 registers, used 2 barriers, 1 bytes smem
"""


def test_the_registers_of_a_kernel_are_read():
    from benchmarks.accelerators import ptxas

    names = [f"recurrent_jax_gru_{one}" for one in ("forward", "backward")]
    text = "".join(
        TOLD.replace("recurrent_jax_gru_{}", name).format(8 * i)
        for i, name in enumerate(names)
    )
    assert ptxas.read(text) == {names[0]: (255, 0), names[1]: (255, 8)}


def compilers():
    """Skip a test where the compilers of the stage `accelerators` are not."""
    if os.environ.get("XLA_FLAGS") or jax.config.jax_platforms != "cpu":
        pytest.skip("the compilers want JAX_PLATFORMS=cpu and no flags of a CPU")
    pytest.importorskip("libtpu")


def test_kernels_compile():
    compilers()
    from benchmarks.accelerators import kernels

    for dtype in ("float32", "bfloat16"):
        for row in kernels.measure("v5e", "lstm", dtype, 100, 8, 5):
            assert not row.error and 0 < row.used_mib < row.planned_mib


@pytest.mark.parametrize(
    "dtype, T, B, D, H", [("float32", 100, 32, 64, 64), ("bfloat16", 784, 128, 1, 128)]
)
def test_kernels_compile_for_a_gpu(dtype, T, B, D, H):
    compilers()
    pytest.importorskip("jax_plugins.xla_cuda12")
    from benchmarks.accelerators import kernels, ptxas

    with ptxas.listening() as told:
        kernels.build("h100", rj.LSTM(H), dtype, T, B, D)
    assert {name.rpartition("_")[2] for name in told} == set(kernels.DIRECTIONS)
    assert all(0 < one.registers <= 255 for one in told.values())


def test_launches_of_newton_hardly_grow_with_time():
    compilers()
    from benchmarks.accelerators import newton

    short, long = (newton.estimate("v5e", "GRU", rj.GRU(4), n) for n in (32, 256))
    assert long.loop_launches > 6 * short.loop_launches
    assert 0 < short.newton_launches < long.newton_launches < 3 * short.newton_launches


def test_a_fault_of_one_platform_is_found():
    compilers()
    pytest.importorskip("jax_plugins.xla_cuda12")
    from benchmarks.accelerators import compiled, programs

    one = programs.of_cell(Broken(H))
    good = programs.of_cell(rj.Elman(H))
    errors = []
    for device, subject in (("v5e", good), ("v5e", one), ("h100", one)):
        row = compiled.Row(device, "broken", "default", "forward+backward", T, B)
        errors.append(compiled.measure(subject, row, growth=False).error)
    assert errors[0] == errors[2] == "" and "eig" in errors[1], errors
