# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation, in the cells that have it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj


@pytest.mark.parametrize(
    "cell", [rj.LayerNormGRU(4), rj.LayerNormLSTM(4), rj.LightGRU(4)]
)
@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_in_float16_from_a_zero_state_and_padding(cell, mixed):
    dtype = jnp.float32 if mixed else jnp.float16
    cell = rj.MixedPrecision(cell, jnp.float16) if mixed else cell
    params = cell.init(jax.random.key(0), 3, dtype)
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3), dtype)

    def loss(params):
        return rj.unroll(cell, params, xs, lengths=jnp.array([5, 3]))[1].sum()

    for leaf in jax.tree.leaves(jax.grad(loss)(params)):
        assert np.all(np.isfinite(leaf))
