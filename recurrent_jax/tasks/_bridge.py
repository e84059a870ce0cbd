# SPDX-License-Identifier: Apache-2.0
"""A map from a vector to the initial carry of a cell."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine
from recurrent_jax._core.input_types import Features, Model
from recurrent_jax._core.types import DType, Key, Size
from recurrent_jax.initializers import glorot_uniform
from recurrent_jax.tasks import _check


class BridgeParams(NamedTuple):
    """Parameters of `bridge`: one affine map for each part of the carry."""

    kernels: Any  # each (in, size of the part)
    biases: Any


@_checks.checked
def init_bridge(
    key: Key, cell: Model, in_features: Size, dtype: DType = float
) -> BridgeParams:
    """Return fresh parameters of `bridge` for vectors of `in_features`.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> params = rj.tasks.init_bridge(jax.random.key(0), rj.LSTM(3), in_features=2)
        >>> params.kernels.c.shape
        (2, 3)
    """
    leaves, tree = jax.tree.flatten(cell.initial_carry((), dtype))
    keys = jax.random.split(key, len(leaves))
    draws = [
        glorot_uniform(k, (in_features, leaf.size), dtype)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    biases = [jnp.zeros(leaf.size, dtype) for leaf in leaves]
    return BridgeParams(tree.unflatten(draws), tree.unflatten(biases))


@_checks.checked
def bridge(params: BridgeParams, vector: Features) -> Any:
    r"""Return a carry computed from a vector, such as the initial carry of a decoder.

    $$ s_0 = \tanh(v W + b) \qquad \text{for each part of the carry} $$

    Use it to start any cell whose carry consists of vectors from the output of any
    encoder, for example an image encoder.

    Args:
        params: what `init_bridge` returned.
        vector: `(*batch, features)`.

    Returns:
        A carry, each part `(*batch, hidden)`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> params = rj.tasks.init_bridge(jax.random.key(0), rj.LSTM(3), in_features=2)
        >>> rj.tasks.bridge(params, jnp.ones((5, 2))).c.shape
        (5, 3)

    References:
        Bahdanau, Cho and Bengio, 2015. Neural machine translation by jointly learning
        to align and translate. https://arxiv.org/abs/1409.0473
    """
    vector = jnp.asarray(vector)
    _check.bridge_params("bridge", params, vector)
    return jax.tree.map(
        lambda kernel, bias: jnp.tanh(affine(vector, kernel, bias)), *params
    )
