# SPDX-License-Identifier: Apache-2.0
"""Imports of optional packages, which the core does not need."""

import importlib
from typing import Any


def package(name: str, what: str, install: str) -> Any:
    """Return an optional module, or raise an error that says how to install it.

    Args:
        name: the name of the module.
        what: the start of the error message, which says who needs which package.
        install: the argument of `pip install`.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{what}: pip install {install!r}", name=error.name
        ) from error
