"""What is kept in memory for the search: made from rows once, asked many times, changed never."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aperture_dagster.search.facts import Facts, facts_of
from aperture_dagster.search.names import FEW_WORDS, Name, Names, index_names
from aperture_dagster.search.question import Question, parse
from aperture_dagster.search.texts import Texts, index_texts
from aperture_dagster.search.titles import EpisodeRow, TitleRow
from aperture_dagster.search.words import words_of

SAME_NAME = 0.83
ARTICLES = frozenset(["the", "a", "an", "der", "die", "das"])
LEAST_TITLES, MOST_IN_PLOTS = 3, 0.002
"""By the last name alone, somebody is meant who has so many titles, and whose name is in so few plots."""


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The titles as arrays, in the order of their rows; names refer to these rows."""

    work_ids: NDArray[np.int64]
    rows: dict[int, int]
    """The row of each work."""
    is_owned: NDArray[np.bool_]
    fame: NDArray[np.float32]
    """log(1 + votes)."""
    facts: Facts
    texts: Texts
    names: Names
    episodes: NDArray[np.int64]
    """The item of each episode; names of episodes have a place in here, and the row of their series."""

    def understand(self, text: str) -> Question:
        """Return what a question means, with the titles and people of this index."""
        return parse(text, self._titled, self._person)

    def _titled(self, name: str) -> int | None:
        """Return the row of the title of that name, but for an article, or for a slip in a name without another."""
        words = name.split()
        for known in self.names.exactly(words, "title"):
            own = [word for word in words_of(known.text) if word not in ARTICLES]
            if own == [word for word in words if word not in ARTICLES]:
                return known.targets[0]
        if len(words) > FEW_WORDS:
            return None
        hits = self.names.search(name, 1, ["title"])
        is_it = bool(hits) and hits[0].score >= SAME_NAME and len(words_of(hits[0].name.text)) <= len(words) + 1
        return hits[0].name.targets[0] if is_it else None

    def _person(self, name: str, by_last_name: bool) -> tuple[str, frozenset[int]] | None:
        """Return the person of that name, and their titles; of some with the same last name, the most famous one."""
        words = name.split()
        if by_last_name and self.texts.frequency(name) > max(MOST_IN_PLOTS * len(self.work_ids), 3):
            return None
        for person in self.names.exactly(words, "person"):
            own = words_of(person.text)
            if own == words or (by_last_name and own[-1:] == words and len(person.targets) >= LEAST_TITLES):
                return person.text, frozenset(person.targets)
        return None


def build_index(titles: Iterable[TitleRow], episodes: Iterable[EpisodeRow] = ()) -> Index:
    """Make the index of titles and episodes."""
    kept: list[TitleRow] = []

    def read() -> Iterator[TitleRow]:
        for title in titles:
            yield title
            # Plots are the most of it, and needed no longer.
            kept.append(title._replace(tagline=None, overview=None))

    texts = index_texts(read())
    rows = {title.work_id: row for row, title in enumerate(kept)}
    items: list[int] = []
    return Index(
        work_ids=np.array([title.work_id for title in kept], dtype=np.int64),
        rows=rows,
        is_owned=np.array([title.is_owned for title in kept], dtype=bool),
        fame=np.array([_fame(title) for title in kept], dtype=np.float32),
        facts=facts_of(kept),
        texts=texts,
        names=index_names(_names(kept, rows, episodes, items)),
        episodes=np.array(items, dtype=np.int64),
    )


def _names(
    titles: list[TitleRow], rows: dict[int, int], episodes: Iterable[EpisodeRow], items: list[int]
) -> Iterator[Name]:
    """Yield all names; the items of the episodes are added to ``items``."""
    people: dict[str, dict[int, None]] = {}
    for row, title in enumerate(titles):
        for text in dict.fromkeys([title.title, *title.names]):
            yield Name(text, "title", (row,), _fame(title))
        for person in (*title.makers, *title.cast):
            people.setdefault(person, {})[row] = None
    for person, own in people.items():
        yield Name(person, "person", tuple(own), math.log1p(sum(titles[row].vote_count or 0 for row in own)))
    for episode in episodes:
        # "Episode 5" names thousands of them.
        if episode.work_id in rows and not episode.title.strip()[-1:].isdigit():
            yield Name(episode.title, "episode", (rows[episode.work_id], len(items)))
            items.append(episode.item_id)


def _fame(title: TitleRow) -> float:
    return math.log1p(max(title.vote_count or 0, 0))
