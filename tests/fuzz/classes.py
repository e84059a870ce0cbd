# SPDX-License-Identifier: Apache-2.0
"""Rows of every class whose fields are checked: cells, wrappers, networks and so on.

A class is found in its room. What a field takes goes by its name; a few differ from
class to class.
"""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import CELLS, INPUTS

import recurrent_jax as rj
from fuzz import kinds as k
from fuzz.judge import Row

ROOMS = (
    *("activations", "backward", "cells", "initializers", "networks", "online"),
    *("operators", "wrappers"),
)
# Rooms whose names are not at the top level, and may be there twice.
APART = {"activations", "initializers"}
# Protocols and bases, which are not built.
ABSTRACT = {"Backward", "Cell", "Network", "Operator", "Wrapper"}
ABSTRACT |= {"LinearCell", "MatrixCell", "Learner"}

KEY = jax.random.key(0)
CELL = rj.GRU(3)

FIELDS: dict[str, k.Kind] = {
    **dict.fromkeys(("hidden_size", "in_features", "features", "heads"), k.SIZE),
    **dict.fromkeys(("backbone_size", "unfolds", "blocks", "max_steps"), k.SIZE),
    **dict.fromkeys(("backbone_layers", "rounds"), k.COUNT),
    **dict.fromkeys(("memory_features", "k1", "levels"), k.SIZE),
    **dict.fromkeys(("output_size", "projection_size", "rank"), k.optional(k.SIZE)),
    **dict.fromkeys(("attention_size", "every", "budget", "k2"), k.optional(k.SIZE)),
    **dict.fromkeys(("block", "size", "state_size", "key_size"), k.optional(k.SIZE)),
    **dict.fromkeys(("groups", "trace_size", "context_size"), k.SIZE),
    **dict.fromkeys(("log_space", "negative_eigenvalues", "complex_state"), k.FLAG),
    **dict.fromkeys(
        ("max_phase", "min_step_size", "max_step_size", "temperature", "power"),
        k.POSITIVE,
    ),
    **dict.fromkeys(
        ("min_step", "max_step", "step_scale", "min_period", "max_period", "max_rate"),
        k.POSITIVE,
    ),
    "discretization": k.one_of("zoh", "bilinear"),
    "spectrum": k.one_of("lin", "inv", "legs"),
    "min_radius": k.RATE,
    "max_radius": k.SHARE,
    **dict.fromkeys(("use_bias", "reset_after", "gated", "gate"), k.FLAG),
    **dict.fromkeys(("peepholes", "use_peephole", "gates_apart", "normalise"), k.FLAG),
    **dict.fromkeys(("gate_keeps_old", "residual", "skip"), k.FLAG),
    **dict.fromkeys(("forget_bias", "zeta_logit", "nu_logit", "alpha_logit"), k.REAL),
    **dict.fromkeys(("beta_logit", "beta", "gain", "scale", "slope"), k.REAL),
    **dict.fromkeys(("low", "high", "alpha", "diffusion", "threshold"), k.REAL),
    **dict.fromkeys(("epsilon", "step_size", "radius"), k.POSITIVE),
    **dict.fromkeys(("damping", "stiffness", "stddev"), k.NON_NEGATIVE),
    **dict.fromkeys(("cell_clip", "projection_clip"), k.BOUND),
    **dict.fromkeys(("max_norm", "max_value"), k.BOUND),
    "jacobian": k.one_of("auto", "exact", "units", "diagonal"),
    "otherwise": k.one_of("loop", "nan", "raise"),
    "tolerance": k.optional(k.POSITIVE),
    "max_iterations": k.SIZE,
    "chunk": k.optional(k.SIZE),
    "highway_bias": k.REAL,
    "leak": k.SHARE,
    "density": k.SHARE,
    "bound": k.POSITIVE,
    "rate": k.RATE,
    "dropout": k.RATE,
    "decay": k.RATE,
    "seed": k.COUNT,
    "variant": k.one_of(1, 2, 3),
    "score": k.one_of("additive", "multiplicative"),
    "padding": k.one_of("SAME", "VALID"),
    "merge": k.optional(k.one_of("concatenate", "sum", "mean", "product")),
    "gates": k.Kind(lambda v: isinstance(v, str) and v in tuple_of_gates()),
    "spatial_shape": k.Kind(lambda v: k.parts(k.SIZE).takes(v) and len(v) <= 3),
    "kernel_shape": k.either(k.SIZE, k.parts(k.SIZE)),
    "strides": k.either(k.SIZE, k.parts(k.SIZE)),
    "cell": k.CELL,
    "cells": k.parts(k.CELL),
    "layers": k.parts(k.MODEL),
    "forward": k.MODEL,
    "backward": k.optional(k.MODEL),
    "operator": k.Kind(lambda v: hasattr(v, "dense")),
    "wiring": k.optional(k.Kind(lambda v: callable(v) and not isinstance(v, type))),
    "excitatory": k.optional(k.numbers(lambda v: 0 <= v <= 1)),
    "initializer": k.FUNCTION,
    "activation": k.FUNCTION,
    "compute": k.DTYPE,
    # Names of mesh axes.
    **dict.fromkeys(
        ("units", "batch", "time"), k.Kind(lambda v: v is None or isinstance(v, str))
    ),
}
OWN: dict[tuple[str, str], k.Kind] = {
    ("BatchNormLSTM", "scale"): k.REAL,
    ("Chrono", "max_steps"): k.numbers(lambda v: v > 2),
    ("MLSTM", "epsilon"): k.NON_NEGATIVE,
    ("Newton", "damping"): k.numbers(lambda v: 0 <= v <= 1),
    ("RGLRU", "min_radius"): k.SHARE,
    ("TimeAwareLSTM", "decay"): k.FUNCTION,
    # A function of activations: any parameter of theirs is a number.
    **{(name, "alpha"): k.REAL for name in ("Affine", "ScaledTanh", "HardSigmoid")},
    **{(name, "beta"): k.REAL for name in ("Affine", "ScaledTanh", "HardSigmoid")},
    # One rate for all of the carry, or one for each part.
    ("Zoneout", "rate"): k.Kind(
        lambda v: k.RATE.takes(v) or (isinstance(v, tuple) and hasattr(v, "_fields"))
    ),
}
# What a class must be given. Others are built from their defaults.
GIVEN: dict[str, Any] = {
    **{"hidden_size": 4, "in_features": 3, "features": 2, "spatial_shape": (3,)},
    **{"cell": CELL, "cells": (CELL, rj.Elman(4)), "layers": (CELL, rj.Elman(4))},
    **{"forward": CELL, "rate": 0.2, "memory_features": 3, "blocks": 2, "rank": 2},
    **{"density": 0.5, "operator": None, "k1": 2, "stddev": 0.1, "gain": 2.0},
    **{"initializer": rj.initializers.orthogonal, "low": 0.0, "high": 1.0},
    **{"radius": 0.9, "max_steps": 9, "alpha": 0.5, "beta": 0.5, "bound": 2.0},
    **{"activation": jnp.tanh, "max_norm": 1.0, "decay": 0.5, "theta": 1.0},
    "compute": "bfloat16",
}


def tuple_of_gates() -> tuple[str, ...]:
    return ("i", "f", "o", "if", "io", "fo", "ifo", "")


def classes() -> dict[str, type]:
    """Return every class whose fields are checked, by room and name."""
    found = {}
    for room in ROOMS:
        module = getattr(rj, room, None)
        for name in _public(module):
            member = getattr(module, name)
            if inspect.isclass(member) and dataclasses.is_dataclass(member):
                if not issubclass(member, tuple) and name not in ABSTRACT:
                    prefix = f"{room}." if room in APART else ""
                    found.setdefault(member, f"{prefix}{name}")
    for name in rj.__all__:
        member = getattr(rj, name)
        if inspect.isclass(member) and dataclasses.is_dataclass(member):
            if name not in ABSTRACT:
                found.setdefault(member, f"{name}")
    return {name: member for member, name in found.items()}


def _public(module: Any) -> list[str]:
    if module is None:
        return []
    names = getattr(module, "__all__", None) or dir(module)
    return [name for name in names if not name.startswith("_")]


def kind_of(name: str, field: str) -> k.Kind:
    """Return what a field of a class takes."""
    if (name, field) in OWN:
        return OWN[name, field]
    if field.endswith("_init"):
        return k.INITIALIZER
    if field.endswith("activation"):
        return k.FUNCTION
    return FIELDS[field]


def built(name: str, cls: type) -> Row:
    """Return the row of a constructor."""
    arguments = {}
    for field in dataclasses.fields(cls):
        if not field.init or field.name in ("parent", "name"):
            continue
        value = field.default
        if (name, field.name) == ("Sharded", "units"):  # it needs one of its arguments
            value = "model"
        if value is dataclasses.MISSING:
            value = GIVEN[field.name]
            if name in ("RGLRU", "S4D"):  # they have as many units as features
                value = FEATURES
            if field.name == "operator":
                value = getattr(rj, "operators", rj).Diagonal()
        arguments[field.name] = value, kind_of(cls.__name__, field.name)
    return Row(name, cls, arguments, traced=False)


# What `unroll` reads where it is not one array, by class.
READS = {
    type(cell): INPUTS[name]
    for name, cell in CELLS.items()
    if name in INPUTS and not name.endswith("_drawn")
}
TIME, BATCH, FEATURES = 3, 2, 3


def rows() -> Iterator[Row]:
    """Return the rows of all constructors, and of the methods of what they build."""
    for name, cls in classes().items():
        row = built(name, cls)
        if row.arguments:
            yield row
        made = cls(**{name: value for name, (value, _) in row.arguments.items()})
        if isinstance(made, rj.Cell | rj.Network):
            yield from methods(made)
        elif isinstance(made, _operators().Operator):
            yield from operator_methods(made)
        elif name.startswith("initializers."):
            yield initializer(f"{name}.__call__", made)
        elif name.startswith("activations."):
            yield Row(f"{name}.__call__", made, {"x": (np.ones(3, "float32"), FLOATS)})


def _of_class(made: Any, params: Any) -> k.Kind:
    """Return parameters of a cell's class, with any leaves if they are not read."""
    if isinstance(made, rj.LearnedCarry):
        start = k.like(params.carry)
        return k.Kind(
            lambda v: isinstance(v, made.Params) and start.takes(v.carry),
            k.like(params).wrong,
        )
    if not jax.tree.leaves(params):
        return k.ANYTHING

    def takes(v: Any) -> bool:
        own = isinstance(made, rj.Cell) and made.Params is not tuple
        own = own and isinstance(v, made.Params)
        # To a network any tuple will do, a part for each cell.
        plain = isinstance(made, rj.Network) and isinstance(v, tuple)
        v, there = (tuple(v), tuple(params)) if plain else (v, params)
        return own or jax.tree.structure(v) == jax.tree.structure(there)

    return k.Kind(takes, k.like(params).wrong)


def _operators() -> Any:
    return getattr(rj, "operators", rj)


FLOATS = k.either(k.array("float"), k.numbers(lambda v: abs(v) < 2**31))
# How messages name parts of inputs.
INPUT = ("the input", "elapsed", "mask")
# They draw number by number, so a number alone as well.
SINGLY = {"zeros", "Chrono", "Normal", "PowerLaw", "TruncatedNormal", "Uniform"}


def initializer(name: str, made: Any) -> Row:
    """Return the row of a function `(key, shape, dtype) -> array`."""
    least = 0 if name.split(".")[1] in SINGLY else 1
    shape = k.Kind(
        lambda v: k.BATCH_SHAPE.takes(v) and len(v) >= least, k.BATCH_SHAPE.wrong
    )
    arguments = {
        "key": (KEY, k.KEY),
        "shape": ((4, 4), shape),
        "dtype": (jnp.float32, k.DTYPE),
    }
    inside = ("orthogonal",)  # which others call
    return Row(
        name,
        lambda key, shape, dtype: made(key, shape, dtype),
        arguments,
        inside=inside,
    )


def operator_methods(made: Any) -> Iterator[Row]:
    name = type(made).__name__
    stored = k.blank(jax.eval_shape(lambda: made.init(KEY, 4)))
    arguments = {
        "key": (KEY, k.KEY),
        "size": (4, k.SIZE),
        "dtype": (float, k.DTYPE),
    }
    yield Row(f"{name}.init", made.init, arguments)
    narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), stored)
    kind = k.either(k.like(stored), k.like(narrow))
    if name == "Diagonal":  # of any size
        kind = k.array("float", least=1, most=1)
    kind = k.Kind(kind.takes, k.like(stored).wrong)
    yield Row(f"{name}.dense", made.dense, {"stored": (stored, kind)})


def methods(made: Any) -> Iterator[Row]:
    """Return the rows of a cell's or a network's methods, and of `unroll` for it."""
    name = type(made).__name__
    in_features = FEATURES
    arguments = {
        "key": (KEY, k.KEY),
        "in_features": (in_features, k.SIZE),
        "dtype": (float, k.DTYPE),
    }
    yield Row(f"{name}.init", made.init, arguments)
    params, carry, xs = sample(made)
    arguments = {"batch_shape": ((BATCH,), k.BATCH_SHAPE), "dtype": (float, k.DTYPE)}
    if "params" in inspect.signature(made.initial_carry).parameters:
        # Their leaves are not read, unless the start is learned.
        arguments["params"] = params, k.optional(_of_class(made, params))
    yield Row(f"{name}.initial_carry", made.initial_carry, arguments)
    if isinstance(made, rj.Cell):
        x = jax.tree.map(lambda a: a[0], xs)
        arguments = {
            "params": (params, _tree(made, params)),
            "carry": (carry, k.like(carry)),
            "x": (x, _inputs(made, x)),
        }
        yield Row(f"{name}.step", made.step, arguments, also=INPUT)
    yield unrolled(made, params, carry, xs)


def _tree(made: Any, params: Any) -> k.Kind:
    """Return parameters or a carry like these; of none, any tree without arrays."""
    kind = k.like(params)
    none = not jax.tree.leaves(params)
    plain = k.like(tuple(params)) if isinstance(params, tuple) else kind

    def takes(v: Any) -> bool:
        if isinstance(made, rj.Network) and plain.takes(v):  # a part for each cell
            return True
        return kind.takes(v) or (none and not jax.tree.leaves(v))

    return k.Kind(takes, kind.wrong)


def _inputs(made: Any, x: Any) -> k.Kind:
    """Return inputs like these, or in the dtype of products."""
    kind = k.like(x)
    if not isinstance(made, rj.MixedPrecision):
        return kind
    return k.Kind(
        k.either(kind, k.like(x.astype(jnp.dtype(made.compute)))).takes, kind.wrong
    )


def _has(made: Any, params: Any) -> bool:
    """Say whether parameters are those of a cell or network, so that it can be run."""
    if not isinstance(made, rj.Cell | rj.Network):
        return False
    return k.like(k.blank(jax.eval_shape(lambda: made.init(KEY, FEATURES)))).takes(
        params
    )


def sample(made: Any) -> tuple[Any, Any, Any]:
    """Return parameters, a carry and inputs of a cell or a network."""
    params = jax.eval_shape(lambda: made.init(KEY, FEATURES))
    if hasattr(made, "bind"):
        memory = np.ones((5, BATCH, made.memory_features), "float32")
        params = jax.eval_shape(lambda: made.bind(made.init(KEY, FEATURES), memory))
    draw = READS.get(type(made))
    xs = jax.ShapeDtypeStruct((TIME, BATCH, FEATURES), "float32")
    if hasattr(made, "spatial_shape"):
        xs = jax.ShapeDtypeStruct(
            (TIME, BATCH, *made.spatial_shape, FEATURES), "float32"
        )
    elif draw is not None:
        xs = jax.eval_shape(lambda: draw(KEY, (TIME, BATCH), "float32"))
    carry = jax.eval_shape(lambda p: made.initial_carry((BATCH,), params=p), params)
    return k.blank(params), k.blank(carry), k.blank(xs)


def unrolled(made: Any, params: Any, carry: Any, xs: Any) -> Row:
    """Return the row of `unroll` with every option given."""
    casts, several = isinstance(made, rj.MixedPrecision), not hasattr(xs, "dtype")
    flags = np.ones((TIME, BATCH), bool)
    arguments: dict[str, tuple[Any, k.Kind]] = {
        "cell": (made, k.Kind(lambda v: _has(v, params))),
        "params": (params, _tree(made, params)),
        "xs": (xs, _inputs(made, xs)),
        "carry": (carry, k.optional(_tree(made, carry))),
        "lengths": (np.array([3, 2]), k.optional(k.lengths(BATCH, TIME))),
        "mask": (flags, k.optional(k.array("b", lead=flags.shape, most=2))),
        "resets": (flags, k.optional(k.array("b", lead=flags.shape, most=2))),
        "reset_carry": (carry, k.optional(_tree(made, carry))),
        "reverse": (False, k.FLAG),
        "time_axis": (0, k.Kind(lambda v: k.INTEGER.takes(v) and v in (0, -3))),
        "key": (jax.random.key(1), k.optional(k.KEY)),
        "backward": (rj.Autodiff(), k.optional(k.Kind(lambda v: hasattr(v, "run")))),
    }
    return Row(
        f"unroll({type(made).__name__})",
        rj.unroll,
        arguments,
        # A cell says x itself, of an input of several parts or of several dtypes.
        also=(*INPUT, "x") if several or casts else INPUT,
        inside=("Bidirectional",),
    )
