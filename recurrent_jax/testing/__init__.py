# SPDX-License-Identifier: Apache-2.0
"""The laws that every cell must satisfy, to check your own cells with.

    from recurrent_jax.testing import check_cell
    check_cell(MyCell(hidden_size=4))

Each law is a function that takes a `Trial` and may raise `LawViolation`. `LAWS` maps
the name of each law to its function.
"""

from recurrent_jax.testing._check_cell import check_cell
from recurrent_jax.testing._compare import LawViolation
from recurrent_jax.testing._laws import LAWS
from recurrent_jax.testing._trial import Trial

__all__ = ["LAWS", "LawViolation", "Trial", "check_cell"]
