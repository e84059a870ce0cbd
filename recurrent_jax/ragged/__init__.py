# SPDX-License-Identifier: Apache-2.0
"""Sequences of all lengths: padded, masked, sorted into buckets, packed into rows.

What is ragged lives on the host, as lists and NumPy arrays, before training. To pack
and to unpack is JAX, so gradients pass.
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
