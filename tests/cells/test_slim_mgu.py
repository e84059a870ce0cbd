# SPDX-License-Identifier: Apache-2.0
"""SlimMGU: MGU1, MGU2 and MGU3 of Heck and Salem, 2017."""

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
    def slim_mgu(p, carry, x):
        f = GATES[variant](p, carry.h)
        n = np.tanh(p.kernel.T @ x + p.recurrent_kernel.T @ (f * carry.h) + p.bias)
        h = (1 - f) * carry.h + f * n
        return (h,), h

    compare(rj.SlimMGU(H, variant=variant), slim_mgu)


@pytest.mark.parametrize("variant, gate", [(1, H * H + H), (2, H * H), (3, H)])
def test_number_of_parameters(variant, gate):
    assert count(rj.SlimMGU(H, variant=variant), 3) == H * (3 + H) + H + gate
    cell = rj.SlimMGU(H, variant=variant, use_bias=False)
    assert count(cell, 3) == H * (3 + H) + gate


def test_a_fourth_variant_is_refused():
    with pytest.raises(ValueError, match=r"^SlimMGU: variant must be one of \[1, 2, 3"):
        rj.SlimMGU(H, variant=4)
