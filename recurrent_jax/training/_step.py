# SPDX-License-Identifier: Apache-2.0
"""A training step, with everything that changes in one value."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from recurrent_jax import _checks
from recurrent_jax._checks.array_kinds import OneKey
from recurrent_jax._checks.input_kinds import Object, Scalar, Tree
from recurrent_jax._core.input_types import Arrays
from recurrent_jax._core.types import Key


def _is_optimizer(value: Any) -> bool:
    # Cells have both, too.
    both = hasattr(value, "init") and hasattr(value, "update")
    return both and not hasattr(value, "recur")


Optimizer = Annotated[
    optax.GradientTransformation,
    Object("an optimizer of Optax", _is_optimizer, "optax.adamw(...)"),
]
Loss = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, Any]]


class State(NamedTuple):
    """Everything that changes in training. Save it to resume training later.

    The key never changes. Each step derives its random numbers from `key` and `step`,
    and `batch_indices` and `take_chunk` derive its place in the data from them. A run
    that is resumed from a saved state therefore repeats what it would have done.

    Example:
        >>> import jax, optax
        >>> import recurrent_jax as rj
        >>> params = rj.Elman(hidden_size=3).init(jax.random.key(0), in_features=2)
        >>> key = jax.random.key(1)
        >>> state = rj.training.init_state(params, optax.sgd(0.1), key=key)
        >>> int(state.step)
        0
    """

    params: Any
    opt_state: Any
    carry: Any  # the initial carry of the next batch, or None
    key: jax.Array
    step: jax.Array  # (), the number of finished steps


def _is_state(value: Any) -> bool:
    return isinstance(value, State)


OneState = Annotated[State, Object("what init_state returns, a State", _is_state)]


class Metrics(NamedTuple):
    """Metrics of one step."""

    loss: jax.Array  # ()
    gradient_norm: jax.Array  # (), before clipping


@_checks.checked
def init_state(
    params: Arrays,
    optimizer: Optimizer,
    *,
    key: Key,
    carry: Arrays | None = None,
) -> State:
    """Return the initial state of training.

    Args:
        params: any pytree of arrays, of a cell or a network, with or without a head.
        optimizer: an Optax optimiser.
        key: of all random numbers in training.
        carry: the initial carry of the first batch, if batches pass a carry on.

    Returns:
        A `State` at step 0.

    Example:
        >>> import jax, optax
        >>> import recurrent_jax as rj
        >>> params = rj.Elman(hidden_size=3).init(jax.random.key(0), in_features=2)
        >>> key = jax.random.key(1)
        >>> state = rj.training.init_state(params, optax.adam(0.1), key=key)
        >>> state.params.kernel.shape
        (2, 3)
    """
    return State(params, optimizer.init(params), carry, key, jnp.zeros((), "int32"))


@_checks.checked
def train_step(
    state: OneState, batch: Any, *, loss: Loss, optimizer: Optimizer
) -> tuple[State, Metrics]:
    r"""Return the state after one gradient step on `batch`.

    $$ \theta \leftarrow \theta + \mathrm{update}(\nabla_\theta L(\theta, s, x)) $$

    This is a pure function. Bind `loss` and `optimizer` with `functools.partial` and
    pass it to `jax.jit`, or to `jax.lax.scan` for many steps in one call. It is
    optional: you can write your own step with Optax.

    The optimiser also gets the value of the loss, because some transformations read it,
    such as `optax.contrib.reduce_on_plateau`. No gradient flows through the carry in
    the state.

    Args:
        state: from `init_state` or from the last step.
        batch: the data for `loss`.
        loss: `(params, carry, batch, key) -> (value, carry)`, with a scalar value and
            the initial carry of the next batch, or None.
        optimizer: the one given to `init_state`.

    Returns:
        The next state, and `Metrics`.

    Raises:
        TypeError: if `loss` does not return a pair of a scalar and a carry, or the
            carry changes its structure, shapes or dtypes.

    Example:
        >>> import functools, jax, jax.numpy as jnp, optax
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(hidden_size=3)
        >>> def loss(params, carry, batch, key):
        ...     last, _ = rj.unroll(cell, params, batch, key=key)
        ...     return jnp.mean((last.h - 0.5) ** 2), None
        >>> tx = optax.adam(0.03)
        >>> step = jax.jit(
        ...     functools.partial(rj.training.train_step, loss=loss, optimizer=tx))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> state = rj.training.init_state(params, tx, key=jax.random.key(1))
        >>> for _ in range(50):
        ...     state, metrics = step(state, jnp.ones((7, 5, 2)))
        >>> bool(metrics.loss < 1e-2), int(state.step)
        (True, 50)
    """
    check_state("train_step", state, optimizer)
    order = "(params, carry, batch, key) -> (value, carry)"
    _checks.takes("train_step", "loss", loss, order)

    def value_and_carry(params: Any) -> tuple[jax.Array, Any]:
        key = jax.random.fold_in(state.key, state.step)
        return _pair(loss(params, state.carry, batch, key))

    gradient = jax.value_and_grad(value_and_carry, has_aux=True)
    (value, carry), slope = gradient(state.params)
    _same(state.carry, carry)
    # Optax counts in integers and computes in floats.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = _with_value(optimizer).update(
            slope, state.opt_state, state.params, value=value
        )
        params = optax.apply_updates(state.params, updates)
    carry = jax.lax.stop_gradient(carry)
    after = State(params, opt_state, carry, state.key, state.step + 1)
    return after, Metrics(value, optax.tree.norm(slope))


def _with_value(optimizer: Any) -> Any:
    """Return an optimiser that takes the value of the loss, and may ignore it."""
    if isinstance(optimizer, optax.MultiSteps):  # it passes the value on itself
        return optimizer
    return optax.with_extra_args_support(optimizer)


def check_state(where: str, state: State, optimizer: Any) -> None:
    """Check that the parts of a state are what `init_state` makes them."""
    OneKey().check(where, "state.key", state.key)
    Tree().check(where, "state.params", state.params)
    Scalar(whole=True, least=0).check(where, "state.step", state.step)
    expected = jax.eval_shape(optimizer.init, state.params)
    if jax.tree.structure(state.opt_state) != jax.tree.structure(expected):
        raise TypeError(
            f"{where}: state.opt_state is not that of this optimizer; pass the "
            "optimizer that init_state was given"
        )


def _pair(result: Any) -> tuple[jax.Array, Any]:
    if isinstance(result, tuple) and len(result) == 2 and jnp.shape(result[0]) == ():
        return result
    raise TypeError(
        "train_step: loss must return (value, carry), a scalar and the next carry or "
        f"None; got {_checks.shapes(result)}"
    )


def kind(tree: Any) -> Any:
    """Return the structure of a tree, and the shape and dtype of each array."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(jnp.shape(x), jnp.result_type(x)) for x in leaves]


def _same(before: Any, after: Any) -> None:
    """Check that structure, shapes and dtypes of the carry do not change."""
    if kind(before) != kind(after):
        raise TypeError(
            "train_step: loss returned another carry than it took, "
            f"{_checks.shapes(after)} for {_checks.shapes(before)}; give init_state "
            "the carry that the first batch starts from, "
            "carry=cell.initial_carry((batch,))"
        )
