# SPDX-License-Identifier: Apache-2.0
"""The help text that ships with Python, once and in three parts, as codes."""

from pydoc_data.topics import topics
from typing import NamedTuple

import numpy as np

SHARES = (0.9, 0.05, 0.05)  # of training, validation and test
ESCAPE = np.log2(0x110000)  # bits to say which of all characters an unknown one is


class Corpus(NamedTuple):
    """The text in parts; a character that training does not have is the last code."""

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
    """Return the topics of `help()` in the order of their names, cut in three.

    Many a paragraph stands under several topics. Each is taken once, so that the test
    is of text that the training does not have.
    """
    seen: set[str] = set()
    text = "\n".join(once(topics[name], seen) for name in sorted(topics))
    first, second = (round(share * len(text)) for share in np.cumsum(SHARES)[:2])
    train = text[:first]
    return Corpus((train, text[first:second], text[second:]), "".join(sorted({*train})))


def once(text: str, seen: set[str]) -> str:
    """Return the paragraphs of a text that are not seen yet, and note them."""
    kept = []
    for paragraph in text.split("\n\n"):
        if paragraph.strip() not in seen:
            seen.add(paragraph.strip())
            kept.append(paragraph)
    return "\n\n".join(kept)
