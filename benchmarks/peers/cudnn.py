# SPDX-License-Identifier: Apache-2.0
"""cuDNN as JAX binds it, `jax.experimental.rnn`: the LSTM, on a GPU; batch first."""

import jax
import jax.numpy as jnp
from jax.experimental import rnn

import recurrent_jax as rj
from benchmarks.contenders import Contender
from benchmarks.problems import Shape

if jax.default_backend() != "gpu":
    raise ImportError("cuDNN needs a GPU")


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return the LSTM."""
    if not isinstance(cell, rj.LSTM):
        return {}
    T, B, D, H = shape

    def run(weights: jax.Array, xs: jax.Array) -> jax.Array:
        zero = jnp.zeros((1, B, H))
        ys, _, _ = rnn.lstm(
            xs,
            zero,
            zero,
            weights,
            seq_lengths=jnp.full((B,), T, jnp.int32),
            input_size=D,
            hidden_size=H,
            num_layers=1,
            dropout=0.0,
            bidirectional=False,
        )
        return ys

    return {"cudnn jax.experimental.rnn": Contender(run, _flat, batch_major=True)}


def _flat(params: rj.LSTM.Params) -> jax.Array:
    """Lay all weights end to end, stored (out, in), with a second bias of zero."""
    parts = [
        params.kernel.T,
        params.recurrent_kernel.T,
        params.bias,
        jnp.zeros_like(params.bias),
    ]
    return jnp.concatenate([part.ravel() for part in parts])
