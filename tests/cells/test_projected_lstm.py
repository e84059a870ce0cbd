# SPDX-License-Identifier: Apache-2.0
"""The projected LSTM against PyTorch's `proj_size`, and clips against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.common import SIZES, TOLERANCE, Draw, assert_same, values_and_grads

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H, P = SIZES.hidden, 2


def projected_lstm(params, carry, x, cell_clip=np.inf, projection_clip=np.inf):
    """Sak, Senior and Beaufays, 2014, without peepholes."""
    a = x @ params.kernel + carry.h @ params.recurrent_kernel + params.bias
    i, f, g, o = np.split(a, 4)
    c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
    c = np.clip(c, -cell_clip, cell_clip)
    h = (sigmoid(o) * np.tanh(c)) @ params.projection_kernel
    h = np.clip(h, -projection_clip, projection_clip)
    return (h, c), h


def test_equations():
    compare(rj.ProjectedLSTM(4, projection_size=2), projected_lstm)


def test_clips():
    cell = rj.ProjectedLSTM(4, projection_size=2, cell_clip=0.3, projection_clip=0.2)
    loose = rj.ProjectedLSTM(4, projection_size=2)
    params = cell.init(jax.random.key(0), 3)
    xs = 5 * jax.random.normal(jax.random.key(1), (9, 4, 3))
    carry, ys = rj.unroll(cell, params, xs)
    assert jnp.max(jnp.abs(carry.c)) == jnp.float32(0.3)
    assert jnp.max(jnp.abs(ys)) == jnp.float32(0.2)
    assert jnp.max(jnp.abs(rj.unroll(loose, params, xs)[1])) > 0.2

    def step(params, carry, x):
        return projected_lstm(params, carry, x, 0.3, 0.2)

    compare(cell, step)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
def test_torch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer = torch.nn.LSTM(3, H, proj_size=P, dtype=getattr(torch, dtype))
    draw = Draw(dtype)
    weights = [draw(*w.shape) for w in layer.parameters()]
    args = weights, draw(*SIZES.xs[:2], 3), [draw(SIZES.batch, P), draw(*SIZES.h)]

    def ours(weights, xs, carry):
        w_x, w_h, b_x, b_h, w_p = weights
        params = rj.ProjectedLSTM.Params(w_x.T, w_h.T, b_x + b_h, w_p.T)
        cell = rj.ProjectedLSTM(H, projection_size=P)
        carry, ys = rj.unroll(cell, params, xs, carry=rj.ProjectedLSTM.Carry(*carry))
        return [*carry, ys]

    def theirs(weights, xs, carry):
        for parameter, value in zip(layer.parameters(), weights, strict=True):
            parameter.data = value
        ys, final = layer(xs, tuple(part[None] for part in carry))
        return [*(part[0] for part in final), ys]

    cotangents = draw.like(jax.eval_shape(ours, *args))
    xs, *carry = (torch.tensor(a, requires_grad=True) for a in (args[1], *args[2]))
    values = theirs([torch.tensor(w) for w in weights], xs, carry)
    torch.autograd.backward(values, [torch.tensor(c) for c in cotangents])
    want = (
        [value.detach().numpy() for value in values],
        (
            [w.grad.numpy() for w in layer.parameters()],
            xs.grad.numpy(),
            [part.grad.numpy() for part in carry],
        ),
    )
    got = values_and_grads(ours, args, cotangents)
    assert_same(got, want, TOLERANCE[dtype], dtype)


def test_parameters():
    D, H, P = 3, 8, 5
    assert count(rj.ProjectedLSTM(H, P), D) == 4 * H * (D + P + 1) + H * P
    quarter = rj.ProjectedLSTM(H)
    assert quarter.output_size == 2
    assert count(quarter, D) == 4 * H * (D + 2 + 1) + H * 2
    assert rj.ProjectedLSTM(2).output_size == 1


@pytest.mark.parametrize("field", ["cell_clip", "projection_clip"])
def test_bounds(field):
    with pytest.raises(ValueError, match=f"ProjectedLSTM: {field} must be above 0"):
        rj.ProjectedLSTM(4, **{field: 0.0})
    with pytest.raises(ValueError, match="projection_size must be at least 1"):
        rj.ProjectedLSTM(4, projection_size=0)
