"""Popularity: Top Picks from the plays of the household."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.histories import as_utc, number_column, utc_column
from aperture_dagster.taste.ranking.library import bayesian_average

Scores = NDArray[np.float64]

TOP_PICKS_COLUMNS = ("rank", "work_id", "viewers", "plays", "completion", "score", "relaxed")
TOP_PICKS_WEIGHTS = {"viewers": 0.5, "plays": 0.3, "completion": 0.2}
PRIOR_VIEWERS = 1.0
"""Average viewers mixed into a title's plays per viewer and completion, so that one person's ten evenings with a film
do not make it a favourite of the household."""
LEAST_VIEWERS = 2
"""A title with fewer would show everybody what one person watches."""


@dataclass(frozen=True, slots=True)
class PickRules:
    """How Top Picks are made.

    Args:
        window_days: length of the window of plays. A play that is half the window older counts half.
        min_viewers: distinct viewers that a title needs. Titles with fewer, but at least ``LEAST_VIEWERS``, follow at
            the end, those with more viewers first, until the list is full; they are marked ``relaxed``. With 1, plays
            of a single viewer count as well; else they do not, not even for a title on a list from outside.
        limit: maximum number of rows.
        local_weight: weight of the household's plays (0-1); a list from outside has the rest. With 0, only titles on
            that list are picked.
    """

    window_days: float = 30
    min_viewers: int = 2
    limit: int = 10
    local_weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class KnownTitles:
    """The works that may appear, an entry of each array per work: id, title, rating, and episodes (NaN for films)."""

    work_id: NDArray[np.int64]
    title: NDArray[np.object_]
    rating: Scores
    total: Scores

    @classmethod
    def of(cls, titles: pd.DataFrame) -> KnownTitles:
        """Take them from a frame, as :func:`top_picks` describes it; the first row of a work counts."""
        rating = bayesian_average(number_column(titles, "vote_average"), number_column(titles, "vote_count"))
        work_id, first = np.unique(titles["work_id"].to_numpy(dtype=np.int64), return_index=True)
        title = titles["title"].astype(str).to_numpy(dtype=object)
        return cls(work_id, title[first], rating[first], number_column(titles, "episodes_total")[first])


def top_picks(
    plays: pd.DataFrame,
    titles: pd.DataFrame | KnownTitles,
    rules: PickRules,
    *,
    as_of: datetime | pd.Timestamp,
    works: Sequence[int] = (),
) -> pd.DataFrame:
    """Return what this household watched most recently, combined with a list from outside if there is one, best first.

    Viewers, plays and completion are each scaled to 0-1 and combined with ``TOP_PICKS_WEIGHTS``. Beside a list, the
    best of each side has 1: the score of the plays is divided by the highest, and the list counts by place.

    Args:
        plays: the log of plays, one row per play (of a film or an episode): ``user_id``, ``work_id``, ``played_at``,
            ``completion`` (0-1), ``episode_id`` (for series), ``plays`` (number of plays that the row stands for).
        titles: the works of one media type that may appear: ``work_id``, ``title``, ``vote_average``, ``vote_count``
            and ``episodes_total`` (episodes released so far); or the same as arrays, if it is used more than once.
        rules: window, limits and weights.
        as_of: the end of the window; later plays are ignored, so that a past day can be computed again.
        works: ``work_id`` of the works on the list from outside, the first one first; those that are not among
            ``titles`` are left out. They need no minimum of viewers.

    Returns:
        Columns ``TOP_PICKS_COLUMNS`` (score 0-1, plays as counted, completion shrunk). Ties are broken by rating, title
        and work_id. The order of the plays makes no difference.
    """
    known = titles if isinstance(titles, KnownTitles) else KnownTitles.of(titles)
    seen = _household(plays, known, as_utc(as_of), rules.window_days)
    seen[:, seen[0] < min(rules.min_viewers, LEAST_VIEWERS)] = 0
    viewers, _, completion, score = seen
    place = _place_scores(works, known.work_id.tolist())
    listed = np.isfinite(place)
    if len(works):
        local = score / max(score.max(initial=0.0), 1e-9)
        score = (rules.local_weight * local + (1 - rules.local_weight) * np.nan_to_num(place)).round(9)
    # All titles with the minimum of viewers, or on the list, are equal here and come before the others.
    qualified = np.where(listed, rules.min_viewers, np.minimum(viewers, rules.min_viewers))
    candidates = np.flatnonzero(listed | ((viewers > 0) & (rules.local_weight > 0)))
    order = sorted(
        candidates.tolist(),
        key=lambda at: (-qualified[at], -score[at], -known.rating[at], known.title[at], known.work_id[at]),
    )
    best = np.array(order[: rules.limit], dtype=np.int64)
    columns = (
        np.arange(1, len(best) + 1), known.work_id[best], *seen[:2, best].astype(np.int64), completion[best],
        score[best], qualified[best] < rules.min_viewers,
    )  # fmt: skip
    return pd.DataFrame(dict(zip(TOP_PICKS_COLUMNS, columns, strict=True)))


def _place_scores(works: Sequence[int], work_ids: Iterable[int]) -> Scores:
    """Return for each of ``work_ids`` 1 for the first of the list ``works``, down to 1/n for the last of n, or NaN."""
    scores = {work_id: 1 - place / len(works) for place, work_id in enumerate(works)}
    return np.array([scores.get(work_id, np.nan) for work_id in work_ids], dtype=np.float64)


def _household(plays: pd.DataFrame, known: KnownTitles, as_of: pd.Timestamp, window_days: float) -> Scores:
    """Return viewers, plays, completion and score of each title in the window, shape (4, titles); 0 if unwatched."""
    seen = _plays_per_viewer(plays, known.work_id, as_of, window_days)
    if not len(seen.title):
        return np.zeros((4, len(known.work_id)))
    # Share of the released episodes: distinct ones where the log has their ids, else the number of plays, at most all.
    total = known.total[seen.title]
    episodes = np.where(seen.episodes > 0, seen.episodes, seen.plays)
    is_series = total > 0
    share = np.where(is_series, np.clip(episodes / np.where(is_series, total, 1.0), 0.0, 1.0), seen.best)
    is_known = np.isfinite(share)

    def per_title(which: NDArray[np.int64], values: Scores | None = None) -> Scores:
        return np.bincount(which, values, len(known.work_id)).astype(np.float64)

    viewers = per_title(seen.title)
    is_watched = viewers > 0
    # Completion, and plays per viewer, are shrunk towards the mean of the window.
    usual = float(np.mean(share[is_known])) if is_known.any() else 0.5
    counted = per_title(seen.title[is_known])
    completion = (per_title(seen.title[is_known], share[is_known]) + PRIOR_VIEWERS * usual) / (counted + PRIOR_VIEWERS)
    recent = per_title(seen.title, seen.recent) + PRIOR_VIEWERS * float(np.mean(seen.recent))
    recent *= viewers / (viewers + PRIOR_VIEWERS)
    # Viewers and plays are relative to the best of the window; plays by their logarithm, because next to a series of a
    # hundred episodes all films would otherwise look equal.
    score = (
        TOP_PICKS_WEIGHTS["viewers"] * viewers / viewers.max()
        + TOP_PICKS_WEIGHTS["plays"] * np.log1p(recent) / np.log1p(recent.max())
        + TOP_PICKS_WEIGHTS["completion"] * completion
    ).round(9)
    return np.stack((viewers, per_title(seen.title, seen.plays), completion, score)) * is_watched


class _PerViewer(NamedTuple):
    """Plays in the window, an entry per title and viewer: the title's place among the known ones, plays, the same
    weighted by recency, the best completion (NaN: unknown), and distinct episodes.
    """

    title: NDArray[np.int64]
    plays: Scores
    recent: Scores
    best: Scores
    episodes: NDArray[np.int64]


def _plays_per_viewer(
    plays: pd.DataFrame, works: NDArray[np.int64], as_of: pd.Timestamp, window_days: float
) -> _PerViewer:
    """Sum up the plays of ``works``, which are sorted, within the window."""
    if plays.empty:
        nothing = np.zeros(0)
        return _PerViewer(np.zeros(0, np.int64), nothing, nothing, nothing, np.zeros(0, np.int64))
    age = (as_of - utc_column(plays, "played_at")).dt.total_seconds().to_numpy(dtype=np.float64) / 86_400.0
    title = pd.Index(works).get_indexer(np.asarray(plays["work_id"]))
    times = np.nan_to_num(number_column(plays, "plays"), nan=1.0)
    inside = (title >= 0) & (times > 0) & (age >= 0) & (age < window_days)
    times, age = times[inside], age[inside]
    viewer, viewers = pd.factorize(plays["user_id"][inside])
    pairs, at = np.unique(title[inside] * max(len(viewers), 1) + viewer, return_inverse=True)
    best = np.full(len(pairs), np.nan)
    np.fmax.at(best, at, np.asarray(number_column(plays, "completion"))[inside].clip(0.0, 1.0))
    episode, episodes = pd.factorize(plays["episode_id"][inside])
    distinct = np.unique(at[episode >= 0] * max(len(episodes), 1) + episode[episode >= 0]) // max(len(episodes), 1)
    return _PerViewer(
        pairs // max(len(viewers), 1),
        np.bincount(at, times, len(pairs)).astype(np.float64),
        np.bincount(at, times * np.exp2(-age / (window_days / 2.0)), len(pairs)).astype(np.float64),
        best,
        np.bincount(distinct, minlength=len(pairs)),
    )
