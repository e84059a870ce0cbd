# SPDX-License-Identifier: Apache-2.0
"""What the numbers were made on: hardware, versions, date and command."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

import jax

import recurrent_jax as rj

LIBRARIES = (
    "jax",
    "jaxlib",
    "numpy",
    "flax",
    "dm-haiku",
    "equinox",
    "keras",
    "torch",
    "memax",
    "mamba2-jax",
)


def threads() -> int:
    """Return the cores that this process may use: as many as XLA has threads."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(module: str) -> dict[str, Any]:
    """Return machine, versions, date and command, for the head of a result file."""
    device = jax.devices()[0]
    return {
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "threads": threads(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "platform": platform.platform(),
            "backend": jax.default_backend(),
            "kernels": rj.show_backends().replace("\n", "; "),
            "accelerator": None if device.platform == "cpu" else device.device_kind,
        },
        "versions": {
            "python": platform.python_version(),
            "recurrent_jax": rj.__version__,
            "revision": _revision(),
            **{name: _version(name) for name in LIBRARIES},
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
    }


def _cpu() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """Return the commit, with a `-dirty` at its end if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    here = pathlib.Path(__file__).parent
    try:
        return subprocess.run(
            command, cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
