"""One list for several people, from the scores that each title has for each of them. Pure.

Nobody shall sit through what they do not want: a title that is among the last ones of anybody's whole list, that they
hid or rated low, is out. Of the others, the sum counts of how far each is above the average of each person's list.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aperture_dagster.catalogue.parental import within_limit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

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


def normalised(scores: Floats) -> Floats:
    """Return by how many standard deviations each score is above the average."""
    import numpy as np

    if not len(scores) or scores.min() == scores.max():
        return np.zeros(len(scores))
    return np.clip((scores - scores.mean()) / scores.std(), -FARTHEST, FARTHEST)


def level_of(score: float) -> Level:
    """Return how a title of such a score suits somebody; not a number: they have no score for it."""
    if score >= VERY_WELL:
        return "very well"
    return "well" if score >= WELL else "all right"


def ranked_together(people: Sequence[Person], *, seen_by_some: bool = False) -> Iterator[Pick]:
    """Yield the titles for all, best first.

    Without ``seen_by_some``, nobody has seen them; with it, fewer than half have. A title that is on the whole list of
    some, but neither on that of another nor seen by them, is out: it is none that this one could get.
    """
    import numpy as np

    def ids(given: Collection[int]) -> NDArray[np.int64]:
        return np.fromiter(given, dtype=np.int64, count=len(given))

    works = np.unique(np.concatenate([ids(person.scores) for person in people]))
    total, seen_by, is_out = np.zeros(len(works)), np.zeros(len(works), dtype=int), np.zeros(len(works), dtype=bool)
    # Not a number: they have no say.
    judged: list[tuple[str, Floats]] = []
    for person in people:
        own = ids(person.scores)
        given = np.fromiter(person.scores.values(), dtype=float, count=len(own))
        places, scores = np.searchsorted(works, own), np.full(len(works), np.nan)
        scores[places] = normalised(given)
        if len(own) >= LEAST_JUDGED:
            is_out[places[np.lexsort((own, given))[: int(VETO_SHARE * len(own))]]] = True
        has_seen = np.isin(works, ids(person.seen))
        is_out |= np.isin(works, ids(person.barred))
        if len(own):
            is_out |= np.isnan(scores) & ~has_seen
        scores[has_seen] = np.nan
        total += np.nan_to_num(scores)
        seen_by += has_seen
        judged.append((person.name, scores))
    fits = ~is_out & ((2 * seen_by < len(people)) if seen_by_some else (seen_by == 0))
    total = np.round(total, 5)
    for place in np.lexsort((works, -total)):
        if fits[place]:
            levels: dict[str, Level] = {name: level_of(float(scores[place])) for name, scores in judged}
            yield Pick(int(works[place]), float(total[place]), levels)


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
