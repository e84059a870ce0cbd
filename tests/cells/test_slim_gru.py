# SPDX-License-Identifier: Apache-2.0
"""SlimGRU: GRU1, GRU2 and GRU3 of Dey and Salem, 2017."""

import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H = 3
GATES = {
    1: lambda p, h: sigmoid(p.gate_kernel.T @ h + p.gate_bias),
    2: lambda p, h: sigmoid(p.gate_kernel.T @ h),
    3: lambda p, h: sigmoid(p.gate_bias),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("variant", GATES)
def test_equations(variant):
    def slim_gru(p, carry, x):
        r, z = np.split(GATES[variant](p, carry.h), 2)
        n = np.tanh(p.kernel.T @ x + p.recurrent_kernel.T @ (r * carry.h) + p.bias)
        h = z * carry.h + (1 - z) * n
        return (h,), h

    compare(rj.SlimGRU(H, variant=variant), slim_gru)


@pytest.mark.parametrize("variant, gate", [(1, H * H + H), (2, H * H), (3, H)])
def test_number_of_parameters(variant, gate):
    assert count(rj.SlimGRU(H, variant=variant), 3) == H * (3 + H) + H + 2 * gate
    cell = rj.SlimGRU(H, variant=variant, use_bias=False)
    assert count(cell, 3) == H * (3 + H) + 2 * gate


def test_a_fourth_variant_is_refused():
    with pytest.raises(ValueError, match=r"^SlimGRU: variant must be one of \[1, 2, 3"):
        rj.SlimGRU(H, variant=0)
