"""Names of titles, people and episodes, and which of them somebody means who may have mistyped."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

from aperture_dagster.search.words import APOSTROPHES, MOST_WORDS, words_of

NameKind = Literal["title", "person", "episode"]
KINDS: tuple[NameKind, ...] = ("title", "person", "episode")
LEAST = 0.72
"""Share of what was asked, by the rarity of its words, that a name has to contain."""
JOINED_WORDS = 4
"""Names of so many words are also found by two of them written as one: ``starwars``."""
MOST_LIKE = 40
"""Words of the index that a word may stand for."""
FAME = 0.15
"""What fame is worth, from 0 to 1 for the most famous name."""
FEW_WORDS = 4
"""In longer questions, words that some name has are taken as they are."""
BEGUN, ONE_SLIP, TWO_SLIPS, OTHER_INITIAL = 0.9, 0.85, 0.7, 0.9
"""What a match is worth: the beginning of a word, with one or two slips of the keys, with another first letter."""


class Name(NamedTuple):
    """A name, and what it names: ``targets`` are rows of titles, or an episode; ``fame`` is of any scale."""

    text: str
    kind: NameKind
    targets: tuple[int, ...]
    fame: float = 0.0


class NameHit(NamedTuple):
    """A name that was asked for; ``score`` is 1 for exactly that name, 0 for none of it."""

    name: Name
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Names:
    """An index of names by their words: ``postings[starts[w]:starts[w + 1]]`` are the names with the word ``w``."""

    texts: Sequence[str]
    targets: NDArray[np.int32]
    """Those of all names, one name after the other."""
    ends: NDArray[np.int64]
    """Where the targets of each name end."""
    words: Sequence[str]
    places: dict[str, int]
    starts: NDArray[np.int64]
    postings: NDArray[np.int32]
    by_length: Mapping[int, tuple[Sequence[str], Sequence[int]]]
    """The words of each length, with their places: a slip changes the length by one at most."""
    rarity: NDArray[np.float32]
    weights: NDArray[np.float32]
    """Sum of the rarity of the words of each name."""
    kinds: NDArray[np.int8]
    fame: NDArray[np.float32]

    def name(self, row: int) -> Name:
        """Return a name."""
        start = int(self.ends[row - 1]) if row else 0
        targets = tuple(self.targets[start : self.ends[row]].tolist())
        return Name(self.texts[row], KINDS[self.kinds[row]], targets, float(self.fame[row]))

    def search(self, text: str, limit: int = 50, kinds: Collection[NameKind] = KINDS) -> list[NameHit]:
        """Return the names that somebody may mean, the best first.

        Slips are looked for only in words that no name has, or if the words as they are lead nowhere.
        """
        asked = words_of(text)[:MOST_WORDS]
        if not asked or not self.texts:
            return []
        score = self._scores(asked, even_known=False)
        if len(asked) <= FEW_WORDS and float(score.max()) < ONE_SLIP and any(word in self.places for word in asked):
            score = np.maximum(score, self._scores(asked, even_known=True))
        score[~np.isin(self.kinds, [KINDS.index(kind) for kind in kinds])] = 0
        found = np.flatnonzero(score)
        order = np.argsort(-(score[found] + FAME * self.fame[found]), kind="stable")[:limit]
        return [NameHit(self.name(row), float(score[row])) for row in found[order].tolist()]

    def exactly(self, words: Sequence[str], kind: NameKind) -> list[Name]:
        """Return the names of a kind that have all of these words as they are, the most famous first."""
        places = [self.places.get(word) for word in words]
        known = [place for place in places if place is not None]
        if not known or len(known) < len(words):
            return []
        # The rarest first.
        of_words = sorted((self.postings[self.starts[place] : self.starts[place + 1]] for place in set(known)), key=len)
        rows = of_words[0]
        for others in of_words[1:]:
            rows = np.intersect1d(rows, others, assume_unique=True) if len(rows) else rows
        rows = rows[self.kinds[rows] == KINDS.index(kind)]
        return [self.name(row) for row in rows[np.argsort(-self.fame[rows], kind="stable")].tolist()]

    def _scores(self, asked: Sequence[str], *, even_known: bool) -> NDArray[np.float32]:
        """Return how well each name is what was asked, 0 to 1."""
        matched = np.zeros(len(self.texts), dtype=np.float32)
        total = 0.0
        joined = {place: first + second for place, (first, second) in enumerate(pairwise(asked))}
        for place, word in enumerate(asked):
            like = self._like(word, is_last=place == len(asked) - 1, even_known=even_known)
            whole = [self.places[both] for at in (place - 1, place) if (both := joined.get(at)) in self.places]
            like.update(dict.fromkeys(whole, 1.0))
            known = [self.places[word]] if word in self.places else whole
            rarity = float(self.rarity[known].max() if known else self.rarity.max())
            total += rarity
            best = np.zeros(len(self.texts), dtype=np.float32)
            # The best match of a word comes last, and stays.
            for known_word, worth in sorted(like.items(), key=lambda item: item[1]):
                best[self.postings[self.starts[known_word] : self.starts[known_word + 1]]] = worth
            matched += best * rarity
        share = matched / total
        whole_name = np.minimum(matched / np.maximum(self.weights, 1e-6), 1.0)
        return np.where(share >= LEAST, share * (0.6 + 0.4 * whole_name), 0).astype(np.float32)

    def _like(self, word: str, *, is_last: bool, even_known: bool) -> dict[int, float]:
        """Return the words that a word may stand for, and what each match is worth."""
        found: dict[int, float] = {}
        known = self.places.get(word)
        if len(word) >= 4 and not word.isdigit() and (known is None or even_known):
            near = self._near(word, 1)
            if not near and len(word) >= 6:
                near = self._near(word, 2)
            for other, slips, place in near:
                worth = ONE_SLIP if slips <= 1 else TWO_SLIPS
                found[place] = worth if other[0] == word[0] else worth * OTHER_INITIAL
        if is_last and len(word) >= 2:
            start = bisect_left(self.words, word)
            end = bisect_left(self.words, word + "\U0010ffff", start)
            for place in range(start, min(end, start + 20 * MOST_LIKE)):
                found[place] = max(found.get(place, 0), BEGUN * (0.7 + 0.3 * len(word) / len(self.words[place])))
        if known is not None:
            found[known] = 1.0
        return found

    def _near(self, word: str, slips: int) -> list[tuple[str, int, int]]:
        """Return the words that are so many slips away at most, how many they are, and their places."""
        found: list[tuple[str, int, int]] = []
        for length in range(len(word) - slips, len(word) + slips + 1):
            words, places = self.by_length.get(length, ((), ()))
            near = extract(word, words, scorer=OSA.distance, score_cutoff=slips, limit=MOST_LIKE)
            found += [(other, int(distance), places[at]) for other, distance, at in near]
        return found


def index_names(names: Iterable[Name]) -> Names:
    """Make the index of names; those without a word are left out."""
    texts: list[str] = []
    kinds, fame = array("b"), array("f")
    targets, ends = array("i"), array("q")
    places: dict[str, int] = {}
    of_word, of_name, counted = array("i"), array("i"), array("b")
    for name in names:
        own = words_of(name.text)
        if not own:
            continue
        joined = [a + b for a, b in pairwise(own)] if name.kind == "title" and len(own) <= JOINED_WORDS else []
        distinct = dict.fromkeys(own)
        # L'Avventura is found by either of its words, too.
        apart = words_of(" ".join(re.split(APOSTROPHES, name.text)))
        for word in dict.fromkeys([*distinct, *joined, *apart]):
            of_word.append(places.setdefault(word, len(places)))
            of_name.append(len(texts))
            counted.append(word in distinct)
        texts.append(name.text)
        kinds.append(KINDS.index(name.kind))
        fame.append(name.fame)
        targets.extend(name.targets)
        ends.append(len(targets))
    # In alphabetical order, so that all words with a beginning are next to each other.
    words = sorted(places)
    renumbered = np.empty(len(words), dtype=np.int64)
    for place, word in enumerate(words):
        renumbered[places[word]] = place
        places[word] = place
    by_length: dict[int, tuple[list[str], list[int]]] = {}
    for word, place in places.items():
        of_length = by_length.setdefault(len(word), ([], []))
        of_length[0].append(word)
        of_length[1].append(place)
    numbers = renumbered[np.array(of_word, dtype=np.int64)] if words else np.zeros(0, dtype=np.int64)
    entries = np.array(of_name, dtype=np.int32)
    frequency = np.bincount(numbers, minlength=len(words))
    rarity = np.log1p(len(texts) / np.maximum(frequency, 1)).astype(np.float32)
    own_rarity = rarity[numbers] * np.array(counted, dtype=bool)
    known = np.array(fame, dtype=np.float32)
    return Names(
        texts=texts,
        targets=np.array(targets, dtype=np.int32),
        ends=np.array(ends, dtype=np.int64),
        words=words,
        places=places,
        starts=np.concatenate([[0], np.cumsum(frequency)]),
        postings=entries[np.argsort(numbers, kind="stable")],
        by_length=by_length,
        rarity=rarity,
        weights=np.bincount(entries, weights=own_rarity, minlength=len(texts)).astype(np.float32),
        kinds=np.array(kinds, dtype=np.int8),
        fame=known / max(float(known.max(initial=0)), 1e-6),
    )
