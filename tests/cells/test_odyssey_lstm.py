# SPDX-License-Identifier: Apache-2.0
"""The variants of the search space odyssey against NumPy."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


@pytest.mark.mostly_slow
@pytest.mark.parametrize("gates", ["ifo", "fo", "io", "if"])
def test_equations(gates):
    order = gates.replace("o", "") + "g" + ("o" if "o" in gates else "")

    def without_a_gate(params, carry, x):
        """Greff et al., 2017, appendix: one gate of three set to 1."""
        a = x @ params.kernel + carry.h @ params.recurrent_kernel + params.bias
        a = dict(zip(order, np.split(a, len(order)), strict=True))
        p = dict(zip(gates, params.peephole, strict=True))
        i = sigmoid(a["i"] + p["i"] * carry.c) if "i" in gates else 1.0
        f = sigmoid(a["f"] + p["f"] * carry.c) if "f" in gates else 1.0
        c = f * carry.c + i * np.tanh(a["g"])
        o = sigmoid(a["o"] + p["o"] * c) if "o" in gates else 1.0
        h = o * np.tanh(c)
        return (h, c), h

    compare(rj.OdysseyLSTM(3, gates=gates), without_a_gate)


def test_with_all_gates_it_is_a_peephole_lstm(x64):
    draw = rj.initializers.glorot_uniform
    cell = rj.OdysseyLSTM(4, peephole_init=draw)
    params = cell.init(jax.random.key(0), 3)

    other = rj.PeepholeLSTM.Params(*params)
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    _, got = rj.unroll(cell, params, xs)
    _, want = rj.unroll(rj.PeepholeLSTM(4), other, xs)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_parameters():
    D, H = 3, 5
    for gates in ("ifo", "fo", "o", ""):
        G = len(gates)
        want = (1 + G) * H * (D + H + 1) + G * H
        assert count(rj.OdysseyLSTM(H, gates=gates), D) == want


def test_forget_bias():
    init = rj.OdysseyLSTM(2, gates="fo").init(jax.random.key(0), 3)
    assert init.bias.tolist() == [1, 1, 0, 0, 0, 0]
    init = rj.OdysseyLSTM(2, gates="io").init(jax.random.key(0), 3)
    assert init.bias.tolist() == [0] * 6


def test_gates():
    with pytest.raises(ValueError, match="gates must be one of .*, got 'fi'"):
        rj.OdysseyLSTM(4, gates="fi")
