# SPDX-License-Identifier: Apache-2.0
"""The kernel of each cell."""

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax.cells import GRU, LSTM, Elman
from recurrent_jax.kernels._kernel import KERNELS, Kernel

_TANH = jnp.tanh, lax.tanh
_SIGMOID = jax.nn.sigmoid, lax.logistic
_PARAMS = "kernel", "bias", "recurrent_kernel"

KERNELS[LSTM] = (
    Kernel(
        "lstm",
        _PARAMS,
        residuals=(4, 1),
        fields=(
            ("activation", _TANH),
            ("output_activation", _TANH),
            ("gate_activation", _SIGMOID),
        ),
    ),
)
KERNELS[GRU] = tuple(
    Kernel(
        "gru",
        (*_PARAMS, "recurrent_bias"),
        residuals=(4 if reset_after else 3,),
        fields=(
            ("reset_after", (reset_after,)),
            ("activation", _TANH),
            ("gate_activation", _SIGMOID),
        ),
        attributes=(("reset_after", reset_after),),
    )
    for reset_after in (True, False)
)
KERNELS[Elman] = tuple(
    Kernel(
        "elman",
        _PARAMS,
        fields=(("activation", functions),),
        attributes=(("activation", name),),
    )
    for name, functions in (("tanh", _TANH), ("relu", (jax.nn.relu,)))
)
