# SPDX-License-Identifier: Apache-2.0
"""The laws that every cell keeps, for ours and for the user's own.

    from recurrent_jax.testing import check_cell
    check_cell(MyCell(hidden_size=4))

Each law is a function of a `Trial` that raises `LawViolation`; `LAWS` names them all.
"""

import dataclasses
import functools
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads

from recurrent_jax import _check
from recurrent_jax._cell import Cell
from recurrent_jax._unroll import unroll
from recurrent_jax.backward import Autodiff, Backward, Checkpointed, Deferred

_TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}

# A block of two steps, so that there are several, and a shorter one at the end.
_EXACT = (Autodiff(), Deferred(block=2), Checkpointed(every=2))


class LawViolation(AssertionError):
    """A cell breaks a law; the message says which and how."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A cell with parameters, a carry that it has reached, and inputs, all drawn.

    Attributes:
        cell: the cell on trial.
        in_features: D.
        time: T.
        batch_shape: any number of leading axes.
        seed: of all draws.
        dtype: of parameters, carry and inputs.
        inputs: makes the input of given leading shape from `(key, shape, dtype)`;
            by default standard normal numbers of shape `(*shape, in_features)`.
        backward: the strategy that all runs use.
    """

    cell: Cell
    in_features: int = 3
    time: int = 3
    batch_shape: tuple[int, ...] = (3,)
    seed: int = 0
    dtype: str = "float64"
    inputs: Callable[[jax.Array, tuple[int, ...], Any], Any] | None = None
    backward: Backward = Autodiff()

    def key(self, stream: int) -> jax.Array:
        """Return a key for one kind of draw."""
        return jax.random.fold_in(jax.random.key(self.seed), stream)

    @functools.cached_property
    def params(self) -> Any:
        """Parameters, none exactly zero, so that no gradient hides."""
        return _cast(_params(self.cell, self.in_features, self.seed), self.dtype)

    @functools.cached_property
    def xs(self) -> Any:
        """Inputs, `(time, *batch, features)`."""
        return self.draw(1, (self.time, *self.batch_shape))

    @functools.cached_property
    def carry(self) -> Any:
        """A carry reached after two steps from the initial one."""
        return _reached(dataclasses.replace(self, time=2, backward=Autodiff()))

    def draw(self, stream: int, shape: tuple[int, ...]) -> Any:
        """Return inputs of the leading shape."""
        if self.inputs is not None:
            return jax.device_get(self.inputs(self.key(stream), shape, self.dtype))
        # NumPy where it will do: JAX would compile every shape.
        rng = np.random.default_rng((self.seed, stream))
        return _cast(rng.normal(size=(*shape, self.in_features)), self.dtype)

    def start(self) -> Any:
        """Return the carry that a sequence starts from."""
        return self.cell.start(self.params, self.batch_shape, self.dtype)

    def run(self, xs: Any = None, carry: Any = None, **options: Any) -> tuple[Any, Any]:
        """Return `unroll` of these inputs from this carry."""
        xs = self.xs if xs is None else xs
        carry = self.carry if carry is None else carry
        return jax.device_get(self.unroll(self.params, carry, xs, **options))

    def unroll(
        self, params: Any, carry: Any, xs: Any, **options: Any
    ) -> tuple[Any, Any]:
        """Return `unroll` of any arguments, with the strategy on trial."""
        options = {"backward": self.backward, **options}
        return unroll(self.cell, params, xs, carry=carry, **options)

    def loop(self, params: Any, carry: Any, xs: Any, time: int) -> Any:
        """Return what `unroll` must: a Python loop over `cell.step`."""
        ys = []
        for t in range(time):
            carry, y = self.cell.step(params, carry, _at(xs, t))
            ys.append(y)
        return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)

    def gradients(self, run: Callable[..., Any], xs: Any = None) -> Any:
        """Return gradients with respect to params, carry and inputs.

        Of a linear function of final carry and outputs, every weight another.
        """
        xs = self.xs if xs is None else xs
        return jax.device_get(_gradient(run)(self.params, self.carry, xs))


@functools.lru_cache
def _params(cell: Cell, in_features: int, seed: int) -> Any:
    """Return parameters of a cell, a little off what it draws."""
    params = jax.jit(lambda: cell.init(jax.random.key(seed), in_features))()
    params = jax.device_get(params)
    return jax.tree.map(lambda p, w: p + w / 10, params, _waves(params))


@functools.lru_cache
def _reached(trial: Trial) -> Any:
    """Return the carry after the steps of a trial."""
    xs = trial.draw(2, (trial.time, *trial.batch_shape))
    run = jax.jit(lambda p, x: trial.loop(p, trial.start(), x, trial.time)[0])
    return jax.device_get(run(trial.params, xs))


@functools.lru_cache(maxsize=8)
def _gradient(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradient, compiled once for all inputs that a law tries."""
    score = lambda *arguments: _weigh(run(*arguments))  # noqa: E731
    return jax.jit(jax.grad(score, argnums=(0, 1, 2), allow_int=True))


def scan(trial: Trial) -> None:
    """Law 1: unroll equals a Python loop over step."""
    got = trial.run()
    if trial.time == 0:
        return
    loop = jax.jit(trial.loop, static_argnums=3)
    want = loop(trial.params, trial.carry, trial.xs, trial.time)
    _same("unroll is not a Python loop over step", got, want)


def project(trial: Trial) -> None:
    """Law 2: step equals recur after project, one step at a time or all at once."""
    cell, params = trial.cell, trial.cell.prepare(trial.params)
    at_once = cell.project(params, trial.xs)
    for t in range(trial.time):
        z = cell.project(params, _at(trial.xs, t))
        _same(f"project over all steps at once differs at step {t}", _at(at_once, t), z)
        got = cell.step(trial.params, trial.carry, _at(trial.xs, t))
        want = cell.recur(params, trial.carry, z)
        _same("step is not recur after project", got, want)


def split(trial: Trial) -> None:
    """Law 3: running [0, k) and then [k, T) equals running [0, T)."""
    want = trial.run()
    # Each place compiles its own lengths: first, last and middle are enough.
    for k in sorted({0, trial.time // 2, trial.time}):
        carry, early = trial.run(_cut(trial.xs, 0, k))
        carry, late = trial.run(_cut(trial.xs, k, None), carry)
        ys = jax.tree.map(lambda a, b: np.concatenate([a, b]), early, late)
        _same(f"running in two parts, cut at {k}, differs", (carry, ys), want)


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
    _same("outputs of skipped steps are not zero", *_hidden(want[1], valid))
    _same(
        "inputs of skipped steps have a gradient",
        *_hidden(clean[2], valid),
    )
    for junk in (jnp.nan, jnp.inf, 1e30):
        spoilt = _spoil(trial.xs, ~valid, junk)
        got = run(trial.params, trial.carry, spoilt)
        _same(f"{junk} in skipped steps reached the outputs or the carry", got, want)
        got = trial.gradients(run, spoilt)
        _same(f"{junk} in skipped steps reached a gradient", got, clean)


def empty(trial: Trial) -> None:
    """Law 5: no steps, or no sequences, give the initial carry and finite gradients."""
    none = np.zeros(trial.batch_shape, int)

    def run(params: Any, carry: Any, xs: Any) -> Any:
        return trial.unroll(params, carry, xs, lengths=none)

    carry, ys = run(trial.params, trial.carry, trial.xs)
    _same("lengths of 0 changed the carry", carry, trial.carry)
    _same("lengths of 0 gave outputs", ys, jax.tree.map(np.zeros_like, ys))
    _finite("lengths of 0 gave a gradient", trial.gradients(run))
    for name, change in (("time", {"time": 0}), ("batch", {"batch_shape": (0,)})):
        small = dataclasses.replace(trial, **change)  # type: ignore[arg-type]
        carry, ys = small.run(carry=small.start())
        _same(f"a {name} of 0 changed the carry", carry, small.start())
        lead = {y.shape[: 1 + len(small.batch_shape)] for y in jax.tree.leaves(ys)}
        if lead != {(small.time, *small.batch_shape)}:
            raise LawViolation(f"a {name} of 0 gave outputs that begin with {lead}")
        small.__dict__["carry"] = small.start()
        gradients = small.gradients(trial.unroll)
        _finite(f"a {name} of 0 gave a gradient", gradients)


def reset(trial: Trial) -> None:
    """Law 6: a reset at t equals starting afresh at t, and no NaN survives it."""
    for t in sorted({0, trial.time // 2, trial.time - 1} & {*range(trial.time)}):
        resets = np.zeros((trial.time, *trial.batch_shape), bool)
        resets[t] = True
        for fresh in (None, trial.carry):
            start = trial.start() if fresh is None else fresh
            _, early = trial.run(_cut(trial.xs, 0, t))
            want, late = trial.run(_cut(trial.xs, t, None), start)
            got, ys = trial.run(resets=resets, reset_carry=fresh)
            _same(f"a reset at {t} is not a fresh start", got, want)
            _same(f"outputs before a reset at {t} changed", _cut(ys, 0, t), early)
            _same(f"outputs after a reset at {t} differ", _cut(ys, t, None), late)
        spoilt = _spoil(trial.xs, np.arange(trial.time) < t, np.nan)
        got, ys = trial.run(spoilt, resets=resets)
        want, late = trial.run(_cut(trial.xs, t, None), trial.start())
        _same(f"a NaN survived a reset at {t}", (got, _cut(ys, t, None)), (want, late))


def batch(trial: Trial) -> None:
    """Law 7: batched equals vmap equals a loop; a permutation permutes the answer."""
    one = dataclasses.replace(trial, batch_shape=(4,))
    want = one.run()
    in_axes = (jax.tree.map(lambda _: 1, one.xs), jax.tree.map(lambda _: 0, one.carry))
    out_axes = (0, 1)
    got = jax.vmap(lambda x, c: one.run(x, c), in_axes, out_axes)(one.xs, one.carry)
    _same("a batch differs from vmap over single sequences", got, want)
    for b in range(4):
        single = one.run(
            jax.tree.map(lambda x: x[:, b], one.xs),
            _at(one.carry, b),
        )
        _same("a batch differs from a loop over sequences", single, _row(want, b))
    order = jnp.array([2, 0, 3, 1])
    got = one.run(
        jax.tree.map(lambda x: x[:, order], one.xs),
        jax.tree.map(lambda c: c[order], one.carry),
    )
    _same("permuting the batch does not permute the answer", got, _row(want, order))
    got = one.run(
        jax.tree.map(lambda x: x.reshape(x.shape[0], 2, 2, *x.shape[2:]), one.xs),
        jax.tree.map(lambda c: c.reshape(2, 2, *c.shape[1:]), one.carry),
    )
    flat = (
        jax.tree.map(lambda c: c.reshape(4, *c.shape[2:]), got[0]),
        jax.tree.map(lambda y: y.reshape(y.shape[0], 4, *y.shape[3:]), got[1]),
    )
    _same("two batch axes differ from one", flat, want)


def reverse(trial: Trial) -> None:
    """Law 8: reversed equals flipping the valid part, running, flipping back."""
    one = dataclasses.replace(trial, batch_shape=(3,))
    lengths = jax.random.randint(one.key(6), (3,), 0, one.time + 1)
    got_carry, got = one.run(reverse=True, lengths=lengths)
    flip = functools.partial(jax.tree.map, lambda a: np.flip(a, 0))
    for b, length in enumerate(np.asarray(lengths)):
        xs = jax.tree.map(lambda x: x[:length, b], one.xs)
        carry, ys = one.run(flip(xs), _at(one.carry, b))
        mine = jax.tree.map(lambda y: y[:length, b], got)
        _same("running reversed is not running flipped", mine, flip(ys))
        _same("reversed, the final carry differs", _at(got_carry, b), carry)


def causality(trial: Trial) -> None:
    """Law 9: an output does not depend on later inputs."""
    _, want = trial.run()
    for t in range(trial.time - 1):
        future = np.arange(trial.time) > t
        _, got = trial.run(_spoil(trial.xs, future, 3.0))
        _same(
            f"changing inputs after step {t} changed outputs up to it",
            _cut(got, 0, t + 1),
            _cut(want, 0, t + 1),
        )


def types(trial: Trial) -> None:
    """Law 10: carry structure, shapes and dtypes in = out, in every precision."""
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        before = dataclasses.replace(trial, dtype=dtype).start()
        params, x = _cast((trial.params, trial.draw(1, trial.batch_shape)), dtype)
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
                    f"{_check.describe(a)} and comes out as {_check.describe(b)}"
                )
        for name, leaf in [("carry", a) for a in jax.tree.leaves(before)] + [
            ("output", a) for a in jax.tree.leaves(y)
        ]:
            if _is_float(leaf) and leaf.dtype != dtype:
                raise LawViolation(f"in {dtype}, the {name} is {leaf.dtype}")
        _finite(f"in {dtype}, a step gave a value", (after, y))


def gradients(trial: Trial) -> None:
    """Law 11: gradients are those of autodiff of the loop, and of differences."""

    def loop(params: Any, carry: Any, xs: Any) -> Any:
        return trial.loop(params, carry, xs, trial.time)

    if trial.time:
        want = trial.gradients(loop)
        for backward in {trial.backward, *_EXACT}:
            got = trial.gradients(functools.partial(trial.unroll, backward=backward))
            _same(f"with {backward}, gradients are not those of the loop", got, want)
    short = dataclasses.replace(trial, time=2, batch_shape=())
    arguments, xs = (short.params, short.carry), short.xs
    flat, unflatten = ravel_pytree(_floats(arguments))

    @functools.partial(jax.jit, static_argnames="backward")
    def score(flat: jax.Array, backward: Backward) -> jax.Array:
        params, carry = _with_floats(arguments, unflatten(flat))
        return _weigh(short.unroll(params, carry, xs, backward=backward))

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


def check_cell(
    cell: Cell,
    *,
    in_features: int = 3,
    seed: int = 0,
    laws: Iterable[str] | None = None,
    inputs: Callable[[jax.Array, tuple[int, ...], Any], Any] | None = None,
) -> None:
    """Check that a cell keeps the laws, in float64 and on small drawn inputs.

    | law | what it says |
    |---|---|
    | scan | `unroll` equals a Python loop over `step` |
    | project | `step` equals `recur` after `project`, step by step or all at once |
    | split | running in two parts equals running in one |
    | padding | skipped steps change nothing, NaN and inf included, gradients included |
    | empty | no steps or no sequences: initial carry, finite gradients |
    | reset | a reset equals a fresh start, and no NaN survives it |
    | batch | a batch equals `vmap` equals a loop |
    | reverse | reversed equals flipping the valid part, running, flipping back |
    | causality | an output does not depend on later inputs |
    | types | the carry keeps structure, shapes and dtypes, in four precisions |
    | gradients | those of the plain loop and of differences, first and second order |
    | compilation | one trace, a jaxpr independent of T, no leaks, a cell by value |

    Args:
        cell: an instance, such as `MyCell(hidden_size=4)`.
        in_features: the number of input features to try it with.
        seed: of all draws.
        laws: names of the laws to check; all if None.
        inputs: makes an input of given leading shape from `(key, shape, dtype)`, for
            a cell whose input is not one float array.

    Raises:
        LawViolation: naming every law that is broken, and how.
        ValueError: if a law has no such name.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.testing import check_cell
        >>> check_cell(rj.Elman(4), laws=["scan", "causality"])
    """
    _check.instance("check_cell", cell)
    names = list(LAWS) if laws is None else list(laws)
    if unknown := set(names) - set(LAWS):
        raise ValueError(
            f"check_cell: no law is called {sorted(unknown)}; there are {list(LAWS)}"
        )
    broken = []
    with jax.enable_x64(True):
        trial = Trial(cell, in_features=in_features, seed=seed, inputs=inputs)
        for name in names:
            number = list(LAWS).index(name) + 1
            try:
                LAWS[name](trial)
            except LawViolation as violation:
                broken.append(f"law {number} ({name}): {violation}")
            except Exception as error:  # the cell's own, whatever it is
                how = f"{type(error).__name__}: {str(error).strip()}"
                broken.append(f"law {number} ({name}): raised {how}")
    if broken:
        raise LawViolation(f"{cell!r} breaks\n  " + "\n  ".join(broken))


def _same(how: str, got: Any, want: Any) -> None:
    """Compare two trees; NaN equals nothing."""
    if jax.tree.structure(got) != jax.tree.structure(want):
        raise LawViolation(
            f"{how}: {jax.tree.structure(got)} is not {jax.tree.structure(want)}"
        )
    pairs = zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True)
    for (path, a), b in pairs:
        where = jax.tree_util.keystr(path)
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise LawViolation(
                f"{how}: {where} is {_check.describe(a)}, not {_check.describe(b)}"
            )
        if not _is_float(a):
            continue
        tolerance = _TOLERANCE[str(a.dtype)]
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        worst = np.max(np.abs(a - b), initial=0.0)
        scale = max(1.0, np.max(np.abs(b), initial=0.0))
        if not worst <= tolerance * scale:
            raise LawViolation(f"{how}: {where} differs by {worst:.2g}")


def _finite(how: str, tree: Any) -> None:
    for path, leaf in jax.tree.leaves_with_path(tree):
        if _is_float(leaf) and not np.all(np.isfinite(np.asarray(leaf, "float64"))):
            raise LawViolation(
                f"{how} that is not finite: {jax.tree_util.keystr(path)}"
            )


def _importable(cls: type) -> bool:
    """Say whether pickle finds the class itself: not if a function defined it."""
    try:
        pickle.dumps(cls)
    except (pickle.PicklingError, AttributeError):
        return False
    return True


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _floats(tree: Any) -> list[Any]:
    return [a for a in jax.tree.leaves(tree) if _is_float(a)]


def _with_floats(tree: Any, floats: list[Any]) -> Any:
    """Return the tree with other floats; a counter in it stays as it is."""
    given = iter(floats)
    return jax.tree.map(lambda a: next(given) if _is_float(a) else a, tree)


def _cast(tree: Any, dtype: str) -> Any:
    def one(a: Any) -> Any:
        return np.asarray(a).astype(jnp.dtype(dtype)) if _is_float(a) else a

    return jax.tree.map(one, tree)


def _waves(like: Any) -> Any:
    """Return numbers in place of each array, no two alike."""
    leaves, tree = jax.tree.flatten(like)
    waves = [
        np.cos(np.arange(leaf.size) + n).reshape(leaf.shape).astype(leaf.dtype)
        for n, leaf in enumerate(leaves, start=1)
    ]
    return jax.tree.unflatten(tree, waves)


def _weigh(tree: Any) -> jax.Array:
    """Return a linear function of all floats in a tree, every weight another."""
    products = jax.tree.map(
        lambda a, w: jnp.sum(a * w) if _is_float(a) else 0.0, tree, _waves(tree)
    )
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def _at(tree: Any, t: int) -> Any:
    return jax.tree.map(lambda a: a[t], tree)


def _cut(tree: Any, start: int, stop: int | None) -> Any:
    return jax.tree.map(lambda a: a[start:stop], tree)


def _row(result: tuple[Any, Any], b: Any) -> tuple[Any, Any]:
    carry, ys = result
    return _at(carry, b), jax.tree.map(lambda y: y[:, b], ys)


def _spoil(tree: Any, where: np.ndarray, junk: float) -> Any:
    """Return the tree with `junk` in its float arrays at the steps in `where`."""

    def one(a: Any) -> Any:
        flags = where.reshape(where.shape + (1,) * (a.ndim - where.ndim))
        return np.where(flags, np.asarray(junk, a.dtype), a) if _is_float(a) else a

    return jax.tree.map(one, tree)


def _hidden(tree: Any, valid: np.ndarray) -> tuple[Any, Any]:
    """Return what a tree holds at skipped steps, and zeros to compare with."""
    got = _spoil(_floats(tree), valid, 0.0)
    return got, jax.tree.map(np.zeros_like, got)
