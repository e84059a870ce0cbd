# SPDX-License-Identifier: Apache-2.0
"""What `jax.export` serialises: every params, carry and state, there and back."""

import dataclasses
import importlib
import pkgutil
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS
from jax import export

import recurrent_jax as rj


def there_and_back(function, *arguments):
    """Return a function as it was exported, and as it is read again."""
    exported = export.export(jax.jit(function))(*arguments)
    return exported, export.deserialize(exported.serialize())


@pytest.mark.slow
def test_every_params_and_carry():
    networks = CELLS | {
        "deep": rj.Deep((rj.LSTM(4), rj.Bidirectional(rj.GRU(4)))),
    }

    def both(network):
        # As many features as an RG-LRU of `cases.py` has units.
        params = network.init(jax.random.key(0), 3)
        return params, network.initial_carry((2,), params=params)

    trees = {
        n: jax.eval_shape(lambda: both(network)) for n, network in networks.items()
    }
    exported, again = there_and_back(lambda trees: trees, trees)
    assert again.in_tree == exported.in_tree == jax.tree.structure(((trees,), {}))
    assert again.out_tree == jax.tree.structure(trees)


def test_an_exported_step_computes_the_same():
    cell = rj.LSTM(4)
    params = cell.init(jax.random.key(0), 3)
    carry, x = cell.initial_carry((2,)), jnp.ones((2, 3))
    _, again = there_and_back(cell.step, params, carry, x)
    got, want = again.call(params, carry, x), jax.jit(cell.step)(params, carry, x)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


class Params(NamedTuple):
    decay: jax.Array


class Carry(NamedTuple):
    sum: jax.Array


@dataclasses.dataclass(frozen=True)
class Own(rj.Cell):
    """A cell of a user's, with named tuples of its own."""

    Params, Carry = Params, Carry

    def init(self, key, in_features, dtype=float):
        return Params(jnp.ones((), dtype))

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return Carry(jnp.zeros((*batch_shape, 2), dtype))

    def recur(self, params, carry, z):
        total = params.decay * carry.sum + z
        return Carry(total), total


def test_a_cell_of_a_users():
    params, carry = Params(jnp.ones(())), Own().initial_carry((3,))
    exported, again = there_and_back(Own().step, params, carry, jnp.ones((3, 2)))
    assert again.in_tree == exported.in_tree


def named_tuples():
    """Return every named tuple of the library, of which some fields may be missing."""
    for module in pkgutil.walk_packages(rj.__path__, "recurrent_jax."):
        importlib.import_module(module.name)
    modules = {n: m for n, m in sys.modules.items() if n.startswith("recurrent_jax")}
    return [
        kind
        for name, module in modules.items()
        for kind in vars(module).values()
        if isinstance(kind, type)
        and kind.__module__ == name
        and hasattr(kind, "_fields")
    ]


def test_every_named_tuple_of_the_library():
    kinds = named_tuples()
    assert len(kinds) > 60 and len({kind.__name__ for kind in kinds}) == len(kinds)
    trees = [kind(*(jnp.zeros(()) for _ in kind._fields)) for kind in kinds]
    exported, again = there_and_back(lambda trees: trees, trees)
    assert again.in_tree == exported.in_tree


SYMBOLIC = {
    "lstm": (rj.LSTM(4), {}),
    "kernel": (rj.LSTM(4), {"method": rj.Fused()}),
    "loop": (rj.LSTM(4), {"method": rj.Sequential()}),
    "autodiff": (rj.GRU(4), {"backward": rj.Autodiff()}),
    "checkpointed": (rj.GRU(4), {"backward": rj.Checkpointed()}),
    "moments": (rj.BatchNormLSTM(4), {}),
    "linear": (rj.LRU(4), {}),
    "network": (rj.Deep((rj.UGRNN(4), rj.Bidirectional(rj.MinGRU(3)))), {}),
}


@pytest.mark.newest
@pytest.mark.parametrize("name", SYMBOLIC)
def test_a_batch_of_any_size(name):
    cell, options = SYMBOLIC[name]
    params = cell.init(jax.random.key(0), 3)

    def outputs(xs):
        return rj.unroll(cell, params, xs, **options)[1]

    def gradient(xs):
        return jax.grad(lambda xs: outputs(xs).sum())(xs)

    (batch,) = export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((5, batch, 3), jnp.float32)
    # NumPy makes the zero tangents of integers, and knows no symbols.
    for function in (outputs,) if name == "moments" else (outputs, gradient):
        exported, _ = there_and_back(function, shape)
        for size in (1, 4):
            xs = jax.random.normal(jax.random.key(1), (5, size, 3))
            np.testing.assert_allclose(exported.call(xs), function(xs), atol=1e-5)
