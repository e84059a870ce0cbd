# SPDX-License-Identifier: Apache-2.0
"""A map from a vector to the initial carry of a cell."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine, is_float
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

    Kernels are Glorot uniform, and biases zero.

    Args:
        key: a PRNG key.
        cell: the cell or network whose carry is computed.
        in_features: the number of features of the vector.
        dtype: of the parameters, a floating-point dtype.

    Returns:
        `BridgeParams(kernels, biases)`, two trees like the carry. Each part is
        `(in_features, size)` in the first and `(size,)` in the second, where `size` is
        that of the part of the carry.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> params = rj.tasks.init_bridge(jax.random.key(0), rj.LSTM(3), in_features=2)
        >>> params.kernels.c.shape
        (2, 3)
    """
    leaves, tree = jax.tree.flatten(_carry_of(cell, dtype))
    keys = jax.random.split(key, len(leaves))
    draws = [
        glorot_uniform(k, (in_features, leaf.size), dtype)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    biases = [jnp.zeros(leaf.size, dtype) for leaf in leaves]
    return BridgeParams(tree.unflatten(draws), tree.unflatten(biases))


def _carry_of(cell: Any, dtype: Any) -> Any:
    """Return the carry of one sequence, after a check that a bridge can compute it."""
    try:
        carry = jax.eval_shape(lambda: cell.initial_carry((), dtype))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"init_bridge: cell must be one whose start is not learned, got {cell!r}; "
            f"pass the cell inside. {error}"
        ) from error
    for path, leaf in jax.tree.leaves_with_path(carry):
        if leaf.ndim != 1 or not is_float(leaf):
            raise TypeError(
                f"init_bridge: cell must have a carry of vectors of floats, but "
                f"carry{jax.tree_util.keystr(path)} of {cell!r} is "
                f"{_checks.describe(leaf)} for one sequence"
            )
    return carry


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
