# SPDX-License-Identifier: Apache-2.0
"""Code that `linen` and `nnx` share."""

from recurrent_jax._core import extras

extras.package("flax", "linen and nnx need Flax", "recurrent-jax[flax]")
