# SPDX-License-Identifier: Apache-2.0
"""A check that learning reads the same outputs as acting did."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.input_types import Arrays, Lengths, Mask, Model, Params
from recurrent_jax._core.types import Positive
from recurrent_jax._loop.loop import Method, valid_steps
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.reinforcement import _check
from recurrent_jax.reinforcement._resets import resets_from_dones


@_checks.checked
def check_replay(
    cell: Model,
    params: Params,
    xs: Arrays,
    outputs: Arrays,
    *,
    carry: Any = None,
    resets: Mask | None = None,
    reset_carry: Any = None,
    lengths: Lengths | None = None,
    mask: Mask | None = None,
    time_axis: int = 0,
    method: Method | None = None,
    tolerance: Positive | None = None,
) -> None:
    r"""Check that a replay of stored inputs gives the outputs of the rollout.

    $$ \max_{t, n} \left| y_{t, n} - \hat y_{t, n} \right| \le \varepsilon
    \max(1, \max |\hat y|), \qquad
    \hat y = \mathrm{unroll}(\theta, x, \mathrm{carry}, \mathrm{resets}) $$

    Call it once before training, on a first rollout and with the same parameters. Such
    a difference raises no error of its own: the agent just learns less, or nothing.

    Args:
        cell: any cell, or a network that does not read later inputs.
        params: those that the rollout used.
        xs: the stored inputs, `(time, *batch, features)`, or a pytree of them.
        outputs: what `cell.step` returned in the rollout, stacked over time,
            `(time, *batch, hidden)`, or a pytree of them. Take several episodes.
        carry: the stored carry before the first step. If None, it is
            `cell.initial_carry`.
        resets: bool, `(time, *batch)`, as the loss passes them to `unroll`.
        reset_carry: what a reset restarts from, as for `unroll`.
        lengths: integers, `(*batch)`: steps beyond them are not compared.
        mask: bool, `(time, *batch)`: steps where it is False are not compared.
        time_axis: the axis of time in `xs`, `outputs`, `resets` and `mask`.
        method: how time is run, as the loss passes it to `unroll`.
        tolerance: $\varepsilon$. If None, it is the square root of the machine epsilon,
            about 3e-4 for float32. Raise it for a GPU that rounds products to TF32.

    Raises:
        AssertionError: if a step differs. The message names the first such step, its
            sequence, and the mistake that explains the outputs, if one was found:
            dones passed as resets, resets a step late, a rollout without resets, or
            another carry.
        ValueError, TypeError: as `unroll` does, if `outputs` are not like those of
            `unroll`, or if values are traced.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jax.random.normal(jax.random.key(1), (6, 2))
        >>> dones = jnp.array([False, False, True, False, False, False])
        >>> carry, outputs = cell.initial_carry(), []
        >>> for x, done in zip(xs, dones):  # the rollout
        ...     carry, y = cell.step(params, carry, x)
        ...     outputs.append(y)
        ...     carry = cell.initial_carry() if done else carry
        >>> resets = rj.reinforcement.resets_from_dones(dones)
        >>> rj.reinforcement.check_replay(
        ...     cell, params, xs, jnp.stack(outputs), resets=resets)
        >>> rj.reinforcement.check_replay(
        ...     cell, params, xs, jnp.stack(outputs), resets=dones)
        Traceback (most recent call last):
            ...
        AssertionError: check_replay: outputs differ from those of unroll first at step
        2, by ... resets are the dones of the same steps, but a reset comes before the
        step after a done: pass resets=resets_from_dones(dones)

    References:
        Kapturowski et al., 2019. Recurrent experience replay in distributed
        reinforcement learning. https://openreview.net/forum?id=r1lyTjAqYX
    """
    where = "check_replay"
    _check.causal(where, cell)
    given = {"params": params, "xs": xs, "outputs": outputs, "carry": carry}
    given |= {"resets": resets, "lengths": lengths, "mask": mask}
    for name, tree in given.items():
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
            raise TypeError(
                f"{where}: {name} is traced, but values are compared here; call it "
                "outside of jit, once before training"
            )

    def replay(carry: Any, resets: Any, reset_carry: Any) -> Any:
        return unroll(
            cell,
            params,
            xs,
            carry=carry,
            lengths=lengths,
            mask=mask,
            resets=resets,
            reset_carry=reset_carry,
            time_axis=time_axis,
            method=method,
        )

    final, want = replay(carry, resets, reset_carry)
    _like(outputs, want)
    first = jax.tree.leaves(want)[0]
    axis = int(time_axis) % jnp.ndim(jax.tree.leaves(xs)[0])
    batch = _batch_axes(cell, params, final, first)

    def front(a: Any) -> Any:
        return jnp.moveaxis(jnp.asarray(a), axis, 0)

    time, batch_shape = front(first).shape[0], front(first).shape[1 : 1 + batch]
    valid = valid_steps(time, lengths, None if mask is None else front(mask))
    shape = (time, *batch_shape)
    counts = np.ones(shape, bool) if valid is None else np.broadcast_to(valid, shape)

    def errors(ys: Any, steps: slice = slice(None)) -> Any:
        """Return by how much each step of each sequence is off, zero within limits."""
        off = np.zeros(shape)[steps]
        pairs = zip(jax.tree.leaves(ys), jax.tree.leaves(outputs), strict=True)
        for one, other in pairs:
            a, b = (np.asarray(front(ys))[steps] for ys in (one, other))
            off = np.maximum(off, _off(a, b, counts[steps], tolerance))
        return off

    off = errors(want)
    if not off.any():
        return
    step, *which = (int(n) for n in np.argwhere(off)[0])
    sequence = str(which[0]) if batch == 1 else str(tuple(which))
    place = f"step {step}" + (f" of sequence {sequence}" if which else "")
    amount = f"by {off[(step, *which)]:.2g}"
    wrong = int(off.any(0).sum())
    of = f", in {wrong} of {int(np.prod(batch_shape))} sequences" if batch else ""

    def explains(carry: Any, *resets: Any, steps: slice = slice(None)) -> bool:
        """Say whether one of these resets gives the outputs, sequence by sequence."""
        differs = np.ones(batch_shape, bool)
        for each in resets:
            ys = replay(carry, each, None if each is None else reset_carry)[1]
            differs &= errors(ys, steps).any(0)
        return not differs.any()

    cause = next(_causes(explains, carry, resets, axis), None)
    why = cause or _unknown(step, carry, resets)
    raise AssertionError(
        f"{where}: outputs differ from those of unroll first at {place}, {amount}{of}. "
        f"{why}"
    )


def _like(outputs: Any, want: Any) -> None:
    """Check that the outputs have the structure, shapes and dtypes of a replay."""
    same = jax.tree.structure(outputs) == jax.tree.structure(want) and all(
        (jnp.shape(a), jnp.result_type(a)) == (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(outputs), jax.tree.leaves(want), strict=True)
    )
    if not same:
        raise ValueError(
            f"check_replay: outputs must be like those of unroll, "
            f"{_checks.shapes(want)}, got {_checks.shapes(outputs)}; stack what "
            "cell.step returns along time_axis"
        )


def _batch_axes(cell: Any, params: Any, final: Any, first: Any) -> int:
    """Return the number of batch axes: those that a carry has more than one alone."""
    alone = jax.eval_shape(lambda p: cell.initial_carry((), first.dtype, p), params)
    for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(final), strict=True):
        return int(many.ndim - one.ndim)
    return int(first.ndim - 2)


def _off(a: Any, b: Any, counts: Any, tolerance: float | None) -> Any:
    """Return the error of each step of each sequence, zero where it is allowed."""
    eps = jnp.finfo(a.dtype).eps if jnp.issubdtype(a.dtype, jnp.floating) else 0
    a, b = (v.astype("float64").reshape(*counts.shape, -1) for v in (a, b))
    a, b = (np.where(counts[..., None], v, 0) for v in (a, b))
    allowed = float(eps) ** 0.5 if tolerance is None else tolerance
    allowed *= max(1.0, np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))
    with np.errstate(invalid="ignore"):  # inf - inf
        distance = np.abs(a - b)
    worst = np.where(np.isnan(distance), np.inf, distance).max(-1, initial=0.0)
    return np.where(worst <= allowed, 0, worst)


def _causes(
    explains: Callable[..., bool], carry: Any, resets: Any, axis: int
) -> Iterator[str]:
    """Yield what explains the outputs: mistakes whose replay gives them."""
    if resets is not None:
        turned = jnp.moveaxis(jnp.asarray(resets), axis, 0)
        edge = jnp.zeros_like(turned[0])

        def shifted(resets: jax.Array, initial: jax.Array) -> jax.Array:
            return jnp.moveaxis(resets_from_dones(resets, initial), 0, axis)

        if explains(carry, shifted(turned, edge), shifted(turned, ~edge)):
            yield (
                "resets are the dones of the same steps, but a reset comes before the "
                "step after a done: pass resets=resets_from_dones(dones)"
            )
        # The reset before the last step is not known, so that step does not count.
        earlier = jnp.moveaxis(jnp.concatenate([turned[1:], edge[None]]), 0, axis)
        if len(turned) > 1 and explains(carry, earlier, steps=slice(-1)):
            yield (
                "resets come one step late: pass resets_from_dones(dones) of the dones "
                "themselves, once"
            )
        if explains(carry, None):
            yield (
                "The rollout made no resets: it passed its carry on from one episode "
                "to the next. Reset it before the step after a done"
            )
    if carry is not None and explains(None, resets):
        yield (
            "The rollout started from cell.initial_carry, not from carry: store the "
            "carry before the first step of these inputs"
        )
    if resets is not None and carry is not None:
        turned = jnp.moveaxis(jnp.asarray(resets), axis, 0)
        first = jnp.moveaxis(turned.at[0].set(True), 0, axis)
        if explains(carry, resets, first):
            yield (
                "An episode ended with the step before these, and resets do not tell: "
                "pass its dones, resets_from_dones(dones, initial)"
            )


def _unknown(step: int, carry: Any, resets: Any) -> str:
    """Return what to look at where no mistake was recognised."""
    if step == 0 and carry is None:
        return "If the rollout started from another carry, pass it as carry=..."
    if step == 0:
        return (
            "If carry was stored after the first step, store it before that step; else "
            "params or the first input are not those of the rollout"
        )
    if resets is None:
        return (
            "If an episode ended in these steps, pass "
            "resets=resets_from_dones(dones); else an input changed after the step"
        )
    return (
        "Up to there all agree, so params and carry are those of the rollout: compare "
        "resets and inputs of this step with it"
    )
