# SPDX-License-Identifier: Apache-2.0
"""The terminal: flags, progress, Ctrl-C, and one line for whatever goes wrong."""

import contextlib
import io
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tyro
from rich import progress
from rich.console import Console

from recurrent_jax.training import CheckpointError

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C has stopped


class Failure(Exception):
    """What is reported as one line, without a traceback."""


def parse(config: type) -> Any:
    """Return `config` filled from the flags."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(config, prog=program())
    except SystemExit as stop:
        if stop.code:  # tyro draws a box around its complaint: fold it into one line
            text = re.split("─{2,} *│", box.getvalue().partition("\n")[2])[0]
            complain(" ".join(re.sub("[─│╭╮╰╯]", " ", text).split()))
        raise


def program() -> str:
    """Return the name that the program was started by."""
    return Path(sys.argv[0]).name


def complain(message: str) -> None:
    """Print one line to stderr."""
    print(f"{program()}: {message}", file=sys.stderr)


def guarded(run: Callable[[], int]) -> int:
    """Return the exit status of `run`, after one line for what it raised."""
    try:
        return run()
    except (Failure, CheckpointError, OSError) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        complain("interrupted, without a result")
        return INTERRUPTED


@contextlib.contextmanager
def ctrl_c() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a flag to look at; the second one interrupts."""
    pressed = threading.Event()

    def handler(signum: int, frame: Any) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def progress_bar(console: Console) -> progress.Progress:
    """Return a bar with the loss and the time left; silent where there is no one."""
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=None),
        progress.TextColumn(
            "epoch {task.completed} of {task.total}, {task.fields[loss]}"
        ),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
