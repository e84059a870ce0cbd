# SPDX-License-Identifier: Apache-2.0
"""What modules are given wrongly, in both kinds of Flax: one answer, and the fix."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import recurrent_jax as rj
from recurrent_jax import linen
from recurrent_jax import nnx as ours
from recurrent_jax._flax import names

CELL, KEY = rj.LSTM(3), jax.random.key(0)
XS = jnp.ones((5, 7, 2))
VARIABLES = linen.RNN(CELL).init(KEY, XS)


def rngs():
    return nnx.Rngs(0)


def built(lane, cell=CELL, **options):
    """Build an RNN of one lane."""
    if lane == "linen":
        return linen.RNN(cell, **options)
    return ours.RNN(cell, 2, rngs=rngs(), **options)


def called(lane, xs=XS, **options):
    module = built(lane)
    return (
        module.apply(VARIABLES, xs, **options)
        if lane == "linen"
        else module(xs, **options)
    )


LANES = pytest.mark.parametrize("lane", ["linen", "nnx"])
CELLS = {
    "class": (lambda: rj.LSTM, "is the class LSTM; build one first: LSTM(hidden_size="),
    "none": (lambda: None, "must be a cell or network such as recurrent_jax.LSTM(4)"),
    "size": (lambda: 3, "must be a cell or network .*, got 3"),
    "params": (lambda: CELL.init(KEY, 2), "the order is (cell, params)"),
    "of_linen": (
        lambda: nn.LSTMCell(4),
        "got a LSTMCell of Flax; recurrent_jax.linen.FromFlax makes a cell of it",
    ),
    "of_nnx": (
        lambda: nnx.LSTMCell(2, 4, rngs=rngs()),
        "got a LSTMCell of Flax; recurrent_jax.nnx.FromFlax makes a cell of it",
    ),
}


@LANES
@pytest.mark.parametrize("case", CELLS)
def test_what_is_no_cell(lane, case):
    make, match = CELLS[case]
    match = match.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(TypeError, match=f"^RNN: cell .*{match}|^RNN: cell {match}"):
        built(lane, make())


NAMES = {
    "seq_lengths": "it is lengths here",
    "initial_carry": "it is carry here",
    "return_carry": "the carry is always returned, before the outputs",
    "time_major": "it is time_axis=0 of the module here",
    "hidden_size": "the cell has it",
    "num_layers": "layers are a network: Deep",
    "unheard_of": "there are ",
}


@LANES
@pytest.mark.parametrize("name", NAMES)
def test_names_that_only_flax_has(lane, name):
    match = f"^RNN: there is no argument {name}; {NAMES[name]}"
    for make in (built, called):
        with pytest.raises(TypeError, match=match):
            make(lane, **{name: 1})


@LANES
def test_fields_are_no_options_of_a_call(lane):
    with pytest.raises(TypeError, match=r"reverse belongs to the module: RNN\(..., re"):
        called(lane, reverse=True)


@LANES
def test_a_call_takes_its_inputs_by_position_alone(lane):
    module = built(lane)
    call = module if lane == "nnx" else lambda *a: module.apply(VARIABLES, *a)
    match = r"^RNN: takes 1 argument by position, \(xs\), got 2; .* such as carry="
    with pytest.raises(TypeError, match=match):
        call(XS, jnp.ones(5, int))


def test_a_call_takes_what_unroll_takes():
    by_name = {
        name
        for name, parameter in inspect.signature(rj.unroll).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    own = {*names.FIELDS, "key"}
    assert own < by_name
    assert set(names.Options.__annotations__) == by_name - own


FIELDS = {
    "in_features": (0, "in_features must be at least 1, got 0"),
    "reverse": ("no", "reverse must be a Python bool, got 'no'"),
    "time_axis": (0.5, "time_axis must be a Python integer, got 0.5"),
    "deterministic": (3, "deterministic must be a Python bool"),
    "dtype": ("int", "dtype must be a floating-point dtype"),
    "param_dtype": ("flt", "param_dtype must be a floating-point dtype"),
}


@LANES
@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_modules(lane, field):
    value, match = FIELDS[field]
    if (lane, field) == ("nnx", "in_features"):
        make = lambda: ours.RNN(CELL, value, rngs=rngs())  # noqa: E731
    else:
        make = lambda: built(lane, **{field: value})  # noqa: E731
    with pytest.raises((TypeError, ValueError), match=match):
        make()


@LANES
def test_inputs_that_are_none(lane):
    for xs in (None, "text", object()):
        with pytest.raises((TypeError, ValueError), match=r"^(RNN|unroll): .*\bxs\b"):
            called(lane, xs)
    with pytest.raises(TypeError, match="RNN: carry must be arrays"):
        called(lane, carry="text")
    with pytest.raises(TypeError, match="RNN: deterministic must be a Python bool"):
        called(lane, deterministic="no")


def test_weights_of_flax_in_a_module_of_ours():
    theirs = nn.RNN(nn.LSTMCell(3)).init(KEY, XS)
    with pytest.raises(ValueError, match="'cell/hf/bias'.* from_flax converts those"):
        linen.RNN(CELL).apply(theirs, XS)
    weights = {"dense_i": {"kernel": jnp.ones((2, 12))}}
    with pytest.raises(ValueError, match="dense_i/kernel.* from_flax converts those"):
        ours.load(built("nnx"), weights)


CALLS = {
    "load": (lambda: ours.load(None, ()), "load: module must be a module of"),
    "load_text": (
        lambda: ours.load(built("nnx"), "abc"),
        "load: params must be a tree of floating-point arrays",
    ),
    "nnx_unpack": (lambda: ours.unpack(VARIABLES), "unpack: module must be a module"),
    "nnx_to": (lambda: ours.to_flax(CELL), "to_flax: module must be a module of"),
    "nnx_from": (lambda: ours.from_flax(CELL), "from_flax: module must be a module of"),
    "rngs": (lambda: ours.RNN(CELL, 2, rngs=5), "rngs must be streams of keys such as"),
    "pack": (
        lambda: linen.pack("abc"),
        "pack: params must be a tree of floating-point arrays",
    ),
    "unpack": (
        lambda: linen.unpack(CELL, {"kernel": jnp.ones(2)}),
        r"unpack: variables must hold 'params', got \['kernel'\]",
    ),
    "unpack_order": (
        lambda: linen.unpack(VARIABLES, CELL),
        "unpack: cell must be a cell or network such as",
    ),
    "linen_to": (lambda: linen.to_flax(None, VARIABLES), "to_flax: network must be a"),
    "linen_from": (lambda: linen.from_flax(None), "variables must be dictionaries of"),
    "linen_from_gate": (
        lambda: linen.from_flax(VARIABLES, gate_fn="sigmoid"),
        "from_flax: gate_fn must be a function",
    ),
    "deep": (lambda: linen.Deep((rj.LSTM, CELL)), "Deep: layers must be a tuple of at"),
    "nnx_deep": (lambda: ours.Deep(CELL, 2, rngs=rngs()), "Deep: layers must be a tup"),
    "both": (lambda: linen.Bidirectional(None), "Bidirectional: forward_cell must be"),
    "cell": (lambda: linen.RNNCell(None), "RNNCell: cell must be a cell such as"),
}


@pytest.mark.parametrize("case", CALLS)
def test_functions_of_the_rooms(case):
    call, match = CALLS[case]
    with pytest.raises((TypeError, ValueError), match=match):
        call()


def test_cells_of_a_compact_model_of_flax():
    """They lie side by side in the model that made them."""

    class Compact(nn.Module):
        @nn.compact
        def __call__(self, xs):
            for _ in range(2):
                one, other = (nn.RNN(nn.OptimizedLSTMCell(3)) for _ in range(2))
                xs = nn.Bidirectional(one, other)(xs)
            return xs

    ys, variables = Compact().init_with_output(KEY, XS)
    cells = [variables["params"][f"OptimizedLSTMCell_{n}"] for n in range(4)]
    layers = [
        {"forward": one, "backward": other}
        for one, other in zip(cells[::2], cells[1::2], strict=True)
    ]
    network, params = rj.convert.from_linen(layers)
    _, same = rj.unroll(network, params, XS, time_axis=1)
    assert jnp.allclose(same, ys, atol=1e-5)
