# SPDX-License-Identifier: Apache-2.0
"""The papers' equations, transcribed unit by unit in plain NumPy.

One sequence at a time, weights as the papers have them: W[gate] maps the input to a
gate, R[gate] the state, both (out, in), and a vector b[gate]. The gradient is taken by
the complex step, which is exact to rounding: for a real analytic loss,
`loss'(p) = Im loss(p + ih) / h`, with an h so small that its square vanishes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from parity.common import TOLERANCE, Draw, Sizes, assert_same, values_and_grads

SIZES = Sizes(time=4, batch=2, features=2, hidden=3)
STEP = 1e-30


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def elman(w, x, h, phi=np.tanh):
    """Elman, 1990."""
    h = phi(w["W_h"] @ x + w["R_h"] @ h + w["b_h"])
    return (h,), h


def lstm(w, x, h, c, psi=np.tanh):
    """Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000."""
    i = sigmoid(w["W_i"] @ x + w["R_i"] @ h + w["b_i"])
    f = sigmoid(w["W_f"] @ x + w["R_f"] @ h + w["b_f"])
    o = sigmoid(w["W_o"] @ x + w["R_o"] @ h + w["b_o"])
    c = f * c + i * np.tanh(w["W_g"] @ x + w["R_g"] @ h + w["b_g"])
    h = o * psi(c)
    return (h, c), h


def peephole_lstm(w, x, h, c, psi=np.tanh):
    """Gers, Schraudolph and Schmidhuber, 2002: two gates see the old c, one the new."""
    i = sigmoid(w["W_i"] @ x + w["R_i"] @ h + w["p_i"] * c + w["b_i"])
    f = sigmoid(w["W_f"] @ x + w["R_f"] @ h + w["p_f"] * c + w["b_f"])
    c = f * c + i * np.tanh(w["W_g"] @ x + w["R_g"] @ h + w["b_g"])
    o = sigmoid(w["W_o"] @ x + w["R_o"] @ h + w["p_o"] * c + w["b_o"])
    h = o * psi(c)
    return (h, c), h


def gru_reset_before(w, x, h):
    """Cho et al., 2014, with biases."""
    r = sigmoid(w["W_r"] @ x + w["R_r"] @ h + w["b_r"])
    z = sigmoid(w["W_z"] @ x + w["R_z"] @ h + w["b_z"])
    n = np.tanh(w["W_n"] @ x + w["R_n"] @ (r * h) + w["b_n"])
    h = z * h + (1 - z) * n
    return (h,), h


def gru_reset_after(w, x, h):
    """The form of cuDNN: the reset gate scales product and bias together."""
    r = sigmoid(w["W_r"] @ x + w["R_r"] @ h + w["b_r"])
    z = sigmoid(w["W_z"] @ x + w["R_z"] @ h + w["b_z"])
    n = np.tanh(w["W_n"] @ x + w["b_n"] + r * (w["R_n"] @ h + w["d_n"]))
    h = z * h + (1 - z) * n
    return (h,), h


def run(step, weights, xs, carry):
    """Run a transcription over time and batch, one sequence after the other."""
    ys, finals = [], []
    for b in range(xs.shape[1]):
        state, outputs = [part[b] for part in carry], []
        for x in xs[:, b]:
            state, y = step(weights, x, *state)
            outputs.append(y)
        ys.append(outputs)
        finals.append(state)
    final = [np.array(parts) for parts in zip(*finals, strict=True)]
    return [*final, np.array(ys).swapaxes(0, 1)]


def complex_step(step, args, cotangents):
    """Return the gradients of `sum(values * cotangents)` in each number of `args`."""
    leaves, tree = jax.tree.flatten(args)
    leaves = [leaf.astype(complex) for leaf in leaves]
    grads = [np.zeros(leaf.shape) for leaf in leaves]
    for leaf, grad in zip(leaves, grads, strict=True):
        for at in np.ndindex(leaf.shape):
            leaf[at] += 1j * STEP
            values = run(step, *tree.unflatten(leaves))
            leaf[at] = leaf[at].real
            loss = sum(np.sum(v * c) for v, c in zip(values, cotangents, strict=True))
            grad[at] = loss.imag / STEP
    return tree.unflatten(grads)


def side_by_side(weights, letter, gates):
    return jnp.concatenate([weights[f"{letter}_{gate}"].T for gate in gates], axis=-1)


def elman_params(w):
    return rj.Elman.Params(w["W_h"].T, w["R_h"].T, w["b_h"])


def lstm_params(w):
    return rj.LSTM.Params(*(side_by_side(w, letter, "ifgo") for letter in "WRb"))


def peephole_lstm_params(w):
    p = jnp.stack([w[f"p_{gate}"] for gate in "ifo"])
    return rj.PeepholeLSTM.Params(*lstm_params(w), p)


def gru_params(w):
    wide = (side_by_side(w, letter, "rzn") for letter in "WRb")
    return rj.GRU.Params(*wide, w.get("d_n"))


def identity(a):
    return a


H = SIZES.hidden
CASES = {
    "elman": (elman, {}, rj.Elman(H), elman_params, "h", ""),
    "elman_sigmoid": (
        elman,
        {"phi": sigmoid},
        rj.Elman(H, activation=jax.nn.sigmoid),
        elman_params,
        "h",
        "",
    ),
    "lstm": (lstm, {}, rj.LSTM(H), lstm_params, "ifgo", ""),
    "lstm_no_output_activation": (
        lstm,
        {"psi": identity},
        rj.LSTM(H, output_activation=jax.nn.identity),
        lstm_params,
        "ifgo",
        "",
    ),
    "peephole_lstm": (
        peephole_lstm,
        {},
        rj.PeepholeLSTM(H),
        peephole_lstm_params,
        "ifgo",
        ["p_i", "p_f", "p_o"],
    ),
    "peephole_lstm_no_output_activation": (
        peephole_lstm,
        {"psi": identity},
        rj.PeepholeLSTM(H, output_activation=jax.nn.identity),
        peephole_lstm_params,
        "ifgo",
        ["p_i", "p_f", "p_o"],
    ),
    "gru_reset_before": (
        gru_reset_before,
        {},
        rj.GRU(H, reset_after=False),
        gru_params,
        "rzn",
        "",
    ),
    "gru_reset_after": (gru_reset_after, {}, rj.GRU(H), gru_params, "rzn", ["d_n"]),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("case", CASES)
def test_equations(case, x64):
    equations, settings, cell, params_from, gates, vectors = CASES[case]
    draw = Draw("float64")
    weights = {f"W_{gate}": draw(H, SIZES.features) for gate in gates}
    weights |= {f"R_{gate}": draw(H, H) for gate in gates}
    weights |= {f"b_{gate}": draw(H) for gate in gates}
    weights |= {name: draw(H) for name in vectors}
    carry_type = type(cell.initial_carry())
    args = (weights, draw(*SIZES.xs), [draw(*SIZES.h) for _ in carry_type._fields])

    def step(weights, x, *state):
        return equations(weights, x, *state, **settings)

    def ours(weights, xs, carry):
        carry = carry_type(*carry)
        carry, ys = rj.unroll(cell, params_from(weights), xs, carry=carry)
        return [*carry, ys]

    values = run(step, *args)
    cotangents = draw.like(values)
    want = values, complex_step(step, args, cotangents)
    got = values_and_grads(ours, args, cotangents)
    assert_same(got, want, TOLERANCE["float64"], "float64")
