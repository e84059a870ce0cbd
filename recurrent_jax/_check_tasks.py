# SPDX-License-Identifier: Apache-2.0
"""Checks of what tasks, generation, streaming and ragged sequences are given.

In the manner of `_check`: on shapes and dtypes, while tracing, and each message names
the function, the argument, what was expected, what came, and the likely fix.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _check


def score(name: Any, attention_size: Any) -> None:
    """Check the form of an attention, and that its size is one that it has."""
    _check.choice("Attention", "score", name, ("additive", "multiplicative"))
    if attention_size is None:
        return
    _check.size("Attention", "attention_size", attention_size)
    if name == "multiplicative":
        raise ValueError(
            "Attention: attention_size is given, but a multiplicative score compares "
            "in the size of the output; leave it out, or pass score='additive'"
        )


def attention_params(params: Any) -> None:
    """Check that parameters are those of an attention."""
    if not hasattr(params, "memory_kernel"):
        raise TypeError(
            "Attention.bind: params must be AttentionParams, got "
            f"{_check.outline(params)}; cell.init makes them, and the order is "
            "(params, memory)"
        )


def memory(
    memory: Any, size: int, params: Any, lengths: Any, mask: Any, time_axis: Any
) -> jax.Array:
    """Check what `Attention.bind` is given; return which parts count, time last."""
    kernel = params.memory_kernel
    if memory.ndim < 2 or memory.shape[-1] != size:
        raise ValueError(
            f"Attention.bind: memory must be (time, *batch, {size}), got "
            f"{_check.describe(memory)}"
        )
    if memory.dtype != kernel.dtype:
        raise TypeError(
            f"Attention.bind: memory is {memory.dtype} but params.memory_kernel is "
            f"{kernel.dtype}; nothing is cast silently. Cast one: "
            f"memory.astype({str(kernel.dtype)!r})"
        )
    valid = steps("Attention.bind", "memory", memory, lengths, mask, time_axis, 1)
    if valid is None:
        batch_shape = np.delete(memory.shape[:-1], time_axis)
        return jnp.ones((*batch_shape, memory.shape[time_axis]), bool)
    return jnp.moveaxis(valid, 0, -1)


def bound(memory: Any, h: Any) -> Any:
    """Return the memory of an attention, after a check that it fits the batch."""
    if memory is None:
        raise ValueError(
            "Attention: params have no memory to look at; make some that have: "
            "cell.bind(params, memory, lengths=...)"
        )
    batch_shape = memory.valid.shape[:-1]
    lead = h.shape[:-1]
    if batch_shape and lead[max(0, len(lead) - len(batch_shape)) :] != batch_shape:
        raise ValueError(
            f"Attention: the memory has the batch shape {batch_shape}, the input "
            f"{lead}; one memory for all sequences has no batch axes"
        )
    return memory


def reads_encoder(decoder: Any, features: int) -> None:
    """Check that an attention looks at what an encoder gives."""
    if decoder.memory_features != features:
        raise ValueError(
            f"init_encoder_decoder: the encoder gives {features} features, but "
            f"{decoder!r} looks at {decoder.memory_features}; pass "
            f"memory_features={features}"
        )


def steps(
    where: str,
    argument: str,
    first: Any,
    lengths: Any,
    mask: Any,
    time_axis: Any,
    features: int,
) -> Any:
    """Return which steps of an array count, `(time, *batch)`, or None if all do.

    `features` is how many trailing axes are no batch.
    """
    _check.integer(where, "time_axis", time_axis)
    lead = list(first.shape[: first.ndim - features])
    if not -len(first.shape) <= time_axis < len(lead) or not lead:
        raise ValueError(
            f"{where}: time_axis must be one of the first {len(lead)} axes of "
            f"{argument} {_check.describe(first)}; got {time_axis}"
        )
    time = lead.pop(time_axis)
    if mask is not None:
        mask = jnp.asarray(mask)
        shape = first.shape[: first.ndim - features]
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"{where}: mask must be bool[{','.join(map(str, shape))}], laid out as "
                f"{argument} {_check.describe(first)} is; got {_check.describe(mask)}"
            )
        mask = jnp.moveaxis(mask, time_axis, 0)
    if lengths is None:
        return mask
    lengths = lengths_of(where, lengths, time, tuple(lead))
    within = jnp.arange(time).reshape(time, *(1,) * lengths.ndim) < lengths[None]
    return within if mask is None else within & mask


def lengths_of(where: str, lengths: Any, time: Any, batch_shape: Any = None) -> Any:
    """Return lengths in JAX, after a check of dtype, shape and, where seen, values."""
    return jnp.asarray(_lengths(where, lengths, time, batch_shape)).astype(int)


def host_lengths(where: str, lengths: Any, time: Any = None) -> np.ndarray:
    """Return lengths in NumPy, `(n,)`, after the same check."""
    if isinstance(lengths, jax.core.Tracer):
        raise TypeError(
            f"{where}: lengths must be known before tracing, since shapes depend on "
            "them; call it outside of jit"
        )
    lengths = np.asarray(lengths if np.size(lengths) else np.zeros(0, int))
    if lengths.ndim != 1:
        raise ValueError(
            f"{where}: lengths must be integers (n,), got {_check.describe(lengths)}"
        )
    return np.asarray(_lengths(where, lengths, time)).astype(int)


def _lengths(where: str, lengths: Any, time: Any, batch_shape: Any = None) -> Any:
    lengths = lengths if isinstance(lengths, jax.Array) else np.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(
            f"{where}: lengths must be integers, got {_check.describe(lengths)}; "
            "cast them: .astype(int)"
        )
    if batch_shape is not None and lengths.shape != batch_shape:
        raise ValueError(
            f"{where}: lengths must have the batch shape {batch_shape}, one for each "
            f"sequence; got {_check.describe(lengths)}"
        )
    if lengths.size and not isinstance(lengths, jax.core.Tracer):
        # NumPy: under jit even the least of a constant would be traced.
        low, high = int(np.asarray(lengths).min()), int(np.asarray(lengths).max())
        if low < 0 or (time is not None and high > time):
            raise ValueError(
                f"{where}: lengths must lie between 0 and time={time}, got "
                f"{low if low < 0 else high}"
            )
    return lengths


def timed(where: str, targets: Any) -> jax.Array:
    """Return targets as an array with an axis of time."""
    targets = _check.array(where, "targets", targets)
    if targets.ndim == 0:
        raise ValueError(f"{where}: targets must have an axis of time, got a number")
    return targets


def first(where: str, first: Any, targets: Any) -> jax.Array:
    """Return what stands before the first target, one number for all or one step."""
    if np.ndim(first) == 0:
        return jnp.full(targets.shape[1:], first, targets.dtype)
    first = _check.array(where, "first", first)
    if (first.shape, first.dtype) != (targets.shape[1:], targets.dtype):
        want = jax.ShapeDtypeStruct(targets.shape[1:], targets.dtype)
        raise ValueError(
            f"{where}: first must be a number or one step of the targets, "
            f"{_check.describe(want)}; got {_check.describe(first)}"
        )
    return first


def rate(where: str, rate: Any) -> None:
    """Check a probability, where it is known."""
    if not isinstance(rate, jax.core.Tracer) and not 0 <= float(rate) <= 1:
        raise ValueError(f"{where}: rate must be between 0 and 1, got {rate}")


def like_input(drawn: Any, x: Any) -> jax.Array:
    """Return what was drawn as the next input, which it must be like."""
    drawn = jnp.asarray(drawn)
    tokens = jnp.issubdtype(x.dtype, jnp.integer)
    if tokens and jnp.issubdtype(drawn.dtype, jnp.integer):
        drawn = drawn.astype(x.dtype)
    if (drawn.shape, drawn.dtype) != (x.shape, x.dtype):
        raise ValueError(
            "what a step predicts must become an input like the one before, "
            f"{_check.describe(x)}; got {_check.describe(drawn)}. Integers are tokens, "
            "drawn from logits (*batch, vocabulary); for numbers, pass draw=..."
        )
    return drawn


def logits(where: str, logits: Any) -> jax.Array:
    """Return logits as an array with an axis of tokens."""
    logits = _check.array(where, "logits", logits)
    if logits.ndim == 0 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(
            f"{where}: logits must be floats (*batch, vocabulary), got "
            f"{_check.describe(logits)}"
        )
    return logits


def logits_of(where: str, logits: Any, token: Any) -> jax.Array:
    """Return the logits of a step after a check that there are some for each token."""
    if not hasattr(logits, "dtype") or logits.shape[:-1] != token.shape:
        raise ValueError(
            f"{where}: step must return logits (*batch, vocabulary) for tokens "
            f"{_check.describe(token)}, got {_check.outline(logits)}. Its order is "
            "(carry, token) -> (carry, logits)"
        )
    return logits


def tokens(where: str, token: Any) -> jax.Array:
    """Return the first token as integers."""
    token = _check.array(where, "token", token)
    if not jnp.issubdtype(token.dtype, jnp.integer):
        raise TypeError(
            f"{where}: token must be integers (*batch), got {_check.describe(token)}; "
            "what feeds numbers back is forecast"
        )
    # Not weakly typed, as a Python number is, so that scan accepts it.
    return jax.lax.convert_element_type(token, token.dtype)


def share(where: str, argument: str, value: Any) -> None:
    """Check a share above 0 and up to 1, where it is known."""
    if not isinstance(value, jax.core.Tracer) and not 0 < float(value) <= 1:
        raise ValueError(f"{where}: {argument} must be in (0, 1], got {value}")


def drawing(key: Any, temperature: Any, top_k: Any, top_p: Any) -> None:
    """Check the options of drawing tokens."""
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    names = [name for name, value in given.items() if value is not None]
    if key is None and names:
        raise ValueError(
            f"generate: {' and '.join(names)} given without a key, so nothing is drawn "
            "and it has no effect; pass key=jax.random.key(0)"
        )
    known = temperature is not None and not isinstance(temperature, jax.core.Tracer)
    if known and not float(temperature) > 0:
        raise ValueError(
            f"generate: temperature must be positive, got {temperature}; leave out the "
            "key for the most probable token each time"
        )


def draws(draw: Any, key: Any) -> None:
    """Check that what draws has a key, and the other way round."""
    if (draw is None) != (key is None):
        have, lack = ("draw", "key") if key is None else ("key", "draw")
        raise ValueError(
            f"forecast: {have} is given without {lack}; both draw what is fed back, "
            "neither feeds the prediction itself back"
        )


def known(known: Any, steps: Any) -> None:
    """Check that what is known of the future is known for all steps."""
    for path, leaf in jax.tree.leaves_with_path(known):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] != steps:
            name = f"known{jax.tree_util.keystr(path)}"
            raise ValueError(
                f"forecast: {name} must have steps={steps} as its first axis, got "
                f"the shape {np.shape(leaf)}"
            )


def causal(network: Any, looks_ahead: bool) -> None:
    """Check that a network can be stepped."""
    if looks_ahead:
        raise TypeError(
            f"streaming.step: {network!r} holds a Bidirectional, which reads later "
            "inputs first; a stream has none yet. Use cells, or Deep layers of them"
        )


def same_carry(structure: Any, before: Any, carry: Any) -> None:
    """Check that a step returns a carry like the one it was given."""
    after = jax.tree.leaves(carry)
    alike = jax.tree.structure(carry) == structure and all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(before, after, strict=True)
    )
    if not alike:
        got, want = (" ".join(map(_check.describe, c)) for c in (after, before))
        raise ValueError(
            f"streaming.export: step must return a carry like the one of start, {want},"
            f" got {got}; the order is (carry, x) -> (carry, y)"
        )


def sequences(where: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Return sequences after a check that they differ in length alone."""
    if not arrays:
        raise ValueError(f"{where}: there must be at least one sequence")
    # An empty list has neither the dtype nor the features of the others.
    filled = [a for a in arrays if a.size] or arrays
    shape, dtype = filled[0].shape[1:], filled[0].dtype
    for n, a in enumerate(arrays):
        if a.ndim == 0 or (a.size and (a.shape[1:], a.dtype) != (shape, dtype)):
            raise ValueError(
                f"{where}: sequence {n} is {_check.describe(a)}, the first with any "
                f"steps {_check.describe(filled[0])}; they may differ in length alone"
            )
    return [a if a.size else np.zeros((len(a), *shape), dtype) for a in arrays]


def fits(where: str, lengths: np.ndarray, time: Any, name: str = "time") -> int:
    """Return a number of steps that holds the longest sequence."""
    longest = int(lengths.max(initial=0))
    if time is None:
        return longest
    _check.integer(where, name, time)
    if time < longest:
        raise ValueError(
            f"{where}: {name}={time} is too short for a sequence of {longest} steps"
        )
    return int(time)


def leads(where: str, a: Any, lead: Any) -> None:
    """Check the first two axes of what is packed or unpacked."""
    if a.shape[:2] != tuple(lead):
        raise ValueError(
            f"{where}: an array must begin with the axes {tuple(lead)} that the plan "
            f"was made for, (time, batch); got {_check.describe(a)}"
        )


def some(where: str, lengths: np.ndarray) -> None:
    """Check that there are lengths."""
    if not lengths.size:
        raise ValueError(f"{where}: there must be at least one length")


def rising(where: str, bounds: Any, lengths: np.ndarray) -> np.ndarray:
    """Return the bounds of buckets after a check that they rise and hold all."""
    edges = np.asarray(bounds)
    if edges.ndim != 1 or not edges.size or (np.diff(edges) <= 0).any():
        raise ValueError(f"{where}: bounds must be rising lengths, got {bounds}")
    if lengths.max(initial=0) > edges[-1]:
        raise ValueError(
            f"{where}: a sequence of {lengths.max()} steps is longer than the last "
            f"bound, {edges[-1]}"
        )
    return edges
