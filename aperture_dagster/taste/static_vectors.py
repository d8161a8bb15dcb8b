"""Vectors of texts from static vectors of tokens, in a file of this package: no compiled library, no network.

The vector of a text is the sum of those of its words. A word is split into pieces as in BERT (WordPiece). Words that
the vocabulary lacks, in whatever script, get a vector of signs from their hash, which is similar to nothing else.
Words of several pieces get one as well, because most of them are names. ``tools/distill_vectors.py`` makes the file.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FILE = Path(__file__).with_name("static_vectors.npz")
"""``packed`` (tokens, dimensions / 2) has two values a byte, each plus 8, ``scales`` (tokens,) their factors, and
``words`` the vocabulary.
"""
DIMENSIONS = 320
# Texts at a time: enough for many words to recur, few enough for some 30 MB.
TEXTS_AT_ONCE = 500
CACHED_WORDS = 100_000
# Longer ones are not words.
LONGEST_WORD = 100
NAME_WEIGHT = 0.5
# Ideographs are words by themselves.
_IDEOGRAPHS = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_WORDS = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+|[^\w\s]|_")


class StaticVectors:
    """The file's vectors, in memory as in the file (5 MB)."""

    def __init__(self, file: Path = FILE) -> None:
        import numpy as np

        with np.load(file) as stored:
            self._packed, self._scales = stored["packed"], stored["scales"]
            words = stored["words"].tobytes().decode()
        self._rows = {word: row for row, word in enumerate(words.split("\n"))}
        self._pieces = lru_cache(CACHED_WORDS)(self._split)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return the sum of the words' vectors of each text, (texts, dimensions), float32; zero without words."""
        import numpy as np

        found = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            batch = [words_of(text) for text in texts[start : start + TEXTS_AT_ONCE]]
            column = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(batch)))}
            if not column:
                continue
            vectors = self._vectors(list(column))
            for number, words in enumerate(batch, start):
                if words:
                    found[number] = vectors[[column[word] for word in words]].sum(axis=0)
        return found

    def _vectors(self, words: Sequence[str]) -> np.ndarray:
        """Return the vectors of words, (words, dimensions)."""
        import numpy as np

        split = [self._pieces(word) for word in words]
        found = np.zeros((len(words), DIMENSIONS), dtype=np.float32)
        known = np.array([number for number, rows in enumerate(split) for _ in rows], dtype=np.int64)
        rows = np.array(list(chain.from_iterable(split)), dtype=np.int64)
        values = np.empty((len(rows), DIMENSIONS), dtype=np.float32)
        values[:, 0::2] = (self._packed[rows] >> 4).astype(np.float32) - 8
        values[:, 1::2] = (self._packed[rows] & 15).astype(np.float32) - 8
        np.add.at(found, known, values * self._scales[rows, None])
        hashed = [number for number, rows in enumerate(split) if len(rows) != 1]
        for number in hashed:
            found[number] += self._signs(words[number]) * (NAME_WEIGHT if split[number] else 1.0)
        return found

    def _signs(self, word: str) -> np.ndarray:
        """Return the vector of length 1 of a word's hash."""
        import numpy as np

        digest = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(DIMENSIONS // 8)
        bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8)).astype(np.float32)
        return (bits * 2 - 1) / np.float32(np.sqrt(DIMENSIONS))

    def _split(self, word: str) -> tuple[int, ...]:
        """Return the rows of the longest pieces of a word, from its start; none if there are not pieces for all of it.

        Pieces after the first begin with ``##``.
        """
        found: list[int] = []
        start = 0
        while start < len(word) <= LONGEST_WORD:
            mark = "##" if start else ""
            for end in range(len(word), start, -1):
                row = self._rows.get(mark + word[start:end])
                if row is not None:
                    found.append(row)
                    start = end
                    break
            else:
                return ()
        return tuple(found)


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case and without accents, and its punctuation."""
    text = text.lower()
    if not text.isascii():
        text = "".join(mark for mark in unicodedata.normalize("NFD", text) if unicodedata.category(mark) != "Mn")
    return _WORDS.findall(text)
