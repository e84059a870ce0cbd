# SPDX-License-Identifier: Apache-2.0
"""Rows of what reaches outside: converters, files, Flax, and functions of initialisers.

Torch and ONNX are asked for by the functions that need them, so their rows are left out
where they are not installed.
"""

import importlib.util
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

import recurrent_jax as rj
from fuzz import kinds as k
from fuzz.classes import initializer
from fuzz.judge import Row
from recurrent_jax import convert, initializers, linen, training
from recurrent_jax import nnx as ours

KEY = jax.random.key(0)
FEATURES = 2
CELLS = {
    **dict.fromkeys(("torch", "keras", "haiku", "linen", "nnx", "cudnn"), rj.LSTM(4)),
    "equinox": rj.GRU(4),
    "onnx": rj.LSTM(4),
}
PARAMS = {
    name: k.blank(jax.eval_shape(lambda cell=cell: cell.init(KEY, FEATURES)))
    for name, cell in CELLS.items()
}
# How messages of converters call parts of what they are given.
SAID = ("layer", "cores", "name", "parts", "parameters", "recurrent_kernel", "bias")
# A cell of another kind that has the same fields is refused by its params.
FIXED = k.Kind(lambda v: False)


def weights() -> k.Kind:
    """Weights of another library: a tree of floats of one dtype.

    Shapes are left out: other shapes may be those of another network.
    """
    shapes = ("axis", "more", "number", "part 0: none", "all bfloat16")
    return k.Kind(
        lambda v: False,
        lambda v: {
            name: tree
            for name, tree in k.broken(v).items()
            if not any(word in name for word in shapes)
        },
    )


def own_params(cell: rj.Cell) -> k.Kind:
    """Parameters of a cell, for any number of features."""
    kinds = [
        k.like(k.blank(jax.eval_shape(lambda n=n, d=d: cell.init(KEY, n, d))))
        for n in (FEATURES, FEATURES + 1)
        for d in ("float32", "bfloat16")
    ]
    return k.Kind(lambda v: any(kind.takes(v) for kind in kinds), kinds[0].wrong)


def rows() -> Iterator[Row]:
    yield from converters()
    yield from files()
    yield from of_linen()
    yield from of_nnx()
    yield from of_initializers()


def converters() -> Iterator[Row]:
    options = {"nearest": (False, k.FLAG)}
    for name, cell in CELLS.items():
        if name == "onnx" and importlib.util.find_spec("onnx") is None:
            continue
        params = PARAMS[name]
        own = options
        if name == "onnx":
            own = {
                "direction": ("forward", k.one_of("forward", "reverse")),
                "lengths": (False, k.FLAG),
                "initial_states": (False, k.FLAG),
            }
        if name == "nnx":
            own = options | {"optimized": (False, k.FLAG)}
        arguments = {"network": (cell, FIXED), "params": (params, own_params(cell))}
        to = getattr(convert, f"to_{name}")
        yield Row(f"convert.to_{name}", to, arguments | own, False, also=SAID)
        yield Row(
            f"convert.from_{name}",
            getattr(convert, f"from_{name}"),
            read(name, to(cell, params)),
            traced=False,
            also=("weight", "weights", "dictionary", *SAID),
        )


def read(name: str, theirs: Any) -> dict[str, tuple[Any, k.Kind]]:
    """Return the arguments of the converter from a library."""
    shape = k.optional(k.parts(k.SIZE))
    functions = {
        "gate_fn": (jax.nn.sigmoid, k.FUNCTION),
        "activation_fn": (jnp.tanh, k.FUNCTION),
        "residual": (False, k.FLAG),
    }
    return {
        "torch": {
            "state_dict": (theirs, weights()),
            "nonlinearity": ("tanh", k.optional(k.one_of("tanh", "relu"))),
            "dropout": (0.0, k.RATE),
            "prefix": ("", k.one_of("", "text")),
        },
        "keras": {
            "weights": (theirs, k.Kind(_are_arrays, weights().wrong)),
            "activation": ("tanh", k.either(k.FUNCTION, k.one_of("tanh"))),
            "recurrent_activation": ("sigmoid", k.either(k.FUNCTION, k.TEXT)),
            "reset_after": (True, k.FLAG),
            "merge_mode": (None, k.optional(k.one_of("concat", "sum", "ave", "mul"))),
        },
        "haiku": {"params": (theirs, weights())},
        "equinox": {"module": (theirs, weights())},
        "linen": {"variables": (theirs, weights()), "spatial_shape": (None, shape)}
        | functions,
        "nnx": {"params": (theirs, weights())} | functions,
        "cudnn": {
            "weights": (theirs, _is_vector_like(theirs)),
            "input_size": (FEATURES, k.Kind(lambda v: k.SIZE.takes(v) and v == 2)),
            "hidden_size": (4, k.Kind(lambda v: k.SIZE.takes(v) and v == 4)),
            "num_layers": (1, k.Kind(lambda v: k.SIZE.takes(v) and v == 1)),
            "bidirectional": (False, k.FLAG),
        },
        "onnx": {
            "model": (theirs, FIXED),
            "direction": ("forward", k.one_of("forward", "reverse", "bidirectional")),
            "layout": (0, k.Kind(lambda v: k.INTEGER.takes(v) and v in (0, 1))),
        },
    }[name]


def _is_vector_like(vector: Any) -> k.Kind:
    one = k.array("float", most=1)
    return k.Kind(lambda v: one.takes(v) and v.shape == vector.shape, one.wrong)


def _has_names(tree: Any) -> Any:
    """Return whether a tree has the names of another; shapes are left to `unroll`."""
    one = k.array("float")
    return lambda v: (
        jax.tree.structure(v) == jax.tree.structure(tree)
        and all(map(one.takes, jax.tree.leaves(v)))
    )


def _are_arrays(v: Any) -> bool:
    """Kernels and a bias of a layer, in any list."""
    return isinstance(v, tuple | list) and all(
        len(getattr(a, "shape", ())) == rank
        for a, rank in zip(v, (2, 2, 1), strict=False)
    )


def files() -> Iterator[Row]:
    folder = pathlib.Path(tempfile.mkdtemp())
    params = PARAMS["torch"]
    path = k.Kind(lambda v: isinstance(v, str))
    arguments = {
        "path": (folder / "weights.safetensors", path),
        "params": (params, k.tree("fiubV")),
    }
    convert.save_safetensors(folder / "weights.safetensors", params)
    yield Row("convert.save_safetensors", convert.save_safetensors, arguments, False)
    like = k.either(k.like(params), k.like(params._asdict()))  # of the same names
    arguments = arguments | {"like": (params, like)}
    arguments.pop("params")
    yield Row("convert.load_safetensors", convert.load_safetensors, arguments, False)
    arguments = {"path": arguments["path"]}
    yield Row("convert.read_safetensors", convert.read_safetensors, arguments, False)
    directory = {"directory": (folder / "state", path), "about": ("", k.TEXT)}
    training.save(folder / "state", params)
    arguments = {
        "state": (params, k.Kind(lambda v: v is not None)),
        "keep": (3, k.SIZE),
    }
    yield Row("training.save", training.save, directory | arguments, False)
    arguments = {"like": (params, k.like(params))}
    yield Row("training.restore", training.restore, directory | arguments, False)


def of_linen() -> Iterator[Row]:
    cell = rj.LSTM(4)
    dtypes = {
        "deterministic": (None, k.optional(k.FLAG)),
        "dtype": (None, k.optional(k.DTYPE)),
        "param_dtype": (jnp.float32, k.DTYPE),
    }
    arguments = {"cell": (cell, k.MODEL)} | dtypes
    yield Row("linen.RNN", linen.RNN, arguments, False)
    arguments = {"cell": (cell, k.CELL)} | dtypes
    yield Row("linen.RNNCell", linen.RNNCell, arguments, False)
    arguments = {
        "forward_cell": (cell, k.MODEL),
        "backward_cell": (None, k.optional(k.MODEL)),
        "merge": (None, k.optional(k.one_of("concatenate", "sum", "mean", "product"))),
    } | dtypes
    yield Row("linen.Bidirectional", linen.Bidirectional, arguments, False)
    arguments = {
        "layers": ((cell, rj.GRU(3)), k.parts(k.MODEL)),
        "residual": (False, k.FLAG),
        "skip": (False, k.FLAG),
        "dropout": (0.0, k.RATE),
    } | dtypes
    yield Row("linen.Deep", linen.Deep, arguments, False)
    is_module = k.Kind(lambda v: isinstance(v, nn.RNNCellBase))
    arguments = {
        "module": (nn.GRUCell(features=3), is_module),
        "feature_shape": (None, k.optional(k.parts(k.SIZE))),
    }
    yield Row("linen.FromFlax", linen.FromFlax, arguments, False)
    params = PARAMS["linen"]
    # A cell may have no parameters.
    packed = k.either(k.tree(), k.Kind(lambda v: v in ((), {}, [])))
    yield Row("linen.pack", linen.pack, {"params": (params, packed)}, False)
    packed = linen.pack(params)
    arguments = {
        "cell": (cell, FIXED),
        "variables": (packed, k.Kind(_has_names(packed), weights().wrong)),
        "in_features": (FEATURES, k.SIZE),
    }
    yield Row("linen.unpack", linen.unpack, arguments, False)
    arguments = {
        "network": (cell, FIXED),
        "variables": (packed, weights()),
        "nearest": (False, k.FLAG),
    }
    yield Row(
        "linen.to_flax",
        linen.to_flax,
        arguments,
        traced=False,
        also=("params",),
        inside=("to_linen",),
    )
    yield from of_axes("linen", linen)
    theirs = linen.to_flax(cell, packed)
    arguments = read("linen", theirs)
    also = ("weight", "weights", *SAID)
    yield Row("linen.from_flax", linen.from_flax, arguments, False, also)


def of_axes(room: str, module: Any) -> Iterator[Row]:
    """The functions that name axes of parameters, in either room of modules."""
    axis = k.Kind(lambda v: v is None or isinstance(v, str))
    arguments = {"batch": ("data", axis), "units": (None, axis), "fsdp": (None, axis)}
    yield Row(f"{room}.axis_rules", module.axis_rules, arguments, False)
    arguments = {"network": (rj.LSTM(4), k.MODEL), "in_features": (FEATURES, k.SIZE)}
    yield Row(f"{room}.logical_axes", module.logical_axes, arguments, False)


def of_nnx() -> Iterator[Row]:
    yield from of_axes("nnx", ours)
    cell = rj.LSTM(4)
    given = {
        "in_features": (FEATURES, k.SIZE),
        "deterministic": (False, k.FLAG),
        "dtype": (None, k.optional(k.DTYPE)),
        "param_dtype": (jnp.float32, k.DTYPE),
        "rngs": (nnx.Rngs(0), k.Kind(lambda v: False)),
    }
    sequence = {
        "reverse": (False, k.FLAG),
        "time_axis": (1, k.INTEGER),
        "backward": (None, k.optional(k.Kind(lambda v: hasattr(v, "run")))),
    }
    arguments = {"cell": (cell, k.MODEL)} | given | sequence
    yield Row("nnx.RNN", ours.RNN, arguments, False)
    arguments = {"cell": (cell, k.CELL)} | given
    yield Row("nnx.RNNCell", ours.RNNCell, arguments, False)
    arguments = {
        "forward_cell": (cell, k.MODEL),
        "backward_cell": (None, k.optional(k.MODEL)),
        "merge": (None, k.optional(k.one_of("concatenate", "sum", "mean", "product"))),
    }
    yield Row("nnx.Bidirectional", ours.Bidirectional, arguments | given, False)
    arguments = {
        "layers": ((cell, rj.GRU(3)), k.parts(k.MODEL)),
        "residual": (False, k.FLAG),
        "skip": (False, k.FLAG),
        "dropout": (0.0, k.RATE),
    }
    yield Row("nnx.Deep", ours.Deep, arguments | given, False)
    make = {"make": (lambda **more: nnx.GRUCell(hidden_features=3, **more), k.FUNCTION)}
    yield Row("nnx.FromFlax", ours.FromFlax, make, False)
    rnn = ours.RNN(cell, FEATURES, rngs=nnx.Rngs(0))
    params = PARAMS["nnx"]
    named = k.either(k.like(params), k.like(params._asdict()))
    arguments = {"module": (rnn, FIXED), "params": (params, named)}
    yield Row("nnx.load", ours.load, arguments, False)
    yield Row("nnx.unpack", ours.unpack, {"module": (rnn, FIXED)}, False)
    arguments = {
        "module": (rnn, FIXED),
        "optimized": (False, k.FLAG),
        "nearest": (False, k.FLAG),
    }
    yield Row("nnx.to_flax", ours.to_flax, arguments, False)
    theirs = nnx.RNN(nnx.LSTMCell(2, 3, rngs=nnx.Rngs(0)))
    yield Row("nnx.from_flax", ours.from_flax, {"module": (theirs, FIXED)}, False)


def of_initializers() -> Iterator[Row]:
    for name in (
        *("glorot_uniform", "haiku_linear", "identity", "lecun_normal"),
        *("lecun_uniform", "orthogonal", "torch_bias", "torch_uniform"),
        *("uniform_gate", "zeros"),
    ):
        row = initializer(f"initializers.{name}", getattr(initializers, name))
        if name in ("identity", "zeros"):  # they draw nothing
            row.arguments["key"] = (KEY, k.ANYTHING)
        yield row
    arguments = {
        "initializer": (initializers.zeros, k.INITIALIZER),
        "key": (KEY, k.KEY),
        "shape": ((3, 4), k.BATCH_SHAPE),
        "gates": (2, k.SIZE),
        "dtype": (jnp.float32, k.DTYPE),
    }
    yield Row(
        "initializers.per_gate", initializers.per_gate, arguments, inside=("zeros",)
    )
    names = ("keras", "flax", "torch", "haiku", "equinox")
    arguments = {
        "name": ("torch", k.one_of(*names)),
        "cell": (rj.LSTM(4), k.CELL),
        "in_features": (3, k.optional(k.SIZE)),
    }
    yield Row("initializers.preset", initializers.preset, arguments, False)
    arguments = {
        "initializer": (initializers.Chrono(9), k.FUNCTION),
        "cell": (rj.LSTM(4), k.CELL),
    }
    yield Row("initializers.timescales", initializers.timescales, arguments, False)
    arguments = {
        "activation": (jnp.tanh, k.FUNCTION),
        "variance": (1.0, k.NON_NEGATIVE),
    }
    name = "initializers.critical_gain"
    yield Row(name, initializers.critical_gain, arguments, False)
