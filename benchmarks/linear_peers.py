# SPDX-License-Identifier: Apache-2.0
"""Linear cells of other JAX libraries, run on the parameters of ours.

memax: the whole LRU. mamba2-jax: the chunked state-space sum of a Mamba-2, between our
projections. Flax: the loop over the steps of any cell. A library that is not installed
is left out: `pip install memax mamba2-jax`.

Two others do not load beside JAX 0.10 and tyro: memorax needs a TensorFlow Probability
that knows this JAX, and recurrentgemma needs typeguard 2.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import recurrent_jax as rj

Run = Callable[[Any, jax.Array], jax.Array]


def memax(cell: rj.LRU) -> Run:
    """Return the LRU of memax, one sequence at a time under `vmap`."""
    import equinox as eqx
    from memax.equinox.semigroups.lru import LRU

    fields = "nu_log", "theta_log", "gamma_log", "B_re", "B_im", "C_re", "C_im", "D"

    def run(params: Any, xs: jax.Array) -> jax.Array:
        N, H = params.nu.shape[0], xs.shape[-1]
        theirs = LRU(N, H, key=jax.random.key(0))
        kernel, output = params.kernel, params.output_kernel
        theirs = eqx.tree_at(
            lambda lru: tuple(getattr(lru, name) for name in fields),
            theirs,
            (
                *(params.nu, params.theta, params.log_gamma),
                *(kernel.real.T, kernel.imag.T, output.real.T, output.imag.T),
                params.skip,
            ),
        )
        start = jnp.zeros(xs.shape[0], bool)

        def one(x: jax.Array) -> jax.Array:
            return theirs(theirs.initialize_carry(), (x, start))[1]

        return jax.vmap(one, 1, 1)(xs)

    return run


def mamba2_jax(cell: rj.Mamba2, chunk_size: int = 64) -> Run:
    """Return our projections around the chunked sum of mamba2-jax."""
    from mamba2_jax.modeling import ssd_forward

    def run(params: Any, xs: jax.Array) -> jax.Array:
        z = cell.project(params, jnp.moveaxis(xs, 0, 1))
        share = cell.heads // cell.groups
        q, k = (jnp.repeat(a, share, axis=-2) for a in (z.q, z.k))
        dt = jnp.log(jnp.expm1(z.dt))  # they take its softplus
        rate = -jnp.exp(params.log_rate)
        zero = jnp.zeros_like(rate)
        ys, _ = ssd_forward(
            z.v, dt, rate, k, q, chunk_size, params.skip, zero, 0.0, jnp.inf
        )
        return jnp.moveaxis(ys.reshape(*ys.shape[:2], -1), 1, 0)

    return run


def flax_loop(cell: rj.Cell) -> Run:
    """Return the loop of Flax over the steps of a cell."""
    from flax import linen as nn

    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry: Any, x: jax.Array, params: Any) -> Any:
            return cell.step(params, carry, x)

    loop = nn.scan(Step, in_axes=(0, nn.broadcast), out_axes=0)

    def run(params: Any, xs: jax.Array) -> jax.Array:
        carry = cell.initial_carry(xs.shape[1:-1], xs.dtype, params)
        return loop().apply({}, carry, xs, params)[1]

    return run


PEERS: dict[str, dict[str, Callable[[Any], Run]]] = {
    "lru": {"memax": memax},
    "mamba2": {"mamba2-jax": mamba2_jax},
}
FLAX = "Flax, nn.scan"


def installed(name: str, cell: rj.Cell) -> dict[str, Run]:
    """Return what runs a cell in other libraries, as far as they are installed."""
    found = {FLAX: flax_loop(cell)}
    for label, make in PEERS.get(name, {}).items():
        try:
            found[label] = make(cell)
        except ModuleNotFoundError:
            continue
    return found


def labels() -> list[str]:
    """Return the labels of all peers."""
    return [FLAX, *(label for peers in PEERS.values() for label in peers)]
