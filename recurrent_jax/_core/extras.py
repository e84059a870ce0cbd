# SPDX-License-Identifier: Apache-2.0
"""Packages that some functions need, and the core does not."""

import importlib
from typing import Any


def package(name: str, what: str, install: str) -> Any:
    """Return an optional module, or say what installs it.

    Args:
        name: of the module.
        what: the start of the message: who needs which package.
        install: what `pip install` is given.

    Raises:
        ModuleNotFoundError: if the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{what}: pip install {install!r}", name=error.name
        ) from error
