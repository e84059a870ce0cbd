# SPDX-License-Identifier: Apache-2.0
"""Values of gates, their saturation, and their memory."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks, cells
from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._checks.kinds import Number
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import Arrays, OneCell, Params
from recurrent_jax.diagnostics._path import follow

Gate = Annotated[jax.Array, OneArray("floating-point", least=1, axes="(..., hidden)")]
Margin = Annotated[float, Number(above=0, most=0.5)]
# In the order in which a step calls `gate_activation`.
_NAMES: dict[type[Cell], tuple[str, ...]] = {
    cells.LSTM: ("i", "f", "o"),
    cells.PeepholeLSTM: ("i", "f", "o"),
    cells.ProjectedLSTM: ("i", "f", "o"),
    cells.LayerNormLSTM: ("i", "f", "o"),
    cells.BatchNormLSTM: ("i", "f", "o"),
    cells.MultiplicativeLSTM: ("i", "f", "o"),
    cells.TimeAwareLSTM: ("i", "f", "o"),
    cells.ConvLSTM: ("i", "f", "o"),
    cells.FullGateRecurrenceLSTM: ("i", "f", "o"),
    cells.GRU: ("r", "z"),
    cells.GRUD: ("r", "z"),
    cells.LayerNormGRU: ("r", "z"),
    cells.MGU: ("f",),
    cells.SlimMGU: ("f",),
    cells.LightGRU: ("z",),
    cells.UGRNN: ("g",),
}


@_checks.checked
def gates(
    cell: OneCell, params: Params, xs: Arrays, *, carry: Arrays | None = None
) -> dict[str, jax.Array]:
    """Return the value of every gate at every step of a sequence, by name.

    A gate is any result of the cell's field `gate_activation` in a step. The values are
    recorded there, so they come from the cell's own equations, also for your own cells.

    Args:
        cell: with a field `gate_activation`.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`.
        carry: the state to start from.

    Returns:
        Arrays, `(time, *batch, hidden)`, by the letters of the cell's equations:
        `i, f, o` for an LSTM and `r, z` for a GRU. For a cell that this function does
        not know, the names are `gate_0, gate_1, ...`, in the order of evaluation.

    Raises:
        TypeError: if the cell has no `gate_activation`.
        ValueError: if shapes do not fit, or there is no step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import gates
        >>> cell = rj.LSTM(hidden_size=3, forget_bias=2.0)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> seen = gates(cell, params, jnp.zeros((7, 5, 2)))
        >>> print(list(seen), seen["f"].shape, f"{seen['f'][0, 0, 0]:.3f}")
        ['i', 'f', 'o'] (7, 5, 3) 0.881
    """
    open_gate: Any = getattr(cell, "gate_activation", None)
    if open_gate is None:
        raise TypeError(
            f"gates: {cell!r} has no field gate_activation, so it has no gates to "
            "listen to; of a wrapper, ask the cell within"
        )
    path = follow("gates", cell, params, xs, carry)
    heard: list[jax.Array] = []

    def overhear(x: jax.Array) -> jax.Array:
        heard.append(open_gate(x))
        return heard[-1]

    fields: dict[str, Any] = {"gate_activation": overhear}
    # All steps at once. Time is a batch axis because the carries are known.
    dataclasses.replace(cell, **fields).recur(path.params, path.carries, path.zs)
    names = _NAMES.get(type(cell), ())
    if len(names) != len(heard):
        names = tuple(f"gate_{n}" for n in range(len(heard)))
    return dict(zip(names, heard, strict=True))


class Saturation(NamedTuple):
    """How often the gate of each unit is closed, and how often open."""

    shut: jax.Array  # (H,), fractions of all steps
    open: jax.Array  # (H,)


@_checks.checked
def saturation(gate: Gate, *, margin: Margin = 0.1) -> Saturation:
    """Return how often each unit of a gate is within a margin of 0, and of 1.

    A gate that is always near 0 or 1 has almost no gradient that could change it.

    Args:
        gate: the values of one gate, `(..., hidden)`, as `gates` returns.
        margin: the distance from 0 or 1 that counts.

    Returns:
        The fractions of steps, each `(hidden,)`.

    Raises:
        ValueError: if the margin is not between 0 and 0.5.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import saturation
        >>> saturation(jnp.array([[0.01, 0.5], [0.02, 0.99]])).open
        Array([0. , 0.5], dtype=float32)

    References:
        Karpathy, Johnson and Fei-Fei, 2016. Visualizing and understanding recurrent
        networks. https://arxiv.org/abs/1506.02078
    """
    gate = _some("saturation", "gate", gate)
    flat = gate.reshape(-1, gate.shape[-1])
    return Saturation(
        shut=(flat < margin).astype(gate.dtype).mean(0),
        open=(flat > 1 - margin).astype(gate.dtype).mean(0),
    )


@_checks.checked
def effective_memory(keep: Gate) -> jax.Array:
    r"""Return how many steps each unit remembers, from the gate that keeps its state.

    $$
    \tau = \frac{1}{1 - \bar{f}}, \qquad
    \bar{f} = \exp \left( \frac{1}{T} \sum_t \log f_t \right)
    $$

    After T steps a state is multiplied by the product of the gates, so the geometric
    mean of the gates counts. If $\tau$ is 1, nothing is kept. A gate of 0.99 leads to
    100. This is the memory of the gate alone. It does not include what the recurrent
    connections keep.

    Args:
        keep: the values of the gate that multiplies the old state, `(..., hidden)`:
            `f` of an LSTM, `z` of a `GRU`, as `gates` returns.

    Returns:
        The time constants in steps, `(hidden,)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import effective_memory
        >>> print(effective_memory(jnp.array([[0.5, 0.99], [0.5, 0.99]])).round(2))
        [  2. 100.]

    References:
        Tallec and Ollivier, 2018. Can recurrent neural networks warp time?
        https://arxiv.org/abs/1804.11188
    """
    keep = _some("effective_memory", "keep", keep)
    kept = jnp.log(keep.reshape(-1, keep.shape[-1])).mean(0)
    return 1 / jnp.abs(jnp.expm1(kept))


def _some(where: str, argument: str, gate: Any) -> jax.Array:
    """Return the values of a gate as an array, checked to hold any."""
    gate = jnp.asarray(gate)
    if not gate.size:
        raise ValueError(
            f"{where}: {argument} must hold a step and a unit, got "
            f"{_checks.describe(gate)}"
        )
    return gate
