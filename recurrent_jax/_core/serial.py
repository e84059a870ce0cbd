# SPDX-License-Identifier: Apache-2.0
"""Serialisation of named tuples (params, carries and states) by `jax.export`."""

import contextlib
import sys
from typing import Any

from jax import export


def register(kind: Any) -> None:
    """Let `jax.export` serialise a function that takes or returns a named tuple.

    If two classes have the same name, as may happen in a notebook, the first is used.
    """
    if not isinstance(kind, type) or not hasattr(kind, "_fields"):
        return
    package, _, _ = kind.__module__.partition(".")
    # The name of a class of this library does not contain its file, so that the class
    # may move to another file.
    where = package if package == "recurrent_jax" else kind.__module__
    with contextlib.suppress(ValueError):  # already registered
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
