# SPDX-License-Identifier: Apache-2.0
"""Values and gradients of the kernels against those of the plain loop, drawn shapes."""

import ctypes

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import kernels
from recurrent_jax.kernels import _library

from .common import FEW, MAKE, cast, close, draw, flags, needs_library, score

pytestmark = needs_library
# Widths around those of vectors, and batches around those of tiles.
BATCHES = (1, 2, 3, 5, 8, 13)
WIDTHS = (1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 48)
CASES = [(name, seed) for name in MAKE for seed in range(2)]


def run(cell, method, backward, options):
    """Return values and gradients as a function of params, inputs and carries."""

    def outputs(params, xs, carry, fresh):
        asked = {"carry": carry, "method": method, "backward": backward, **options}
        if "resets" in options:
            asked["reset_carry"] = fresh
        out = rj.unroll(cell, params, xs, **asked)
        return score(out), out

    return jax.jit(jax.value_and_grad(outputs, (0, 1, 2, 3), has_aux=True))


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name, seed", CASES)
def test_drawn_shape(name, seed, x64):
    rng = np.random.default_rng((seed, len(name)))
    time, D = rng.integers(1, 9), rng.integers(1, 20)
    cell, params, xs, carry = draw(
        name, time, rng.choice(BATCHES), D, int(rng.choice(WIDTHS)), seed
    )
    fresh = jax.tree.map(lambda a: a[::-1] / 2, carry)
    options = {"reverse": bool(rng.integers(2))}
    options |= (
        flags(time, xs.shape[1], seed) if seed % 2 else {"resets": xs[..., 0] > 1}
    )
    given = params, xs, carry, fresh
    want = run(cell, rj.Sequential(), rj.Autodiff(), options)(*cast(given, "float64"))
    fused = run(cell, rj.Fused(), None, options)
    close(fused(*cast(given, "float64")), want, 1e-12)
    (_, out), gradients = fused(*cast(given, "float32"))
    close((out, gradients), (want[0][1], want[1]), 1e-6)


@pytest.mark.parametrize("name", MAKE)
def test_wide(name, x64):
    """More units and rows than one tile of any kernel has, and no flags."""
    cell, params, xs, carry = draw(name, 3, 70, 5, 130)
    given = params, xs, carry, carry
    want = run(cell, rj.Sequential(), rj.Autodiff(), {})(*cast(given, "float64"))
    got = run(cell, rj.Fused(), None, {})(*cast(given, "float64"))
    close(got[0][1], want[0][1], 1e-12)
    close(got[1][:3], want[1][:3], 1e-12)
    # The fresh carry is not read without resets.
    assert all(not np.any(a) for a in jax.tree.leaves(got[1][3]))


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "neon"])
@pytest.mark.parametrize("name", FEW)
def test_sets_of_instructions(name, isa, x64):
    library = ctypes.CDLL(str(_library.FILE))
    library.rj_set_isa.restype = ctypes.c_char_p
    if library.rj_set_isa(isa.encode()) != isa.encode():
        pytest.skip(f"this machine has no {isa}")
    try:
        cell, params, xs, carry = draw(name, 4, 7, 3, 21)
        fused = run(cell, rj.Fused(), None, {})
        got = fused(*cast((params, xs, carry, carry), "float32"))
    finally:
        library.rj_set_isa(kernels.loaded().isa.encode())
    want = fused(*cast((params, xs, carry, carry), "float64"))
    close((got[0][1], got[1]), (want[0][1], want[1]), 1e-6)


@pytest.mark.nans
@pytest.mark.parametrize("name", MAKE)
def test_numbers_that_are_not_finite(name, x64):
    """NaN and inf end where those of the plain loop end."""
    cell, params, xs, carry = draw(name, 5, 4, 3, 6)
    xs[1, 0], xs[2, 1], xs[0, 2] = np.nan, np.inf, -1e300
    resets = np.zeros((5, 4), bool)
    resets[3] = True
    given = cast((params, xs, carry), "float64")

    def outputs(method, backward=None):
        ask = {"resets": resets, "method": method, "backward": backward}
        return rj.unroll(cell, given[0], given[1], carry=given[2], **ask)

    got, want = outputs(rj.Fused()), outputs(rj.Sequential(), rj.Autodiff())
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_great_and_tiny_numbers(dtype, x64):
    """Gates at their ends, and denormal numbers, as in the plain loop."""
    cell, params, xs, carry = draw("lstm", 4, 3, 2, 5)
    tiny = np.finfo(dtype).smallest_subnormal
    xs[0], xs[1], xs[2] = 1e3, -1e3, tiny
    carry = jax.tree.map(lambda a: a * 1e-30, carry)
    given = cast((params, xs, carry), dtype)
    both = [
        rj.unroll(cell, given[0], given[1], carry=given[2], method=method)
        for method in (rj.Fused(), rj.Sequential())
    ]
    close(*both, 1e-6 if dtype == "float32" else 1e-12)


def test_runs_alike_each_time(x64):
    cell, params, xs, carry = draw("lstm", 6, 5, 3, 19)
    fused = run(cell, rj.Fused(), None, {})
    given = cast((params, xs, carry, carry), "float32")
    first, again = fused(*given), fused(*given)
    jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("batch", [3, 20])
@pytest.mark.parametrize("name", FEW)
def test_batch_major(name, batch, x64):
    """The same as time-major, with skips and resets, and nothing is copied."""
    cell, params, xs, _ = draw(name, 9, batch, 5, 19)
    flagged = flags(9, batch)
    mask, resets = flagged["mask"], flagged["resets"]

    def run(params, xs, axis, method):
        def put(a):
            return jnp.moveaxis(a, 0, axis)

        how = {"mask": put(mask), "resets": put(resets), "reverse": True}
        carry, ys = rj.unroll(cell, params, xs, time_axis=axis, method=method, **how)
        return score((carry, jnp.moveaxis(ys, axis, 0)))

    of = jax.jit(jax.value_and_grad(run, (0, 1)), static_argnums=(2, 3))
    score_, (d_params, d_xs) = of(params, jnp.swapaxes(xs, 0, 1), 1, rj.Fused())
    want = of(params, xs, 0, rj.Sequential())
    close((score_, (d_params, jnp.swapaxes(d_xs, 0, 1))), want, 1e-12)

    @jax.jit
    def grad(params, xs, cotangent):
        def outputs(params, xs):
            return rj.unroll(cell, params, xs, time_axis=1, method=rj.Fused())[1]

        return jax.vjp(outputs, params, xs)[1](cotangent)

    shapes = (batch, 9, 5), (batch, 9, 19)
    arrays = [jax.ShapeDtypeStruct(shape, "float64") for shape in shapes]
    text = grad.lower(params, *arrays).compile().as_text()
    assert "custom-call(%" in text
    assert " transpose(%" not in text and " copy(%" not in text


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_time_axis_and_batch_ranks(name, x64):
    cell, params, xs, _ = draw(name, 6, 6, 3, 5)
    xs = jnp.asarray(xs)
    want = rj.unroll(cell, params, xs, method=rj.Fused())
    turned = rj.unroll(cell, params, xs.swapaxes(0, 1), time_axis=1, method=rj.Fused())
    close((turned[0], turned[1].swapaxes(0, 1)), want, 1e-14)
    shaped = rj.unroll(cell, params, xs.reshape(6, 2, 3, 3), method=rj.Fused())
    flat = jax.tree.map(lambda a: a.reshape(6, -1), shaped[0]), shaped[1]
    close((flat[0], flat[1].reshape(6, 6, -1)), want, 1e-14)
    alone = rj.unroll(cell, params, xs[:, 0], method=rj.Fused())
    close(alone, (jax.tree.map(lambda a: a[0], want[0]), want[1][:, 0]), 1e-14)
