# SPDX-License-Identifier: Apache-2.0
"""Dropout on recurrent weights."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._checks.array_kinds import FloatArray
from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._core.cell import P
from recurrent_jax._core.types import Key, Names, Rate


@_checks.checked
def weight_drop(
    params: P,
    key: Key,
    rate: Rate,
    *,
    names: Names = ("recurrent_kernel",),
) -> P:
    r"""Return params with random recurrent weights set to zero (DropConnect).

    $$
    U \leftarrow \frac{M \odot U}{1 - \mathrm{rate}}, \qquad
    M_{jk} \sim \mathrm{Bernoulli}(1 - \mathrm{rate})
    $$

    This is a function and not a wrapper, since it changes only the parameters. Call it
    inside the loss, before `unroll`. It works for any cell, stack or network. As in the
    paper, one mask applies to all steps and to the whole batch, so fast gradients and
    fused kernels still work. Do not call it for evaluation.

    Args:
        params: the parameters of any cell or network.
        key: a PRNG key.
        rate: the fraction of weights to drop, below 1.
        names: the names of the fields to drop from, anywhere in `params`.

    Returns:
        Parameters of the same structure.

    Raises:
        ValueError: if the rate is out of range, or if `params` have no field of these
            names.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def loss(params, key):
        ...     dropped = rj.weight_drop(params, key, rate=0.5)
        ...     return rj.unroll(cell, dropped, jnp.ones((7, 2)))[1].sum()
        >>> gradient = jax.grad(loss)(params, jax.random.key(1))

    References:
        Wan et al., 2013. Regularization of neural networks using DropConnect.
        https://proceedings.mlr.press/v28/wan13.html
        Merity, Keskar and Socher, 2018. Regularizing and optimizing LSTM language
        models. https://arxiv.org/abs/1708.02182
    """
    leaves, tree = jax.tree.flatten_with_path(params)
    chosen = [any(_name(part) in names for part in path) for path, _ in leaves]
    if not any(chosen):
        paths = [jax.tree_util.keystr(path) for path, _ in leaves]
        raise ValueError(
            f"weight_drop: params have no field called {' or '.join(names)}; there are "
            f"{paths}"
        )
    for (path, leaf), hit in zip(leaves, chosen, strict=True):
        kind = FloatArray() if hit else OneArray()
        kind.check("weight_drop", f"params{jax.tree_util.keystr(path)}", leaf)
    keys = jax.random.split(key, len(leaves))

    def drop(key: jax.Array, weight: jax.Array) -> jax.Array:
        keep = jax.random.bernoulli(key, 1 - rate, weight.shape)
        return jnp.where(keep, weight / (1 - rate), jnp.zeros_like(weight))

    each = zip(keys, leaves, chosen, strict=True)
    dropped: P = jax.tree.unflatten(
        tree, [drop(k, leaf) if hit else leaf for k, (_, leaf), hit in each]
    )
    return dropped


def _name(part: Any) -> str:
    """Return the name of one part of a path."""
    return str(getattr(part, "name", getattr(part, "key", "")))
