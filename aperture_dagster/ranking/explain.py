"""Why a title is on a list: what each liked title adds to its score.

A component that lifts a title above the average candidate does so because of titles in the history. What it adds to the
score is divided among the liked ones, in proportion to what each contributes to the component. Closeness in years,
rating and popularity are not due to any title in it, so they are not divided.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from aperture_dagster.ranking.histories import Doubles, Rows
from aperture_dagster.ranking.library import Library, UserTitles
from aperture_dagster.ranking.links import Links
from aperture_dagster.ranking.signals import People

TOGETHER = ("co_watch", "recommended_from")
"""Components that come from other people; the others compare the titles themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """What h liked titles add to the scores of p titles, by component: arrays of shape (p, h), at least 0."""

    picked: Rows
    """Rows of the item table, shape (p,)."""
    liked: Rows
    """Rows of the item table, shape (h,)."""
    parts: Mapping[str, Doubles]

    @property
    def total(self) -> Doubles:
        """The sum of all components, shape (p, h)."""
        return sum(self.parts.values(), np.zeros((len(self.picked), len(self.liked))))


def contributions(
    library: Library,
    people: People,
    links: Links | None,
    user_id: Hashable,
    titles: UserTitles,
    picked: Rows,
    lifts: Mapping[str, Doubles],
    *,
    other_type: float,
) -> Contributions:
    """Divide what lifts some titles among the titles that the user liked.

    Args:
        library, people, links: What all users share.
        user_id: The user.
        titles: The titles of the user.
        picked: Rows of the titles to explain, all of one media type, shape (p,).
        lifts: What each component adds to their scores, compared with an average candidate: ``description``, the
            fields of the library's features, ``likeness``, ``co_watch`` and ``recommended_from``; each of shape (p,).
        other_type: Weight of titles of the other media type.
    """
    of_type = np.isin(titles.rows, library.rows[_media_type(library, picked)])
    likes = titles.weights > 0
    liked, weights = titles.rows[likes], (titles.weights * np.where(of_type, 1.0, other_type))[likes]
    # An unwatched favourite may be recommended, but is no reason for itself.
    itself = np.nonzero(picked[:, None] == liked[None, :])
    together = people.watched_with(picked, liked) * people.likings[people.column[user_id], liked]
    found: dict[str, Doubles] = {}
    for name, lift in lifts.items():
        if name == "description":
            near = library.centred[picked].astype(np.float64) @ library.centred[liked].T.astype(np.float64)
            adds = near * near * near * weights
        elif name in ("co_watch", "likeness"):
            adds = together.copy()
        elif name == "recommended_from":
            adds = np.zeros((len(picked), len(liked))) if links is None else links.between(picked, liked) * weights
        else:
            adds = library.features.fields[name].between(picked, liked) * weights
        # In place from here: for somebody who liked 20,000 titles, these are a million numbers.
        np.maximum(adds, 0.0, out=adds)
        adds[itself] = 0.0
        whole = adds.sum(axis=1)
        adds *= np.divide(np.maximum(lift, 0.0), whole, out=np.zeros_like(whole), where=whole > 0)[:, None]
        found[name] = adds
    return Contributions(picked, liked, found)


def reasons(found: Contributions, lifts: Doubles, *, most: int, minimum: float, share: float) -> list[Rows]:
    """Return for each title the rows of the liked titles that contribute most to its score, the first one first.

    They are at most ``most``, and each contributes at least ``share`` of what the first one does. There are none where
    together they contribute less than ``minimum`` of all that lifts the title above the average candidate (``lifts``,
    shape (p,)).
    """
    named: list[Rows] = []
    for line, lift in zip(np.round(found.total, 6), lifts, strict=True):
        order = np.arange(len(line))
        if most < len(line):
            # Also those that add as much as the last one.
            order = np.flatnonzero(line >= np.partition(line, -most)[-most])
        order = order[np.lexsort((found.liked[order], -line[order]))[:most]]
        adds = line[order]
        if not adds.sum() > minimum * lift:
            named.append(found.liked[:0])
            continue
        named.append(found.liked[order[(adds > 0) & (adds >= share * adds[0])]])
    return named


def _media_type(library: Library, picked: Rows) -> str:
    return next(name for name, rows in library.rows.items() if len(picked) and picked[0] in rows)
