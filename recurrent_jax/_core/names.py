# SPDX-License-Identifier: Apache-2.0
"""Values as code: how cells print, and how they pickle."""

import dataclasses
import importlib
from typing import Any

# Where a function field is looked up, so that cells print as code and pickle.
_PUBLIC = (
    "jax.numpy",
    "jax.nn",
    "jax.lax",
    "recurrent_jax.activations",
    "recurrent_jax.initializers",
)


def spell(value: Any) -> str:
    """Return code for `value`: a function by its public name, all else by its repr."""
    if isinstance(value, tuple):
        return f"({', '.join(map(spell, value))},)"
    name = getattr(value, "__name__", None)
    if not callable(value) or name is None:
        return repr(value)
    for module in _PUBLIC:
        if getattr(importlib.import_module(module), name, None) is value:
            return f"{module}.{name}"
    return f"{value.__module__}.{value.__qualname__}"


@dataclasses.dataclass(frozen=True)
class _ByName:
    """A function that pickle cannot carry, as the place to find it again."""

    module: str
    name: str

    @classmethod
    def wrap(cls, value: Any) -> Any:
        module, _, name = spell(value).rpartition(".")
        named = module in _PUBLIC and name.isidentifier()
        return cls(module, name) if named else value

    def find(self) -> Any:
        return getattr(importlib.import_module(self.module), self.name)


def pickled(value: Any) -> tuple[Any, ...]:
    """Return how pickle builds a dataclass again: for its `__reduce__`."""
    # jnp.tanh and its kind do not pickle; their public names do.
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return _rebuild, (
        type(value),
        {name: _ByName.wrap(field) for name, field in fields.items()},
    )


def _rebuild(cls: type[Any], fields: dict[str, Any]) -> Any:
    return cls(
        **{k: v.find() if isinstance(v, _ByName) else v for k, v in fields.items()}
    )
