# SPDX-License-Identifier: Apache-2.0
"""ONNX, run by ONNX Runtime: every attribute, layers, lengths and initial states."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurrent_jax as rj
from convert.common import drawn, plain, same_bits
from recurrent_jax import activations as act
from recurrent_jax.convert import from_onnx, to_onnx

onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


def clipped(function, bound=0.5):
    return act.Clipped(function, bound)


CELLS = {
    "elman": rj.Elman(4),
    "elman_clipped_leaky": rj.Elman(4, activation=clipped(act.LeakyRelu(0.2))),
    "lstm": rj.LSTM(4),
    "lstm_no_bias": rj.LSTM(4, use_bias=False),
    "lstm_affine": rj.LSTM(
        4,
        activation=act.Affine(0.5, 0.1),
        gate_activation=act.HardSigmoid(0.3, 0.4),
        output_activation=act.ScaledTanh(1.1, 0.6),
    ),
    "lstm_kinks": rj.LSTM(
        4,
        activation=act.ThresholdedRelu(0.1),
        gate_activation=jax.nn.soft_sign,
        output_activation=act.Elu(0.7),
    ),
    "peephole": rj.PeepholeLSTM(4),
    "peephole_clipped": rj.PeepholeLSTM(
        4, activation=clipped(jnp.tanh), gate_activation=clipped(jax.nn.sigmoid)
    ),
    "cifg": rj.CIFG(4),
    "cifg_peepholes": rj.CIFG(4, peepholes=True),
    "gru": rj.GRU(4),
    "gru_before": rj.GRU(4, reset_after=False),
    "gru_clipped": rj.GRU(
        4,
        activation=clipped(jax.nn.softplus),
        gate_activation=clipped(act.HardSigmoid()),
    ),
}
NETWORKS = {
    "both_sum": rj.Bidirectional(rj.GRU(4), merge="sum"),
    "both_product": rj.Bidirectional(rj.Elman(4), merge="product"),
    "both_apart": rj.Bidirectional(rj.PeepholeLSTM(4), merge=None),
    "both_activations": rj.Bidirectional(
        rj.LSTM(4, activation=act.Elu(0.5)),
        rj.LSTM(4, gate_activation=act.HardSigmoid(0.3, 0.4)),
    ),
    "deep": rj.Deep(
        (
            rj.Bidirectional(rj.LSTM(4)),
            rj.PeepholeLSTM(3),
            rj.Bidirectional(rj.GRU(2), merge="mean"),
        )
    ),
}


def ways(layer, tree):
    both = isinstance(layer, rj.Bidirectional)
    return (tree.forward, tree.backward) if both else (tree,)


def check(network, reverse=False, sizes=(5, 3, 2), lengths=(4, 1, 5), seed=0):
    """Run both, from a state that is not zero, and bring the model back."""
    time, batch, features = sizes
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype("float32")

    params, xs = drawn(network, features, seed=seed), draw(*sizes)
    carry = jax.tree.map(
        lambda a: jnp.asarray(draw(*a.shape)), network.initial_carry((batch,))
    )
    direction = "reverse" if reverse else "forward"
    model = to_onnx(
        network, params, direction=direction, lengths=True, initial_states=True
    )

    is_deep = isinstance(network, rj.Deep)
    layers = network.layers if is_deep else (network,)
    feeds = {"X": xs, "sequence_lens": np.array(lengths, "int32")}
    for n, (layer, own) in enumerate(
        zip(layers, carry if is_deep else (carry,), strict=True)
    ):
        each = ways(layer, own)
        for field in each[0]._fields:
            start = np.stack([getattr(one, field) for one in each])
            feeds[f"initial_{field}_{n}"] = start
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    want = dict(zip(names, session.run(None, feeds), strict=True))

    @jax.jit
    def ours(params, carry):
        return rj.unroll(
            network,
            params,
            xs,
            carry=carry,
            lengths=jnp.array(lengths),
            reverse=reverse,
        )

    final, ys = ours(params, carry)
    ys = jnp.stack(ys, 1) if isinstance(ys, tuple) else ys
    np.testing.assert_allclose(ys, want["Y"], 1e-5, 1e-5)
    for n, (layer, own) in enumerate(
        zip(layers, final if is_deep else (final,), strict=True)
    ):
        each = ways(layer, own)
        for field in each[0]._fields:
            got = np.stack([getattr(one, field) for one in each])
            np.testing.assert_allclose(got, want[f"Y_{field}_{n}"], 1e-5, 1e-5)

    again, params_again = from_onnx(model, direction=direction)
    assert plain(again) == plain(network)
    same_bits(params_again, params)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", CELLS)
def test_cell(name):
    check(CELLS[name])


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name):
    check(NETWORKS[name])


def test_reverse():
    check(rj.Deep((rj.PeepholeLSTM(4), rj.GRU(3))), reverse=True)


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_any_size(data):
    time, batch = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    hidden, features = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    cell = data.draw(st.sampled_from([rj.PeepholeLSTM, rj.GRU, rj.CIFG]))(hidden)
    network = rj.Bidirectional(cell) if data.draw(st.booleans()) else cell
    length = st.integers(1, time)
    lengths = data.draw(st.lists(length, min_size=batch, max_size=batch))
    check(network, sizes=(time, batch, features), lengths=lengths)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_identity_in_other_dtypes(dtype, x64):
    network = NETWORKS["deep"]
    params = drawn(network, 3, dtype)
    same_bits(from_onnx(to_onnx(network, params))[1], params)


def test_from_a_file(tmp_path):
    cell, params = rj.GRU(4), drawn(rj.GRU(4), 3)
    path = tmp_path / "gru.onnx"
    onnx.save(to_onnx(cell, params), path)
    again, params_again = from_onnx(path)
    assert again == cell
    same_bits(params_again, params)


# What others write.


def model(
    op="LSTM",
    *,
    node=(),
    weights=None,
    before=(),
    after=(),
    outputs=("Y",),
    **attributes,
):
    """Return a model of one node of four units that reads two features."""
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    shapes = {
        "W": (ways, gates * 4, 2),
        "R": (ways, gates * 4, 4),
        "B": (ways, gates * 8),
    }
    rng = np.random.default_rng(0)
    tensors = {n: rng.normal(size=s).astype("float32") for n, s in shapes.items()}
    tensors |= weights or {}
    inputs = {0: "X", 1: "W", 2: "R", 3: "B"} | dict(node)
    names = [inputs.get(n, "") for n in range(8)]
    attributes = {"hidden_size": 4} | attributes
    recurrent = helper.make_node(
        op, names if op == "LSTM" else names[:6], ["Y", "Y_h"], name="it", **attributes
    )
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*before, recurrent, *after],
        "graph",
        [
            info("X", 1, ("t", "b", 2)),
            info("given", 1, (ways, "b", 4)),
            info("lens", 6, ("b",)),
        ],
        [info(name, 1, ("any",)) for name in outputs],
        [numpy_helper.from_array(a, n) for n, a in tensors.items() if a is not None],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_defaults_of_attributes():
    assert from_onnx(model("LSTM"))[0] == rj.LSTM(4)
    assert from_onnx(model("GRU"))[0] == rj.GRU(4, reset_after=False)
    assert from_onnx(model("RNN"))[0] == rj.Elman(4)
    hard = from_onnx(model("GRU", activations=["HardSigmoid", "Elu"]))[0]
    assert hard == rj.GRU(
        4,
        reset_after=False,
        gate_activation=act.HardSigmoid(0.2, 0.5),
        activation=act.Elu(1.0),
    )


def test_states_that_are_zero_or_given():
    zero = {"zero": np.zeros((1, 3, 4), "float32")}
    given = from_onnx(model(node={5: "given", 6: "zero", 4: "lens"}, weights=zero))
    assert given[0] == rj.LSTM(4)
    shape = helper.make_node("Shape", ["given"], ["shape"])
    made = helper.make_node("ConstantOfShape", ["shape"], ["zero"])
    assert from_onnx(model(node={5: "zero"}, before=[shape, made]))[0] == rj.LSTM(4)


def test_batch_first():
    before = [helper.make_node("Transpose", ["X"], ["x"], perm=[1, 0, 2])]
    after = [
        helper.make_node("Squeeze", ["Y", "axes"], ["y"]),
        helper.make_node("Transpose", ["y"], ["z"], perm=[1, 0, 2]),
    ]
    axes = {"axes": np.array([1])}
    other = {"node": {0: "x"}, "weights": axes, "outputs": ("z", "Y_h")}
    made = model(before=before, after=after, **other)
    with pytest.raises(ValueError, match="pass layout=1"):
        from_onnx(made)
    assert from_onnx(made, layout=1)[0] == rj.LSTM(4)
    assert from_onnx(model(layout=1), layout=1)[0] == rj.LSTM(4)


LARGE = np.zeros((1, 16, 3), "float32")
RELU = helper.make_node("Relu", ["Y"], ["z"])
REFUSED = {
    "direction": (lambda: model(direction="reverse"), "direction is 'reverse'"),
    "layout": (lambda: model(layout=1), "layout is 1; pass layout=1"),
    "activation": (lambda: model(activations=["Tanh"] * 2 + ["Sin"]), "'Sin'; known"),
    "activations": (lambda: model(activations=["Tanh"]), "activations must be 3, got"),
    "alpha": (
        lambda: model(activations=["Affine", "Tanh", "Tanh"], activation_alpha=[1.0]),
        "'Affine' without activation_beta",
    ),
    "too_many_alphas": (
        lambda: model(activations=["Elu"] * 3, activation_alpha=[1.0] * 4),
        "more numbers than",
    ),
    "clip": (lambda: model(clip=-1.0), "clip must be positive and finite, got -1.0"),
    "input_forget": (lambda: model(input_forget=2), "input_forget must be 0 or 1"),
    "hidden_size": (lambda: model(hidden_size=5), "hidden_size is 5, but R is of 4"),
    "sequence_lens": (
        lambda: model(node={4: "n"}, weights={"n": np.array([1], "int32")}),
        "sequence_lens is computed or constant",
    ),
    "initial_h": (
        lambda: model(node={5: "h"}, weights={"h": np.ones((1, 1, 4), "float32")}),
        "initial_h is neither zero nor an input",
    ),
    "shape": (lambda: model(weights={"R": LARGE}), "W must be of shape"),
    "peepholes": (
        lambda: model(node={7: "P"}, weights={"P": np.ones((1, 8), "float32")}),
        "P must be of shape (1, 12)",
    ),
    "computed_weights": (
        lambda: model(node={1: "w"}, before=[helper.make_node("Abs", ["W"], ["w"])]),
        "'w' must be a constant in the model",
    ),
    "integer_weights": (
        lambda: model(weights={"W": np.ones((1, 16, 2), "int32")}),
        "W must be floating point",
    ),
    "squeezed": (
        lambda: model(
            direction="bidirectional",
            after=[helper.make_node("Squeeze", ["Y", "axes"], ["z"])],
            weights={"axes": np.array([1])},
            outputs=("z",),
        ),
        "an axis of two directions is squeezed",
    ),
    "another_node": (
        lambda: model(after=[RELU], outputs=("z",)),
        "Relu 'z' is not und",
    ),
    "no_node": (
        lambda: helper.make_model(helper.make_graph([RELU], "g", [], [])),
        "valid model",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    make, match = REFUSED[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        from_onnx(make())
    assert match in str(caught.value) and "from_onnx" in str(caught.value)


def test_old_attributes_are_refused():
    made = model()
    made.graph.node[0].attribute.append(helper.make_attribute("output_sequence", 1))
    made.opset_import[0].version = 3
    with pytest.raises(ValueError, match="output_sequence|valid model"):
        from_onnx(made)


def test_branches_are_refused():
    cell = rj.Deep((rj.GRU(4), rj.GRU(4)))
    made = to_onnx(cell, drawn(cell, 4))
    second = [n for n in made.graph.node if n.op_type == "GRU"][1]
    second.input[0] = "X"
    with pytest.raises(ValueError, match="branches are not understood"):
        from_onnx(made)


def test_damaged_files(tmp_path):
    cell = rj.LSTM(4)
    whole = to_onnx(cell, drawn(cell, 3)).SerializeToString()
    path = tmp_path / "it.onnx"
    for size in (1, len(whole) // 3, len(whole) - 3):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="from_onnx"):
            from_onnx(path)
    path.write_bytes(b"\x80\x04" + bytes(range(256)))
    with pytest.raises(ValueError, match="from_onnx"):
        from_onnx(path)


def test_what_is_no_model(tmp_path):
    for wrong in (None, 5, b"model", [], {}):
        with pytest.raises(TypeError, match="from_onnx: model must be a path, str or"):
            from_onnx(wrong)
    with pytest.raises(ValueError, match="from_onnx: model must be .* is a directory"):
        from_onnx(tmp_path)
    path = tmp_path / "it.onnx"
    with path.open("wb") as file:
        file.truncate(2**40)  # all of it a hole
    with pytest.raises(ValueError, match="a model in one file has at most 2 GiB"):
        from_onnx(path)


def test_options_that_are_none():
    for layout in (2, -1, "0", None):
        with pytest.raises((ValueError, TypeError), match=r"layout must be one of \[0"):
            from_onnx(model(layout=1), layout=layout)
    for direction in ("both", "bidirectional", None, 5):
        with pytest.raises((ValueError, TypeError), match="direction must be one of"):
            from_onnx(model(direction="reverse"), direction=direction)


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    cell = rj.GRU(4)
    for call in (lambda: from_onnx("it"), lambda: to_onnx(cell, drawn(cell, 3))):
        with pytest.raises(
            ModuleNotFoundError,
            match=r"_onnx needs onnx: pip install 'recurrent-jax\[convert\]'",
        ):
            call()


def test_names_and_dtypes_that_are_none():
    whole = model().SerializeToString()
    made = onnx.ModelProto.FromString(whole.replace(b"LSTM", b"LS\xffM"))
    with pytest.raises(ValueError, match="a name in it is not UTF-8|not a valid model"):
        from_onnx(made)
    made = model()
    made.graph.initializer[0].data_type = 65
    with pytest.raises(ValueError, match="from_onnx: .*(is damaged|not a valid model)"):
        from_onnx(made)


def test_a_long_chain_before_a_weight_is_refused():
    names = ["W", *(f"w{n}" for n in range(3000))]
    before = [
        helper.make_node("Identity", [a], [b])
        for a, b in zip(names[:-1], names[1:], strict=True)
    ]
    with pytest.raises(ValueError, match="nested too deep"):
        from_onnx(model(before=before, node={1: names[-1]}))


def test_hostile_tensors():
    made = model()
    made.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(ValueError, match="from_onnx"):
        from_onnx(made)
    made = model()
    made.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    entry = made.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    with pytest.raises(ValueError, match="stand in another file"):
        from_onnx(made)


def test_a_long_chain_of_nodes_is_refused():
    names = ["Y", *(f"y{n}" for n in range(3000))]
    after = [
        helper.make_node("Identity", [a], [b])
        for a, b in zip(names[:-1], names[1:], strict=True)
    ]
    with pytest.raises(ValueError, match="nested too deep"):
        from_onnx(model(after=after, outputs=(names[-1],)))


UNWRITABLE = {
    "no_operator": (rj.MGU(4), "ONNX has no MGU"),
    "activation": (rj.LSTM(4, activation=jnp.sin), "ONNX has no activation"),
    "clip": (rj.GRU(4, activation=clipped(jnp.tanh)), "clips all gates alike"),
    "output_clip": (
        rj.LSTM(4, output_activation=clipped(jnp.tanh)),
        "ONNX has no output_activation",
    ),
    "cell_clip": (rj.PeepholeLSTM(4, cell_clip=1.0), "ONNX has no cell_clip"),
    "sizes": (rj.Bidirectional(rj.GRU(4), rj.GRU(3)), "of one size, form and clip"),
    "forms": (
        rj.Bidirectional(rj.GRU(4), rj.GRU(4, reset_after=False)),
        "of one size, form and clip",
    ),
    "biases": (
        rj.Bidirectional(rj.LSTM(4), rj.LSTM(4, use_bias=False)),
        "have a bias or none",
    ),
    "residual": (rj.Deep((rj.GRU(4), rj.GRU(4)), residual=True), "write residual"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_no_node_can_say_is_refused(case):
    network, match = UNWRITABLE[case]
    with pytest.raises((ValueError, TypeError), match=match):
        to_onnx(network, drawn(network, 4))


def test_bfloat16_and_directions_are_refused():
    cell = rj.GRU(4)
    with pytest.raises(TypeError, match="no bfloat16 for these nodes"):
        to_onnx(cell, drawn(cell, 3, "bfloat16"))
    with pytest.raises(ValueError, match="direction must be one of"):
        to_onnx(cell, drawn(cell, 3), direction="both")
    both = rj.Bidirectional(cell)
    with pytest.raises(ValueError, match="flip the input"):
        to_onnx(both, drawn(both, 3), direction="reverse")
