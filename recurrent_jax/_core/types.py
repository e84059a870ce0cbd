# SPDX-License-Identifier: Apache-2.0
"""Types of the fields of cells."""

from collections.abc import Callable

import jax
from jax.typing import DTypeLike

Activation = Callable[[jax.Array], jax.Array]


Initializer = Callable[[jax.Array, tuple[int, ...], DTypeLike], jax.Array]
