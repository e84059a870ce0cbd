# SPDX-License-Identifier: Apache-2.0
"""The baselines: Markov models and compressors, in bits per character."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from text_data import ESCAPE, Corpus

ORDERS = range(1, 13)


def ids(codes: np.ndarray, orders: int) -> list[np.ndarray]:
    """Return, for n = 0, 1, ..., a number for the n characters that end at each place.

    Equal strings have equal numbers. A character that is not in the text precedes it.
    """
    base = codes.max() + 2
    result = [np.zeros(len(codes), np.int64)]
    for _ in range(orders):
        before = preceding(result[-1])
        result.append(np.unique(before * base + codes, return_inverse=True)[1])
    return result


def preceding(number: np.ndarray) -> np.ndarray:
    """Return the number at the previous place; the first place has its own number.

    If all numbers are zero, as for n = 0, the first place has zero too.
    """
    first = number.max() + 1 if number.any() else 0
    return np.concatenate([[first], number[:-1]])


def discounts(counts: np.ndarray) -> np.ndarray:
    """Return what modified Kneser-Ney subtracts from each count."""
    ones, twos, threes, fours = (max(1, (counts == n).sum()) for n in (1, 2, 3, 4))
    share = ones / (ones + 2 * twos)
    steps = [
        1 - 2 * share * twos / ones,
        2 - 3 * share * threes / twos,
        3 - 4 * share * fours / threes,
    ]
    # For few counts the formulas may give zero, or more than the count.
    taken = np.concatenate([[0], np.clip(steps, 0.1, [1, 2, 3])])
    return taken[np.minimum(counts, 3)]


class Grams(NamedTuple):
    """The characters of a text with their contexts, as numbers."""

    grams: np.ndarray  # context and character, at each place
    contexts: np.ndarray  # context alone, at each place

    def mix(self, counts: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Return the probability at each place, interpolated with a lower order."""
        context = np.zeros(len(counts), np.int64)
        context[self.grams] = self.contexts
        taken, size = discounts(counts), self.contexts.max() + 1
        totals, masses = (np.bincount(context, x, size) for x in (counts, taken))
        total, mass = totals[self.contexts], masses[self.contexts]
        left = (counts - taken)[self.grams]
        return np.where(total > 0, (left + mass * lower) / np.maximum(total, 1), lower)


def markov(history: np.ndarray, test: np.ndarray, base: int) -> dict[int, np.ndarray]:
    """Return the bits of each test character by order-n models, for each order.

    The models are interpolated and smoothed by modified Kneser-Ney. Lower orders count
    the number of different characters before a gram, and not its occurrences.

    References:
        Chen and Goodman, 1998. An empirical study of smoothing techniques for language
        modeling. https://dash.harvard.edu/handle/1/25104739
    """
    number, known = ids(np.concatenate([history, test]), max(ORDERS) + 2), len(history)
    lower, bits = np.full(known + len(test), 1 / base), {}
    for order in range(max(ORDERS) + 1):
        longer, here = number[order + 2], number[order + 1]
        grams, size = Grams(here, preceding(number[order])), here.max() + 1
        often = np.bincount(here[order:known], minlength=size)
        if order in ORDERS:
            bits[order] = -np.log2(grams.mix(often, lower)[known:])
        first = np.unique(longer[order + 1 : known], return_index=True)[1]
        after = np.bincount(here[order + 1 + first], minlength=size)
        lower = grams.mix(after, lower)
    return bits


def markov_bits(corpus: Corpus) -> dict[int, float]:
    """Return the bits per character of the test, by order."""
    train, _, test = map(corpus.encode, corpus.parts)
    unknown = ESCAPE * (test == corpus.size - 1).mean()
    bits = markov(train, test, corpus.size)
    return {order: float(each.mean() + unknown) for order, each in bits.items()}


def xz(data: bytes) -> bytes:
    """Return the data, compressed with the best setting of xz, without headers."""
    best = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[best])


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: zlib.compress(data, 9),
    "bz2": bz2.compress,
    "xz": xz,
}


def compressed_bits(corpus: Corpus) -> dict[str, tuple[float, float]]:
    """Return bits per character of the test, after the training text and alone.

    After the training text means what the test adds to the compressed size.
    """
    train, _, test = corpus.parts
    before, rest = train.encode(), test.encode()
    result = {}
    for name, compress in COMPRESSORS.items():
        added = len(compress(before + rest)) - len(compress(before))
        alone = len(compress(rest))
        result[name] = (8 * added / len(test), 8 * alone / len(test))
    return result
