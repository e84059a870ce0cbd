# SPDX-License-Identifier: Apache-2.0
"""The laws: each a function of a `Trial` that raises `LawViolation`."""

import dataclasses
import functools
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads

from recurrent_jax import _checks
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.backward import Autodiff, Backward, Checkpointed, Deferred
from recurrent_jax.testing._compare import LawViolation, finite, same
from recurrent_jax.testing._trees import (
    at,
    cast,
    cut,
    floats,
    hidden,
    is_float,
    row,
    sequence,
    spoil,
    weigh,
    with_floats,
)
from recurrent_jax.testing._trial import Trial

# A block of two steps, so that there are several, and a shorter one at the end.
_EXACT = (Autodiff(), Deferred(block=2), Checkpointed(every=2))


def scan(trial: Trial) -> None:
    """Law 1: unroll equals a Python loop over step."""
    got = trial.run()
    if trial.time == 0:
        return
    loop = jax.jit(trial.loop, static_argnums=3)
    want = loop(trial.params, trial.carry, trial.xs, trial.time)
    same("unroll is not a Python loop over step", got, want)


def project(trial: Trial) -> None:
    """Law 2: step equals recur after project, one step at a time or all at once."""
    cell, params = trial.cell, trial.cell.prepare(trial.params)
    at_once = cell.project(params, trial.xs)
    for t in range(trial.time):
        z = cell.project(params, at(trial.xs, t))
        same(f"project over all steps at once differs at step {t}", at(at_once, t), z)
        got = cell.step(trial.params, trial.carry, at(trial.xs, t))
        want = cell.recur(params, trial.carry, z)
        same("step is not recur after project", got, want)


def split(trial: Trial) -> None:
    """Law 3: running [0, k) and then [k, T) equals running [0, T)."""
    want = trial.run()
    # Each place compiles its own lengths: first, last and middle are enough.
    for k in sorted({0, trial.time // 2, trial.time}):
        carry, early = trial.run(cut(trial.xs, 0, k))
        carry, late = trial.run(cut(trial.xs, k, None), carry)
        ys = jax.tree.map(lambda a, b: np.concatenate([a, b]), early, late)
        same(f"running in two parts, cut at {k}, differs", (carry, ys), want)


def padding(trial: Trial) -> None:
    """Law 4: what is beyond lengths or under a False mask changes nothing."""
    keys = jax.random.split(trial.key(5))
    shape = (trial.time, *trial.batch_shape)
    lengths = np.asarray(
        jax.random.randint(keys[0], trial.batch_shape, 0, trial.time + 1)
    )
    mask = np.asarray(jax.random.bernoulli(keys[1], 0.7, shape))
    steps = np.arange(trial.time).reshape((-1,) + (1,) * lengths.ndim)
    valid = mask & (steps < lengths[None])

    def run(params: Any, carry: Any, xs: Any) -> Any:
        return trial.unroll(params, carry, xs, lengths=lengths, mask=mask)

    want = run(trial.params, trial.carry, trial.xs)
    clean = trial.gradients(run)
    same("outputs of skipped steps are not zero", *hidden(want[1], valid))
    same(
        "inputs of skipped steps have a gradient",
        *hidden(clean[2], valid),
    )
    for junk in (jnp.nan, jnp.inf, 1e30):
        spoilt = spoil(trial.xs, ~valid, junk)
        got = run(trial.params, trial.carry, spoilt)
        same(f"{junk} in skipped steps reached the outputs or the carry", got, want)
        got = trial.gradients(run, spoilt)
        same(f"{junk} in skipped steps reached a gradient", got, clean)


def empty(trial: Trial) -> None:
    """Law 5: no steps, or no sequences, give the initial carry and finite gradients."""
    none = np.zeros(trial.batch_shape, int)

    def run(params: Any, carry: Any, xs: Any) -> Any:
        return trial.unroll(params, carry, xs, lengths=none)

    carry, ys = run(trial.params, trial.carry, trial.xs)
    same("lengths of 0 changed the carry", carry, trial.carry)
    same("lengths of 0 gave outputs", ys, jax.tree.map(np.zeros_like, ys))
    finite("lengths of 0 gave a gradient", trial.gradients(run))
    for name, change in (("time", {"time": 0}), ("batch", {"batch_shape": (0,)})):
        small = dataclasses.replace(trial, **change)  # type: ignore[arg-type]
        carry, ys = small.run(carry=small.start())
        same(f"a {name} of 0 changed the carry", carry, small.start())
        lead = {y.shape[: 1 + len(small.batch_shape)] for y in jax.tree.leaves(ys)}
        if lead != {(small.time, *small.batch_shape)}:
            raise LawViolation(f"a {name} of 0 gave outputs that begin with {lead}")
        small.__dict__["carry"] = small.start()
        gradients = small.gradients(trial.unroll)
        finite(f"a {name} of 0 gave a gradient", gradients)


def reset(trial: Trial) -> None:
    """Law 6: a reset at t equals starting afresh at t, and no NaN survives it."""
    for t in sorted({0, trial.time // 2, trial.time - 1} & {*range(trial.time)}):
        resets = np.zeros((trial.time, *trial.batch_shape), bool)
        resets[t] = True
        for fresh in (None, trial.carry):
            start = trial.start() if fresh is None else fresh
            _, early = trial.run(cut(trial.xs, 0, t))
            want, late = trial.run(cut(trial.xs, t, None), start)
            got, ys = trial.run(resets=resets, reset_carry=fresh)
            same(f"a reset at {t} is not a fresh start", got, want)
            same(f"outputs before a reset at {t} changed", cut(ys, 0, t), early)
            same(f"outputs after a reset at {t} differ", cut(ys, t, None), late)
        spoilt = spoil(trial.xs, np.arange(trial.time) < t, np.nan)
        got, ys = trial.run(spoilt, resets=resets)
        want, late = trial.run(cut(trial.xs, t, None), trial.start())
        same(f"a NaN survived a reset at {t}", (got, cut(ys, t, None)), (want, late))


def batch(trial: Trial) -> None:
    """Law 7: batched equals vmap equals a loop; a permutation permutes the answer."""
    one = dataclasses.replace(trial, batch_shape=(4,))
    want = one.run()
    in_axes = (jax.tree.map(lambda _: 1, one.xs), jax.tree.map(lambda _: 0, one.carry))
    out_axes = (0, 1)
    got = jax.vmap(lambda x, c: one.run(x, c), in_axes, out_axes)(one.xs, one.carry)
    same("a batch differs from vmap over single sequences", got, want)
    for b in range(4):
        single = one.run(sequence(one.xs, b), at(one.carry, b))
        same("a batch differs from a loop over sequences", single, row(want, b))
    order = jnp.array([2, 0, 3, 1])
    got = one.run(
        sequence(one.xs, order),
        at(one.carry, order),
    )
    same("permuting the batch does not permute the answer", got, row(want, order))
    got = one.run(
        jax.tree.map(lambda x: x.reshape(x.shape[0], 2, 2, *x.shape[2:]), one.xs),
        jax.tree.map(lambda c: c.reshape(2, 2, *c.shape[1:]), one.carry),
    )
    flat = (
        jax.tree.map(lambda c: c.reshape(4, *c.shape[2:]), got[0]),
        jax.tree.map(lambda y: y.reshape(y.shape[0], 4, *y.shape[3:]), got[1]),
    )
    same("two batch axes differ from one", flat, want)


def reverse(trial: Trial) -> None:
    """Law 8: reversed equals flipping the valid part, running, flipping back."""
    one = dataclasses.replace(trial, batch_shape=(3,))
    lengths = jax.random.randint(one.key(6), (3,), 0, one.time + 1)
    got_carry, got = one.run(reverse=True, lengths=lengths)
    flip = functools.partial(jax.tree.map, lambda a: np.flip(a, 0))
    for b, length in enumerate(np.asarray(lengths)):
        xs = cut(sequence(one.xs, b), 0, length)
        carry, ys = one.run(flip(xs), at(one.carry, b))
        mine = cut(sequence(got, b), 0, length)
        same("running reversed is not running flipped", mine, flip(ys))
        same("reversed, the final carry differs", at(got_carry, b), carry)


def causality(trial: Trial) -> None:
    """Law 9: an output does not depend on later inputs."""
    _, want = trial.run()
    for t in range(trial.time - 1):
        future = np.arange(trial.time) > t
        _, got = trial.run(spoil(trial.xs, future, 3.0))
        same(
            f"changing inputs after step {t} changed outputs up to it",
            cut(got, 0, t + 1),
            cut(want, 0, t + 1),
        )


def types(trial: Trial) -> None:
    """Law 10: carry structure, shapes and dtypes in = out, in every precision."""
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        before = dataclasses.replace(trial, dtype=dtype).start()
        params, x = cast((trial.params, trial.draw(1, trial.batch_shape)), dtype)
        with jax.numpy_dtype_promotion("strict"):
            after, y = jax.jit(trial.cell.step)(params, before, x)
        if jax.tree.structure(before) != jax.tree.structure(after):
            raise LawViolation(
                f"the carry goes in as {jax.tree.structure(before)} and comes out as "
                f"{jax.tree.structure(after)}"
            )
        pairs = zip(
            jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True
        )
        for (path, a), b in pairs:
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                raise LawViolation(
                    f"carry{jax.tree_util.keystr(path)} goes in as "
                    f"{_checks.describe(a)} and comes out as {_checks.describe(b)}"
                )
        for name, leaf in [("carry", a) for a in jax.tree.leaves(before)] + [
            ("output", a) for a in jax.tree.leaves(y)
        ]:
            if is_float(leaf) and leaf.dtype != dtype:
                raise LawViolation(f"in {dtype}, the {name} is {leaf.dtype}")
        finite(f"in {dtype}, a step gave a value", (after, y))


def gradients(trial: Trial) -> None:
    """Law 11: gradients are those of autodiff of the loop, and of differences."""

    def loop(params: Any, carry: Any, xs: Any) -> Any:
        return trial.loop(params, carry, xs, trial.time)

    if trial.time:
        want = trial.gradients(loop)
        for backward in {trial.backward, *_EXACT}:
            got = trial.gradients(functools.partial(trial.unroll, backward=backward))
            same(f"with {backward}, gradients are not those of the loop", got, want)
    short = dataclasses.replace(trial, time=2, batch_shape=())
    arguments, xs = (short.params, short.carry), short.xs
    flat, unflatten = ravel_pytree(floats(arguments))

    @functools.partial(jax.jit, static_argnames="backward")
    def score(flat: jax.Array, backward: Backward) -> jax.Array:
        params, carry = with_floats(arguments, unflatten(flat))
        return weigh(short.unroll(params, carry, xs, backward=backward))

    plain, chosen = (
        functools.partial(score, backward=b) for b in (Autodiff(), trial.backward)
    )
    check_grads(plain, (flat,), order=1, modes=("fwd",), eps=1e-5)
    check_grads(chosen, (flat,), order=2, modes=("rev",), eps=1e-5)


def compilation(trial: Trial) -> None:
    """Law 12: one trace, a jaxpr that does not grow, no leaks, a cell by value."""
    cell = trial.cell
    traces: list[None] = []

    @jax.jit
    def run(params: Any, xs: Any) -> Any:
        traces.append(None)
        return unroll(cell, params, xs)

    with jax.checking_leaks():
        run(trial.params, trial.xs)
    run(trial.params, dataclasses.replace(trial, seed=trial.seed + 1).xs)
    if len(traces) > 1:
        raise LawViolation("inputs of one shape were traced twice")
    sizes = [
        str(jax.make_jaxpr(run)(trial.params, longer.xs)).split().count("=")
        for time in (7, 70)
        if (longer := dataclasses.replace(trial, time=time))
    ]
    if sizes[0] != sizes[1]:
        raise LawViolation(f"the jaxpr grows with time: {sizes} equations, T = 7, 70")
    fields = {f.name: getattr(cell, f.name) for f in dataclasses.fields(cell)}
    twin = type(cell)(**fields)
    if twin != cell or hash(twin) != hash(cell):
        raise LawViolation(f"{cell!r} built twice is not equal or hashes differently")
    if " at 0x" in repr(cell) or "<lambda>" in repr(cell):
        raise LawViolation(f"{cell!r} does not print as code that builds it")
    if _importable(type(cell)) and pickle.loads(pickle.dumps(cell)) != cell:
        raise LawViolation(f"{cell!r} does not survive pickling")


def _importable(cls: type) -> bool:
    """Say whether pickle finds the class itself: not if a function defined it."""
    try:
        pickle.dumps(cls)
    except (pickle.PicklingError, AttributeError):
        return False
    return True


LAWS: dict[str, Callable[[Trial], None]] = {
    law.__name__: law
    for law in (
        scan,
        project,
        split,
        padding,
        empty,
        reset,
        batch,
        reverse,
        causality,
        types,
        gradients,
        compilation,
    )
}
