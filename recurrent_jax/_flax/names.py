# SPDX-License-Identifier: Apache-2.0
"""Arguments by name: what modules take, and what Flax calls them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

# What Flax calls otherwise, or asks for where there is nothing to ask.
_THEIRS = {
    "seq_lengths": "it is lengths here",
    "initial_carry": "it is carry here",
    "return_carry": "the carry is always returned, before the outputs",
    "keep_order": "outputs always stand where their inputs do",
    "time_major": "it is time_axis=0 of the module here",
    "features": "the cell has them: LSTM(hidden_size=...)",
    "hidden_features": "the cell has them: LSTM(hidden_size=...)",
    "hidden_size": "the cell has it: LSTM(hidden_size=...)",
    "init_key": "a start is the cell's own; pass carry",
    "carry_init": "a start is the cell's own; pass carry",
    "key": 'a key comes from the stream "dropout"',
    "backward_rnn": "it is backward_cell here, a cell",
    "forward_rnn": "it is forward_cell here, a cell",
    "merge_fn": "it is merge here, a name",
}


class Options(TypedDict, total=False):
    """What a call of a module passes on to `unroll`."""

    carry: Any
    lengths: Any
    mask: Any
    resets: Any
    reset_carry: Any


# What `unroll` is told by the fields of a module, and not by a call.
FIELDS = ("reverse", "time_axis", "method", "backward")


def unknown(where: str, name: str, known: Any) -> TypeError:
    """Return the error of an argument that there is not."""
    hint = _THEIRS.get(name) or f"there are {sorted(known)}"
    return TypeError(f"{where}: there is no argument {name}; {hint}")


def of_the_call(module: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a call passes on to `unroll`, with the fields of the module."""
    where = type(module).__name__
    for name in given:
        if name in FIELDS:
            raise TypeError(
                f"{where}: {name} belongs to the module: {where}(..., {name}=...)"
            )
        if name not in Options.__annotations__:
            raise unknown(where, name, Options.__annotations__)
    own = {name: getattr(module, name) for name in FIELDS}
    return {**given, **{k: v for k, v in own.items() if v is not None}}


def known(init: Callable[..., None]) -> Callable[..., None]:
    """Refuse names that a constructor does not have, and say what they are here."""
    parameters = inspect.signature(init).parameters
    names = [name for name in parameters if name != "self"]

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in names:
                raise unknown(type(self).__name__, name, names)
        init(self, *args, **kwargs)

    return checked
