# SPDX-License-Identifier: Apache-2.0
"""Conversion of weights from and to other libraries, as dictionaries of arrays."""

from recurrent_jax._core import serial
from recurrent_jax.convert._arrays import LossyConversionWarning
from recurrent_jax.convert._cudnn import from_cudnn, to_cudnn
from recurrent_jax.convert._equinox import from_equinox, to_equinox
from recurrent_jax.convert._flax import from_linen, from_nnx, to_linen, to_nnx
from recurrent_jax.convert._from_onnx import from_onnx
from recurrent_jax.convert._haiku import from_haiku, to_haiku
from recurrent_jax.convert._keras import from_keras, to_keras
from recurrent_jax.convert._safetensors import (
    load_safetensors,
    read_safetensors,
    save_safetensors,
)
from recurrent_jax.convert._to_onnx import to_onnx
from recurrent_jax.convert._torch import from_torch, to_torch

__all__ = [
    "LossyConversionWarning",
    "from_cudnn",
    "from_equinox",
    "from_haiku",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_onnx",
    "from_torch",
    "load_safetensors",
    "read_safetensors",
    "save_safetensors",
    "to_cudnn",
    "to_equinox",
    "to_haiku",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_onnx",
    "to_torch",
]

serial.register_loaded()
