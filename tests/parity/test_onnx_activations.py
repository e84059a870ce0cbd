# SPDX-License-Identifier: Apache-2.0
"""ONNX: activations with alpha and beta, and `clip`, of the nodes `RNN` and `GRU`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from parity.common import SIZES, TOLERANCE, Draw, assert_same, join
from recurrent_jax import activations

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from parity.test_onnxruntime import run_onnx  # noqa: E402 - it wants ONNX Runtime

H = SIZES.hidden
# The name of the node, its alpha and beta, and what it is for us.
ACTIVATIONS = {
    "Affine": ([0.7], [0.2], activations.Affine(0.7, 0.2)),
    "Elu": ([1.3], [], activations.Elu(1.3)),
    "HardSigmoid": ([0.3], [0.4], activations.HardSigmoid(0.3, 0.4)),
    "LeakyRelu": ([0.2], [], activations.LeakyRelu(0.2)),
    "Relu": ([], [], jax.nn.relu),
    "ScaledTanh": ([1.2], [0.6], activations.ScaledTanh(1.2, 0.6)),
    "Sigmoid": ([], [], jax.nn.sigmoid),
    "Softplus": ([], [], jax.nn.softplus),
    "Softsign": ([], [], jax.nn.soft_sign),
    "Tanh": ([], [], jnp.tanh),
    "ThresholdedRelu": ([0.1], [], activations.ThresholdedRelu(0.1)),
}


def elman_params(W, R, B):
    return rj.Elman.Params(W.T, R.T, B[:H] + B[H:])


def gru_params(W, R, B, reset_after):
    """Reorder z, r, h; reset after the product, the second bias of h stays apart."""

    def reorder(z, r, n):
        return join([r, z, n])

    b_z, b_r, b_n, d_z, d_r, d_n = jnp.split(B, 6)
    return rj.GRU.Params(
        reorder(*jnp.split(W.T, 3, axis=-1)),
        reorder(*jnp.split(R.T, 3, axis=-1)),
        reorder(b_z + d_z, b_r + d_r, b_n if reset_after else b_n + d_n),
        d_n if reset_after else None,
    )


def attributes(*names, clip=None, **others):
    """Return the attributes of a node with these activations, and ours."""
    alphas, betas, ours = zip(*(ACTIVATIONS[name] for name in names), strict=True)
    given = {"activations": list(names), "hidden_size": H, **others}
    if any(alphas):
        given["activation_alpha"] = sum(alphas, [])
    if any(betas):
        given["activation_beta"] = sum(betas, [])
    if clip is not None:
        given["clip"] = clip
        ours = [activations.Clipped(activation, clip) for activation in ours]
    return given, ours


def check(operator, given, gates, cell, params_from, **options):
    draw = Draw("float32")
    weights = {
        "W": draw(gates * H, SIZES.features),
        "R": draw(gates * H, H),
        "B": draw(2 * gates * H),
    }
    xs, h = 2 * draw(*SIZES.xs), draw(*SIZES.h)
    feeds = [xs, *(weights[name][None] for name in "WRB"), None, h[None]]
    ys, final = run_onnx(operator, given, feeds, ["Y", "Y_h"])
    carry = type(cell.initial_carry())(h)
    carry, got = rj.unroll(cell, params_from(**weights, **options), xs, carry=carry)
    assert_same([*carry, got], [final[0], ys[:, 0]], TOLERANCE["float32"], "float32")
    return np.asarray(got)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rnn(name):
    given, [activation] = attributes(name)
    check("RNN", given, 1, rj.Elman(H, activation=activation), elman_params)


def test_rnn_with_clip():
    given, [activation] = attributes("Tanh", clip=0.3)
    cell = rj.Elman(H, activation=activation)
    ys = check("RNN", given, 1, cell, elman_params)
    np.testing.assert_allclose(np.max(np.abs(ys)), np.tanh(0.3), 1e-6)  # it did clip


@pytest.mark.mostly_slow
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(
    "names, clip",
    [
        (("HardSigmoid", "ScaledTanh"), None),
        (("Sigmoid", "Elu"), None),
        (("Sigmoid", "Tanh"), 0.3),
        (("HardSigmoid", "Softsign"), 0.4),
    ],
)
def test_gru(names, clip, reset_after):
    given, [gate_activation, activation] = attributes(
        *names, clip=clip, linear_before_reset=int(reset_after)
    )
    cell = rj.GRU(
        H,
        reset_after=reset_after,
        activation=activation,
        gate_activation=gate_activation,
    )
    check("GRU", given, 3, cell, gru_params, reset_after=reset_after)
