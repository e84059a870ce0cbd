# SPDX-License-Identifier: Apache-2.0
"""The terminal: flags, progress, Ctrl-C, and errors in one line."""

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

INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C


class Failure(Exception):
    """An error that is reported in one line, without a traceback."""


def parse(config: type) -> Any:
    """Return a `config` with the values of the flags."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(config, prog=program())
    except SystemExit as stop:
        if stop.code:  # tyro prints a box; make it one line
            text = re.split("─{2,} *│", box.getvalue().partition("\n")[2])[0]
            complain(" ".join(re.sub("[─│╭╮╰╯]", " ", text).split()))
        raise


def program() -> str:
    """Return the name of the program."""
    return Path(sys.argv[0]).name


def complain(message: str) -> None:
    """Print one line to stderr."""
    print(f"{program()}: {message}", file=sys.stderr)


def guarded(run: Callable[[], int]) -> int:
    """Return the exit status of `run`; print an error as one line."""
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
    """Set an event at the first Ctrl-C; interrupt at the second."""
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
    """Return a bar with the loss and the time left, hidden without a terminal."""
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
