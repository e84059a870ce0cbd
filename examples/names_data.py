# SPDX-License-Identifier: Apache-2.0
"""First names of the 1990 census of the United States, and baselines."""

import collections
import importlib.util
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cli import Failure

PAD = 0  # letters are 1 to 26
TEST = 1000  # names


class Names(NamedTuple):
    """Names as arrays, one name per row."""

    codes: np.ndarray  # (names, longest), int
    lengths: np.ndarray  # (names,), int
    women: np.ndarray  # (names,), 1.0 if more women than men have it, else 0.0

    def __getitem__(self, rows: np.ndarray) -> "Names":  # type: ignore[override]
        """Return some of the names."""
        return Names(self.codes[rows], self.lengths[rows], self.women[rows])

    def text(self) -> list[str]:
        """Return the names as strings."""
        rows = zip(self.codes, self.lengths, strict=True)
        return ["".join(chr(64 + code) for code in row[:n]) for row, n in rows]


def shipped(kind: str) -> Path:
    """Return the file of the package `names` for `female` or `male`."""
    found = importlib.util.find_spec("names")
    if found is None or found.origin is None:
        raise Failure("the package 'names' is missing; install the extra 'examples'")
    return Path(found.origin).parent / f"dist.{kind}.first"


def read(path: Path) -> dict[str, float]:
    """Return the share in percent of each name in a file."""
    shares = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        parts = line.split()
        if len(parts) != 4 or not (parts[0].isascii() and parts[0].isupper()):
            raise Failure(f"{path}, line {number}: not a name and three numbers")
        shares[parts[0]] = float(parts[1])
    return shares


def load() -> Names:
    """Return every name once, with the sex that has it more often."""
    female, male = read(shipped("female")), read(shipped("male"))
    every = sorted(female.keys() | male.keys())
    lengths = np.array([len(name) for name in every])
    codes = np.full((len(every), lengths.max()), PAD)
    for row, name in zip(codes, every, strict=True):
        row[: len(name)] = [ord(letter) - 64 for letter in name]
    women = [female.get(name, 0.0) > male.get(name, 0.0) for name in every]
    return Names(codes, lengths, np.array(women, np.float32))


def split(names: Names, seed: int) -> tuple[Names, Names]:
    """Return names to train on and names to test on."""
    order = np.random.default_rng(seed).permutation(len(names.women))
    return names[order[TEST:]], names[order[:TEST]]


def endings(train: Names, test: Names, longest: int) -> np.ndarray:
    """Return for each name whether the label of its longest known ending is right.

    The empty ending is always known. With `longest` 0 the label is the same for all.
    """
    votes: dict[str, list[float]] = collections.defaultdict(list)
    for name, is_woman in zip(train.text(), train.women, strict=True):
        for n in range(min(longest, len(name)) + 1):
            votes[name[len(name) - n :]].append(is_woman)
    right = []
    for name, is_woman in zip(test.text(), test.women, strict=True):
        known = (name[n:] for n in range(max(0, len(name) - longest), len(name) + 1))
        ending = next(ending for ending in known if ending in votes)
        right.append((np.mean(votes[ending]) > 0.5) == bool(is_woman))
    return np.array(right)


def percent(each: np.ndarray) -> str:
    """Return the mean over names in percent, and its standard error."""
    error = each.std() / math.sqrt(len(each))
    return f"{100 * each.mean():.1f} ± {100 * error:.1f}"
