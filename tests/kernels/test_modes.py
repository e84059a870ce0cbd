# SPDX-License-Identifier: Apache-2.0
"""Every mode and order of differentiation and mapping, with and without the library."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import recurrent_jax as rj

from .common import FEW, cast, close, draw, flags, needs_library, score

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
TIME, BATCH, D, H = 5, 3, 2, 4


def problem(name):
    """Return a loss of a method, of parameters, inputs and a carry, and its arguments.

    A loss has flags, runs backwards in time, and resets to a carry of its own.
    """
    cell, *given = draw(name, TIME, BATCH, D, H)
    asked = flags(TIME, BATCH) | {"reverse": True}

    def loss(method, params, xs, carry):
        out = rj.unroll(
            cell, params, xs, carry=carry, reset_carry=carry, method=method, **asked
        )
        return score(out)

    return loss, cast(tuple(given), "float64")


def gradient_of_gradient(loss, params, xs, carry):
    return jax.grad(lambda p: score(jax.grad(loss, (0, 1, 2))(p, xs, carry)))(params)


def forward_over_reverse(loss, *given):
    return jax.jvp(jax.grad(loss, (0, 1, 2)), given, given)


def reverse_over_forward(loss, *given):
    return jax.grad(lambda g: jax.jvp(loss, g, given)[1])(given)


def forward_over_forward(loss, *given):
    return jax.jvp(lambda *g: jax.jvp(loss, g, given)[1], given, given)


def checkpoint(loss, *given):
    return jax.grad(jax.checkpoint(loss), (0, 1))(*given)


def each_of_two(loss, params, xs, carry):
    two = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)
    return jax.vmap(jax.grad(loss, (0, 1)), (0, None, None))(two, xs, carry)


def jacobian_backwards(loss, params, xs, carry):
    return jax.vmap(lambda s: jax.grad(loss, (0, 1))(params, s * xs, carry))(
        jnp.array([1.0, 0.5])
    )


MODES = (
    gradient_of_gradient,
    forward_over_reverse,
    reverse_over_forward,
    forward_over_forward,
    checkpoint,
    each_of_two,
    jacobian_backwards,
)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [*FEW[:1], "gru_reset_before"])
def test_mode(name, mode, x64):
    loss, given = problem(name)
    got, want = (
        jax.jit(functools.partial(mode, functools.partial(loss, method)))(*given)
        for method in (rj.Fused(), rj.Sequential())
    )
    close(got, want, 1e-11)


def plain(name, dtype="float64"):
    """Return a function of a method, parameters and inputs, and its arguments."""
    cell, params, xs, _ = draw(name, TIME, BATCH, D, H)

    def run(method, params, xs, **options):
        return rj.unroll(cell, params, xs, method=method, **options)

    return run, cast((params, xs), dtype)


@pytest.mark.parametrize("name", FEW)
def test_maps_over_sequences_merge_into_the_batch(name, x64):
    run, (params, xs) = plain(name)
    fused = functools.partial(run, rj.Fused())
    want = jax.jit(fused)(params, xs)
    mapped = jax.vmap(fused, (None, 1), (0, 1))
    close(jax.jit(mapped)(params, xs), want, 1e-13)
    text = str(jax.make_jaxpr(mapped)(params, xs))
    assert "scan" not in text and "while" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_gradients_of_each_example(name, x64):
    run, (params, xs) = plain(name)

    def each(method):

        def one(p, x):
            return score(run(method, p, x))

        return jax.jit(jax.vmap(jax.grad(one), (None, 1)))(params, xs)

    close(each(rj.Fused()), each(rj.Sequential()), 1e-12)


@pytest.mark.parametrize("way", [jax.jacrev, jax.jacfwd])
def test_jacobians(way, x64):
    run, given = plain("gru")

    def jacobian(method):

        def last(p, x):
            return run(method, p, x)[1][-1, 0]

        return jax.jit(way(last, (0, 1)))(*given)

    close(jacobian(rj.Fused()), jacobian(rj.Sequential()), 1e-12)


@pytest.mark.slow
def test_gradients_of_some_arguments(x64):
    """Only what is asked for, known zeros, and outputs that nothing reads."""
    run, (params, xs) = plain("lstm")

    def only(method):

        def of_bias(b):
            return score(run(method, params._replace(bias=b), xs)[0])

        def of_input(x):
            return jnp.sum(run(method, params, x)[1][0])

        return jax.grad(of_bias)(params.bias), jax.grad(of_input)(xs)

    close(only(rj.Fused()), only(rj.Sequential()), 1e-12)


def test_without_jit(x64):
    run, (params, xs) = plain("lstm")
    want = jax.grad(lambda p: score(run(rj.Fused(), p, xs)))(params)
    with jax.disable_jit():
        got = jax.grad(lambda p: score(run(rj.Fused(), p, xs)))(params)
    close(got, want, 1e-13)


@pytest.mark.parametrize("explicit", [False, True])
def test_shard_map(explicit, x64):
    run, (params, xs) = plain("lstm")
    kind = AxisType.Explicit if explicit else AxisType.Auto
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",), axis_types=(kind,))
    spec = PartitionSpec(None, "data")

    def loss(method, params, xs):
        return jax.lax.psum(score(run(method, params, xs)), "data")

    def gradients(method):
        function = jax.grad(functools.partial(loss, method), (0, 1))
        mapped = jax.shard_map(
            function,
            in_specs=(PartitionSpec(), spec),
            out_specs=(PartitionSpec(), spec),
        )
        split = jax.device_put(xs, NamedSharding(mesh, spec))
        with jax.set_mesh(mesh):
            return jax.jit(mapped)(params, split)

    close(gradients(rj.Fused()), gradients(rj.Sequential()), 1e-12)


def test_lowers_for_a_platform_without_a_kernel(x64):
    run, given = plain("lstm")
    function = jax.grad(lambda p, x: score(run(rj.Fused(), p, x)))
    for platforms in (("cuda",), ("cpu", "tpu")):
        text = export.export(jax.jit(function), platforms=platforms)(
            *given
        ).mlir_module()
        assert "recurrent_jax_lstm" not in text


def test_exports_run_where_there_is_no_library(x64):
    run, given = plain("gru")
    function = jax.jit(functools.partial(run, rj.Fused()))
    read = export.deserialize(export.export(function)(*given).serialize())
    close(read.call(*given), function(*given), 1e-13)


@needs_library
def test_the_kernels_are_what_runs(x64):
    run, given = plain("lstm")

    def lower(f):
        return jax.jit(f).lower(*given).as_text()

    both = lower(jax.grad(lambda p, x: score(run(rj.Fused(), p, x))))
    assert "lstm_forward" in both and "lstm_backward" in both and "while" not in both
    assert "lstm" not in lower(lambda p, x: run(rj.Sequential(), p, x))


@pytest.mark.parametrize("backward", [rj.Checkpointed(every=2), rj.Truncated(2, 3)])
def test_strategies(backward, x64):
    run, given = plain("lstm")

    def gradients(method):

        def function(p, x):
            return score(run(method, p, x, backward=backward))

        return jax.jit(jax.grad(function, (0, 1)))(*given)

    close(gradients(rj.Fused()), gradients(rj.Sequential()), 1e-12)


@pytest.mark.parametrize("backward", [rj.Deferred(), rj.ClippedBackward(1.0)])
def test_strategies_that_take_the_steps_themselves(backward):
    run, given = plain("lstm", "float32")
    with pytest.raises(
        TypeError, match=r"needs method=rj.Sequential\(\), got Fused\(\)"
    ):
        run(rj.Fused(), *given, backward=backward)


def test_no_leaks(x64):
    run, given = plain("elman")
    with jax.checking_leaks():
        jax.jit(jax.grad(lambda p, x: score(run(rj.Fused(), p, x))))(*given)
