# SPDX-License-Identifier: Apache-2.0
"""Kinds of fields and arguments: what each takes, and how the checks find them."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import export

import recurrent_jax as rj
from recurrent_jax._checks import checked
from recurrent_jax._checks.declared import kind_of
from recurrent_jax._checks.kinds import Integer
from recurrent_jax._core import types

NAN, INF = float("nan"), float("inf")
HINTS = {name: hint for name, hint in vars(types).items() if hint is not Callable}
KINDS = {name: kind for name, hint in HINTS.items() if (kind := kind_of(hint))}
KEY = jax.random.key(0)
ODD = (None, "1", NAN, INF, -INF, True, 1j, (), [], {}, int, object(), np.ones(2))

# Name: what is accepted, what is of another type, what is out of range.
TABLE = {
    "Size": (
        (1, np.int8(3), 2**63 - 1),
        (1.0, np.True_, jnp.int32(1)),
        (0, -1, 10**30),
    ),
    "Count": ((0, np.uint8(3)), (0.0,), (-1,)),
    "Real": (
        (0, -1.5, np.float32(2), np.float16(2), np.int64(-3)),
        ("x", ml_dtypes.bfloat16, jnp.ones(())),
        (NAN, INF, np.float32(-INF), 10**400),
    ),
    "Positive": ((1e-30, 7), ("1",), (0, -0.0, -1, NAN, INF)),
    "NonNegative": ((0, -0.0, 7), ("1",), (-1e-30, NAN, INF)),
    "Rate": ((0, 0.999, np.float32(0.5)), ("1",), (1, 1.0, -0.1, 20, NAN)),
    "Damping": ((0, 1, 0.1), ("1",), (-0.1, 1.1, NAN)),
    "Share": ((1, 0.1), ("1",), (0, 1.1, NAN)),
    "Bound": ((None, 3.0), ("1",), (0.0, INF, NAN)),
    "Flag": ((True, False, np.True_), (0, 1, "no", None, jnp.bool_(1)), ()),
    "Activation": (
        (jnp.tanh, jax.nn.relu, rj.activations.Elu(), functools.partial(max, 0)),
        ("tanh", rj.activations.Elu, None, 3),
        (),
    ),
    "Initializer": ((rj.initializers.zeros,), ("zeros", int, None), ()),
    "PerGate": (
        (rj.initializers.zeros, (rj.initializers.zeros, jax.nn.initializers.ones)),
        ("zeros", int, None, ("zeros",), (int,)),
        ((),),
    ),
    "Names": ((("a", "b"),), ("ab", ["a"], (1,), None), ((),)),
    "Floats": (
        (jnp.ones(2), np.ones(2), 3, 0.5, np.float32(1)),
        ("x", None, jnp.array([1]), True, [1.0], np.array(["a"]), jnp.ones(2, complex)),
        (),
    ),
    "Key": (
        (KEY, jax.random.PRNGKey(0), np.array([0, 1], "uint32")),
        (5, "k", None, jnp.ones(2), jnp.array([1, 2])),
        (jax.random.split(KEY), jax.random.split(jax.random.PRNGKey(0))),
    ),
    "DType": (
        (float, "float32", jnp.bfloat16, np.float16, np.dtype("float32")),
        (int, bool, complex, "flt", None, 3, jnp.float8_e4m3fn, jnp.ones(2), "int8"),
        (np.float64, "float64"),
    ),
    "BatchShape": (
        ((), (5,), [5, 3], (0,), (np.int64(2),), export.symbolic_shape("b, 3")),
        (5, None, (5.0,), (True,), "ab", (None,), np.ones(2)),
        ((-1,), [3, -1]),
    ),
    "UnitsShape": (
        ((5,), [5, 3], (0,), (2, 3, 4)),
        (5, None, (5.0,), (True,), "ab", (None,)),
        ((), [], (-1,)),
    ),
    "KernelShape": (
        ([5, 3], (0, 2), (2, 3, 4)),
        (5, None, (5.0, 2.0), (True, True), "ab", (None,)),
        ((), (5,), (3, -1)),
    ),
}


def test_every_kind_is_tried():
    assert TABLE.keys() == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_takes_what_it_says(name):
    accepted, other_type, out_of_range = TABLE[name]
    for value in accepted:
        KINDS[name].check("f", "x", value)
    for error, values in ((TypeError, other_type), (ValueError, out_of_range)):
        for value in values:
            with pytest.raises(error, match=r"^f: x (must be|is float64|is the class)"):
                KINDS[name].check("f", "x", value)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_refuses_odd_values_in_words(name):
    for value in ODD:
        try:
            KINDS[name].check("f", "x", value)
        except (TypeError, ValueError) as error:
            assert str(error).startswith("f: x ")


def test_float64_where_jax_has_it(x64):
    KINDS["DType"].check("f", "x", "float64")


def test_the_document_has_a_row_for_every_kind():
    text = (pathlib.Path(__file__).parent.parent / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(name, str(kind)) for name, kind in KINDS.items()]


def test_unions_choices_and_tuples():
    size_or_none = kind_of(types.Size | None)
    size_or_none.check("f", "x", None)
    with pytest.raises(ValueError, match="^f: x must be at least 1, got 0$"):
        size_or_none.check("f", "x", 0)
    with pytest.raises(TypeError, match="^f: x must be a Python integer or None, got"):
        size_or_none.check("f", "x", "a")
    merge = kind_of(Literal["sum", "mean"] | None)
    merge.check("f", "x", None)
    with pytest.raises(ValueError, match=r"one of \['sum', 'mean', None\], got 'max'"):
        merge.check("f", "x", "max")
    variant = kind_of(Literal[1, 2])
    variant.check("f", "x", np.int64(2))
    for value in (True, 1.0, None):
        with pytest.raises(TypeError, match=r"one of \[1, 2\]"):
            variant.check("f", "x", value)
    sizes = kind_of(tuple[types.Size, ...])
    sizes.check("f", "x", (1, 2))
    for value in ((), (1, 0)):
        with pytest.raises(ValueError, match="each a Python integer, at least 1"):
            sizes.check("f", "x", value)


@pytest.mark.parametrize(
    "hint", [Any, np.ndarray, tuple[int, int], list[int], "Later", int | list[int]]
)
def test_other_annotations_are_not_looked_into(hint):
    assert kind_of(hint) is None


@dataclasses.dataclass(frozen=True)
class Own(rj.Cell):
    """A cell of a user, with plain annotations, some of them loose."""

    hidden_size: int
    order: int = -1
    limit: float = INF
    gated: bool = False
    mode: "Literal['a', 'b']" = "a"
    loose: float = None
    later: "NotThere" = 3  # noqa: F821
    sizes: tuple[int, ...] = ()
    activation: Callable = jnp.tanh
    bare = 3

    def init(self, key, in_features, dtype=float):
        return ()

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return jnp.zeros((*batch_shape, self.hidden_size), dtype)

    def recur(self, params, carry, z):
        return carry, z


@pytest.mark.parametrize(
    "fields",
    [
        {"order": -3},
        {"limit": NAN},
        {"limit": 3},
        {"gated": np.True_},
        {"loose": 2},
        {"later": "anything"},
        {"sizes": ("a", 3)},
        {"activation": complex},
        {"activation": lambda x: x},
    ],
)
def test_a_cell_of_a_user_is_not_refused_wrongly(fields):
    Own(4, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"order": 1.5}, "order must be a Python integer, got 1.5"),
        ({"limit": "x"}, "limit must be a number, got 'x'"),
        ({"gated": "no"}, "gated must be a Python bool, got 'no'"),
        ({"mode": "c"}, r"mode must be one of \['a', 'b'\], got 'c'"),
        ({"activation": "tanh"}, "activation must be a function, got 'tanh'"),
        ({"later": []}, "later holds a list, which does not hash"),
    ],
)
def test_a_cell_of_a_user_is_checked(fields, message):
    with pytest.raises((TypeError, ValueError), match=f"^Own: {message}"):
        Own(**{"hidden_size": 4, **fields})


def test_a_traced_number_is_told_to_be_static():
    with pytest.raises(TypeError, match=r"got float32\[\]; under jit make it static"):
        jax.eval_shape(lambda x: Own(4, limit=x), jnp.ones(()))


@checked
def scale(x: Any, *, factor: types.Positive = 0.0, times: types.Size | None = None):
    """Return a product.

    Example:
        >>> scale(2, factor=3)
        6
    """
    return x * factor


def test_arguments_are_checked_at_each_call():
    assert scale(3, factor=2) == 6
    assert scale(3) == 0, "a default is not checked"
    with pytest.raises(ValueError, match="^scale: factor must be above 0, got -1$"):
        scale(3, factor=-1)
    with pytest.raises(TypeError, match="^scale: times must be a Python integer or No"):
        scale(3, times=1.5)
    with pytest.raises(TypeError, match="^scale: x is missing"):
        scale()
    assert scale.__globals__ is globals(), "doctest looks here for its examples"


def test_a_method_goes_by_its_class():
    class Thing:
        @checked
        def grow(self, size: Annotated[int, Integer(least=3)]) -> int:
            return size

    assert Thing().grow(3) == 3
    with pytest.raises(ValueError, match=r"Thing\.grow: size must be at least 3, got"):
        Thing().grow(2)
