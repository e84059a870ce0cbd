# SPDX-License-Identifier: Apache-2.0
"""Arguments that do not exist, and what other libraries' names are called here."""

import difflib
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

Parameters = Mapping[str, inspect.Parameter]
_REST = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_PLACED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)

# What another library calls an argument, where there is one of that name here.
_SAME = {
    **dict.fromkeys(("features", "units", "num_units", "hidden_dim"), "hidden_size"),
    **dict.fromkeys(("hidden_features", "hidden", "size", "dim"), "hidden_size"),
    **dict.fromkeys(("bias", "with_bias"), "use_bias"),
    **dict.fromkeys(("nonlinearity", "activation_fn"), "activation"),
    **dict.fromkeys(("recurrent_activation", "gate_fn"), "gate_activation"),
    **dict.fromkeys(("proj_size", "num_proj"), "projection_size"),
    "unit_forget_bias": "forget_bias",
    "kernel_initializer": "kernel_init",
    "recurrent_initializer": "recurrent_kernel_init",
    "bias_initializer": "bias_init",
    **dict.fromkeys(("input_size", "in_size", "input_features"), "in_features"),
    **dict.fromkeys(("initial_state", "initial_carry", "init_carry"), "carry"),
    **dict.fromkeys(("h0", "hx", "h_0", "state", "init_state"), "carry"),
    **dict.fromkeys(("hidden_state", "initial_hidden", "hstate"), "carry"),
    **dict.fromkeys(("seq_lengths", "sequence_length", "length"), "lengths"),
    **dict.fromkeys(("rng", "rngs", "dropout_key"), "key"),
    **dict.fromkeys(("reset", "episode_starts", "is_first"), "resets"),
    **dict.fromkeys(("clip", "clip_norm", "max_grad_norm"), "max_norm"),
    "lr": "learning_rate",
    "batch_size": "size",
    "go_backwards": "reverse",
    "merge_mode": "merge",
}
# What is done in another place here.
ELSEWHERE = {
    **dict.fromkeys(
        ("input_size", "in_features", "in_size", "input_features", "input_shape"),
        "the number of input features is an argument of init: "
        "{0}(...).init(key, in_features=...)",
    ),
    **dict.fromkeys(
        ("num_layers", "layers"),
        "layers are a network: Deep((cell,) * num_layers)",
    ),
    **dict.fromkeys(
        ("batch_first", "time_major"),
        "say where time is when you run it: unroll(cell, params, xs, time_axis=1) for "
        "(batch, time, features)",
    ),
    "bidirectional": "both directions are a network: Bidirectional(cell)",
    "dropout": "Deep(layers, dropout=...) has it between layers; InputDropout, "
    "OutputDropout and RecurrentDropout wrap a cell",
    "recurrent_dropout": "RecurrentDropout(cell, rate) wraps a cell",
    **dict.fromkeys(
        ("return_sequences", "return_state", "return_carry"),
        "unroll always returns the last carry and all outputs",
    ),
    **dict.fromkeys(
        ("return_carries", "return_all_carries", "return_all_states"),
        "WithCarry(cell) gives the carry of every step",
    ),
    "burn_in": "reinforcement.burn_in runs the first steps and returns the others",
    **dict.fromkeys(
        ("dones", "done", "terminated", "truncated", "terminations"),
        "reinforcement.resets_from_dones makes resets of them, a step later",
    ),
    "stateful": "the carry goes in and comes out: unroll(..., carry=carry)",
    **dict.fromkeys(
        ("dtype", "param_dtype", "key", "rngs", "rng", "seed"),
        "it is an argument of init: {0}(...).init(key, in_features, dtype)",
    ),
    **dict.fromkeys(
        ("training", "train", "deterministic"),
        "there is no mode: dropout acts where unroll gets key=...",
    ),
    "resets": "a step has none: jnp.where selects the new carry, see reinforcement",
    "go_backwards": "say so when you run it: unroll(cell, params, xs, reverse=True)",
    **dict.fromkeys(("proj_size", "num_proj"), "ProjectedLSTM has a projection"),
    **dict.fromkeys(
        ("kernel_regularizer", "recurrent_regularizer", "activity_regularizer"),
        "penalties are a part of the loss; training has some",
    ),
    "device": "jax.device_put puts parameters on a device",
}


def unknown(
    where: str, name: str, known: Iterable[str], hints: Mapping[str, str] = ELSEWHERE
) -> TypeError:
    """Return the error for an argument that does not exist."""
    known = sorted(known)
    if (same := _SAME.get(name)) in known:
        hint = f"it is {same} here"
    elif name in hints:
        hint = hints[name].format(where)
    elif close := difflib.get_close_matches(name, known, 1):
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"there are {known}"
    return TypeError(f"{where}: there is no argument {name}; {hint}")


def fit(
    where: str,
    parameters: Parameters,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    hints: Mapping[str, str] = ELSEWHERE,
) -> None:
    """Check that a call has no unknown argument, nor too many by position."""
    kinds = {p.kind for p in parameters.values()}
    own = "self" in parameters
    names = [n for n, p in parameters.items() if n != "self" and p.kind not in _REST]
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in kwargs:
            if name not in parameters:
                raise unknown(where, name, names, hints)
    placed = [n for n, p in parameters.items() if p.kind in _PLACED]
    order = ", ".join(placed[own:])
    if len(args) > len(placed) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        others = [*_packed(parameters), *(name for name in names if name not in placed)]
        is_size = type(args[len(placed)]) is int and "in_features" in others
        example = "in_features" if is_size else next(iter(others), "")
        fix = f"; pass the others by name, such as {example}=..." if others else ""
        count = len(placed) - own
        raise TypeError(
            f"{where}: takes {count} argument{'s' * (count != 1)} by position, "
            f"({order}), got {len(args) - own}{fix}"
        )
    given = {*placed[: len(args)], *kwargs}
    missing = [
        name
        for name in names
        if name not in given and parameters[name].default is inspect.Parameter.empty
    ]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        by_name = not set(missing) & set(placed)
        fix = f"pass {missing[0]}=..." if by_name else f"the order is ({order})"
        raise TypeError(f"{where}: {' and '.join(missing)} {verb} missing; {fix}")


def _packed(parameters: Parameters) -> Iterable[str]:
    """Return the names that `**options: Unpack[...]` takes."""
    for parameter in parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            for options in typing.get_args(parameter.annotation):
                yield from options.__annotations__
