# SPDX-License-Identifier: Apache-2.0
"""What the modules of `linen` and of `nnx` share."""

from recurrent_jax._core import extras

extras.package("flax", "linen and nnx need Flax", "recurrent-jax[flax]")
