# SPDX-License-Identifier: Apache-2.0
"""Rows of the methods of every learner of `rj.online`."""

import inspect
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import recurrent_jax as rj
from fuzz import kinds as k
from fuzz.judge import Row

KEY = jax.random.key(0)
BATCH, FEATURES = 2, 3
CELL = rj.LSTM(4)
PARAMS = k.blank(jax.eval_shape(lambda: CELL.init(KEY, FEATURES)))
X = np.ones((BATCH, FEATURES), "float32")
CARRY = k.blank(jax.eval_shape(lambda: CELL.initial_carry((BATCH,))))
FLAGS = np.ones(BATCH, bool)
Y = np.ones((BATCH, 4), "float32")


def rows() -> Iterator[Row]:
    """Return the rows of `init`, `step` and `gradient` of each learner."""
    for name in rj.online.__all__:
        cls = getattr(rj.online, name)
        if issubclass(cls, rj.online.Learner) and not inspect.isabstract(cls):
            yield from methods(cls(CELL))


def methods(learner: Any) -> Iterator[Row]:
    name = type(learner).__name__
    params, x = (PARAMS, k.like(PARAMS)), (X, k.like(X))
    flags = FLAGS, k.optional(k.array("b", lead=FLAGS.shape, most=1))
    draws = name in ("KFRTRL", "UORO")  # which need a key
    arguments: dict[str, Any] = {
        "params": params,
        "x": x,
        "carry": (CARRY, k.optional(k.like(CARRY))),
        "key": (KEY, k.KEY if draws else k.optional(k.KEY)),
    }
    yield Row(f"{name}.init", learner.init, arguments)
    begun = jax.eval_shape(lambda: learner.init(PARAMS, X, key=KEY))
    state = k.blank(begun._replace(fixed=None))._replace(fixed=_fixed(begun.fixed))
    arguments = {
        "params": params,
        "state": (state, of_state(state)),
        "x": x,
        "valid": flags,
        "reset": flags,
    }
    yield Row(f"{name}.step", learner.step, arguments)
    arguments = {"state": (state, of_state(state)), "cotangent": (Y, k.like(Y))}
    yield Row(f"{name}.gradient", learner.gradient, arguments)


def _fixed(fixed: Any) -> Any:
    """Return a key in the place of one, else ones."""
    keys = jax.dtypes.prng_key
    if any(jax.dtypes.issubdtype(leaf.dtype, keys) for leaf in jax.tree.leaves(fixed)):
        return KEY
    return k.blank(fixed)


def of_state(state: Any) -> k.Kind:
    """A state with the very carry and memory, and those of its last step."""
    parts = {
        "carry": (state.carry, lambda v: v.carry, lambda c: state._replace(carry=c)),
        "memory": (
            state.memory,
            lambda v: v.memory,
            lambda m: state._replace(memory=m, last=state.last._replace(memory=m)),
        ),
        "last": (
            state.last.carry,
            lambda v: v.last.carry,
            lambda c: state._replace(carry=c, last=state.last._replace(carry=c)),
        ),
    }

    def takes(v: Any) -> bool:
        return isinstance(v, rj.online.OnlineState) and all(
            k.like(part).takes(read(v)) for part, read, _ in parts.values()
        )

    def wrong(v: Any) -> dict[str, Any]:
        found = {
            f"{name}: {how}": put(value)
            for name, (part, _, put) in parts.items()
            for how, value in k.broken(part).items()
        }
        return found | {"its carry": state.carry, "a plain tuple": tuple(state)}

    return k.Kind(takes, wrong)
