# SPDX-License-Identifier: Apache-2.0
"""braintrace: `RTRL`, `SnAp1` and `EProp` of an Elman network."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that it brings
    braintrace = pytest.importorskip("braintrace", reason="it is an optional oracle")
    brainstate = pytest.importorskip("brainstate")

TIME, D, H = 6, 3, 4
# Its names: SnAp of an order at which all units are reached is exact, and its D_RTRL
# drops what passes through the recurrent product.
PAIRS = {
    "RTRL": (braintrace.SnAp, {"n": H}),
    "SnAp1": (braintrace.SnAp, {"n": 1}),
    "EProp": (braintrace.D_RTRL, {}),
}


@dataclasses.dataclass(frozen=True)
class Late(rj.Elman):
    """The output is the state before the step, so that the last step adds nothing.

    Ours differentiate the last step exactly. braintrace approximates it too.
    """

    def update(self, params, carry, z, u):
        return super().update(params, carry, z, u)[0], carry.h


def ours(learner, params, xs, ws):
    def body(state, now):
        state, _ = learner.step(params, state, now[0])
        return state, learner.gradient(state, now[1])

    xs = jnp.concatenate([xs, xs[:1]])  # the last output is read one step later
    ws = jnp.concatenate([jnp.zeros_like(ws[:1]), ws])
    slopes = jax.lax.scan(body, learner.init(params, xs[0]), (xs, ws))[1]
    return jax.tree.map(lambda a: a.sum(0), slopes)


def theirs(algorithm, options, params, xs, ws):
    cell = braintrace.nn.ValinaRNNCell(D, H, activation="tanh")
    (weights,) = cell.states(brainstate.ParamState).values()
    kernels = jnp.concatenate([params.kernel, params.recurrent_kernel])
    weights.value = {"weight": kernels, "bias": params.bias}
    learner = braintrace.compile(cell, algorithm, xs[0], **options)

    def loss(x, w):
        return jnp.sum(learner(x) * w)

    (slopes,) = learner.etrace_grad(xs, ws, step_fn=loss, reduction="sum").values()
    return slopes


@pytest.mark.filterwarnings("ignore")  # a pattern that it could not derive
@pytest.mark.parametrize("name", PAIRS)
def test_gradients(name, x64):
    params = jax.tree.map(lambda a: a + 0.1, Late(H).init(jax.random.key(0), D))
    xs = jax.random.normal(jax.random.key(1), (TIME, D))
    ws = jax.random.normal(jax.random.key(2), (TIME, H))
    learner = getattr(rj.online, name)(Late(H))
    with (
        jax.numpy_dtype_promotion("standard"),
        brainstate.environ.context(precision=64),
    ):
        want = theirs(*PAIRS[name], params, xs, ws)
    got = ours(learner, params, xs, ws)
    kernels = jnp.concatenate([got.kernel, got.recurrent_kernel])
    np.testing.assert_allclose(kernels, want["weight"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got.bias, want["bias"], rtol=1e-10, atol=1e-12)
