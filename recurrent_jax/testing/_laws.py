# SPDX-License-Identifier: Apache-2.0
"""The laws, each a function that takes a `Trial` and may raise `LawViolation`."""

from collections.abc import Callable

from recurrent_jax.testing._cell_laws import (
    batch,
    compilation,
    gradients,
    project,
    scan,
    types,
)
from recurrent_jax.testing._loop_laws import (
    causality,
    empty,
    padding,
    reset,
    reverse,
    split,
    strategies,
)
from recurrent_jax.testing._trial import Trial

LAWS: dict[str, Callable[[Trial], None]] = {
    law.__name__: law
    for law in (
        scan,
        project,
        split,
        padding,
        empty,
        reset,
        batch,
        reverse,
        causality,
        types,
        gradients,
        compilation,
        strategies,
    )
}
