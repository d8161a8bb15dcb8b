"""Plots, keywords and genres as arrays: BM25 for the words themselves, static vectors for what they mean.

A text's vector is the sum of its words' static vectors, weighted by rarity, from which the mean of all texts is taken:
without that, all of them are much alike.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.search.titles import TitleRow
from aperture_dagster.search.words import STOP_WORDS, stem, words_of
from aperture_dagster.taste.static_vectors import DIMENSIONS, StaticVectors

Floats = NDArray[np.float32]
SATURATION, LENGTH = 1.2, 0.6
"""The parameters k1 and b of BM25."""
OF_NAME, OF_KEYWORDS, OF_GENRES, OF_PLOT = 1.5, 2.0, 1.0, 1.0
"""What a word counts in each part of a title's text."""
TEXTS_AT_ONCE = 500
ROWS_AT_ONCE = 1_024
"""As numbers of 32 bits, these fit into a processor's cache."""
SCALE = 127


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """``rows[starts[w]:starts[w + 1]]`` are the titles with the stem ``w``, ``impacts`` what it adds to their BM25."""

    places: dict[str, int]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    impacts: NDArray[np.float16]
    rarity: Floats
    vectors: NDArray[np.int8]
    """Of length 1, times :data:`SCALE`."""
    scales: Floats
    mean: Floats
    model: StaticVectors

    def rarity_of(self, word: str) -> float:
        """Return how rare a word is; the rarest are worth the most."""
        place = self.places.get(stem(word))
        return float(self.rarity[place]) if place is not None else 0.0

    def frequency(self, word: str) -> int:
        """Return in how many titles a word is."""
        place = self.places.get(stem(word))
        return int(self.starts[place + 1] - self.starts[place]) if place is not None else 0

    def bm25(self, words: Mapping[str, float]) -> Floats:
        """Return the BM25 of each title for weighted words."""
        found = np.zeros(len(self.scales), dtype=np.float32)
        stems: dict[int, float] = {}
        for word, weight in words.items():
            place = self.places.get(stem(word))
            if place is not None:
                stems[place] = max(stems.get(place, 0.0), weight)
        for place, weight in stems.items():
            own = slice(self.starts[place], self.starts[place + 1])
            found[self.rows[own]] += self.impacts[own].astype(np.float32) * (weight * self.rarity[place])
        return found

    def vector(self, words: Mapping[str, float]) -> Floats:
        """Return the vector of weighted words, of length 1 and centred; zero if none of them is known."""
        known = {word: weight for word, weight in words.items() if weight}
        if not known:
            return np.zeros(DIMENSIONS, dtype=np.float32)
        usual = float(self.rarity.max(initial=1.0)) * 0.7
        weights = np.array([weight * (self.rarity_of(word) or usual) for word, weight in known.items()])
        found = (self.model.embed(list(known)) * weights[:, None]).sum(axis=0)
        length = float(np.linalg.norm(found))
        return (found / length - self.mean).astype(np.float32) if length else found.astype(np.float32)

    def vector_of(self, row: int) -> Floats:
        """Return the vector of a title."""
        return self.vectors[row].astype(np.float32) * self.scales[row]

    def similarity(self, vector: Floats) -> Floats:
        """Return the cosine of each title and a vector."""
        length = float(np.linalg.norm(vector))
        found = np.zeros(len(self.scales), dtype=np.float32)
        if length:
            for start in range(0, len(found), ROWS_AT_ONCE):
                block = slice(start, start + ROWS_AT_ONCE)
                found[block] = self.vectors[block].astype(np.float32) @ (vector / length)
        return found * self.scales


def index_texts(titles: Iterable[TitleRow], model: StaticVectors | None = None) -> Texts:
    """Make the arrays of all texts."""
    places: dict[str, int] = {}
    vocabulary: dict[str, tuple[int, int]] = {}
    stems, words, weights, ends = array("i"), array("i"), array("f"), array("q")
    for title in titles:
        counts: dict[str, float] = {}
        for word, weight in _weighted_words(title):
            counts[word] = counts.get(word, 0.0) + weight
        for word, weight in counts.items():
            known = vocabulary.get(word)
            if known is None:
                known = vocabulary[word] = (len(vocabulary), places.setdefault(stem(word), len(places)))
            words.append(known[0])
            stems.append(known[1])
            weights.append(weight)
        ends.append(len(words))
    size = len(ends)
    of_title = np.repeat(np.arange(size, dtype=np.int32), np.diff(np.array(ends, dtype=np.int64), prepend=0))
    of_stem, of_word = np.array(stems, dtype=np.int64), np.array(words, dtype=np.int32)
    weight = np.array(weights, dtype=np.float32)
    rows, entry_stems, counted = _merged(of_title, of_stem, weight, len(places))
    frequency = np.bincount(entry_stems, minlength=len(places))
    rarity = np.log1p((size - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
    lengths = np.bincount(of_title, weights=weight, minlength=size)
    usual = LENGTH * lengths / max(float(lengths.mean()) if size else 1.0, 1e-6) + (1 - LENGTH)
    impacts = counted * (SATURATION + 1) / (counted + SATURATION * usual[rows])
    own = model or StaticVectors()
    in_text = np.log1p(weight) * rarity[of_stem]
    vectors = _text_vectors(own, list(vocabulary), of_word, in_text, np.array(ends, dtype=np.int64))
    # In double precision: float16 would overflow.
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32) if size else np.zeros(DIMENSIONS, np.float32)
    return Texts(
        places=places,
        starts=np.concatenate([[0], np.cumsum(frequency)]),
        rows=rows.astype(np.int32),
        impacts=impacts.astype(np.float16),
        rarity=rarity,
        **_packed(vectors, mean),
        mean=mean,
        model=own,
    )


def _weighted_words(title: TitleRow) -> Iterator[tuple[str, float]]:
    parts = (
        (OF_NAME, " ".join(dict.fromkeys([title.title, *title.names]))),
        (OF_KEYWORDS, " ".join(title.keywords)),
        (OF_GENRES, " ".join(title.genres)),
        (OF_PLOT, f"{title.tagline or ''} {title.overview or ''}"),
    )
    for weight, text in parts:
        for word in words_of(text):
            if word not in STOP_WORDS and len(word) > 1:
                yield word, weight


def _merged(
    of_title: NDArray[np.int32], of_stem: NDArray[np.int64], weight: Floats, stems: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return titles, stems and weights of all pairs, by stem; a title may have several words of a stem."""
    pairs = of_stem * (int(of_title.max(initial=0)) + 1) + of_title
    distinct, at = np.unique(pairs, return_inverse=True)
    titles = int(of_title.max(initial=0)) + 1
    counted = np.bincount(at, weights=weight, minlength=len(distinct)).astype(np.float32)
    return distinct % titles, distinct // titles, counted


def _text_vectors(
    model: StaticVectors, vocabulary: list[str], words: NDArray[np.int32], weights: Floats, ends: NDArray[np.int64]
) -> NDArray[np.float16]:
    """Return the vector of each text, of length 1, (texts, dimensions), float16."""
    found = np.zeros((len(ends), DIMENSIONS), dtype=np.float16)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    for first in range(0, len(ends), TEXTS_AT_ONCE):
        last = min(first + TEXTS_AT_ONCE, len(ends))
        own = slice(int(starts[first]), int(ends[last - 1]))
        distinct, at = np.unique(words[own], return_inverse=True)
        if not len(distinct):
            continue
        # A few thousand words: sums of products of small matrices would take a loop for each text.
        table = np.zeros((last - first, len(distinct)), dtype=np.float32)
        of_text = np.repeat(np.arange(last - first), (ends - starts)[first:last])
        table[of_text, at] = weights[own]
        vectors = table @ model.embed([vocabulary[word] for word in distinct])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        found[first:last] = vectors / np.where(lengths > 0, lengths, 1)
    return found


def _packed(vectors: NDArray[np.float16], mean: Floats) -> dict[str, NDArray]:
    """Return centred vectors of length 1 as bytes, and their factors."""
    packed = np.zeros(vectors.shape, dtype=np.int8)
    scales = np.zeros(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        block = vectors[start : start + ROWS_AT_ONCE].astype(np.float32)
        is_empty = ~block.any(axis=1)
        block -= mean
        block[is_empty] = 0
        block /= np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-6)
        largest = np.maximum(np.abs(block).max(axis=1, initial=0), 1e-6)
        packed[start : start + len(block)] = np.round(block / largest[:, None] * SCALE)
        scales[start : start + len(block)] = largest / SCALE
    return {"vectors": packed, "scales": scales}
