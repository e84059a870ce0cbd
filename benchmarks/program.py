# SPDX-License-Identifier: Apache-2.0
"""What the measuring programs share: flags, the head of a result, the exit status."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro
from rich.console import Console

from benchmarks import machine, report

C = TypeVar("C")


def main(
    name: str,
    config: type[C],
    work: Callable[[C, Console, dict[str, Any]], int],
    args: Sequence[str] | None,
) -> int:
    """Parse flags, print the machine, call `work`, and return the exit status.

    Args:
        name: the module that is run, such as `benchmarks.memory`.
        config: a dataclass of the flags.
        work: measures, prints and saves. It gets the flags, the console, and what is
            known of machine and versions, for the head of a result file.
        args: the words of the command line. None takes those of the process.
    """
    try:
        given = tyro.cli(config, args=args, prog=f"python -m {name}")
        screen, about = report.console(), machine.describe(name)
        fields = dataclasses.asdict(given)  # type: ignore[call-overload]
        about["config"] = {
            k: v for k, v in fields.items() if not isinstance(v, pathlib.Path)
        }
        report.head(screen, about)
        return work(given, screen, about)
    except (ValueError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
