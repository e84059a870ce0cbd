# SPDX-License-Identifier: Apache-2.0
"""The help text that ships with Python, in three parts, as codes."""

from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np

SHARES = (0.9, 0.05, 0.05)  # for training, validation and test
ESCAPE = np.log2(0x110000)  # bits that identify one of all Unicode characters


class Corpus(NamedTuple):
    """The text in parts; the last code is for characters unknown in training."""

    parts: tuple[str, str, str]
    alphabet: str  # of the training part, sorted

    @property
    def size(self) -> int:
        """The number of codes."""
        return len(self.alphabet) + 1

    def encode(self, text: str) -> np.ndarray:
        """Return the codes of a text, `(characters,)`."""
        place = {character: code for code, character in enumerate(self.alphabet)}
        codes = [place.get(character, self.size - 1) for character in text]
        return np.array(codes, np.int32)

    def decode(self, codes: np.ndarray) -> str:
        """Return the text of codes."""
        return "".join((self.alphabet + "\N{REPLACEMENT CHARACTER}")[c] for c in codes)


def corpus() -> Corpus:
    """Return the topics of `help()` in the order of their names, split in three.

    Many paragraphs occur under several topics. Each is used once, so that the test
    contains no paragraph of the training text.
    """
    seen: set[str] = set()
    text = "\n".join(once(topics[name], seen) for name in sorted(topics))
    first, second = (round(share * len(text)) for share in np.cumsum(SHARES)[:2])
    train = text[:first]
    return Corpus((train, text[first:second], text[second:]), "".join(sorted({*train})))


def once(text: str, seen: set[str]) -> str:
    """Return the paragraphs that are not in `seen`, and add them to it."""
    kept = []
    for paragraph in text.split("\n\n"):
        if paragraph.strip() not in seen:
            seen.add(paragraph.strip())
            kept.append(paragraph)
    return "\n\n".join(kept)
