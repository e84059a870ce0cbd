# SPDX-License-Identifier: Apache-2.0
"""PyTorch: `nn.RNN`, `nn.LSTM` and `nn.GRU`, one layer and direction of each."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recurrent_jax as rj
from parity.common import (
    LENGTHS,
    SIZES,
    TOLERANCE,
    Draw,
    assert_same,
    few,
    sizes_and_lengths,
    values_and_grads,
)
from recurrent_jax.convert import from_torch

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
rnn = torch.nn.utils.rnn


LAYERS = {
    "rnn_tanh": (torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (torch.nn.LSTM, {}),
    "gru": (torch.nn.GRU, {}),
}


def torch_values_and_grads(layer, weights, xs, carry, cotangents, lengths):
    """Do what `values_and_grads` does, for the last direction of a layer."""
    suffix = "_l0_reverse" if layer.bidirectional else "_l0"
    parameters = {name: getattr(layer, name + suffix) for name in weights}
    with torch.no_grad():
        for name, value in weights.items():
            parameters[name].copy_(torch.tensor(value))
    xs = torch.tensor(xs, requires_grad=True)
    carry = [torch.tensor(part, requires_grad=True) for part in carry]

    # (directions, batch, hidden): what the other direction starts from is of no matter.
    starts = [torch.stack([part] * (1 + layer.bidirectional)) for part in carry]
    start = tuple(starts) if layer.mode == "LSTM" else starts[0]
    if lengths is None:
        ys, final = layer(xs, start)
    else:
        packed = rnn.pack_padded_sequence(
            xs, torch.tensor(lengths), layer.batch_first, enforce_sorted=False
        )
        packed, final = layer(packed, start)
        time = xs.shape[1 if layer.batch_first else 0]
        ys, _ = rnn.pad_packed_sequence(packed, layer.batch_first, total_length=time)
    ys = ys[..., -layer.hidden_size :]
    final = [part[-1] for part in (final if layer.mode == "LSTM" else [final])]

    outputs = [*final, ys]
    torch.autograd.backward(outputs, [torch.tensor(c) for c in cotangents])
    grads = {name: p.grad.numpy() for name, p in parameters.items()}
    return (
        [output.detach().numpy() for output in outputs],
        (grads, xs.grad.numpy(), [part.grad.numpy() for part in carry]),
    )


def check(
    kind, dtype, sizes=SIZES, lengths=None, reverse=False, bias=True, batch_first=False
):
    torch.set_num_threads(1)
    make, settings = LAYERS[kind]
    layer = make(
        sizes.features,
        sizes.hidden,
        bias=bias,
        batch_first=batch_first,
        bidirectional=reverse,
        dtype=getattr(torch, dtype),
        **settings,
    )
    draw = Draw(dtype)
    weights = {
        name.removesuffix("_l0"): draw(*p.shape)
        for name, p in layer.named_parameters()
        if name.endswith("_l0")
    }
    cell, _ = from_torch(weights, **settings)
    xs = draw(*sizes.xs)
    if batch_first:
        xs = np.swapaxes(xs, 0, 1)
    carry = [draw(*sizes.h) for _ in cell.initial_carry()]

    def ours(weights, xs, carry):
        carry, ys = rj.unroll(
            cell,
            from_torch(weights, **settings)[1],
            xs,
            carry=type(cell.initial_carry())(*carry),
            lengths=lengths,
            reverse=reverse,
            time_axis=1 if batch_first else 0,
        )
        return [*carry, ys]

    args = (weights, xs, carry)
    cotangents = draw.like(jax.eval_shape(ours, *args))
    want = torch_values_and_grads(layer, *args, cotangents, lengths)
    got = values_and_grads(ours, args, cotangents)
    assert_same(got, want, TOLERANCE[dtype], dtype)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"bias": False},
        {"batch_first": True},
        {"lengths": LENGTHS},
        {"reverse": True},
        {"reverse": True, "lengths": LENGTHS, "batch_first": True},
    ],
    ids=lambda variant: "-".join(variant) or "plain",
)
def test_layer(kind, variant, dtype):
    check(kind, dtype, **variant)


@pytest.mark.slow
@few
@given(
    drawn=sizes_and_lengths(),
    kind=st.sampled_from(list(LAYERS)),
    reverse=st.booleans(),
)
def test_any_size(drawn, kind, reverse):
    sizes, lengths = drawn
    with jax.enable_x64(True):
        check(kind, "float64", sizes, lengths, reverse)
