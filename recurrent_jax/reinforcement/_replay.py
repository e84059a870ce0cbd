# SPDX-License-Identifier: Apache-2.0
"""A check that learning reads the same outputs as acting did."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.input_types import Arrays, Lengths, Mask, Model, Params
from recurrent_jax._core.types import Positive
from recurrent_jax._loop.loop import Method
from recurrent_jax.reinforcement import _check
from recurrent_jax.reinforcement._causes import cause
from recurrent_jax.reinforcement._rollout import Replay, Rollout


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
    _check.causal("check_replay", cell)
    arrays = {"params": params, "xs": xs, "outputs": outputs, "carry": carry}
    _known(arrays | {"resets": resets, "lengths": lengths, "mask": mask})
    options = {"lengths": lengths, "mask": mask, "reset_carry": reset_carry}
    replay = Replay(cell, params, xs, time_axis, method, options)
    final, want = replay(carry, resets)
    _like(outputs, want)
    batch = _batch_axes(cell, params, final, want)
    rollout = Rollout.of(replay, outputs, batch, tolerance)
    off = rollout.errors(want)
    if off.any():
        why = cause(replay, rollout, carry, resets)
        why = why or _unknown(int(np.argwhere(off)[0, 0]), carry, resets)
        raise AssertionError(
            "check_replay: outputs differ from those of unroll first at "
            f"{_place(off)}. {why}"
        )


def _known(given: dict[str, Any]) -> None:
    """Check that values are known."""
    for name, tree in given.items():
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
            raise TypeError(
                f"check_replay: {name} is traced, but values are compared here; call "
                "it outside of jit, once before training"
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


def _place(off: Any) -> str:
    """Return where the first error is, its amount, and how many sequences have one."""
    step, *which = (int(n) for n in np.argwhere(off)[0])
    amount = f"by {off[(step, *which)]:.2g}"
    if not which:
        return f"step {step}, {amount}"
    sequence = which[0] if len(which) == 1 else tuple(which)
    of = f"in {int(off.any(0).sum())} of {off[0].size} sequences"
    return f"step {step} of sequence {sequence}, {amount}, {of}"


def _batch_axes(cell: Any, params: Any, final: Any, want: Any) -> int:
    """Return the number of batch axes: those that a carry has more than one alone."""
    first = jax.tree.leaves(want)[0]
    alone = jax.eval_shape(lambda p: cell.initial_carry((), first.dtype, p), params)
    for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(final), strict=True):
        return int(many.ndim - one.ndim)
    return int(first.ndim - 2)


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
