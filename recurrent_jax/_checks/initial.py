# SPDX-License-Identifier: Apache-2.0
"""Checks of functions of the user that a cell calls: initialisers and activations."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._checks.declared import fields_of
from recurrent_jax._checks.functions import Elementwise, Unfit, watched
from recurrent_jax._checks.params import of_structs, structs
from recurrent_jax._checks.values import float_dtype
from recurrent_jax._checks.words import describe, outline


def activations(cell: Any, params: Any, shape: tuple[int, ...]) -> None:
    """Check that activations chosen by the user return arrays like their arguments.

    `shape` is that of one input of one sequence.
    """
    names = tuple(
        f.name
        for f in fields_of(type(cell))
        if isinstance(f.kind, Elementwise) and getattr(cell, f.name) is not f.default
    )
    if names:
        _activations(cell, names, shape, *structs(params))


@functools.lru_cache(maxsize=512)
def _activations(
    cell: Any, names: tuple[str, ...], shape: Any, tree: Any, leaves: Any
) -> None:
    where = type(cell).__name__
    cell = dataclasses.replace(
        cell, **{name: watched(where, name, getattr(cell, name)) for name in names}
    )

    def step(params: Any) -> Any:
        dtype = float_dtype(params, ())
        x, carry = jnp.zeros((2, *shape), dtype), cell.initial_carry((2,), dtype)
        # Not `cell.step`, whose own checks would call `init` again.
        prepared = cell.prepare(params)
        return cell.recur(prepared, carry, cell.project(prepared, x))

    try:
        jax.eval_shape(step, of_structs(tree, leaves))
    except Unfit as error:
        raise TypeError(str(error)) from error.__cause__
    except Exception:  # of a cell that reads other inputs; `unroll` says what is wrong
        return


def drawn(cell: Any, params: Any, in_features: Any, dtype: Any) -> None:
    """Check that initialisers chosen by the user drew what they were asked for.

    The measure is what the default ones draw.
    """
    usual = _usual(cell, in_features, dtype, jnp.result_type(float))
    given = dict(jax.tree.leaves_with_path(params))
    for path, want in jax.tree.leaves_with_path(usual):
        got = given.get(path)
        kind = getattr(got, "shape", None), getattr(got, "dtype", None)
        if kind != (want.shape, want.dtype):
            raise ValueError(
                f"{type(cell).__name__}.init: params{jax.tree_util.keystr(path)} must "
                f"be {describe(want)}, got {outline(got)}; an initialiser is a "
                "function (key, shape, dtype) that returns an array of them"
            )


@functools.lru_cache(maxsize=512)
def _usual(cell: Any, in_features: Any, dtype: Any, default: Any) -> Any:
    """Return shapes and dtypes of what the default initialisers draw, if they can.

    None if the cell has these already, or others without a default.
    """
    mine = [f for f in fields_of(type(cell)) if f.name.endswith("_init")]
    changed = {
        f.name: f.default
        for f in mine
        if f.has_default and getattr(cell, f.name) is not f.default
    }
    if not changed:
        return None
    usual = dataclasses.replace(cell, **changed)
    try:
        return jax.eval_shape(
            lambda: usual.init(jax.random.key(0), in_features, dtype=dtype)
        )
    except Exception:  # the default ones do not fit, as an identity that is not square
        return None
