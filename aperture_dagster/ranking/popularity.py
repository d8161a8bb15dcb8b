"""Popularity: ratings and votes of the world as priors, and Top Picks from the plays of the household."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from aperture_dagster.ranking.histories import as_utc, number_column, rows_where, utc_column

Scores = NDArray[np.float64]

TOP_PICKS_COLUMNS = ("rank", "work_id", "viewers", "plays", "completion", "score", "relaxed")
_TYPES = {"completion": "float64", "score": "float64", "relaxed": "bool"}
TOP_PICKS_WEIGHTS = {"viewers": 0.5, "plays": 0.3, "completion": 0.2}
PRIOR_VIEWERS = 1.0
"""Average viewers mixed into a title's plays per viewer and completion, so that one person's ten evenings with a film
do not make it a favourite of the household."""


def quantile_rank(values: ArrayLike, *, missing: float = 0.5) -> Scores:
    """Map values of any distribution to 0-1 by their rank; equal values share one, the lowest is 0, the highest 1.

    Args:
        values: shape (n,). When all known values are equal, they become 0.5.
        missing: result for NaN.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = np.isfinite(numbers)
    ranks = np.full(numbers.shape, missing, dtype=np.float64)
    if known.any():
        distinct, place, counts = np.unique(numbers[known], return_inverse=True, return_counts=True)
        if len(distinct) == 1:
            ranks[known] = 0.5
        else:
            middle = np.cumsum(counts) - (counts + 1) / 2.0
            ranks[known] = ((middle - middle[0]) / (middle[-1] - middle[0]))[place]
    return ranks


def bayesian_average(vote_average: ArrayLike, vote_count: ArrayLike) -> Scores:
    """Shrink vote averages (0-10) towards the library's mean: (v·R + m·C) / (v + m), IMDb's "weighted rating".

    C is the vote-weighted mean of the library (6.5 if nothing has votes), m its median number of votes (at least 10).

    Args:
        vote_average: shape (n,), 0-10; NaN and 0 (TMDb's "no votes") are unknown.
        vote_count: shape (n,); NaN with a known average counts as m / 10 votes.

    Returns:
        shape (n,), 0-10, without NaN: an unknown title gets C.
    """
    average, votes = np.asarray(vote_average, dtype=np.float64), np.asarray(vote_count, dtype=np.float64)
    known = np.isfinite(average) & (average > 0) & ~(np.isfinite(votes) & (votes <= 0))
    counted = known & np.isfinite(votes)
    prior_votes = max(float(np.median(votes[counted])), 10.0) if counted.any() else 10.0
    weight = np.where(known, np.where(np.isfinite(votes), np.maximum(votes, 0.0), prior_votes / 10.0), 0.0)
    voted = weight * np.where(known, np.clip(average, 0.0, 10.0), 0.0)
    prior_mean = float(voted.sum() / weight.sum()) if weight.sum() > 0 else 6.5
    return (voted + prior_votes * prior_mean) / (weight + prior_votes)


def log_votes(vote_count: ArrayLike, popularity: ArrayLike | None = None) -> Scores:
    """Return log(1 + votes), shape (n,), without NaN.

    A title without votes gets the quantile of its ``popularity`` (on another scale), and without that the lower
    quartile of the library, because well-known titles rarely lack a count.
    """
    votes = np.asarray(vote_count, dtype=np.float64)
    known = np.isfinite(votes)
    logged = np.log1p(np.maximum(np.where(known, votes, 0.0), 0.0))
    if known.all():
        return logged
    quantiles = np.full(votes.shape, 0.25)
    if popularity is not None:
        fame = np.asarray(popularity, dtype=np.float64)
        quantiles = quantile_rank(np.where(np.isfinite(fame), fame, np.nan), missing=0.25)
    if known.any():
        return np.where(known, logged, np.quantile(logged[known], quantiles))
    return quantiles


@dataclass(frozen=True, slots=True)
class Priors:
    """User-independent data about every title; each array has shape (n,)."""

    rating: Scores
    """Bayesian vote average, 0-10."""
    votes: Scores
    """log(1 + votes), or its replacement; see ``log_votes``."""
    trend: Scores
    """log(1 + TMDb's popularity); an unknown one is the media type's mean."""


def priors(items: pd.DataFrame) -> Priors:
    """Return the priors of an item table, per media type (series gather fewer votes than films)."""
    average, votes = number_column(items, "vote_average"), number_column(items, "vote_count")
    fame = number_column(items, "popularity")
    rating, logged, trend = np.zeros(len(items)), np.zeros(len(items)), np.log1p(np.maximum(fame, 0.0))
    for rows in media_rows(items).values():
        rating[rows] = bayesian_average(average[rows], votes[rows])
        logged[rows] = log_votes(votes[rows], fame[rows])
        known = np.isfinite(trend[rows])
        trend[rows] = np.where(known, trend[rows], trend[rows][known].mean() if known.any() else 0.0)
    return Priors(rating=rating, votes=logged, trend=trend)


def media_rows(items: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each media type; in a table without the column, all titles are films."""
    if "media_type" not in items.columns:
        return {"movie": np.arange(len(items))} if len(items) else {}
    media_types = items["media_type"].astype(str).to_numpy()
    return {media_type: np.flatnonzero(media_types == media_type) for media_type in sorted(set(media_types))}


@dataclass(frozen=True, slots=True)
class PickRules:
    """How Top Picks are made.

    Args:
        window_days: length of the window of plays. A play that is half the window older counts half.
        min_viewers: distinct viewers that a title needs. Titles with fewer follow at the end, those with more viewers
            first, until the list is full; they are marked ``relaxed``.
        limit: maximum number of rows.
        local_weight: weight of the household's plays (0-1); a list from outside has the rest. With 0, only titles on
            that list are picked.
    """

    window_days: float = 30
    min_viewers: int = 2
    limit: int = 10
    local_weight: float = 1.0


def top_picks(
    plays: pd.DataFrame,
    titles: pd.DataFrame,
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
            and ``episodes_total`` (episodes released so far).
        rules: window, limits and weights.
        as_of: the end of the window; later plays are ignored, so that a past day can be computed again.
        works: ``work_id`` of the works on the list from outside, the first one first; those that are not among
            ``titles`` are left out. They need no minimum of viewers.

    Returns:
        Columns ``TOP_PICKS_COLUMNS`` (score 0-1, plays as counted, completion shrunk). Ties are broken by rating, title
        and work_id. The order of the plays makes no difference.
    """
    picks = _household(plays, titles, as_utc(as_of), rules.window_days)
    place = _place_scores(works, picks["work_id"])
    if len(works):
        score = picks["score"].to_numpy(dtype=np.float64)
        local = score / max(score.max(initial=0.0), 1e-9)
        score = rules.local_weight * local + (1 - rules.local_weight) * np.nan_to_num(place)
        picks = picks.assign(score=score.round(9))
    picks = picks.assign(listed=np.isfinite(place))
    is_watched = (picks["viewers"] > 0) & (rules.local_weight > 0)
    return _best(rows_where(picks, picks["listed"] | is_watched), rules.min_viewers, rules.limit)


def _place_scores(works: Sequence[int], work_ids: Iterable[int]) -> Scores:
    """Return for each of ``work_ids`` 1 for the first of the list ``works``, down to 1/n for the last of n, or NaN."""
    scores = {work_id: 1 - place / len(works) for place, work_id in enumerate(works)}
    return np.array([scores.get(work_id, np.nan) for work_id in work_ids], dtype=np.float64)


def _household(plays: pd.DataFrame, titles: pd.DataFrame, as_of: pd.Timestamp, window_days: float) -> pd.DataFrame:
    """Return a row per title: ``work_id``, ``title``, ``rating``, and of the window ``viewers``, ``plays``,
    ``completion`` and ``score`` (each 0 for what nobody watched).
    """
    known = _known_titles(titles)
    per_viewer = _plays_per_viewer(plays, titles, as_of, window_days)
    if per_viewer.empty:
        return known.assign(viewers=0, plays=0, completion=0.0, score=0.0)
    watched = _works_played(per_viewer, known)
    # Viewers and plays are relative to the best of the window; plays by their logarithm, because next to a series of a
    # hundred episodes all films would otherwise look equal.
    watched["score"] = (
        TOP_PICKS_WEIGHTS["viewers"] * watched["viewers"] / watched["viewers"].max()
        + TOP_PICKS_WEIGHTS["plays"] * np.log1p(watched["recent_plays"]) / np.log1p(watched["recent_plays"].max())
        + TOP_PICKS_WEIGHTS["completion"] * watched["completion"]
    ).round(9)
    numbers = ["viewers", "plays", "completion", "score"]
    found = known.merge(watched[["work_id", *numbers]], on="work_id", how="left")
    return found.assign(**{name: found[name].fillna(0) for name in numbers})


def _best(picks: pd.DataFrame, min_viewers: int, limit: int) -> pd.DataFrame:
    """Return the best rows by score, those with the minimum of viewers (or ``listed``) first."""
    # All titles with the minimum of viewers are equal here and come before the others, whatever their scores.
    qualified = np.where(picks["listed"], min_viewers, np.minimum(picks["viewers"].to_numpy(), min_viewers))
    picks = picks.assign(qualified=qualified, relaxed=qualified < min_viewers).sort_values(
        ["qualified", "score", "rating", "title", "work_id"], ascending=[False, False, False, True, True], kind="stable"
    )
    picks = picks.head(limit).reset_index(drop=True)
    picks["rank"] = np.arange(1, len(picks) + 1)
    types = {name: _TYPES.get(name, "int64") for name in TOP_PICKS_COLUMNS}
    return picks.reindex(columns=list(TOP_PICKS_COLUMNS)).astype(types)


def _known_titles(titles: pd.DataFrame) -> pd.DataFrame:
    """Return a row per work: ``work_id``, ``title``, ``rating`` and ``total`` (episodes, NaN for films)."""
    known = pd.DataFrame(
        {
            "work_id": titles["work_id"].astype("int64"),
            "title": titles["title"].astype(str),
            "rating": bayesian_average(number_column(titles, "vote_average"), number_column(titles, "vote_count")),
            "total": number_column(titles, "episodes_total"),
        }
    )
    return known.drop_duplicates("work_id")


def _plays_per_viewer(
    plays: pd.DataFrame, titles: pd.DataFrame, as_of: pd.Timestamp, window_days: float
) -> pd.DataFrame:
    """Return a row per work and viewer within the window: plays, recency-weighted plays, best completion, episodes."""
    if plays.empty:
        return pd.DataFrame()
    when = utc_column(plays, "played_at")
    frame = plays.assign(
        played_at=when,
        times=np.nan_to_num(number_column(plays, "plays"), nan=1.0).clip(min=0.0),
        completion=number_column(plays, "completion").clip(0.0, 1.0),
        episode=plays["episode_id"].astype(object).where(plays["episode_id"].notna(), None),
    )
    inside = (when > as_of - timedelta(days=float(window_days))) & (when <= as_of)
    frame = frame[inside & frame["work_id"].isin(titles["work_id"]) & (frame["times"] > 0)]
    if frame.empty:
        return pd.DataFrame()
    age = (as_of - frame["played_at"]).dt.total_seconds() / 86_400.0
    frame = frame.assign(recent=frame["times"] * np.exp2(-age / (window_days / 2.0)))
    found = frame.groupby(["work_id", "user_id"], sort=True).agg(
        plays=("times", "sum"),
        recent_plays=("recent", "sum"),
        best=("completion", "max"),
        episodes=("episode", "nunique"),
    )
    return found.reset_index()


def _works_played(per_viewer: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return a row per work, with plays per viewer and completion shrunk towards the mean of the window."""
    joined = per_viewer.merge(known, on="work_id", how="inner", sort=False)
    # Share of the released episodes: distinct ones where the log has their ids, else the number of plays, at most all.
    episodes = np.where(joined["episodes"] > 0, joined["episodes"], joined["plays"])
    total = joined["total"].to_numpy(dtype=np.float64)
    series = total > 0
    joined["seen"] = np.where(series, np.clip(episodes / np.where(series, total, 1.0), 0.0, 1.0), joined["best"])
    works = joined.groupby("work_id", sort=True).agg(
        viewers=("user_id", "nunique"),
        plays=("plays", "sum"),
        recent_plays=("recent_plays", "sum"),
        seen=("seen", "sum"),
        counted=("seen", "count"),
    )
    counted = joined["seen"].dropna()
    usual = float(np.mean(counted)) if len(counted) else 0.5
    works["completion"] = (works["seen"] + PRIOR_VIEWERS * usual) / (works["counted"] + PRIOR_VIEWERS)
    usual_plays = float(np.mean(joined["recent_plays"]))
    each = (works["recent_plays"] + PRIOR_VIEWERS * usual_plays) / (works["viewers"] + PRIOR_VIEWERS)
    works["recent_plays"] = each * works["viewers"]
    return works.reset_index().astype({"work_id": "int64"})
