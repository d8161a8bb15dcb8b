"""Why a title is on a list: what each liked title adds to its score.

A component that lifts a title above the average candidate does so because of titles in the history. What it adds to the
score is divided among the liked ones, in proportion to what each contributes to the component. Closeness in years,
rating and popularity are not due to any title in it, so they are not divided.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from aperture_dagster.taste.ranking.features import FIELDS
from aperture_dagster.taste.ranking.histories import Doubles, Rows
from aperture_dagster.taste.ranking.library import NO_TITLES, Library
from aperture_dagster.taste.ranking.links import Links
from aperture_dagster.taste.ranking.signals import HISTORY_LIMIT, People, weights_for

TOGETHER = ("co_watch", "recommended_from")
"""Components that come from other people; the others compare the titles themselves."""
SIMILAR = ("description", *FIELDS)
"""Components that add up to similarity."""
REASONS = 3
REASON_SHARE = 0.4
"""Share of the first reason's contribution below which a liked title is not named beside it."""
REASON_MINIMUM = 0.15
"""Share of all that lifts a title which the named ones must contribute together; otherwise it is widely liked."""


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """What h liked titles add to the scores of p titles."""

    liked: Rows
    """Rows of the item table, shape (h,)."""
    total: Doubles
    """At least 0, shape (p, h)."""


def contributions(
    library: Library,
    people: People,
    links: Links | None,
    user_id: Hashable,
    picked: Rows,
    lifts: Mapping[str, Doubles],
) -> Contributions:
    """Divide what lifts some titles among the titles that the user liked.

    Args:
        library, people, links: What all users share.
        user_id: The user, of those that ``people`` were learned for.
        picked: Rows of the titles to explain, all of one media type, shape (p,).
        lifts: What each component adds to their scores, compared with an average candidate; each of shape (p,). Those
            in ``SIMILAR`` and ``TOGETHER`` are divided; the others are not due to any title.
    """
    titles = people.titles.get(user_id, NO_TITLES).largest(HISTORY_LIMIT)
    media_type = next((name for name, rows in library.rows.items() if np.isin(picked, rows).all()), "")
    likes = titles.weights > 0
    liked, weights = titles.rows[likes], weights_for(library, titles, media_type)[likes]
    # An unwatched favourite may be recommended, but is no reason for itself.
    itself = np.nonzero(picked[:, None] == liked[None, :])
    total = np.zeros((len(picked), len(liked)))
    for name in (name for name in (*SIMILAR, *TOGETHER) if name in lifts):
        if name == "description":
            near = library.centred[picked].astype(np.float64) @ library.centred[liked].T.astype(np.float64)
            adds = near * near * near * weights
        elif name == "co_watch":
            adds = people.watched_with(picked, liked) * people.likings[people.column[user_id], liked]
        elif name == "recommended_from":
            adds = np.zeros(total.shape) if links is None else links.between(picked, liked) * weights
        else:
            adds = library.features.fields[name].between(picked, liked) * weights
        # In place from here: for somebody who liked 20,000 titles, these are a million numbers.
        np.maximum(adds, 0.0, out=adds)
        adds[itself] = 0.0
        whole = adds.sum(axis=1)
        adds *= np.divide(np.maximum(lifts[name], 0.0), whole, out=np.zeros_like(whole), where=whole > 0)[:, None]
        total += adds
    return Contributions(liked, total)


def reasons(found: Contributions, lifts: Mapping[str, Doubles]) -> list[Rows]:
    """Return for each title the rows of the liked titles that contribute most to its score, the first one first.

    They are at most ``REASONS``, and each contributes at least ``REASON_SHARE`` of what the first one does. There are
    none where together they contribute less than ``REASON_MINIMUM`` of all that lifts the title above the average
    candidate (``lifts``: what each component of the score adds, shape (p,)). Two titles in a row do not name the same
    ones: the second names some of them, or the next one as well.
    """
    whole = sum((np.maximum(lift, 0.0) for lift in lifts.values()), np.zeros(len(found.total)))
    named: list[Rows] = []
    for line, lift in zip(np.round(found.total, 6), whole, strict=True):
        order = np.arange(len(line))
        if len(line) > REASONS:
            # Also those that add as much as the last one.
            order = np.flatnonzero(line >= np.partition(line, -REASONS)[-REASONS])
        order = order[np.lexsort((found.liked[order], -line[order]))[:REASONS]]
        adds = line[order]
        if not adds.sum() > REASON_MINIMUM * lift:
            named.append(found.liked[:0])
            continue
        rows = found.liked[order[adds > 0]]
        strong = int((adds >= REASON_SHARE * adds[0]).sum())
        ways = (rows[:strong], rows[:1], rows[1:strong], rows[: strong + 1])
        last = named[-1] if named else found.liked[:0]
        named.append(next((way for way in ways if len(way) and not np.array_equal(way, last)), ways[0]))
    return named
