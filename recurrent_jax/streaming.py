# SPDX-License-Identifier: Apache-2.0
"""One step at a time, as data arrive, also in another process.

A stream is a carry and a step. Stepping returns the same outputs as `unroll` over the
whole sequence. Train with `unroll`, and serve with `step`.
"""

import dataclasses
import importlib
import io
import zipfile
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._checks.kinds import Parts, Plain
from recurrent_jax._core import extras
from recurrent_jax._core.input_types import Arrays, Model, Structs
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Size
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.networks._bidirectional import Bidirectional


@_checks.checked
def step(cell: Model, params: Any, carry: Any, x: Arrays) -> tuple[Any, Any]:
    """Return `(carry, y)` after one step of a cell, or of `Deep` layers of cells.

    For a cell this is `cell.step`. For `Deep` every layer makes one step, which returns
    the same outputs as running layer after layer.

    Args:
        cell: any cell, or a network that does not read later inputs.
        params: what `cell.init` returned.
        carry: the state before the step; the first one is
            `cell.initial_carry(batch_shape, params=params)`.
        x: the input, `(*batch, features)`, no time axis.

    Returns:
        The state after the step, and the output.

    Raises:
        TypeError: if the network reads later inputs, as `Bidirectional` does.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> network = rj.Deep((rj.LSTM(3), rj.GRU(4)))
        >>> params = network.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((2, 5, 2))
        >>> carry = network.initial_carry((5,), params=params)
        >>> for x in xs:
        ...     carry, y = rj.streaming.step(network, params, carry, x)
        >>> print(jnp.allclose(y, rj.unroll(network, params, xs)[1][-1], atol=1e-6))
        True
    """
    if not isinstance(cell, Network):
        return cell.step(params, carry, x)
    _causal(cell, _looks_ahead(cell))
    x = _checks.arrays("streaming.step", "x", x)
    if any(a.ndim == 0 for a in jax.tree.leaves(x)):
        raise ValueError(
            f"streaming.step: x must be (*batch, features), got {_checks.outline(x)}"
        )
    if carry is None:  # which unroll reads as the start
        raise TypeError(
            f"streaming.step: carry must be the state before the step, got None; "
            f"{cell!r}.initial_carry(batch_shape, params=params) makes the first one"
        )
    xs = jax.tree.map(lambda a: a[None], x)
    carry, ys = unroll(cell, params, xs, carry=carry, backward=_Plain())
    return carry, jax.tree.map(lambda y: y[0], ys)


@dataclasses.dataclass(frozen=True)
class _Plain:
    """A strategy that does not depend on the size of the batch."""

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        return run_steps(loop, carry)[:2]


def _looks_ahead(part: Any) -> bool:
    """Return whether any part of a network reads backward."""
    if isinstance(part, Bidirectional):
        return True
    if isinstance(part, tuple):
        return any(map(_looks_ahead, part))
    if not isinstance(part, Network):
        return False
    return any(_looks_ahead(getattr(part, f.name)) for f in dataclasses.fields(part))


Bytes = Annotated[bytes, Plain("bytes", (bytes, bytearray))]
Platforms = Annotated[tuple[str, ...], Parts(Plain("a string", (str,)))]


class Stream(NamedTuple):
    """An exported step and its start, as `load` returns them."""

    start: Callable[[Any], tuple[jax.Array, ...]]  # the initial carry for inputs like x
    step: Callable[[tuple[jax.Array, ...], Any], tuple[tuple[jax.Array, ...], Any]]


@_checks.checked
def export(
    step: Callable[[Any, Any], tuple[Any, Any]],
    start: Callable[[tuple[Any, ...]], Any],
    x: Structs,
    *,
    batch: Size | str | None = "batch",
    platforms: Platforms | None = None,
) -> bytes:
    """Return a step as bytes that any process with JAX can run, without this library.

    The bytes contain the parameters as constants. The carry is a tuple of arrays. The
    bytes are a zip file of two `jax.export` artefacts, `start` and `step`, which can be
    read without `load`.

    Args:
        step: `(carry, x) -> (carry, y)`, a pure function, such as
            `partial(cell.step, params)`, with or without a head.
        start: `batch_shape -> carry`, such as
            `partial(cell.initial_carry, params=params)`.
        x: one input without batch axes, arrays or `jax.ShapeDtypeStruct`; only shapes
            and dtypes matter.
        batch: the size of the batch, or a name for a size that may differ between
            calls, or None for inputs without a batch axis.
        platforms: to compile for, such as `("cpu", "cuda")`; the current one if None.

    Returns:
        The bytes, which are as portable and durable as `jax.export` promises.

    Raises:
        TypeError, ValueError: if the type of the carry changes from step to step.
        ModuleNotFoundError: without the package `flatbuffers`, which JAX writes with.

    Example:
        >>> import functools
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> data = rj.streaming.export(
        ...     functools.partial(cell.step, params),
        ...     functools.partial(cell.initial_carry, params=params),
        ...     jnp.zeros(2))
        >>> stream = rj.streaming.load(data)
        >>> x = jnp.ones((5, 2))  # any batch
        >>> carry, y = stream.step(stream.start(x), x)
        >>> y.shape
        (5, 3)
    """
    jax_export = _jax_export("export")
    size = _size(batch)
    order = "(carry, x) -> (carry, y)"
    step = _checks.pairing("export", "step", step, order)
    _checks.takes("export", "start", start, "(batch_shape) -> carry")
    batch_shape = () if batch is None else (size,)
    like = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(
            (*batch_shape, *jnp.shape(a)), jnp.result_type(a)
        ),
        x,
    )
    structure = jax.tree.structure(jax.eval_shape(lambda: start(())))

    def begin(x: Any) -> tuple[jax.Array, ...]:
        shape = jax.tree.leaves(x)[0].shape[: len(batch_shape)]
        return tuple(jax.tree.leaves(start(shape)))

    def advance(leaves: tuple[jax.Array, ...], x: Any) -> tuple[Any, Any]:
        carry, y = step(structure.unflatten(leaves), x)
        _same_carry(structure, leaves, carry)
        return tuple(jax.tree.leaves(carry)), y

    carry = jax.eval_shape(begin, like)
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as archive:
        for name, function, arguments in (
            ("start", begin, (like,)),
            ("step", advance, (carry, like)),
        ):
            exported = jax_export.export(jax.jit(function), platforms=platforms)
            archive.writestr(name, bytes(exported(*arguments).serialize()))
    return box.getvalue()


@_checks.checked
def load(data: Bytes) -> Stream:
    """Return the stream that `export` wrote.

    Args:
        data: what `export` returned.

    Returns:
        `Stream(start, step)`, two compiled functions.

    Raises:
        ValueError: if the bytes are not from `export`.
        ModuleNotFoundError: without the package `flatbuffers`, which JAX reads with.

    Example:
        >>> import recurrent_jax as rj
        >>> rj.streaming.load(b"what is this?")
        Traceback (most recent call last):
            ...
        ValueError: load: data is not what streaming.export returned
    """
    jax_export = _jax_export("load")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [bytearray(archive.read(name)) for name in ("start", "step")]
    except (zipfile.BadZipFile, KeyError):
        raise ValueError("load: data is not what streaming.export returned") from None
    return Stream(*(jax.jit(jax_export.deserialize(part).call) for part in parts))


def _jax_export(where: str) -> Any:
    """Return `jax.export`, if it can write and read."""
    extras.package("flatbuffers", f"{where} needs FlatBuffers", "flatbuffers")
    return importlib.import_module("jax.export")


def _size(batch: int | str | None) -> Any:
    """Return the size of the batch, symbolic if it has a name."""
    from jax import export as jax_export

    if not isinstance(batch, str):
        return batch
    if not batch.isidentifier():
        raise ValueError(
            f"export: batch must be a size, a name such as 'batch', or None; "
            f"got {batch!r}"
        )
    return jax_export.symbolic_shape(batch)[0]


def _causal(network: Any, looks_ahead: bool) -> None:
    """Check that a network can run step by step."""
    if looks_ahead:
        raise TypeError(
            f"streaming.step: {network!r} holds a Bidirectional, which reads later "
            "inputs first; a stream has none yet. Use cells, or Deep layers of them"
        )


def _same_carry(structure: Any, before: Any, carry: Any) -> None:
    """Check that a step returns a carry of the type that it gets."""
    after = jax.tree.leaves(carry)
    alike = jax.tree.structure(carry) == structure and all(
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(before, after, strict=True)
    )
    if not alike:
        got, want = (" ".join(map(_checks.describe, c)) for c in (after, before))
        raise ValueError(
            f"streaming.export: step must return a carry like the one of start, {want},"
            f" got {got}; the order is (carry, x) -> (carry, y)"
        )
