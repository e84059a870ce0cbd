# SPDX-License-Identifier: Apache-2.0
"""An unbiased gradient from a Kronecker product of what is read and what it changes."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax.backward._engine import facts
from recurrent_jax.online._influence import over_rows, pulls
from recurrent_jax.online._learner import LastStep, Learner, batch_of
from recurrent_jax.online._rtrl import row_of
from recurrent_jax.online._uoro import balance, norm

_FIELDS = "kernel", "recurrent_kernel", "bias"


class Kronecker(NamedTuple):
    """Two factors whose Kronecker product has the influence matrix as its mean."""

    of_inputs: jax.Array  # (*batch, D + H + 1): input, hidden state, one for the bias
    of_state: jax.Array  # (*batch, S, G): by the sum of both products, of all gates


@dataclasses.dataclass(frozen=True)
class KFRTRL(Learner):
    r"""Kronecker factors of the influence: unbiased, and less noisy than `UORO`.

    All parameters act through $a_t \Theta$, where $a_t$ is the input, the hidden state
    and a one, and $\Theta$ is both kernels and the bias. So
    $\partial f / \partial \Theta = a_t \otimes F_t$, and one product is kept:

    $$
    \tilde a_t = \nu_1 \rho_1 \tilde a_{t-1} + \nu_2 \rho_2 a_t, \qquad
    A_t = \frac{\nu_1}{\rho_1} J_t A_{t-1} + \frac{\nu_2}{\rho_2} F_t
    $$

    The signs $\nu$ are random. The mean of the gradient over all draws is exact at
    fixed parameters. The scales $\rho$ keep the two factors alike in norm. For S states
    and G columns of a kernel, D + H + 1 + S G numbers are kept, and a step costs
    $S^2 G$. `init` needs a key.

    Args:
        cell: a cell whose parameters are a kernel, a recurrent kernel and perhaps a
            bias, and which reads both products only as their sum, such as an `Elman` or
            an `LSTM`.

    Raises:
        TypeError: if the cell is not of that form.
        ValueError: if `init` gets no key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> learner = rj.online.KFRTRL(cell)
        >>> state = learner.init(params, jnp.ones((5, 2)), key=jax.random.key(1))
        >>> state, y = learner.step(params, state, jnp.ones((5, 2)))
        >>> learner.gradient(state, y).kernel.shape
        (2, 12)

    References:
        Mujika, Meier and Steger, 2018. Approximating real-time recurrent learning with
        random Kronecker factors. https://arxiv.org/abs/1805.10842
    """

    def _fixed(self, params: Any, x: Any, key: Any) -> Any:
        if key is None:
            raise ValueError(
                "KFRTRL.init: key is None, but KFRTRL draws random signs; pass "
                "key=jax.random.key(0)"
            )
        self._source(params, x)
        return key

    def _source(self, params: Any, x: Any) -> int:
        """Return which part of the carry is multiplied; refuse any other form."""
        cell, row = self.cell, jax.tree.map(lambda a: a[(0,) * (a.ndim - 1)], x)
        names = tuple(n for n in _FIELDS if getattr(params, n, None) is not None)
        fits = cell._splits and hasattr(params, "_asdict")
        fits = fits and len(names) == len(jax.tree.leaves(params)) >= 2
        if fits and len(jax.tree.leaves(x)) == 1 and cell.prepare(params) is params:
            carry = row_of(cell, params, x)
            z, u = cell.project(params, row), cell.feedback(params, carry)
            read = facts.of_update(cell.update, params, carry, z, u, gates=1)
            project = facts.product(cell.project, params, row, rank=1)
            fed = facts.product(cell.feedback, params, carry, rank=1)
            if project and fed and all(read.summed) and not (read.reads or fed.biased):
                return fed.source
        raise TypeError(
            f"KFRTRL.init: params of cell {cell!r} must be a kernel, a recurrent "
            "kernel and perhaps a bias, whose products are read only as their sum; use "
            "UORO"
        )

    def _start(self, params: Any, x: Any, fixed: Any, count: jax.Array) -> Kronecker:
        vector = to_vector(row_of(self.cell, params, x))
        rows = sum(1 if a.ndim == 1 else a.shape[0] for a in jax.tree.leaves(params))
        G, dtype = params.kernel.shape[1], vector.dtype
        return Kronecker(jnp.zeros(rows, dtype), jnp.zeros((vector.size, G), dtype))

    def _advance(self, last: LastStep, fixed: Any, count: jax.Array) -> Kronecker:
        cell, params, lead = self.cell, last.params, batch_of(self.cell, last.x)
        source = self._source(params, last.x)
        key = jax.random.fold_in(fixed, count)
        signs = jax.random.rademacher(key, (*lead, 2)).astype(params.kernel.dtype)

        def one(carry: Any, x: Any, memory: Kronecker, signs: jax.Array) -> Kronecker:
            def step(both: Any) -> jax.Array:
                before, more = to_carry(both[0], carry), both[1]
                z = cell.project(params, x) + more
                return to_vector(
                    cell.update(params, before, z, cell.feedback(params, before))[0]
                )

            vector = to_vector(carry)
            zero = jnp.zeros(params.kernel.shape[1], vector.dtype)
            basis = jnp.eye(vector.size, dtype=vector.dtype)
            J, F = pulls(step, (vector, zero), basis)
            parts = [x, jax.tree.leaves(carry)[source]]
            if params.bias is not None:
                parts.append(jnp.ones(1, vector.dtype))
            a, moved = jnp.concatenate(parts), J @ memory.of_state
            first = signs[0] * balance(norm(moved), norm(memory.of_inputs))
            second = signs[1] * balance(norm(F), norm(a))
            return Kronecker(
                first * memory.of_inputs + second * a, moved / first + F / second
            )

        return over_rows(one, len(lead))(last.carry, last.x, last.memory, signs)

    def _pull(self, last: LastStep, cotangent: jax.Array, fixed: Any) -> Any:
        a, A = last.memory
        slope = jnp.einsum("...s,...sg->...g", cotangent, A)
        total = jnp.einsum("...r,...g->...rg", a, slope)
        total = total.sum(axis=tuple(range(total.ndim - 2)))
        D, H = (m.shape[0] for m in (last.params.kernel, last.params.recurrent_kernel))
        parts = {"kernel": total[:D], "recurrent_kernel": total[D : D + H]}
        if last.params.bias is not None:
            parts["bias"] = total[D + H]
        return last.params._replace(**parts)
