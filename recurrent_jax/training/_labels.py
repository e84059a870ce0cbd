# SPDX-License-Identifier: Apache-2.0
"""Labels of parameters, derived from their names."""

from collections.abc import Hashable, Mapping
from typing import Annotated, Any

import jax
import optax

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Named
from recurrent_jax._checks.kinds import Number
from recurrent_jax._core.input_types import Structs

Rates = Annotated[
    Mapping[str, float], Named(Number(least=0, hint="0 freezes parameters"))
]
LABELS = ("kernel", "recurrent_kernel", "bias", "other")


@_checks.checked
def labels(params: Structs) -> Any:
    """Return `params` with each array replaced by a label that depends on its name.

    | label | names |
    |---|---|
    | `bias` | those that contain `bias` |
    | `recurrent_kernel` | those that begin with `recurrent` and end in `kernel` |
    | `kernel` | the others that end in `kernel` |
    | `other` | all others: peepholes, scales, learned carries, tables |

    Labels depend on names and not on ranks, because the biases of an ensemble stacked
    by `vmap` have rank two. The name is the last field or key on the path to the array,
    so NamedTuples, dicts and tuples may be nested.

    Args:
        params: any pytree.

    Returns:
        A pytree of strings with the same structure.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> params = rj.Elman(hidden_size=3).init(jax.random.key(0), in_features=2)
        >>> rj.training.labels(params)
        ElmanParams(kernel='kernel', recurrent_kernel='recurrent_kernel', bias='bias')
    """
    return _labels(params)


@_checks.checked
def decayed(params: Structs) -> Any:
    """Return True for kernels, which weight decay should apply to, and False otherwise.

    Do not decay biases, peepholes and scales. Decaying a forget bias shortens the span
    over which the cell remembers, with no benefit. Pass this function to Optax as a
    mask: `optax.adamw(1e-3, weight_decay=0.01, mask=decayed)`.

    Args:
        params: any pytree.

    Returns:
        A pytree of bools with the same structure.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> params = rj.Elman(hidden_size=3).init(jax.random.key(0), in_features=2)
        >>> rj.training.decayed(params)
        ElmanParams(kernel=True, recurrent_kernel=True, bias=False)
    """
    return jax.tree.map(lambda label: label.endswith("kernel"), _labels(params))


@_checks.checked
def relative_rates(rates: Rates) -> optax.GradientTransformation:
    r"""Return a transformation that scales updates by the label of their parameter.

    $$ \Delta\theta \leftarrow \mathrm{rate}_{\mathrm{label}(\theta)} \Delta\theta $$

    Put it last in the chain, because scaling a gradient before Adam has no effect. A
    rate of 0 freezes parameters. Labels without a rate keep their updates.

    Args:
        rates: the rate for each label of `labels`.

    Returns:
        A transformation for `optax.chain`.

    Raises:
        ValueError: if a label is unknown, or a rate is negative or not finite.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> import recurrent_jax as rj
        >>> params = rj.Elman(hidden_size=1).init(jax.random.key(0), in_features=1)
        >>> slow = rj.training.relative_rates({"recurrent_kernel": 0.1})
        >>> tx = optax.chain(optax.sgd(1.0), slow)
        >>> gradient = jax.tree.map(jnp.ones_like, params)
        >>> updates, _ = tx.update(gradient, tx.init(params), params)
        >>> [float(u.ravel()[0].round(3)) for u in updates]
        [-1.0, -0.1..., -1.0]
    """
    if unknown := sorted(set(rates) - set(LABELS)):
        raise ValueError(
            f"relative_rates: rates must be by the labels {list(LABELS)}; got {unknown}"
        )
    scales: dict[Hashable, optax.GradientTransformation] = {
        label: optax.scale(rates.get(label, 1.0)) for label in LABELS
    }
    return optax.partition(scales, _labels)


def _labels(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: _label(path), params)


def _label(path: tuple[Any, ...]) -> str:
    name = _name(path)
    if "bias" in name:
        return "bias"
    if not name.endswith("kernel"):
        return "other"
    return "recurrent_kernel" if name.startswith("recurrent") else "kernel"


def _name(path: tuple[Any, ...]) -> str:
    """Return the last name on a path; positions in tuples have no names."""
    for key in reversed(path):
        name = getattr(key, "name", getattr(key, "key", None))
        if isinstance(name, str):
            return name
    return ""
