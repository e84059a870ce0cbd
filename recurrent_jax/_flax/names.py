# SPDX-License-Identifier: Apache-2.0
"""The argument names of modules, and hints for the names that Flax uses."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypedDict, TypeVar

from recurrent_jax._checks.names import ELSEWHERE, fit, unknown

P = ParamSpec("P")
R = TypeVar("R")

# Arguments of Flax that have another name here, or are not needed.
_THEIRS = {
    **ELSEWHERE,
    "batch_first": "a module reads (batch, time, features), unless its time_axis says "
    "otherwise",
    "seq_lengths": "it is lengths here, of the call",
    "initial_carry": "it is carry here, of the call; networks of Flax run its own RNN, "
    "and Bidirectional(cell) is there for ours",
    **dict.fromkeys(("train", "training"), "it is deterministic=not training here"),
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
    """The keyword arguments that a call of a module passes on to `unroll`."""

    carry: Any
    lengths: Any
    mask: Any
    resets: Any
    reset_carry: Any


# Arguments of `unroll` that are fields of the module, not arguments of its call.
FIELDS = ("reverse", "time_axis", "method", "backward")


def of_the_call(module: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for `unroll`, from the call and the fields of the module."""
    where = type(module).__name__
    for name in given:
        if name in FIELDS:
            raise TypeError(
                f"{where}: {name} belongs to the module: {where}(..., {name}=...)"
            )
        if name not in Options.__annotations__:
            raise unknown(where, name, Options.__annotations__, _THEIRS)
    own = {name: getattr(module, name) for name in FIELDS}
    return {**given, **{k: v for k, v in own.items() if v is not None}}


def known(method: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments that a method does not have, and name the right ones."""
    parameters = {
        # Flax puts its own two fields behind those of a module, and no user does.
        name: p.replace(kind=p.KEYWORD_ONLY) if name in ("parent", "name") else p
        for name, p in inspect.signature(method).parameters.items()
    }

    @functools.wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        fit(type(args[0]).__name__, parameters, args, kwargs, _THEIRS)
        return method(*args, **kwargs)

    return checked
