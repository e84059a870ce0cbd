# SPDX-License-Identifier: Apache-2.0
"""Calls that build a cell or a network, checked before it is built."""

import inspect
from collections.abc import Mapping
from typing import Any

from recurrent_jax._checks.declared import fields_of
from recurrent_jax._checks.names import fit


def constructor(cls: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Check that the arguments exist, and that the hidden size comes first.

    PyTorch and Flax put the number of input features first: `LSTM(6, 8)`.
    """
    where, parameters = cls.__name__, inspect.signature(cls.__init__).parameters
    fit(where, parameters, (None, *args), kwargs)
    if len(args) < 2 or not all(type(size) is int for size in args[:2]):
        return
    first, second = list(parameters)[1:3]
    kinds = {name: kind for name, kind, _ in fields_of(cls)}
    if first != "hidden_size" or (kind := kinds.get(second)) is None:
        return
    try:
        kind.check(where, second, args[1])
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{error}. If {args[0]} is the number of input features and {args[1]} the "
            f"hidden size, it is {where}(hidden_size={args[1]}) here, and then "
            f"init(key, in_features={args[0]})"
        ) from None
