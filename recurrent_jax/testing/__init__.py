# SPDX-License-Identifier: Apache-2.0
"""The laws that every cell keeps, for ours and for the user's own.

    from recurrent_jax.testing import check_cell
    check_cell(MyCell(hidden_size=4))

Each law is a function of a `Trial` that raises `LawViolation`; `LAWS` names them all.
"""

from recurrent_jax.testing._check_cell import check_cell
from recurrent_jax.testing._compare import LawViolation
from recurrent_jax.testing._laws import LAWS
from recurrent_jax.testing._trial import Trial

__all__ = ["LAWS", "LawViolation", "Trial", "check_cell"]
