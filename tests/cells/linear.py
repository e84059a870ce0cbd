# SPDX-License-Identifier: Apache-2.0
"""What the tests of linear cells share: every method agrees with the plain loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj
from recurrent_jax.testing import Trial

CHUNKED = (rj.Chunked(3),)
EVERY = (rj.Associative(), *CHUNKED)


def agree(
    cell,
    methods=EVERY,
    *,
    thorough=False,
    tol=1e-10,
    time=11,
    in_features=3,
    inputs=None,
):
    """Compare values and gradients of methods with those of `Sequential`, in float64.

    Skipped steps, resets to a carry that is not zero and the reverse direction are
    tried together and, if `thorough`, apart.
    """
    with jax.enable_x64(True):
        trial = Trial(cell, time=time, in_features=in_features, inputs=inputs)
        args = trial.params, trial.carry, trial.xs
        rng = np.random.default_rng(0)
        shape = (time, 4)
        fresh = jax.tree.map(lambda a: 0.5 * a[::-1], trial.carry)
        flags = {
            "lengths": jnp.array([time, 0, 3, time - 1]),
            "mask": rng.random(shape) < 0.8,
            "resets": rng.random(shape) < 0.2,
            "reset_carry": fresh,
        }
        every = [({**flags, "reverse": True}, methods)]
        if thorough:
            every += [({}, (*methods, rj.Chunked())), (flags, (rj.Chunked(5),))]
        for options, methods in every:

            def score(params, carry, xs, method, options=options):
                out = rj.unroll(cell, params, xs, carry=carry, method=method, **options)
                return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out)), out

            def run(method, score=score):
                of = functools.partial(score, method=method)
                return jax.jit(jax.value_and_grad(of, (0, 1, 2), has_aux=True))(*args)

            want = run(rj.Sequential())
            for method in methods:
                got = run(method)
                for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
                    scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
                    worst = float(np.max(np.abs(a - b), initial=0.0))
                    assert worst <= tol * scale, (method, sorted(options), worst)
