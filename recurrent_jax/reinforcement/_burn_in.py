# SPDX-License-Identifier: Apache-2.0
"""Burn-in: the first steps of a stored sequence make a stale carry good again."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.input_types import Arrays, Lengths, Mask, Model, Params
from recurrent_jax._core.types import Count, Key
from recurrent_jax._loop.loop import Method
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.reinforcement import _check


class Rest(NamedTuple):
    """The carry after a burn-in, and the steps that are left. Pass all to `unroll`."""

    carry: Any  # parts (*batch, hidden); no gradient flows through it
    xs: Any  # (time - length, *batch, features)
    resets: jax.Array | None  # (time - length, *batch), or None if none were given
    lengths: jax.Array | None  # (*batch): the valid steps that are left
    mask: jax.Array | None  # (time - length, *batch)


@_checks.checked
def burn_in(
    cell: Model,
    params: Params,
    xs: Arrays,
    length: Count,
    *,
    carry: Any = None,
    resets: Mask | None = None,
    reset_carry: Any = None,
    lengths: Lengths | None = None,
    mask: Mask | None = None,
    time_axis: int = 0,
    key: Key | None = None,
    method: Method | None = None,
) -> Rest:
    r"""Run the first steps of a stored sequence for their carry alone.

    $$ s_t = \mathrm{step}(\theta, s_{t-1}, x_t), \quad t = 1 \ldots L; \qquad
    \text{return } \mathrm{stop\_gradient}(s_L), \; x_{L+1} \ldots x_T $$

    A carry from a replay buffer was computed with old parameters. After some steps with
    the present ones it depends less on its stale start. No gradient flows into these
    steps: neither into `params` nor into `carry`.

    For a target network call it again with the target parameters, so that each network
    reads the rest from a carry of its own.

    Args:
        cell: any cell, or a network that does not read later inputs.
        params: what `cell.init` returned: those that are trained, or the target.
        xs: the stored inputs, `(time, *batch, features)`, or a pytree of them.
        length: L, the number of steps to burn in, known before tracing and below the
            number of steps. 0 runs none and stops the gradient of `carry`.
        carry: the stored carry before the first step. If None, it is
            `cell.initial_carry`, as R2D2 calls the "zero state".
        resets: bool, `(time, *batch)`, as for `unroll`.
        reset_carry: what a reset restarts from, as for `unroll`.
        lengths: integers, `(*batch)`: the number of valid steps of each sequence, the
            burn-in included.
        mask: bool, `(time, *batch)`, as for `unroll`.
        time_axis: the axis of time in `xs`, `resets` and `mask`.
        key: a PRNG key, for cells that draw random numbers.
        method: how time is run, as for `unroll`.

    Returns:
        `Rest(carry, xs, resets, lengths, mask)`: the carry after L steps without a
        gradient, and the rest of each argument, None where none was given. Cut other
        arrays, such as actions and rewards, yourself: `actions[length:]`.

    Raises:
        ValueError, TypeError: as `unroll` does, if `length` leaves no step, or if the
            network reads later inputs.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs, stored = jnp.ones((7, 5, 2)), cell.initial_carry((5,))
        >>> rest = rj.reinforcement.burn_in(cell, params, xs, 3, carry=stored)
        >>> carry, ys = rj.unroll(cell, params, rest.xs, carry=rest.carry)
        >>> ys.shape
        (4, 5, 3)
        >>> print(jnp.allclose(ys, rj.unroll(cell, params, xs)[1][3:]))
        True

    References:
        Kapturowski et al., 2019. Recurrent experience replay in distributed
        reinforcement learning. https://openreview.net/forum?id=r1lyTjAqYX
    """
    _check.causal("burn_in", cell)

    def run(
        params: Any, xs: Any, carry: Any, resets: Any, lengths: Any, mask: Any
    ) -> Any:
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
            key=key,
            method=method,
        )[0]

    # Of the whole sequence, so that what does not fit is not cut first.
    jax.eval_shape(lambda: run(params, xs, carry, resets, lengths, mask))
    first = jax.tree.leaves(xs)[0]
    axis = int(time_axis) % jnp.ndim(first)
    time = jnp.shape(first)[axis]
    if length >= max(time, 1):
        raise ValueError(
            f"burn_in: length must be below {time}, the number of steps, got {length}"
        )

    def cut(tree: Any, start: int, stop: int) -> Any:
        return jax.tree.map(
            lambda a: lax.slice_in_dim(jnp.asarray(a), start, stop, axis=axis), tree
        )

    early, late = (0, length), (length, time)
    # Not in their own dtype, which may be too short for `length`.
    count = None if lengths is None else jnp.asarray(lengths).astype(int)
    carry = run(
        lax.stop_gradient(params),
        lax.stop_gradient(cut(xs, *early)),
        lax.stop_gradient(carry),
        cut(resets, *early),
        None if count is None else jnp.clip(count, 0, length),
        cut(mask, *early),
    )
    return Rest(
        carry=lax.stop_gradient(carry),
        xs=cut(xs, *late),
        resets=cut(resets, *late),
        lengths=None if count is None else jnp.clip(count - length, 0, time - length),
        mask=cut(mask, *late),
    )
