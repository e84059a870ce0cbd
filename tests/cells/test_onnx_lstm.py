# SPDX-License-Identifier: Apache-2.0
"""Everything that an ONNX LSTM node can say, as ONNX Runtime computes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.common import SIZES, TOLERANCE, Draw, assert_same

import recurrent_jax as rj

pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from parity.test_onnxruntime import run_onnx  # noqa: E402

act = rj.activations
H = SIZES.hidden

# What f, g and h are: names, alphas and betas of the node, and the same for us.
ACTIVATIONS = {
    "default": ({}, (jax.nn.sigmoid, jnp.tanh, jnp.tanh)),
    "hard_sigmoid-scaled_tanh-elu": (
        {
            "activations": ["HardSigmoid", "ScaledTanh", "Elu"],
            "activation_alpha": [0.3, 1.2, 0.8],
            "activation_beta": [0.4, 0.7],
        },
        (act.HardSigmoid(0.3, 0.4), act.ScaledTanh(1.2, 0.7), act.Elu(0.8)),
    ),
    "affine-softsign-leaky_relu": (
        {
            "activations": ["Affine", "Softsign", "LeakyRelu"],
            "activation_alpha": [0.3, 0.05],
            "activation_beta": [0.4],
        },
        (act.Affine(0.3, 0.4), jax.nn.soft_sign, act.LeakyRelu(0.05)),
    ),
    "sigmoid-thresholded_relu-softplus": (
        {
            "activations": ["Sigmoid", "ThresholdedRelu", "Softplus"],
            "activation_alpha": [0.2],
        },
        (jax.nn.sigmoid, act.ThresholdedRelu(0.2), jax.nn.softplus),
    ),
    "sigmoid-relu-tanh": (
        {"activations": ["Sigmoid", "Relu", "Tanh"]},
        (jax.nn.sigmoid, jax.nn.relu, jnp.tanh),
    ),
}


def from_onnx(weights, coupled):
    """Reorder i, o, f, c; peepholes come as i, o, f; a coupled node ignores its f."""
    order = [0, 3, 1] if coupled else [0, 2, 3, 1]

    def reorder(a):
        parts = jnp.split(a, 4, axis=-1)
        return jnp.concatenate([parts[n] for n in order], axis=-1)

    b, b_r = jnp.split(weights["B"], 2)
    wide = [reorder(a) for a in (weights["W"].T, weights["R"].T, b + b_r)]
    p_i, p_o, p_f = jnp.split(weights["P"], 3)
    if coupled:
        return rj.CIFG.Params(*wide, jnp.stack([p_i, p_o]))
    return rj.PeepholeLSTM.Params(*wide, jnp.stack([p_i, p_f, p_o]))


@pytest.mark.mostly_slow
@pytest.mark.parametrize("coupled", [False, True], ids=["", "input_forget"])
@pytest.mark.parametrize("clip", [None, 0.3], ids=["", "clip"])
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_node(kind, clip, coupled):
    attributes, functions = ACTIVATIONS[kind]
    if clip is not None:
        attributes = attributes | {"clip": clip}
        f, g, h = functions
        functions = act.Clipped(f, clip), act.Clipped(g, clip), h
    draw = Draw("float32")
    weights = {
        "W": draw(4 * H, SIZES.features),
        "R": draw(4 * H, H),
        "B": draw(8 * H),
        "P": draw(3 * H),
    }
    xs, carry = draw(*SIZES.xs), [draw(*SIZES.h), draw(*SIZES.h)]
    feeds = [xs, *(weights[name][None] for name in "WRB"), None]
    feeds += [*(part[None] for part in carry), weights["P"][None]]
    settings = {"hidden_size": H, "input_forget": int(coupled)}
    ys, *final = run_onnx("LSTM", attributes | settings, feeds, ["Y", "Y_h", "Y_c"])

    gate_activation, activation, output_activation = functions
    chosen = {
        "gate_activation": gate_activation,
        "activation": activation,
        "output_activation": output_activation,
    }
    cell = (
        rj.CIFG(H, peepholes=True, **chosen)
        if coupled
        else rj.PeepholeLSTM(H, **chosen)
    )
    start = type(cell.initial_carry())(*carry)
    got, got_ys = rj.unroll(cell, from_onnx(weights, coupled), xs, carry=start)
    want = [*(part[0] for part in final), ys[:, 0]]
    assert_same([*got, got_ys], want, TOLERANCE["float32"], "float32")


def test_clip_is_felt():
    """The bound above is inside the range of the numbers that it clips."""
    draw = Draw("float32")
    W, b, xs = draw(4 * H, SIZES.features), draw(2, 4 * H).sum(0), draw(*SIZES.xs)
    assert 0.2 < (np.abs(xs @ W.T + b) > 0.3).mean() < 0.8
