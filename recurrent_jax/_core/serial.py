# SPDX-License-Identifier: Apache-2.0
"""Named tuples in what `jax.export` serialises: params, carries and states."""

import contextlib
import sys
from typing import Any

from jax import export


def register(kind: Any) -> None:
    """Let `jax.export` serialise a function that takes or returns a named tuple.

    Of two classes of one name, as a notebook makes them, the first is kept.
    """
    if not isinstance(kind, type) or not hasattr(kind, "_fields"):
        return
    package, _, _ = kind.__module__.partition(".")
    # Ours are found again after they have moved from one file to another.
    where = package if package == "recurrent_jax" else kind.__module__
    with contextlib.suppress(ValueError):  # it is registered
        export.register_namedtuple_serialization(
            kind, serialized_name=f"{where}.{kind.__qualname__}"
        )


def register_loaded() -> None:
    """Register every named tuple of this library that has been imported."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "recurrent_jax":
            for kind in list(vars(module).values()):
                if getattr(kind, "__module__", None) == name:
                    register(kind)
