# SPDX-License-Identifier: Apache-2.0
"""The terminal, the same in every example: flags, progress, Ctrl-C, one-line errors."""

import contextlib
import io
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import several
import tyro
from rich import progress
from rich.console import Console

from recurrent_jax.training import CheckpointError

INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C
RESUMES = "the same command resumes."
BEST = "the result is of the best parameters so far."


class Failure(Exception):
    """An error that is reported in one line, without a traceback."""


Run = Callable[[Any, Console, threading.Event], list[Path]]


def main(config: type, run: Run, after_stop: str = RESUMES) -> int:
    """Read the flags, run, and say what was saved; return the exit status.

    Args:
        config: the class of the flags. `output`, if it has one, is made a directory.
        run: from the flags, the console and an event that Ctrl-C sets, to the files
            that were saved.
        after_stop: what the last line says after Ctrl-C.
    """
    flags = parse(config)
    return guarded(
        lambda: several.run(
            getattr(flags, "processes", 1), lambda: session(flags, run, after_stop)
        )
    )


def session(flags: Any, run: Run, after_stop: str) -> int:
    """Run, say what was saved and how long it took; return the exit status."""
    began, console = time.perf_counter(), Console(quiet=not several.is_first())
    if hasattr(flags, "output"):
        flags.output.mkdir(parents=True, exist_ok=True)
    with ctrl_c(console) as stop:
        saved = " and ".join(map(str, run(flags, console, stop)))
    seconds = f"{time.perf_counter() - began:.0f} s in all"
    text = f"{saved} saved, {seconds}" if saved else seconds
    console.print(text, soft_wrap=True)
    if stop.is_set():
        console.print(f"Stopped by Ctrl-C; {after_stop}")
    return INTERRUPTED if stop.is_set() else 0


def parse(config: type) -> Any:
    """Return a `config` with the values of the flags."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(config, prog=program())
    except SystemExit as stop:
        if stop.code:
            complain(one_line(box.getvalue()))
        raise


def one_line(box: str) -> str:
    """Return what tyro prints in a box as one line, with the flag that was meant."""
    lines = [line.strip().strip("│|").strip() for line in box.splitlines()[1:]]
    lines = ["\n" if re.fullmatch("[╰+]?[─-]+[╯+]?", one) else one for one in lines]
    parts = (" ".join(part.split()) for part in " ".join(lines).split("\n"))
    said, *more = filter(None, parts)
    said = re.sub("^Error parsing ([A-Z][A-Za-z]*: )?", "", said)
    for part in more:
        opening, _, flags = part.partition(":")
        if opening.startswith(("Perhaps you meant", "Arguments similar")):
            if flag := re.search(r"--[\w-]+", flags):
                said += f"; did you mean {flag[0]}?"
    return f"{said.rstrip('.')}; --help lists all flags"


def program() -> str:
    """Return the name of the program."""
    return Path(sys.argv[0]).name


def load(path: Path) -> Any:
    """Return what `store` wrote, or an empty list if there is no file yet."""
    try:
        return json.loads(path.read_text()) if path.exists() else []
    except ValueError as error:
        raise Failure(
            f"{path} is damaged ({error}); remove it to start again"
        ) from None


def store(path: Path, results: Any) -> None:
    """Write results. The new file replaces the old one only when it is complete.

    Its name is of this process alone, so that two at once do not write to one file.
    """
    beside = path.with_suffix(f".{os.getpid()}.part")
    try:
        with beside.open("w") as file:
            json.dump(results, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def complain(message: str) -> None:
    """Print one line to stderr."""
    print(f"{program()}: {message}", file=sys.stderr)


def guarded(run: Callable[[], int]) -> int:
    """Return the exit status of `run`; print an error as one line."""
    try:
        return run()
    except (Failure, CheckpointError, OSError) as error:
        # All processes meet the first two. A disk may fail for one of them.
        if isinstance(error, OSError) or several.is_first():
            complain(str(error))
        return 1
    except KeyboardInterrupt:
        if several.is_first():
            complain("interrupted, without a result")
        return INTERRUPTED


@contextlib.contextmanager
def ctrl_c(console: Console) -> Iterator[threading.Event]:
    """Set an event at the first Ctrl-C; interrupt at the second."""
    pressed = threading.Event()

    def handler(signum: int, frame: Any) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()
        console.print("Finishing; Ctrl-C again ends it at once.")

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


class Bar:
    """Progress: a bar with the time left, or a line now and then without a terminal.

    Args:
        console: where to print.
        total: the amount of work.
        unit: what is counted, such as `epoch`. If empty, no count is shown.
        done: the work that was done before.
        every: seconds between two lines without a terminal.
    """

    def __init__(
        self,
        console: Console,
        total: float,
        unit: str = "",
        done: float = 0,
        every: float = 10.0,
    ) -> None:
        self.console, self.total, self.unit = console, total, unit
        self.done, self.every, self.status = done, every, "compiling"
        self.began = self.printed = time.perf_counter()
        self.first: tuple[float, float] | None = (
            None  # when compiled, and what was done
        )
        self.bar = progress.Progress(
            progress.TextColumn("training"),
            progress.BarColumn(bar_width=None),
            progress.TextColumn("{task.description}"),
            progress.TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
            disable=console.quiet or not console.is_terminal,
        )
        self.task = self.bar.add_task(self.text, total=total, completed=done)

    @property
    def text(self) -> str:
        """What is done, and the status."""
        count = f"{self.unit} {round(self.done, 1):g} of {self.total:g}"
        return ", ".join(filter(None, (self.unit and count, self.status)))

    def advance(self, amount: float = 1, status: str | None = None) -> None:
        """Add finished work. A new status replaces the last one."""
        if status is not None or (amount and self.status == "compiling"):
            self.status = status or ""
        self.done += amount
        self.bar.update(self.task, advance=amount, description=self.text)
        now = time.perf_counter()
        self.first = self.first or ((now, self.done) if amount else None)
        due = amount and now - self.printed >= self.every
        if due and not self.console.is_terminal:
            self.printed = now
            share = f"{self.done / self.total:.0%}" if self.total else ""
            text = f"training: {share}, {self.text}, {now - self.began:.0f} s so far"
            self.console.print(text + self._left(now), highlight=False, soft_wrap=True)

    def _left(self, now: float) -> str:
        """Return the time left, as the pace after compilation says, if it is known."""
        since, before = self.first or (now, self.done)
        if self.done <= before or self.done >= self.total:
            return ""
        seconds = (self.total - self.done) * (now - since) / (self.done - before)
        return f", about {seconds:.0f} s left"

    def __enter__(self) -> Self:
        self.bar.start()
        if not self.console.is_terminal:  # the first step may take a minute
            self.console.print(f"training: {self.text}", highlight=False)
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()
