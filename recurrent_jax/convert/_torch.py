# SPDX-License-Identifier: Apache-2.0
"""PyTorch: `nn.RNN`, `nn.LSTM` and `nn.GRU`, and their cells."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Params, Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Rate
from recurrent_jax.convert import _arrays, _double, _layers
from recurrent_jax.convert._arrays import Array

_NAME = re.compile(r"(weight|bias)_(ih|hh|hr)(?:_l(0|[1-9]\d{0,3})(_reverse)?)?")
_NONLINEARITIES: dict[Any, Any] = {"tanh": jnp.tanh, "relu": jax.nn.relu}

Weights = dict[str, Array]


@_checks.checked
def from_torch(
    state_dict: Mapping[str, Any],
    *,
    nonlinearity: Literal["tanh", "relu"] | None = None,
    dropout: Rate = 0.0,
    prefix: str = "",
) -> tuple[Cell | Network, Any]:
    """Return a cell or network, and its parameters, from a PyTorch `state_dict`.

    Names and shapes determine the kind of cell, layers, directions, projection and
    biases. Where the two biases of PyTorch act as one, they are added; in the candidate
    of a GRU they stay apart. For `batch_first=True` call `unroll(..., time_axis=1)`.

    Args:
        state_dict: `module.state_dict()` of `nn.RNN`, `nn.LSTM`, `nn.GRU` or one of
            their cells, or the same names with arrays of any kind.
        nonlinearity: the argument of `nn.RNN`, `"tanh"` or `"relu"`, which its weights
            do not show. Only an `nn.RNN` needs it.
        dropout: the argument of the module, which the weights do not show.
        prefix: use only names with this prefix, such as `"encoder.lstm."`.

    Returns:
        A cell, a `Bidirectional` or, for several layers, a `Deep`; and its parameters.

    Raises:
        ValueError: if names or shapes are not those of one such module, or if the
            `nonlinearity` of an `nn.RNN` is not given.
        TypeError: if dtypes are mixed, or a weight is not an array.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> weights = {
        ...     "weight_ih_l0": np.ones((12, 2), "float32"),
        ...     "weight_hh_l0": np.ones((12, 4), "float32"),
        ... }
        >>> cell, params = rj.convert.from_torch(weights)
        >>> cell
        GRU(hidden_size=4, use_bias=False)
    """
    found = _read(state_dict, prefix)
    both = any(reverse for _, reverse in found)
    count = 1 + max(layer for layer, _ in found)
    parts = []
    for layer in range(count):
        ways = []
        for reverse in (False, True)[: 1 + both]:
            suffix = _suffix(layer, reverse)
            if (layer, reverse) not in found:
                raise ValueError(f"from_torch: there is no weight_ih{suffix}")
            weights = found[layer, reverse]
            ways.append(
                _double.read(
                    f"from_torch: {suffix}", weights, _NONLINEARITIES.get(nonlinearity)
                )
            )
        parts.append(_layers.either(ways, "concatenate"))
    _layers.alike("from_torch", "PyTorch", parts)
    if dropout and count == 1:
        raise ValueError(
            f"from_torch: dropout={dropout} acts between layers, and there is one; "
            "leave it out"
        )
    return _layers.deep("from_torch", parts, dropout)


@_checks.checked
def to_torch(
    network: Part, params: Params, *, nearest: bool = False
) -> dict[str, Array]:
    """Return parameters as the `state_dict` of a recurrent module of PyTorch.

    `from_torch` restores them bit for bit. The whole bias is in `bias_ih` and `bias_hh`
    is -0.0, except in the candidate of a GRU. The weights do not contain
    `nonlinearity="relu"`, `dropout` and `batch_first`; pass these to the PyTorch
    module.

    Args:
        network: an `Elman` with tanh or ReLU, `LSTM`, `ProjectedLSTM` or `GRU`, a
            `Bidirectional` of two, or a `Deep` of such layers, all alike.
        params: its parameters.
        nearest: also convert what PyTorch computes differently (another activation, a
            reset before the product), with a `LossyConversionWarning`.

    Returns:
        NumPy arrays by name. Convert each with `torch.from_numpy`.

    Raises:
        TypeError: if PyTorch has no such layer.
        ValueError: if no module of PyTorch computes the same, and `nearest` is False.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> {name: w.shape for name, w in rj.convert.to_torch(cell, params).items()}
        {'weight_ih_l0': (16, 2), 'weight_hh_l0': (16, 4),
         'bias_ih_l0': (16,), 'bias_hh_l0': (16,)}
    """
    parts = _layers.layers("to_torch", network, params)
    _layers.alike("to_torch", "PyTorch", parts)
    state_dict: dict[str, Array] = {}
    for n, (layer, own) in enumerate(parts):
        ways = _layers.directions("to_torch", layer, own, ["concatenate"])
        for reverse, way in zip((False, True), ways, strict=False):
            weights = _double.write("to_torch", "PyTorch", way, nearest)
            state_dict |= {name + _suffix(n, reverse): w for name, w in weights.items()}
    return state_dict


def _suffix(layer: int, reverse: bool) -> str:
    return f"_l{layer}{'_reverse' if reverse else ''}"


def _read(
    state_dict: Mapping[str, Any], prefix: str
) -> dict[tuple[int, bool], Weights]:
    """Return arrays by layer and direction, and then by name."""
    _arrays.mapping("from_torch", "state_dict", state_dict, "arrays")
    found: dict[tuple[int, bool], Weights] = {}
    for name, value in state_dict.items():
        if not str(name).startswith(prefix):
            continue
        match = _NAME.fullmatch(str(name)[len(prefix) :])
        if match is None and prefix and str(name)[len(prefix) :].startswith("."):
            raise ValueError(
                f"from_torch: prefix must end with its dot: prefix={prefix + '.'!r}"
            )
        if match is None:
            raise ValueError(
                f"from_torch: {name!r} is no weight of a recurrent module; of a larger "
                "model pass prefix=..., all that stands before weight_ih_l0"
            )
        kind, side, layer, reverse = match.groups()
        weights = found.setdefault((int(layer or 0), bool(reverse)), {})
        if f"{kind}_{side}" in weights:
            raise ValueError(
                f"from_torch: {name!r} is there twice, with the number of its layer "
                "and without"
            )
        weights[f"{kind}_{side}"] = _arrays.read("from_torch", str(name), value)
    if not found:
        raise ValueError(
            f"from_torch: no name starts with {prefix!r}; there are "
            f"{sorted(map(str, state_dict))[:8]}"
        )
    return found
