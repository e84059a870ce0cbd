# SPDX-License-Identifier: Apache-2.0
"""Laws about a cell in the loop: skipped steps, resets, chunks and reversal."""

import dataclasses
import functools

import jax
import numpy as np

from recurrent_jax._loop.unroll import unroll
from recurrent_jax.backward import Autodiff, Checkpointed, ParallelBackward
from recurrent_jax.methods import Associative, Chunked, Fused, Newton, Sequential
from recurrent_jax.testing._compare import LawViolation, finite, same
from recurrent_jax.testing._programs import How
from recurrent_jax.testing._trees import at, cut, hidden, sequence, spoil
from recurrent_jax.testing._trial import Trial


def split(trial: Trial) -> None:
    """Law 3: running [0, k) and then [k, T) equals running [0, T)."""
    want = trial.run()
    # Each length is compiled, so only a few are tried.
    for k in sorted({0, trial.time // 2}):
        carry, early = trial.run(cut(trial.xs, 0, k))
        carry, late = trial.run(cut(trial.xs, k, None), carry)
        ys = jax.tree.map(lambda a, b: np.concatenate([a, b]), early, late)
        same(f"running in two parts, cut at {k}, differs", (carry, ys), want)


def padding(trial: Trial) -> None:
    """Law 4: steps beyond lengths or under a False mask change nothing."""
    rng, shape = trial.rng(5), (trial.time, *trial.batch_shape)
    lengths = rng.integers(0, trial.time + 1, trial.batch_shape)
    mask = rng.random(shape) < 0.7
    steps = np.arange(trial.time).reshape((-1,) + (1,) * lengths.ndim)
    valid = mask & (steps < lengths[None])
    flags = trial.flags(lengths=lengths, mask=mask)
    want, clean = trial.gradients(**flags)
    same("outputs of skipped steps are not zero", *hidden(want[1], valid))
    same("inputs of skipped steps have a gradient", *hidden(clean[2], valid))
    for junk in (np.nan, np.inf, 1e30):
        spoilt = spoil(trial.xs, ~valid, junk)
        reached = f"{junk} in skipped steps reached"
        same(f"{reached} the outputs or the carry", trial.run(spoilt, **flags), want)
        got, spoilt_gradients = trial.gradients(spoilt, **flags)
        same(f"{reached} the outputs or the carry", got, want)
        hide = functools.partial(spoil, where=~valid, junk=0.0)
        grads = (*spoilt_gradients[:2], hide(spoilt_gradients[2]))
        same(f"{reached} a gradient", grads, (*clean[:2], hide(clean[2])))
        same(f"{reached} a gradient", *hidden(spoilt_gradients[2], valid))


def empty(trial: Trial) -> None:
    """Law 5: no steps, or no sequences, give the initial carry and finite gradients."""
    none = trial.flags(lengths=np.zeros(trial.batch_shape, int))
    (carry, ys), gradients = trial.gradients(**none)
    same("lengths of 0 changed the carry", carry, trial.carry)
    same("lengths of 0 gave outputs", ys, jax.tree.map(np.zeros_like, ys))
    finite("lengths of 0 gave a gradient", gradients)
    for name, change in (("time", {"time": 0}), ("batch", {"batch_shape": (0,)})):
        small = dataclasses.replace(trial, **change)  # type: ignore[arg-type]
        small.__dict__["carry"] = small.start()
        (carry, ys), gradients = small.gradients()
        same(f"a {name} of 0 changed the carry", carry, small.start())
        lead = {y.shape[: 1 + len(small.batch_shape)] for y in jax.tree.leaves(ys)}
        if lead != {(small.time, *small.batch_shape)}:
            raise LawViolation(f"a {name} of 0 gave outputs that begin with {lead}")
        finite(f"a {name} of 0 gave a gradient", gradients)


def reset(trial: Trial) -> None:
    """Law 6: a reset at t equals a fresh start at t, and no NaN survives it."""
    for t in sorted({0, trial.time // 2, trial.time - 1} & {*range(trial.time)}):
        resets = np.zeros((trial.time, *trial.batch_shape), bool)
        resets[t] = True
        flags = trial.flags(resets=resets)
        early = trial.loop(cut(trial.xs, 0, t))[1] if t else None
        for fresh in (None, trial.carry):
            start = trial.start() if fresh is None else fresh
            want, late = trial.loop(cut(trial.xs, t, None), start)
            got, ys = trial.run(reset_carry=fresh, **flags)
            same(f"a reset at {t} is not a fresh start", got, want)
            same(f"outputs after a reset at {t} differ", cut(ys, t, None), late)
            if t:
                same(f"outputs before a reset at {t} changed", cut(ys, 0, t), early)
        spoilt = spoil(trial.xs, np.arange(trial.time) < t, np.nan)
        got, ys = trial.run(spoilt, **flags)
        want = trial.loop(cut(trial.xs, t, None), trial.start())
        same(f"a NaN survived a reset at {t}", (got, cut(ys, t, None)), want)


def reverse(trial: Trial) -> None:
    """Law 8: a reversed run equals flipping the valid part, running, flipping back."""
    four = dataclasses.replace(trial, batch_shape=(4,))
    lengths = np.r_[four.time, 0, four.rng(6).integers(0, four.time + 1, 2)]
    flip = functools.partial(jax.tree.map, lambda a: np.flip(a, 0))
    xs, start = four.xs, four.carry
    final, got = four.run(reverse=True, **four.flags(lengths=lengths))
    for b, length in enumerate(lengths):
        if length:
            alone = flip(cut(sequence(xs, b), 0, length))
            carry, ys = four.loop(alone, at(start, b))
            mine = cut(sequence(got, b), 0, length)
            same("running reversed is not running flipped", mine, flip(ys))
        else:
            carry = at(start, b)
        same("reversed, the final carry differs", at(final, b), carry)


def causality(trial: Trial) -> None:
    """Law 9: an output does not depend on later inputs."""
    # The default projects a block of steps at a time. Others project all.
    for how in (trial.how, *_others(trial)[:1]):
        _, want = trial.run(**how._asdict())
        for t in range(trial.time - 1):
            future = np.arange(trial.time) > t
            _, got = trial.run(spoil(trial.xs, future, 3.0), **how._asdict())
            same(
                f"changing inputs after step {t} changed outputs up to it",
                cut(got, 0, t + 1),
                cut(want, 0, t + 1),
            )


def strategies(trial: Trial) -> None:
    """Law 13: every method and exact strategy gives the results of the loop."""
    if not trial.time:
        return
    want = trial.loop(), trial.loop_gradients()
    for how in _others(trial):
        got = trial.gradients(how=how)
        same(f"{how.method} with {how.backward} differs from the loop", got, want)


def _others(trial: Trial) -> list[How]:
    """Return the ways to run a cell that are not the default."""
    one, few = Autodiff(), Checkpointed(every=2)
    if trial.cell.linear:
        ways = [How(Chunked(trial.time), one), How(Chunked(2), few)]
        ways += [How(Sequential(), one), How(Associative(), one)]
    else:
        ways = [How(Sequential(), one), How(Sequential(), few), How(Fused(), one)]
    # It must converge: NaN is equal to nothing.
    ways.append(How(Newton(otherwise="nan"), one))
    ways.append(How(Sequential(), ParallelBackward(block=3)))
    return [how for how in ways if _runs(trial, how)]


def _runs(trial: Trial, how: How) -> bool:
    """Return whether a method and a strategy can run the cell."""
    every = Autodiff, Checkpointed
    if isinstance(how.method, Sequential | Chunked) and isinstance(how.backward, every):
        return True
    run = functools.partial(unroll, trial.cell, **how._asdict())
    try:
        jax.eval_shape(run, trial.params, trial.xs)
    except TypeError as refusal:
        if "cannot run" not in str(refusal):
            raise
        return False
    return True
