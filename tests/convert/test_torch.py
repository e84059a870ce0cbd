# SPDX-License-Identifier: Apache-2.0
"""PyTorch, live: layers, directions, projections, lengths; trained there and here."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurrent_jax as rj
from convert.common import run, same_bits
from recurrent_jax.convert import from_onnx, from_torch, to_torch

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
rnn = torch.nn.utils.rnn


def theirs(module, xs, lengths):
    """Return outputs of a module over `(time, batch, features)`, padding zeroed."""
    packed = rnn.pack_padded_sequence(xs, torch.tensor(lengths), enforce_sorted=False)
    ys, _ = rnn.pad_packed_sequence(module(packed)[0], total_length=len(xs))
    return ys


@st.composite
def modules(draw):
    kind = draw(st.sampled_from(["RNN", "GRU", "LSTM", "projected"]))
    hidden = draw(st.integers(2, 4))
    options = {
        "num_layers": draw(st.integers(1, 2)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    if kind == "projected":
        kind, options["proj_size"] = "LSTM", draw(st.integers(1, hidden - 1))
    return kind, draw(st.integers(1, 3)), hidden, options


@settings(max_examples=4, deadline=None)
@given(made=modules(), lengths=st.lists(st.integers(1, 4), min_size=2, max_size=2))
def test_outputs_and_gradients(made, lengths):
    kind, features, hidden, options = made
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = getattr(torch.nn, kind)(features, hidden, **options).double()
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(4, 2, features))
    ys = theirs(module, torch.tensor(xs), lengths)
    cotangent = rng.normal(size=ys.shape)
    ys.backward(torch.tensor(cotangent))

    with jax.enable_x64(True):
        state_dict = module.state_dict()
        weights = {name: jnp.asarray(p.numpy()) for name, p in state_dict.items()}
        network, _ = from_torch(weights, nonlinearity="tanh")

        @jax.jit
        def ours(weights):
            def loss(weights):
                params = from_torch(weights, nonlinearity="tanh")[1]
                ours = rj.unroll(network, params, xs, lengths=jnp.array(lengths))[1]
                return jnp.sum(ours * cotangent), ours

            return jax.grad(loss, has_aux=True)(weights)

        grads, got = ours(weights)
        np.testing.assert_allclose(got, ys.detach().numpy(), 1e-10, 1e-10)
        for name, p in module.named_parameters():
            np.testing.assert_allclose(
                grads[name], p.grad.numpy(), 1e-9, 1e-9, err_msg=name
            )


@pytest.mark.slow
def test_trained_there_trained_here_and_returned():
    """Two layers, both directions, a projection: what the docs promise."""
    torch.manual_seed(0)
    module = torch.nn.LSTM(3, 6, 2, bidirectional=True, proj_size=2)
    xs = torch.randn(5, 4, 3)
    lengths, target = [5, 2, 1, 4], 0.3
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(5):
        optimizer.zero_grad()
        ((theirs(module, xs, lengths) - target) ** 2).mean().backward()
        optimizer.step()

    network, params = from_torch(module.state_dict())
    assert isinstance(network, rj.Deep) and len(network.layers) == 2
    size = jnp.array(lengths)

    @jax.jit
    def train(params, state):
        def loss(params):
            ys = rj.unroll(network, params, xs.numpy(), lengths=size)[1]
            return jnp.mean((ys - target) ** 2), ys

        (value, ys), grads = jax.value_and_grad(loss, has_aux=True)(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optax.adam(0.01).update(grads, state)
        return optax.apply_updates(params, updates), state, value, ys

    state = optax.adam(0.01).init(params)
    start = theirs(module, xs, lengths).detach().numpy()
    values = []
    for n in range(6):
        before = params
        params, state, value, ys = train(params, state)
        values.append(float(value))
        if n == 0:
            np.testing.assert_allclose(ys, start, 1e-5, 1e-5)
    assert values[-1] < 0.98 * values[0]

    back = to_torch(network, before)
    module.load_state_dict({name: torch.from_numpy(w) for name, w in back.items()})
    again = theirs(module, xs, lengths).detach().numpy()
    np.testing.assert_allclose(ys, again, 1e-5, 1e-5)
    same_bits(from_torch(module.state_dict())[1], before)


@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(kind):
    weights = getattr(torch.nn, kind)(3, 4).state_dict()
    cell, params = from_torch(weights, nonlinearity="tanh")
    assert cell == {"R": rj.Elman, "L": rj.LSTM, "G": rj.GRU}[kind[0]](4)
    assert params.kernel.shape[0] == 3


def test_part_of_a_model_in_half_precision():
    model = torch.nn.ModuleDict({"head": torch.nn.Linear(4, 1)})
    model["encoder"] = torch.nn.GRU(3, 4, batch_first=True)
    weights = model.bfloat16().state_dict()
    cell, params = from_torch(weights, prefix="encoder.")
    assert cell == rj.GRU(4)
    assert params.kernel.dtype == jnp.bfloat16
    got = params.kernel[:, 4:8].T.astype(jnp.float32)
    want = weights["encoder.weight_ih_l0"][4:8].float().numpy()
    np.testing.assert_array_equal(got, want)


def test_parameters_that_want_gradients():
    module = torch.nn.LSTM(3, 4)
    cell, _ = from_torch(dict(module.named_parameters()))
    assert cell == rj.LSTM(4)


EXPORTED = {
    "bidirectional": (torch.nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "batch_first": (torch.nn.GRU, {"batch_first": True}),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_onnx_files_of_its_exporter(name, tmp_path):
    pytest.importorskip("onnx", reason="ONNX is not installed")
    make, options = EXPORTED[name]
    module = make(3, 4, **options).eval()
    xs, path = torch.randn(5, 2, 3), tmp_path / "exported.onnx"
    axes = {"xs": {0: "first", 1: "second"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the old one
        torch.onnx.export(
            module, xs, path, dynamo=False, input_names=["xs"], dynamic_axes=axes
        )
    first = int("batch_first" in options)
    network, params = from_onnx(path, layout=first)
    same_bits(params, from_torch(module.state_dict())[1])
    want = module(xs)[0].detach().numpy()
    got = run(network, params, xs.numpy(), time_axis=first)
    np.testing.assert_allclose(got, want, 1e-5, 1e-5)


def test_float64_of_pytorch_is_not_cast():
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(2, 4).double()
    with pytest.raises(TypeError, match="weight_ih_l0 is float64, which JAX cannot"):
        from_torch(module.state_dict())
    with jax.enable_x64(True):
        _, params = from_torch(module.state_dict())
        assert params.kernel.dtype == "float64"
