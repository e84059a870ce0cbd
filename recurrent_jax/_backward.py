# SPDX-License-Identifier: Apache-2.0
"""How gradients are made: one value per strategy, none knows a cell's equations.

A strategy runs a `Loop` and decides what its derivative is and what it costs.
`Autodiff`, `Deferred` and `Checkpointed` give the same gradient; `Truncated` and
`ClippedBackward` give another one on purpose.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from recurrent_jax import _check
from recurrent_jax._cell import Cell

# The name under which a checkpoint policy finds the carries of a block.
_CARRIES = "recurrent_jax.carries"


class Flags(NamedTuple):
    """Which steps count and which start afresh, `(time, *batch)`, or None."""

    valid: jax.Array | None
    reset: jax.Array | None


class Loop(NamedTuple):
    """What `unroll` hands to a strategy, time first."""

    cell: Cell
    params: Any
    xs: Any
    flags: Flags
    fresh: Any  # the carry that a reset starts from
    reverse: bool
    batch_shape: tuple[int, ...]

    @property
    def time(self) -> int:
        """The number of steps."""
        return int(jax.tree.leaves(self.xs)[0].shape[0])

    def enter(self, carry: Any, flags: Flags) -> Any:
        """Return the carry that a step works on."""
        return carry if flags.reset is None else select(flags.reset, self.fresh, carry)

    def leave(self, before: Any, after: Any, y: Any, flags: Flags) -> tuple[Any, Any]:
        """Return carry and output: as they were, and zero, if the step is skipped."""
        if flags.valid is None:
            return after, y
        return select(flags.valid, after, before), select(flags.valid, y, zeros(y))


class Static(NamedTuple):
    """What of a loop is not arrays, and hashes."""

    cell: Cell
    reverse: bool
    batch_shape: tuple[int, ...]


class Arrays(NamedTuple):
    """What of a loop is arrays."""

    params: Any
    xs: Any
    flags: Flags
    fresh: Any


class Backward(Protocol):
    """A strategy: a hashable value that runs a loop."""

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        ...


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """Leave the derivative to JAX: the reference for all exact strategies.

    Every mode and order. Each parameter gradient is added up step by step, and what
    the derivative needs of each step is kept. The input is projected in blocks of time
    that stay in a processor's cache.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), backward=rj.Autodiff())
        >>> ys.shape
        (7, 3)
    """

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            return _forward(block, carry)[:2]

        return _in_blocks(run, loop, carry, _cached_steps(loop))


@dataclasses.dataclass(frozen=True)
class Deferred:
    """Step through time for the carry alone; make all other gradients once per block.

    The derivative of a step has two parts. What comes through the carry must go step
    by step. What comes through parameters and inputs need not: with the carries known,
    it is one product over all steps of a block, forward, and so one product when JAX
    transposes it. Only the carries are kept. Every mode and order.

    Args:
        block: steps in a block; None takes as many as stay in a processor's cache.

    Raises:
        TypeError, ValueError: if `block` is not a positive integer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def loss(params):
        ...     xs = jnp.ones((7, 2))
        ...     return rj.unroll(cell, params, xs, backward=rj.Deferred())[1].sum()
        >>> jax.grad(loss)(params).recurrent_kernel.shape
        (3, 12)
    """

    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None:
            _check.size("Deferred", "block", self.block)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        size = self.block or _cached_steps(loop)
        keep = jax.checkpoint_policies.save_only_these_names(_CARRIES)
        return _in_blocks(functools.partial(_checkpointed, keep), loop, carry, size)


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    r"""Keep one carry per block and compute the rest again: memory of $\sqrt T$.

    Inside a block, gradients are deferred. With `levels`, blocks are cut into blocks
    again: L levels keep about $(L + 1) T^{1 / (L + 1)}$ carries, at the price of L
    forward runs more.

    Args:
        every: steps in an outermost block; None takes $T^{L / (L + 1)}$, which for
            one level is $\sqrt T$.
        levels: how often blocks are cut.

    Raises:
        TypeError, ValueError: if an argument is not a positive integer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell, strategy = rj.GRU(3), rj.Checkpointed(every=4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def loss(params):
        ...     _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), backward=strategy)
        ...     return ys.sum()
        >>> jax.grad(loss)(params).recurrent_kernel.shape
        (3, 9)

    References:
        Chen et al., 2016. Training deep nets with sublinear memory cost.
        https://arxiv.org/abs/1604.06174
        Gruslys et al., 2016. Memory-efficient backpropagation through time.
        https://arxiv.org/abs/1606.03401
    """

    every: int | None = None
    levels: int = 1

    def __post_init__(self) -> None:
        _check.size("Checkpointed", "levels", self.levels)
        if self.every is not None:
            _check.size("Checkpointed", "every", self.every)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        share = self.levels / (self.levels + 1)
        size = self.every or _even(loop.time, math.ceil(loop.time**share))
        keep = jax.checkpoint_policies.nothing_saveable
        inner = None
        if self.levels > 1:
            inner = Checkpointed(levels=self.levels - 1)
        run = functools.partial(_checkpointed, keep, inner=inner)
        return _in_blocks(run, loop, carry, size)


@dataclasses.dataclass(frozen=True)
class Truncated:
    """Truncated back-propagation: cut the gradient, not the values.

    Every `k1` steps a gradient starts, from the outputs of those steps, and goes back
    `k2` steps. Values are those of the full run. With `k2 = k1` the sequence is cut
    into chunks whose carries pass values and no gradient; a longer `k2` lets each
    chunk see further back, at the price of running k2 / k1 times the steps. All
    chunks run side by side.

    Args:
        k1: steps between the starts of gradients.
        k2: steps that each goes back, at least k1; k1 if None.

    Raises:
        TypeError, ValueError: if an argument is not a positive integer, or k2 < k1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def last(xs):
        ...     cut = rj.Truncated(k1=2, k2=4)
        ...     return rj.unroll(cell, params, xs, backward=cut)[1][-1].sum()
        >>> gradient = jax.grad(last)(jnp.ones((8, 2)))
        >>> print(jnp.abs(gradient).sum(-1) > 0)
        [False False False False  True  True  True  True]

    References:
        Williams and Peng, 1990. An efficient gradient-based algorithm for on-line
        training of recurrent network trajectories.
        https://doi.org/10.1162/neco.1990.2.4.490
    """

    k1: int
    k2: int | None = None

    def __post_init__(self) -> None:
        _check.size("Truncated", "k1", self.k1)
        if self.k2 is not None:
            _check.size("Truncated", "k2", self.k2)
            if self.k2 < self.k1:
                raise ValueError(
                    f"Truncated: k2={self.k2} is less than k1={self.k1}, so some "
                    "outputs would have no gradient at all; give k2 >= k1"
                )

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        if loop.reverse:
            flip = functools.partial(jax.tree.map, lambda a: jnp.flip(a, 0))
            xs, flags = flip((loop.xs, loop.flags))
            forward = loop._replace(xs=xs, flags=flags, reverse=False)
            final, ys = self.run(forward, carry)
            return final, flip(ys)
        if loop.time == 0:
            return Autodiff().run(loop, carry)
        # Windows become one more batch axis: window w holds the steps from
        # (w + 1) k1 - k2 up to (w + 1) k1, and its last k1 steps give the outputs.
        k1, k2 = self.k1, self.k2 or self.k1
        ends = np.arange(k1, loop.time + k1, k1)
        steps = ends - k2 + np.arange(k2)[:, None]
        windows = _windows(loop, steps)
        # All that starts after the first step starts from a carry without gradient.
        _, _, befores = _forward(loop, lax.stop_gradient(carry))
        at_start = steps[0] <= 0

        def start(first: jax.Array, befores: jax.Array) -> jax.Array:
            later = lax.stop_gradient(befores[steps[0][~at_start]])
            return jnp.concatenate([_repeat(first, at_start.sum()), later])

        starts = jax.tree.map(start, carry, befores)
        final, ys = Deferred().run(windows, starts)

        def in_order(y: jax.Array) -> jax.Array:
            y = jnp.swapaxes(y[k2 - k1 :], 0, 1)
            return y.reshape(len(ends) * k1, *y.shape[2:])[: loop.time]

        last = jax.tree.map(lambda a: a[-1], final)
        return last, jax.tree.map(in_order, ys)


@dataclasses.dataclass(frozen=True)
class ClippedBackward:
    r"""Clip the gradient inside the backward loop, at every step of the carry.

    $$
    \bar s_t \leftarrow \mathrm{clip}(\bar s_t), \qquad
    \bar s_{t-1} = J_t^\top \bar s_t + \ldots
    $$

    An explosion is stopped where it starts and does not reach the parameters of
    earlier steps, which clipping the finished gradient cannot do. The result is not
    the gradient of any function. The norm is that of the whole carry of one sequence,
    so that sequences in a batch stay independent; it comes before the value.

    Args:
        max_norm: greatest norm of the cotangent of one sequence's carry, or None.
        max_value: greatest magnitude of any one number in it, or None.

    Raises:
        ValueError: if a bound is not positive and finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(1, activation=jax.nn.identity)
        >>> params = rj.ElmanParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), None)
        >>> def last(xs, backward):
        ...     return rj.unroll(cell, params, xs, backward=backward)[0].h.sum()
        >>> xs = jnp.ones((5, 1))
        >>> print(jax.grad(last)(xs, rj.Autodiff()).ravel())
        [16.  8.  4.  2.  1.]
        >>> print(jax.grad(last)(xs, rj.ClippedBackward(max_norm=3.0)).ravel())
        [3. 3. 3. 2. 1.]

    References:
        Graves, 2013. Generating sequences with recurrent neural networks.
        https://arxiv.org/abs/1308.0850
    """

    max_norm: float | None = None
    max_value: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_norm", "max_value"):
            _check.bound("ClippedBackward", name, getattr(self, name))

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        batch_rank = len(loop.batch_shape)

        @jax.custom_vjp
        def clipped(carry: Any) -> Any:
            return carry

        def pull(_: None, cotangent: Any) -> tuple[Any]:
            return (_clip(cotangent, batch_rank, self.max_norm, self.max_value),)

        clipped.defvjp(lambda carry: (carry, None), pull)
        return _forward(loop, carry, clipped)[:2]


def _forward(
    loop: Loop, carry: Any, leaving: Callable[[Any], Any] = lambda carry: carry
) -> tuple[Any, Any, Any]:
    """Return final carry, outputs, and the carries that the steps worked on."""

    def body(carry: Any, now: Any) -> tuple[Any, Any]:
        z, flags = now
        before = loop.enter(carry, flags)
        after, y = loop.cell.recur(loop.params, before, z)
        after, y = loop.leave(before, after, y, flags)
        return leaving(after), (y, before)

    zs = loop.cell.project(loop.params, loop.xs)
    inputs = (zs, loop.flags)
    final, (ys, befores) = lax.scan(body, carry, inputs, reverse=loop.reverse)
    return final, ys, befores


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _deferred(static: Static, arrays: Arrays, carry: Any) -> tuple[Any, Any]:
    """Return final carry and outputs of a block; its derivative is below."""
    return _forward(join(static, arrays), carry)[:2]


@_deferred.defjvp
def _deferred_jvp(static: Static, primals: Any, tangents: Any) -> Any:
    """Return the block and its derivative, cut in what needs no order and what does.

    This is forward mode. JAX transposes it for reverse mode, and so a product over all
    steps here is a product over all steps there: the gradient of a kernel.
    """
    loop, carry = join(static, primals[0]), primals[1]
    d, dcarry = tangents
    cell, params = loop.cell, loop.params
    final, ys, befores = _forward(loop, carry)
    befores = checkpoint_name(befores, _CARRIES)  # all that the backward keeps

    # All steps at once: what comes through parameters and inputs.
    zs, dzs = jax.jvp(cell.project, (params, loop.xs), (d.params, d.xs))
    us, dus = _through_params(loop, _feedback, d.params, befores)
    direct = None
    if _reads_params(cell, params, befores, zs, us):
        _, direct = _through_params(loop, _update, d.params, befores, zs, us)

    # Step by step: what comes through the carry.
    def body(dcarry: Any, now: Any) -> tuple[Any, Any]:
        before, z, u, dz, du, direct, flags = now
        dbefore = dcarry
        if flags.reset is not None:
            dbefore = select(flags.reset, d.fresh, dcarry)
        through = functools.partial(_feedback, cell, params)
        _, through_carry = jax.jvp(through, (before,), (dbefore,))
        du = jax.tree.map(jnp.add, du, through_carry)
        # Computed again where it is transposed, so that no gate is kept.
        update = jax.checkpoint(
            functools.partial(_update, cell, params), prevent_cse=False
        )
        _, (dafter, dy) = jax.jvp(update, (before, z, u), (dbefore, dz, du))
        if direct is not None:
            dafter, dy = jax.tree.map(jnp.add, (dafter, dy), direct)
        return loop.leave(dbefore, dafter, dy, flags)

    inputs = (befores, zs, us, dzs, dus, direct, loop.flags)
    dfinal, dys = lax.scan(body, dcarry, inputs, reverse=loop.reverse)
    return (final, ys), (dfinal, dys)


def _feedback(cell: Cell, params: Any, carry: Any) -> Any:
    """Return the recurrent product; nothing for a cell that does not split."""
    return cell.feedback(params, carry) if cell.splits else ()


def _update(cell: Cell, params: Any, carry: Any, z: Any, u: Any) -> Any:
    """Return the rest of the step; the whole of it for a cell that does not split."""
    if cell.splits:
        return cell.update(params, carry, z, u)
    return cell.recur(params, carry, z)


def _through_params(loop: Loop, part: Any, dparams: Any, *rest: Any) -> Any:
    """Return a part of all steps at once and its derivative along the parameters."""
    return jax.jvp(lambda p: part(loop.cell, p, *rest), (loop.params,), (dparams,))


def _reads_params(cell: Cell, params: Any, *rest: Any) -> bool:
    """Say whether `update` reads a parameter, as peepholes are read."""
    jaxpr = jax.make_jaxpr(functools.partial(_update, cell))(params, *rest).jaxpr
    mine = jaxpr.invars[: len(jax.tree.leaves(params))]
    read = [v for eqn in jaxpr.eqns for v in eqn.invars] + list(jaxpr.outvars)
    return any(v is p for v in read for p in mine)


def _checkpointed(
    policy: Any, loop: Loop, carry: Any, inner: Backward | None = None
) -> tuple[Any, Any]:
    """Run a block of which the backward keeps what the policy says."""
    static, arrays = part(loop)

    def run(arrays: Arrays, carry: Any) -> tuple[Any, Any]:
        loop = join(static, arrays)
        if inner is not None:
            return inner.run(loop, carry)
        if not _is_smooth(loop, carry):
            return _forward(loop, carry)[:2]
        return _deferred(static, arrays, carry)

    return jax.checkpoint(run, policy=policy, prevent_cse=False)(arrays, carry)


def _cached_steps(loop: Loop, target: int = 2_500_000) -> int:
    """Return a block size for which the projected input has about `target` bytes."""
    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    total = sum(z.size * z.dtype.itemsize for z in jax.tree.leaves(zs))
    return _even(loop.time, math.ceil(loop.time / max(1, round(total / target))))


def _even(time: int, size: int) -> int:
    """Return a block size near `size` that divides `time`, if one is half to twice it.

    A shorter block at the end would be compiled apart and copy the sequence.
    """
    near = range(max(1, size // 2), min(2 * size, time) + 1)
    return min(
        (n for n in near if time % n == 0), key=lambda n: abs(n - size), default=size
    )


def _is_smooth(loop: Loop, carry: Any) -> bool:
    """Say whether all that a step takes and gives is floating point.

    A counter in a carry, say, has no tangent to step; autodiff knows what to do.
    """

    def ends(carry: Any) -> Any:
        return loop.cell.project(loop.params, loop.xs), _forward(loop, carry)[:2]

    shapes = jax.eval_shape(ends, carry)
    return all(jnp.issubdtype(a.dtype, jnp.floating) for a in jax.tree.leaves(shapes))


def _in_blocks(run: Any, loop: Loop, carry: Any, size: int) -> tuple[Any, Any]:
    """Run block after block; a shorter one, if any, stands at the end of time."""
    if loop.time <= size:
        return run(loop, carry)
    count, rest = divmod(loop.time, size)
    full = count * size

    def one(carry: Any, timed: Any) -> tuple[Any, Any]:
        xs, flags = timed
        return run(loop._replace(xs=xs, flags=flags), carry)

    timed = (loop.xs, loop.flags)
    blocks = jax.tree.map(lambda a: a[:full].reshape(count, size, *a.shape[1:]), timed)
    remainder = jax.tree.map(lambda a: a[full:], timed)
    late: Any = None
    if rest and loop.reverse:
        carry, late = one(carry, remainder)
    carry, ys = lax.scan(one, carry, blocks, reverse=loop.reverse)
    if rest and not loop.reverse:
        carry, late = one(carry, remainder)
    ys = jax.tree.map(lambda y: y.reshape(full, *y.shape[2:]), ys)
    if rest:
        ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, late)
    return carry, ys


def _windows(loop: Loop, steps: Any) -> Loop:
    """Return a loop over windows of time side by side, `steps` (k, windows)."""
    inside = (steps >= 0) & (steps < loop.time)
    steps = steps.clip(0, loop.time - 1)
    xs, flags = jax.tree.map(lambda a: a[steps], (loop.xs, loop.flags))
    inside = jnp.asarray(inside).reshape(inside.shape + (1,) * len(loop.batch_shape))
    inside = jnp.broadcast_to(inside, steps.shape + loop.batch_shape)
    flags = Flags(
        valid=inside if flags.valid is None else flags.valid & inside,
        reset=None if flags.reset is None else flags.reset & inside,
    )
    count = steps.shape[1]
    fresh = jax.tree.map(lambda a: _repeat(a, count), loop.fresh)
    shape = (count, *loop.batch_shape)
    return loop._replace(xs=xs, flags=flags, fresh=fresh, batch_shape=shape)


def _repeat(a: jax.Array, times: int) -> jax.Array:
    return jnp.broadcast_to(a, (times, *a.shape))


def _clip(
    cotangent: Any, batch_rank: int, max_norm: float | None, max_value: float | None
) -> Any:
    if max_norm is not None:
        squares = (
            jnp.sum(jnp.square(a), axis=range(batch_rank, a.ndim))
            for a in jax.tree.leaves(cotangent)
        )
        norm = jnp.sqrt(sum(squares))
        cotangent = select(
            norm > max_norm,
            jax.tree.map(lambda a: a * (max_norm / trail(norm, a)), cotangent),
            cotangent,
        )
    if max_value is not None:
        cotangent = jax.tree.map(
            lambda a: jnp.clip(a, -max_value, max_value), cotangent
        )
    return cotangent


def part(loop: Loop) -> tuple[Static, Arrays]:
    """Return what of a loop is static and what is arrays."""
    static = Static(loop.cell, loop.reverse, loop.batch_shape)
    return static, Arrays(loop.params, loop.xs, loop.flags, loop.fresh)


def join(static: Static, arrays: Arrays) -> Loop:
    """Return the loop of both parts."""
    return Loop(
        static.cell, *arrays, reverse=static.reverse, batch_shape=static.batch_shape
    )


def select(flags: jax.Array, yes: Any, no: Any) -> Any:
    """Return `yes` where `flags`, else `no`; a select, so that NaN cannot leak."""
    return jax.tree.map(lambda a, b: jnp.where(trail(flags, a), a, b), yes, no)


def trail(flags: jax.Array, like: jax.Array) -> jax.Array:
    """Return `flags` with trailing axes of size one, as many as `like` has axes."""
    return flags.reshape(flags.shape + (1,) * (like.ndim - flags.ndim))


def zeros(tree: Any) -> Any:
    """Return zeros for every array but PRNG keys, which have none."""

    def one(x: jax.Array) -> jax.Array:
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return x if is_key else jnp.zeros_like(x)

    return jax.tree.map(one, tree)
