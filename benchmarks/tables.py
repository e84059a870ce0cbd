# SPDX-License-Identifier: Apache-2.0
"""A table that a narrow terminal does not cut."""

from typing import Any

import rich.table
from rich.console import RenderableType


class Table(rich.table.Table):
    """A table of rich whose columns fold, where rich would crop words."""

    def add_column(self, header: RenderableType = "", **options: Any) -> None:
        """Add a column; `options` are those of rich."""
        super().add_column(header, **{"overflow": "fold", **options})
