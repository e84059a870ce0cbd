# SPDX-License-Identifier: Apache-2.0
"""Printing values as code, and pickling them by name."""

import dataclasses
import importlib
from typing import Any

# The modules in which a function field is looked up, so that cells print as code and
# pickle.
_PUBLIC = (
    "jax.numpy",
    "jax.nn",
    "jax.nn.initializers",
    "jax.lax",
    "recurrent_jax.activations",
    "recurrent_jax.initializers",
)


def spell(value: Any) -> str:
    """Return code for `value`: the public name of a function, else the repr."""
    if type(value) is tuple:
        parts = ", ".join(map(spell, value))
        return f"({parts},)" if parts else "()"
    name = getattr(value, "__name__", None)
    if not callable(value) or name is None:
        return repr(value)
    for module in _PUBLIC:
        if getattr(importlib.import_module(module), name, None) is value:
            return f"{module}.{name}"
    if value.__module__ == "builtins":
        return name
    return f"{value.__module__}.{value.__qualname__}"


@dataclasses.dataclass(frozen=True)
class _ByName:
    """The public name of a function that pickle cannot serialise."""

    module: str
    name: str

    @classmethod
    def wrap(cls, value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(cls.wrap, value))
        module, _, name = spell(value).rpartition(".")
        named = module in _PUBLIC and name.isidentifier()
        return cls(module, name) if named else value

    @classmethod
    def find(cls, value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(cls.find, value))
        if isinstance(value, cls):
            return getattr(importlib.import_module(value.module), value.name)
        return value


def pickled(value: Any) -> tuple[Any, ...]:
    """Return the `__reduce__` value from which pickle rebuilds a dataclass."""
    # Functions such as jnp.tanh do not pickle. Their public names do.
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return _rebuild, (
        type(value),
        {name: _ByName.wrap(field) for name, field in fields.items()},
    )


def _rebuild(cls: type[Any], fields: dict[str, Any]) -> Any:
    return cls(**{name: _ByName.find(field) for name, field in fields.items()})
