# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks in JAX: cells as pure functions, one loop, exact gradients.

At the top level are `unroll`, all cells, wrappers, networks and backward strategies.
Everything else lives in a module of its own, such as `rj.tasks` or `rj.training`; the
parameters and the carry of a cell are `rj.LSTM.Params` and `rj.LSTM.Carry`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from recurrent_jax import (
    activations,
    backward,
    cells,
    generation,
    initializers,
    kernels,
    methods,
    networks,
    online,
    operators,
    ragged,
    reinforcement,
    scans,
    streaming,
    tasks,
    wrappers,
)
from recurrent_jax._checks import attributes as _attributes
from recurrent_jax._core import serial as _serial
from recurrent_jax._core.arrays import (
    affine,
    expand_like,
)
from recurrent_jax._core.cell import (
    Cell,
)
from recurrent_jax._loop.unroll import (
    unroll,
)
from recurrent_jax.backward import (
    Autodiff,
    Checkpointed,
    ClippedBackward,
    Deferred,
    ParallelBackward,
    Truncated,
)
from recurrent_jax.cells import (
    CIFG,
    CTRNN,
    FFM,
    GRU,
    GRUD,
    IRNN,
    JANET,
    KDA,
    LEM,
    LRU,
    LSTM,
    LTC,
    MGU,
    MLSTM,
    RGLRU,
    RWKV7,
    S4D,
    S5,
    SLSTM,
    SRU,
    UGRNN,
    AntisymmetricRNN,
    BatchNormLSTM,
    CfC,
    ConvGRU,
    ConvLSTM,
    CoRNN,
    DeltaNet,
    DiagonalGRU,
    DiagonalLSTM,
    Elman,
    ExpRNN,
    FastGRNN,
    FastRNN,
    ForwardFill,
    FullGateRecurrenceLSTM,
    GatedDeltaNet,
    GatedLinearAttention,
    IndRNN,
    Jordan,
    LayerNormGRU,
    LayerNormLSTM,
    LeakyElman,
    LightGRU,
    Mamba,
    Mamba2,
    MinGRU,
    MinimalRNN,
    MinLSTM,
    MogrifierLSTM,
    MultiplicativeLSTM,
    OdysseyLSTM,
    PeepholeLSTM,
    ProjectedLSTM,
    ResidualElman,
    RetNet,
    SlimGRU,
    SlimMGU,
    TimeAwareLSTM,
)
from recurrent_jax.kernels import _table as _table
from recurrent_jax.kernels import show_backends as show_backends
from recurrent_jax.methods import (
    Associative,
    Chunked,
    CuDNN,
    Fused,
    Newton,
    Sequential,
    Sharded,
)
from recurrent_jax.networks import (
    Bidirectional,
    Deep,
    Network,
)
from recurrent_jax.scans import LinearCell, MatrixCell
from recurrent_jax.wrappers import (
    Attention,
    InputDropout,
    LearnedCarry,
    MixedPrecision,
    OutputDropout,
    RecurrentDropout,
    Residual,
    Stack,
    Structured,
    WithCarry,
    Wrapper,
    Zoneout,
    weight_drop,
)

if TYPE_CHECKING:
    from recurrent_jax import convert as convert
    from recurrent_jax import diagnostics as diagnostics
    from recurrent_jax import linen as linen
    from recurrent_jax import nnx as nnx
    from recurrent_jax import testing as testing
    from recurrent_jax import training as training

__version__ = "0.1.0"

__all__ = [
    "CIFG",
    "CTRNN",
    "FFM",
    "GRU",
    "GRUD",
    "IRNN",
    "JANET",
    "KDA",
    "LEM",
    "LRU",
    "LSTM",
    "LTC",
    "MGU",
    "MLSTM",
    "RGLRU",
    "RWKV7",
    "S4D",
    "S5",
    "SLSTM",
    "SRU",
    "UGRNN",
    "AntisymmetricRNN",
    "Associative",
    "Attention",
    "Autodiff",
    "BatchNormLSTM",
    "Bidirectional",
    "Cell",
    "CfC",
    "Checkpointed",
    "Chunked",
    "ClippedBackward",
    "CoRNN",
    "ConvGRU",
    "ConvLSTM",
    "CuDNN",
    "Deep",
    "Deferred",
    "DeltaNet",
    "DiagonalGRU",
    "DiagonalLSTM",
    "Elman",
    "ExpRNN",
    "FastGRNN",
    "FastRNN",
    "ForwardFill",
    "FullGateRecurrenceLSTM",
    "Fused",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "IndRNN",
    "InputDropout",
    "Jordan",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LeakyElman",
    "LearnedCarry",
    "LightGRU",
    "LinearCell",
    "Mamba",
    "Mamba2",
    "MatrixCell",
    "MinGRU",
    "MinLSTM",
    "MinimalRNN",
    "MixedPrecision",
    "MogrifierLSTM",
    "MultiplicativeLSTM",
    "Network",
    "Newton",
    "OdysseyLSTM",
    "OutputDropout",
    "ParallelBackward",
    "PeepholeLSTM",
    "ProjectedLSTM",
    "RecurrentDropout",
    "Residual",
    "ResidualElman",
    "RetNet",
    "Sequential",
    "Sharded",
    "SlimGRU",
    "SlimMGU",
    "Stack",
    "Structured",
    "TimeAwareLSTM",
    "Truncated",
    "WithCarry",
    "Wrapper",
    "Zoneout",
    "activations",
    "affine",
    "backward",
    "cells",
    "convert",
    "diagnostics",
    "expand_like",
    "generation",
    "initializers",
    "kernels",
    "methods",
    "networks",
    "online",
    "operators",
    "ragged",
    "reinforcement",
    "scans",
    "show_backends",
    "streaming",
    "tasks",
    "testing",
    "training",
    "unroll",
    "weight_drop",
    "wrappers",
]

_serial.register_loaded()

# Loaded on first use: `training` needs Optax, `linen` and `nnx` need Flax, which
# `import *` must not ask for. The core needs JAX alone.
_ON_FIRST_USE = ("convert", "diagnostics", "linen", "nnx", "testing", "training")


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"recurrent_jax.{name}")
    raise _attributes.of_package(name, __all__)


def __dir__() -> list[str]:
    return sorted({*__all__, *_ON_FIRST_USE, "__version__"})
