# SPDX-License-Identifier: Apache-2.0
"""What the assembler of a GPU says about the kernels in Pallas of a program."""

import contextlib
import os
import pathlib
import re
import tempfile
import threading
from collections.abc import Iterator
from typing import NamedTuple

_FOLDER = "MOSAIC_GPU_DUMP_TO"  # where JAX's compiler of kernels writes what it makes
_lock = threading.Lock()  # the environment is that of all threads


class Told(NamedTuple):
    """What a kernel got.

    Attributes:
        registers: of each thread.
        spilled: bytes of registers of each thread that are stored in memory instead.
    """

    registers: int
    spilled: int


@contextlib.contextmanager
def listening() -> Iterator[dict[str, Told]]:
    """Return what is told of the kernels that are compiled inside, by their names."""
    found: dict[str, Told] = {}
    with _lock, tempfile.TemporaryDirectory() as folder:
        before = os.environ.get(_FOLDER)
        os.environ[_FOLDER] = folder
        try:
            yield found
        finally:
            os.environ.pop(_FOLDER)
            if before is not None:
                os.environ[_FOLDER] = before
            for file in pathlib.Path(folder).glob("*.ptxas"):
                found |= read(file.read_text())


def read(text: str) -> dict[str, Told]:
    """Return what the assembler told of each kernel."""
    kernels = re.split(r"Compiling entry function '(\w+?)_mosaic_gpu_kernel'", text)[1:]
    found = {}
    for name, told in zip(kernels[::2], kernels[1::2], strict=True):
        registers = re.search(r"Used (\d+) registers", told)
        spilled = re.search(r"(\d+) bytes spill stores", told)
        assert registers and spilled, f"the assembler of a GPU now says:\n{told}"
        found[name] = Told(int(registers[1]), int(spilled[1]))
    return found
