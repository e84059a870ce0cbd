# SPDX-License-Identifier: Apache-2.0
"""What the tests of converters share: drawn parameters, and comparison bit by bit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj


def drawn(network, in_features, dtype="float32", seed=0):
    """Return parameters none of which is zero, but for a -0.0 here and there."""
    make = jax.eval_shape(lambda: network.init(jax.random.key(0), in_features))
    rng = np.random.default_rng(seed)

    def one(leaf):
        a = (0.6 * rng.standard_normal(leaf.shape)).astype(dtype)
        a.flat[rng.integers(a.size)] = -0.0
        return jnp.asarray(a)

    return jax.tree.map(one, make)


def same_bits(got, want):
    """Check structure, dtypes and every bit."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        name = jax.tree_util.keystr(path)
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


def plain(network):
    """Return cells without the fields that only `init` reads."""
    if isinstance(network, rj.Deep):
        return [plain(layer) for layer in network.layers]
    if isinstance(network, rj.Bidirectional):
        backward = network.backward or network.forward
        return plain(network.forward), plain(backward), network.merge
    start = {
        f.name: f.default
        for f in dataclasses.fields(network)
        if f.name.endswith("_init") or f.name == "forget_bias"
    }
    return dataclasses.replace(network, **start)


def run(network, params, xs, **options):
    """Return the outputs of `unroll`, as NumPy's."""
    return np.asarray(jax.jit(lambda: rj.unroll(network, params, xs, **options)[1])())
