# SPDX-License-Identifier: Apache-2.0
"""A stream of symbols from Python's own source files, and what counting makes of it."""

from pathlib import Path

import highlight_data
import numpy as np


def _symbol(character: str) -> str:
    """Return what stands for a character: letters count as one, and so do digits."""
    if character.isalpha():
        return "a"
    if character.isdigit():
        return "0"
    return character if character.isprintable() or character == "\n" else "?"


_OF_CODE = [_symbol(chr(code)) for code in range(highlight_data.CODES)]
SYMBOLS = tuple(dict.fromkeys(_OF_CODE))
_NUMBER = np.array([SYMBOLS.index(symbol) for symbol in _OF_CODE], np.int32)


def stream(length: int, directory: Path | None = None) -> np.ndarray:
    """Return the first symbols of Python files, one file after the other, `(length,)`.

    No part comes twice. Files are in the order of a hash of their names.
    """
    source, _ = highlight_data.load(length, 1, directory)
    return _NUMBER[source.codes[:length]]


def persistence(symbols: np.ndarray) -> np.ndarray:
    """Return the bits of each symbol but the first, if it is told to be the last one.

    The probability that a symbol is that before it is counted as the stream goes by.
    """
    same = symbols[1:] == symbols[:-1]
    p = (_so_far(same) + 1) / (np.arange(len(same)) + 2)
    others = len(SYMBOLS) - 1
    return -np.log2(np.where(same, p, (1 - p) / others))


def counting(symbols: np.ndarray, order: int, prior: float = 0.05) -> np.ndarray:
    """Return the bits of each symbol but the first, from counts after the last ones.

    The counts are those of the stream up to there.

    Args:
        symbols: the stream.
        order: how many symbols before the next one are looked at.
        prior: what is added to each count.
    """
    context = np.zeros(len(symbols) - 1, np.int64)
    for back in range(order):
        before = np.r_[np.zeros(back, np.int64), symbols[: len(symbols) - 1 - back]]
        context = context * len(SYMBOLS) + before
    seen = _occurrence(context)
    of_symbol = _occurrence(context * len(SYMBOLS) + symbols[1:])
    return -np.log2((of_symbol + prior) / (seen + prior * len(SYMBOLS)))


def _so_far(flags: np.ndarray) -> np.ndarray:
    """Return how many flags before each one are True."""
    return np.cumsum(flags) - flags


def _occurrence(values: np.ndarray) -> np.ndarray:
    """Return how often each value occurred before."""
    order = np.argsort(values, kind="stable")
    ordered, place = values[order], np.arange(len(values))
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    found = np.empty(len(values), np.int64)
    found[order] = place - np.maximum.accumulate(np.where(first, place, 0))
    return found
