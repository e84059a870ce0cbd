# SPDX-License-Identifier: Apache-2.0
"""Sequences of different lengths: padding, masks, buckets and packing into rows.

Ragged data are lists and NumPy arrays on the host, before training. Packing and
unpacking run in JAX, so gradients pass through them.
"""

from recurrent_jax.ragged._buckets import Bucket, bounds, buckets
from recurrent_jax.ragged._packing import Packing, packing
from recurrent_jax.ragged._pad import Padded, mask, pad, unpad

__all__ = [
    "Bucket",
    "Packing",
    "Padded",
    "bounds",
    "buckets",
    "mask",
    "packing",
    "pad",
    "unpad",
]
