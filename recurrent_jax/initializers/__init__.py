# SPDX-License-Identifier: Apache-2.0
"""Initialisers that `jax.nn.initializers` lacks, and defaults of other libraries.

An initialiser is a function `(key, shape, dtype) -> array`. A cell calls it once for
each gate, with the shape of that gate, so that fan-in, fan-out and orthogonality refer
to one gate. Wrap it in `Fused` to draw all gates as one matrix.

Cells with equal initialisers are equal, hash alike and share what `jit` has compiled.
The classes here are equal if their numbers are. What a function of
`jax.nn.initializers` returned is equal if the arguments of that call are. A
`functools.partial` is equal if its function and arguments are. All of these print as
code. They pickle if their function is found by its name. A lambda, or a function that
another function returned, is equal only to itself: build it once.
"""

from recurrent_jax.initializers._basic import (
    Fused,
    Normal,
    TruncatedNormal,
    Uniform,
    glorot_uniform,
    identity,
    lecun_normal,
    lecun_uniform,
    orthogonal,
    per_gate,
    zeros,
)
from recurrent_jax.initializers._presets import (
    haiku_linear,
    preset,
    torch_bias,
    torch_uniform,
)
from recurrent_jax.initializers._recurrent import (
    BlockDiagonal,
    Scaled,
    SpectralRadius,
    critical_gain,
)
from recurrent_jax.initializers._timescales import (
    Chrono,
    Opposed,
    PowerLaw,
    timescales,
    uniform_gate,
)

__all__ = [
    "BlockDiagonal",
    "Chrono",
    "Fused",
    "Normal",
    "Opposed",
    "PowerLaw",
    "Scaled",
    "SpectralRadius",
    "TruncatedNormal",
    "Uniform",
    "critical_gain",
    "glorot_uniform",
    "haiku_linear",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "per_gate",
    "preset",
    "timescales",
    "torch_bias",
    "torch_uniform",
    "uniform_gate",
    "zeros",
]
