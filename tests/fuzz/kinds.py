# SPDX-License-Identifier: Apache-2.0
"""What an argument legitimately takes, said without the library's own checks.

A kind answers for any value whether it is legitimate. In doubt it says yes, so that a
value that some function may well take is never counted as a wrong call.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj

FLOATS = ("bfloat16", "float16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is legitimate, and wrong values that only this argument can be given.

    `wrong` makes values out of the valid one, each under a name. They are held against
    `takes` too.
    """

    takes: Callable[[Any], bool]
    wrong: Callable[[Any], Mapping[str, Any]] = lambda value: {}


def optional(kind: Kind) -> Kind:
    return Kind(lambda v: v is None or kind.takes(v), kind.wrong)


def either(*kinds: Kind) -> Kind:
    return Kind(
        lambda v: any(kind.takes(v) for kind in kinds),
        lambda v: {k: x for kind in kinds for k, x in kind.wrong(v).items()},
    )


# Numbers that are known before tracing.


def _integer(v: Any) -> bool:
    return isinstance(v, int | np.integer) and not isinstance(v, bool)


def _number(v: Any) -> bool:
    kinds = int | float | np.integer | np.floating
    return isinstance(v, kinds) and not isinstance(v, bool)


def integers(least: int, most: float = math.inf) -> Kind:
    return Kind(lambda v: _integer(v) and least <= v <= most)


def numbers(inside: Callable[[float], bool] = lambda v: True) -> Kind:
    return Kind(lambda v: _number(v) and math.isfinite(v) and bool(inside(float(v))))


SIZE = integers(1)
COUNT = integers(0)
INTEGER = integers(-(10**15))
REAL = numbers()
POSITIVE = numbers(lambda v: v > 0)
NON_NEGATIVE = numbers(lambda v: v >= 0)
RATE = numbers(lambda v: 0 <= v < 1)
SHARE = numbers(lambda v: 0 < v <= 1)
BOUND = optional(POSITIVE)
FLAG = Kind(lambda v: isinstance(v, bool | np.bool_))
TEXT = Kind(lambda v: isinstance(v, str))
ANYTHING = Kind(lambda v: True)


def scalar(
    inside: Callable[[float], bool] = lambda v: True, whole: bool = False
) -> Kind:
    """A number that may be traced: an array without axes will do."""

    def takes(v: Any) -> bool:
        if not isinstance(v, jax.Array | np.ndarray):
            kind = _integer if whole else _number
            return kind(v) and math.isfinite(v) and bool(inside(float(v)))
        wanted = jnp.integer if whole else jnp.number
        if v.ndim or not jnp.issubdtype(v.dtype, wanted):
            return False
        if jnp.issubdtype(v.dtype, jnp.complexfloating):
            return False
        return math.isfinite(float(v)) and bool(inside(float(v)))

    return Kind(takes)


def one_of(*options: Any) -> Kind:
    def takes(v: Any) -> bool:
        return isinstance(v, type(options[0])) and v in options

    return Kind(takes)


def parts(kind: Kind, least: int = 1) -> Kind:
    """A tuple of one kind each; a list will do, if the function takes it."""
    return Kind(
        lambda v: (
            isinstance(v, tuple | list) and len(v) >= least and all(map(kind.takes, v))
        )
    )


# Functions. A class is called like one, so it is left in doubt.
FUNCTION = Kind(callable)
INITIALIZER = either(FUNCTION, parts(FUNCTION))


def step_function(takes: Callable[[Any], bool] = callable) -> Kind:
    """A function that must return a pair."""
    return Kind(
        takes,
        lambda v: {
            "returns None": lambda *_: None,
            "returns a number": lambda *_: 5.0,
            "returns three": lambda *_: (None, None, None),
            "returns a dict": lambda *_: {},
            "takes nothing": lambda: None,
        },
    )


# Random numbers and types of numbers.


def _is_key(v: Any) -> bool:
    if not isinstance(v, jax.Array | np.ndarray):
        return False
    if jnp.issubdtype(v.dtype, jax.dtypes.prng_key):
        return v.ndim == 0
    return v.shape == (2,) and v.dtype == np.uint32


KEY = Kind(
    _is_key,
    lambda v: {
        "two keys": jax.random.split(jax.random.key(0)),
        "a legacy key of floats": np.zeros(2, "float32"),
        "two legacy keys": np.zeros((2, 2), "uint32"),
    },
)


def _is_float_type(v: Any) -> bool:
    if v is None or isinstance(v, jax.Array | np.ndarray):
        return False
    try:
        return jnp.dtype(v).name in FLOATS
    except (TypeError, ValueError):
        return False


DTYPE = Kind(
    _is_float_type,
    lambda v: {
        "int": int,
        "bool": bool,
        "complex64": jnp.complex64,
        "float8": jnp.float8_e4m3fn,
        "no dtype": "flt",
        "an integer dtype": np.dtype("int32"),
        "a structured dtype": np.dtype([("a", "f4")]),
    },
)
BATCH_SHAPE = Kind(
    lambda v: isinstance(v, tuple | list) and all(_integer(n) and n >= 0 for n in v),
    lambda v: {
        "a size": 5,
        "negative": (-1,),
        "floats": (5.0,),
        "bools": (True,),
        "text": ("a",),
        "nested": ((2,),),
    },
)


# Arrays.


def _array(v: Any) -> Any:
    """Return what JAX would make of a value, as shape and dtype, or None."""
    if not isinstance(
        v, jax.Array | np.ndarray | list | tuple | int | float | np.generic
    ):
        return None
    try:
        v = v if hasattr(v, "dtype") else np.asarray(v)
        dtype = jax.dtypes.canonicalize_dtype(v.dtype)
    except (TypeError, ValueError):
        return None
    return jax.ShapeDtypeStruct(v.shape, dtype)


def array(
    *dtypes: str,
    least: int = 0,
    most: float = math.inf,
    lead: Any = None,
    last: Any = None,
) -> Kind:
    """An array of some ranks; `lead` and `last` are sizes that are given.

    A dtype is "float" or letters of NumPy's kinds.
    """

    def takes(v: Any) -> bool:
        a = _array(v)
        if a is None or not least <= len(a.shape) <= most:
            return False
        if lead is not None and a.shape[: len(lead)] != tuple(lead):
            return False
        if last is not None and a.shape[-1] != last:
            return False
        return any(
            a.dtype.name in FLOATS if d == "float" else a.dtype.kind in d
            for d in dtypes
        )

    return Kind(takes, _broken_leaves)


def lengths(count: int, time: int) -> Kind:
    """Lengths of so many sequences, where their values are seen."""
    whole = array("iu", lead=(count,), most=1)

    def takes(v: Any) -> bool:
        return whole.takes(v) and all(0 <= n <= time for n in np.asarray(v))

    wrong = {
        "below zero": np.array([-1] * count),
        "too long": np.array([time + 1] * count),
    }
    return Kind(takes, lambda v: whole.wrong(v) | wrong)


def like(value: Any) -> Kind:
    """A tree of arrays with the very structure, shapes and dtypes of this one."""
    wanted = jax.tree.structure(value)
    leaves = [_array(leaf) for leaf in jax.tree.leaves(value)]

    def takes(v: Any) -> bool:
        if _other_structure(wanted, v):
            return False
        given = [_array(leaf) for leaf in jax.tree.leaves(v)]
        return all(
            a is not None and (a.shape, a.dtype) == (b.shape, b.dtype)
            for a, b in zip(given, leaves, strict=True)
        )

    return Kind(takes, broken)


def _other_structure(wanted: Any, v: Any) -> bool:
    try:
        return jax.tree.structure(v) != wanted
    except (TypeError, ValueError):
        return True


def blank(tree: Any) -> Any:
    """Return ones in the place of arrays, or of shapes with dtypes.

    They are NumPy's, as all arrays here: JAX would compile a program for each shape.
    """
    return jax.tree.map(lambda a: np.ones(a.shape, a.dtype), tree)


def _casts(leaf: Any) -> dict[str, Any]:
    """Return one array in the wrong dtype or shape."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return {"a number": 0.5, "none": None}
    leaf = np.asarray(leaf)
    found = {
        np.dtype(dtype).name: np.ones(leaf.shape, dtype)
        for dtype in (jnp.bfloat16, "int32", bool, "complex64", jnp.float8_e4m3fn)
    }
    found |= {
        "object": np.full(leaf.shape, None),
        "an axis more": leaf[None],
        "an axis more behind": leaf[..., None],
        "text": "text",
        "none": None,
        "a number": 0.5,
    }
    if leaf.ndim:
        found["an axis less"] = leaf[0] if len(leaf) else np.ones((), leaf.dtype)
        found["one more"] = np.ones((*leaf.shape[:-1], leaf.shape[-1] + 1), leaf.dtype)
        found["one more first"] = np.ones((len(leaf) + 1, *leaf.shape[1:]), leaf.dtype)
    return found


def _broken_leaves(value: Any) -> dict[str, Any]:
    """Return a value with one of its arrays changed, for each array and change."""
    leaves, structure = jax.tree.flatten(value)
    found = {}
    for n, leaf in enumerate(leaves):
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        for name, cast in _casts(leaf).items():
            changed = structure.unflatten([*leaves[:n], cast, *leaves[n + 1 :]])
            found[f"part {n}: {name}" if len(leaves) > 1 else name] = changed
    return found


def broken(value: Any) -> dict[str, Any]:
    """Return trees that look like a valid one, and are not."""
    leaves, _ = jax.tree.flatten(value)
    cell = rj.LSTM(5)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 7))
    carry = jax.eval_shape(lambda: cell.initial_carry((7,)))
    found = _broken_leaves(value) | {
        "a list of its arrays": leaves,
        "all bfloat16": jax.tree.map(
            lambda a: np.ones(np.shape(a), jnp.bfloat16), value
        ),
        "stacked": jax.tree.map(lambda a: np.stack([a, a]), value),
        "params of another cell": blank(params),
        "the carry of another cell": blank(carry),
    }
    if hasattr(value, "_asdict"):
        found["a dict"] = value._asdict()
        found["a plain tuple"] = tuple(value)
    # An absent bias adds nothing, which may be what is wanted.
    return {name: tree for name, tree in found.items() if not name.endswith(": none")}


def _is_array(v: Any) -> bool:
    keys = hasattr(v, "dtype") and jnp.issubdtype(v.dtype, jax.dtypes.prng_key)
    return keys or _array(v) is not None


def tree(*dtypes: str, least: int = 0) -> Kind:
    """A tree of arrays, whatever its structure."""
    one = array(*dtypes, least=least) if dtypes else Kind(lambda v: _is_array(v))

    def takes(v: Any) -> bool:
        try:
            leaves = jax.tree.leaves(v)
        except (TypeError, ValueError):
            return False
        return bool(leaves) and all(map(one.takes, leaves))

    return Kind(takes, _broken_leaves)


# Objects of the library.
CELL = Kind(lambda v: isinstance(v, rj.Cell))
MODEL = Kind(lambda v: isinstance(v, rj.Cell | rj.Network))
