# SPDX-License-Identifier: Apache-2.0
"""Values that hardly any argument takes, each made anew under a name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj
from fuzz.kinds import blank

WILD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "text": lambda: "text",
    "no text": lambda: "",
    "bytes": lambda: b"bytes",
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "-0.5": lambda: -0.5,
    "0.0": lambda: 0.0,
    "1.0": lambda: 1.0,
    "2.5": lambda: 2.5,
    "10**12": lambda: 10**12,
    "-10**12": lambda: -(10**12),
    "complex": lambda: 1j,
    "object": object,
    "a class": lambda: int,
    "the class LSTM": lambda: rj.LSTM,
    "a function": lambda: lambda *_: None,
    "a module": lambda: np,
    "an ellipsis": lambda: ...,
    "a slice": lambda: slice(2),
    "a range": lambda: range(3),
    "a generator": lambda: (n for n in range(3)),
    "a list": lambda: [1, 2],
    "no list": list,
    "a ragged list": lambda: [[1.0], [1.0, 2.0]],
    "a list of text": lambda: ["a", "b"],
    "a dict": lambda: {"a": 1},
    "no dict": dict,
    "a tuple": lambda: (1, 2.5),
    "no tuple": tuple,
    "a set": lambda: {1, 2},
    "a cell": lambda: rj.GRU(3),
    "a network": lambda: rj.Bidirectional(rj.GRU(3)),
    "a strategy": rj.Autodiff,
    "np.float32": lambda: np.float32(-2.5),
    "np.float64 nan": lambda: np.float64("nan"),
    "np.int64": lambda: np.int64(-3),
    "np.bool": lambda: np.bool_(True),
    "np.str": lambda: np.str_("text"),
    "np.datetime64": lambda: np.datetime64("2026-01-01"),
    "a scalar array": lambda: jnp.asarray(np.ones((), "float32")),
    "a scalar array of NumPy": lambda: np.ones(()),
    "a vector": lambda: jnp.asarray(np.ones(3, "float32")),
    "no vector": lambda: jnp.asarray(np.ones(0, "float32")),
    "a vector of nan": lambda: np.full(2, np.nan, "float32"),
    "a matrix": lambda: np.ones((2, 3), "float32"),
    "an array of 6 axes": lambda: jnp.asarray(np.ones((1, 2, 1, 2, 1, 2), "float32")),
    "int32": lambda: jnp.asarray(np.ones((2, 3), "int32")),
    "uint8": lambda: np.ones((2, 3), "uint8"),
    "bool": lambda: np.ones((2, 3), bool),
    "bfloat16": lambda: jnp.asarray(np.ones((2, 3), jnp.bfloat16)),
    "float8": lambda: jnp.asarray(np.ones((2, 3), jnp.float8_e4m3fn)),
    "complex64": lambda: jnp.asarray(np.ones((2, 3), "complex64")),
    "an array of objects": lambda: np.array([None, "a"], object),
    "an array of text": lambda: np.array(["a", "b"]),
    "a structured array": lambda: np.zeros(2, [("a", "f4")]),
    "a key": lambda: jax.random.key(0),
    "a legacy key": lambda: jax.random.PRNGKey(0),
    "params": lambda: blank(
        jax.eval_shape(lambda: rj.Elman(3).init(jax.random.key(0), 2))
    ),
    "a carry": lambda: blank(jax.eval_shape(lambda: rj.GRU(3).initial_carry((2,)))),
}
