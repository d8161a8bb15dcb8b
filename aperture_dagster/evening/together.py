"""One list for several people, from the scores that each title has for each of them. Pure.

Nobody shall sit through what they do not want: a title that is among the last ones of anybody's whole list, that they
hid or rated low, is out. Of the others, the sum counts of how far each is above the average of each person's list.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aperture_dagster.catalogue.parental import within_limit

VETO_SHARE = 0.25
"""Share of a whole list, at its end, that its person is taken to dislike."""
LEAST_JUDGED = 20
"""Titles of a whole list from which on its end says that somebody dislikes them."""
FARTHEST = 3.0
"""Standard deviations: nobody's favourite outweighs everybody else."""
Level = Literal["very well", "well", "all right"]
VERY_WELL, WELL = 1.0, 0.0
"""Scores from which on a title suits somebody so; below these, it is all right."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is here.

    Args:
        name: what the others call them.
        scores: of the titles of their whole list of one media type. Whoever has none has no taste yet, and no say.
        seen: what they have seen.
        barred: what they hid, or rated low.
    """

    name: str
    scores: Mapping[int, float]
    seen: Collection[int] = frozenset()
    barred: Collection[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Pick:
    """A title for all, with how it suits each of them. Whoever has seen it counts as one whom it is all right for."""

    work_id: int
    score: float
    suits: Mapping[str, Level] = field(default_factory=dict)


def normalised(scores: Mapping[int, float]) -> dict[int, float]:
    """Return by how many standard deviations each score is above the average."""
    if not scores:
        return {}
    mean = math.fsum(scores.values()) / len(scores)
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scores.values()) / len(scores))
    if spread == 0:
        return dict.fromkeys(scores, 0.0)
    return {work: min(FARTHEST, max(-FARTHEST, (score - mean) / spread)) for work, score in scores.items()}


def disliked(scores: Mapping[int, float]) -> frozenset[int]:
    """Return the titles at the end of a whole list; none if it is too short to say."""
    if len(scores) < LEAST_JUDGED:
        return frozenset()
    last = sorted(scores, key=lambda work: (scores[work], work))[: int(VETO_SHARE * len(scores))]
    return frozenset(last)


def level_of(score: float) -> Level:
    """Return how a title of such a score suits somebody."""
    if score >= VERY_WELL:
        return "very well"
    return "well" if score >= WELL else "all right"


def ranked_together(people: Sequence[Person], *, seen_by_some: bool = False) -> list[Pick]:
    """Return the titles for all, best first.

    Without ``seen_by_some``, nobody has seen them; with it, fewer than half have. A title that is on the whole list of
    some, but neither on that of another nor seen by them, is out: it is none that this one could get.
    """
    judges = [(person, normalised(person.scores), disliked(person.scores)) for person in people]
    works = {work for person in people for work in person.scores}
    picks: list[Pick] = []
    for work in works:
        levels: dict[str, Level] = {}
        total, seen_by = 0.0, 0
        for person, scores, last in judges:
            if work in person.barred or work in last:
                break
            if work in person.seen:
                seen_by += 1
                levels[person.name] = "all right"
                continue
            if work not in scores and scores:
                break
            score = scores.get(work, 0.0)
            total += score
            levels[person.name] = level_of(score) if scores else "all right"
        else:
            if 2 * seen_by < len(people) if seen_by_some else not seen_by:
                picks.append(Pick(work, round(total, 5), levels))
    return sorted(picks, key=lambda pick: (-pick.score, pick.work_id))


def for_all(
    picks: Iterable[Pick],
    sights: Sequence[Collection[int]],
    limits: Iterable[int | None],
    ratings: Mapping[int, str | None],
) -> list[Pick]:
    """Return the picks that everybody may see.

    Args:
        picks: the titles.
        sights: of each person, the works that they may see now.
        limits: of each person and guest, the age up to which they may see titles; None: no limit.
        ratings: official ratings of the works; one without a rating is within no limit.
    """
    given = [limit for limit in limits if limit is not None]
    strictest = min(given) if given else None
    return [
        pick
        for pick in picks
        if all(pick.work_id in sight for sight in sights) and within_limit(ratings.get(pick.work_id), strictest)
    ]
