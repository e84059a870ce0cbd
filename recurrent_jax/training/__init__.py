# SPDX-License-Identifier: Apache-2.0
"""Recipes for training, on top of Optax."""

from recurrent_jax.training._clipping import clipping

__all__ = ["clipping"]
