# SPDX-License-Identifier: Apache-2.0
"""Python's own source files, and what each character is: code, comment, string, doc."""

import hashlib
import io
import sysconfig
import tokenize
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cli import Failure

CODE, COMMENT, STRING, LONG = range(4)
KINDS = ("code", "comment", "string", "triple-quoted string")
CODES = 128  # of ASCII
# Since Python 3.12 and 3.14 an f-string and a t-string are several tokens.
_OPEN, _CLOSE = (
    tuple(getattr(tokenize, f"{letter}STRING_{end}", -1) for letter in "FT")
    for end in ("START", "END")
)


class Source(NamedTuple):
    """Characters and their kinds, one after the other."""

    codes: np.ndarray  # (characters,), ASCII
    kinds: np.ndarray  # (characters,), of `KINDS`

    @property
    def text(self) -> str:
        """The characters."""
        return bytes(self.codes.tolist()).decode("ascii")

    def since_change(self) -> np.ndarray:
        """Return how many characters before each one have its kind, without a gap."""
        place = np.arange(len(self.kinds))
        changed = np.r_[True, self.kinds[1:] != self.kinds[:-1]]
        return place - np.maximum.accumulate(np.where(changed, place, 0))


def kinds(text: str) -> np.ndarray:
    """Return the kind of each character of a Python program, by Python's tokenizer."""
    starts = np.cumsum([0, *map(len, io.StringIO(text))])
    found, opened = np.zeros(len(text), np.int32), []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        first = starts[token.start[0] - 1] + token.start[1]
        last = starts[min(token.end[0], len(starts)) - 1] + token.end[1]
        if token.type == tokenize.COMMENT:
            found[first:last] = COMMENT
        elif token.type == tokenize.STRING:
            found[first:last] = string(token.string)
        elif token.type in _OPEN:
            opened.append((first, string(token.string)))
        elif token.type in _CLOSE:
            first, kind = opened.pop()
            if not opened:
                found[first:last] = kind
    return found


def string(token: str) -> int:
    """Return the kind of a string, by its quotes."""
    return LONG if token.lstrip("rRbBuUfFtT")[:3] in ('"""', "'''") else STRING


def load(train: int, test: int, directory: Path | None = None) -> tuple[Source, Source]:
    """Return characters to train on, and those of other files to test on.

    Files are in the order of a hash of their names. The test starts with the first file
    after the training files.

    Args:
        train: the least number of characters to train on.
        test: the number of characters to test on.
        directory: of the files `*.py`. If None, it is Python's own library.
    """
    directory = directory or Path(sysconfig.get_path("stdlib"))
    paths = sorted(directory.glob("*.py"), key=lambda path: order(path.name))
    parts: tuple[list[str], list[str]] = ([], [])
    counts, wanted = [0, 0], (train, test)
    for path in paths:
        part = int(counts[0] >= train)
        if counts[part] >= wanted[part]:
            break
        text = read(path)
        parts[part].append(text)
        counts[part] += len(text)
    if counts[0] < train or counts[1] < test:
        raise Failure(
            f"{directory}: {sum(counts):,} characters of Python in ASCII are too few "
            f"for {train:,} to train and {test:,} to test"
        )
    first, second = (source(texts) for texts in parts)
    return first, Source(second.codes[:test], second.kinds[:test])


def order(name: str) -> str:
    """Return what puts files in an order that depends on their names alone."""
    return hashlib.sha256(name.encode()).hexdigest()


def read(path: Path) -> str:
    """Return the text of a file, or nothing if it is not Python in ASCII."""
    try:
        text = path.read_text("utf-8")
        kinds(text)
    except (UnicodeDecodeError, SyntaxError, tokenize.TokenError):
        return ""
    return text if text.isascii() else ""


def source(texts: list[str]) -> Source:
    """Return files, one after the other."""
    codes = np.frombuffer("".join(texts).encode(), np.uint8).astype(np.int32)
    return Source(codes, np.concatenate([kinds(text) for text in texts]))
