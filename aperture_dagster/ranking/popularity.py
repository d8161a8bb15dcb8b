"""How good and how known a title is in the world, and what this household plays: priors, ranks and Top Picks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from aperture_dagster.ranking.histories import as_utc, number_column, rows_where, utc_column

Scores = NDArray[np.float64]

TOP_PICKS_COLUMNS = ("rank", "work_id", "viewers", "plays", "completion", "score", "relaxed")


def quantile_rank(values: ArrayLike, *, missing: float = 0.5) -> Scores:
    """Bring values of any distribution to 0-1 by their rank; equal values share one, the lowest is 0, the highest 1.

    Args:
        values: shape (n,).
        missing: what NaN becomes. When nothing is known, or all values are equal, everything becomes 0.5.
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


def bayesian_average(
    vote_average: ArrayLike,
    vote_count: ArrayLike,
    *,
    prior_mean: float | None = None,
    prior_votes: float | None = None,
) -> Scores:
    """Shrink vote averages (0-10) towards the library's mean: (v·R + m·C) / (v + m), the "weighted rating" of IMDb.

    Args:
        vote_average: shape (n,), 0-10; NaN and 0 (TMDb's "no votes") are unknown.
        vote_count: shape (n,); NaN with a known average counts as one tenth of the prior, so it moves a little.
        prior_mean: C; default the vote-weighted mean of the library, and 6.5 where nothing has votes.
        prior_votes: m; default the library's median of votes, at least 10.

    Returns:
        shape (n,), 0-10, never NaN: an unknown title has the prior.
    """
    average, votes = np.asarray(vote_average, dtype=np.float64), np.asarray(vote_count, dtype=np.float64)
    known = np.isfinite(average) & (average > 0) & ~(np.isfinite(votes) & (votes <= 0))
    counted = known & np.isfinite(votes)
    if prior_votes is None:
        prior_votes = max(float(np.median(votes[counted])), 10.0) if counted.any() else 10.0
    weight = np.where(known, np.where(np.isfinite(votes), np.maximum(votes, 0.0), prior_votes / 10.0), 0.0)
    voted = weight * np.where(known, np.clip(average, 0.0, 10.0), 0.0)
    if prior_mean is None:
        prior_mean = float(voted.sum() / weight.sum()) if weight.sum() > 0 else 6.5
    return (voted + prior_votes * prior_mean) / (weight + prior_votes)


def log_votes(vote_count: ArrayLike, popularity: ArrayLike | None = None) -> Scores:
    """Return how known each title is, log(1 + votes), shape (n,), never NaN.

    Where votes are missing, the title takes the quantile of its ``popularity`` (another scale) among those that have
    it, and without that the lower quartile of the library: what nobody has counted is seldom what everybody knows.
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
    """What can be said of every title without knowing the user; each array has shape (n,)."""

    rating: Scores
    """Bayesian vote average, 0-10."""
    votes: Scores
    """log(1 + votes), or what stands in for it."""


def priors(items: pd.DataFrame) -> Priors:
    """Return the priors of an item table, per media type (series gather fewer votes than films)."""
    average, votes = number_column(items, "vote_average"), number_column(items, "vote_count")
    fame = number_column(items, "popularity")
    rating, logged = np.zeros(len(items)), np.zeros(len(items))
    for rows in media_rows(items).values():
        rating[rows] = bayesian_average(average[rows], votes[rows])
        logged[rows] = log_votes(votes[rows], fame[rows])
    return Priors(rating=rating, votes=logged)


def media_rows(items: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each media type; a table without the column is all films."""
    if "media_type" not in items.columns:
        return {"movie": np.arange(len(items))} if len(items) else {}
    kinds = items["media_type"].astype(str).to_numpy()
    return {kind: np.flatnonzero(kinds == kind) for kind in sorted(set(kinds))}


def local_top_picks(
    plays: pd.DataFrame,
    titles: pd.DataFrame,
    *,
    as_of: datetime | pd.Timestamp,
    window_days: float = 30,
    weights: tuple[float, float, float] = (0.5, 0.3, 0.2),
    min_viewers: int = 2,
    limit: int = 10,
    half_life_days: float | None = None,
    prior_viewers: float = 1.0,
    media_type: str | None = None,
) -> pd.DataFrame:
    """Return what this household watched most of late, best first.

    Args:
        plays: the log of plays, one row a play (of a film or an episode): ``user_id``, ``work_id``, ``played_at`` (or
            ``last_played_at``), and where known ``completion`` (0-1), ``episode_id`` (for series), ``plays`` (how many
            plays the row stands for, default 1).
        titles: the works that may appear: ``work_id``, ``title``; where known ``media_type``, ``vote_average``,
            ``vote_count`` and ``episodes_total`` (episodes that are out).
        as_of: the end of the window; plays after it are ignored, so a past day can be computed again.
        window_days: length of the window, (as_of - window, as_of].
        weights: of unique viewers, plays and completion, each of which is first brought to 0-1.
        min_viewers: unique viewers that a title needs. Lowered one by one, down to 1, while fewer than ``limit`` titles
            qualify; a row that only a lowered minimum let in has ``relaxed``.
        limit: rows at most.
        half_life_days: a play this much older counts half; default half the window.
        prior_viewers: how many average viewers are mixed into a title's plays per viewer and its completion, so that
            one person's ten evenings with a film do not make it everybody's.
        media_type: only titles of this type.

    Returns:
        Columns ``TOP_PICKS_COLUMNS`` (score 0-1, plays as counted, completion shrunk). Ties: rating, then title, then
        work_id. The same plays in another order give the same list.

    Raises:
        ValueError: for a limit or window below zero, or weights that are not three numbers of at least 0.
    """
    if limit < 0 or window_days <= 0 or len(weights) != 3 or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError("local_top_picks needs limit >= 0, window_days > 0 and three weights >= 0 with a sum above 0")
    if media_type is not None and "media_type" in titles.columns:
        titles = rows_where(titles, titles["media_type"] == media_type)
    counted = _count_plays(plays, titles, as_utc(as_of), window_days, half_life_days or window_days / 2.0)
    if counted.empty:
        return _empty_picks()
    counted = _complete(counted, titles, prior_viewers)
    share_viewers, share_plays, share_completion = (weight / sum(weights) for weight in weights)
    # Viewers and plays are measured against the best of the window; plays by their logarithm, for a series of a hundred
    # episodes would otherwise make all films equal.
    counted["score"] = (
        share_viewers * counted["viewers"] / counted["viewers"].max()
        + share_plays * np.log1p(counted["recent_plays"]) / np.log1p(counted["recent_plays"].max())
        + share_completion * counted["completion"]
    ).round(9)
    viewers = counted["viewers"].to_numpy(dtype=np.int64)
    needed = max(int(min_viewers), 1)
    threshold = needed
    while threshold > 1 and int(np.sum(viewers >= threshold)) < limit:
        threshold -= 1
    picks = rows_where(counted, viewers >= threshold)
    # Titles that meet the minimum stand before those that a lowered one let in.
    steps = np.minimum(picks["viewers"], needed)
    picks = picks.assign(steps=steps, relaxed=steps < needed).sort_values(
        ["steps", "score", "rating", "title", "work_id"], ascending=[False, False, False, True, True], kind="stable"
    )
    picks = picks.head(limit).reset_index(drop=True)
    picks["rank"] = np.arange(1, len(picks) + 1)
    return picks.reindex(columns=list(TOP_PICKS_COLUMNS)).astype(
        {"rank": "int64", "viewers": "int64", "plays": "int64"}
    )


def _count_plays(
    plays: pd.DataFrame, titles: pd.DataFrame, as_of: pd.Timestamp, window_days: float, half_life_days: float
) -> pd.DataFrame:
    """One row a work that was played in the window: viewers, plays, recency-weighted plays, completion by viewer."""
    when = utc_column(plays, "played_at" if "played_at" in plays.columns else "last_played_at")
    if not len(plays) or not {"user_id", "work_id"} <= set(plays.columns):
        return pd.DataFrame()
    frame = plays.assign(
        played_at=when,
        times=np.nan_to_num(number_column(plays, "plays"), nan=1.0).clip(min=0.0),
        completion=number_column(plays, "completion").clip(0.0, 1.0),
        work_id=pd.to_numeric(plays["work_id"], errors="coerce"),
    )
    inside = (when > as_of - timedelta(days=float(window_days))) & (when <= as_of)
    frame = frame[inside & frame["work_id"].isin(titles["work_id"]) & (frame["times"] > 0)]
    if frame.empty:
        return pd.DataFrame()
    age = (as_of - frame["played_at"]).dt.total_seconds() / 86_400.0
    frame = frame.assign(recent=frame["times"] * np.exp2(-age / half_life_days))
    if "episode_id" in frame.columns:
        episode = frame["episode_id"].astype(object).where(frame["episode_id"].notna(), None)
    else:
        episode = pd.Series(None, index=frame.index, dtype=object)
    frame = frame.assign(episode=episode)
    per_viewer = frame.groupby(["work_id", "user_id"], sort=True).agg(
        plays=("times", "sum"),
        recent_plays=("recent", "sum"),
        best=("completion", "max"),
        episodes=("episode", "nunique"),
    )
    return per_viewer.reset_index()


def _complete(per_viewer: pd.DataFrame, titles: pd.DataFrame, prior_viewers: float) -> pd.DataFrame:
    """Join the titles and fold viewers into works, shrinking what a viewer does to the mean of the window."""
    known = pd.DataFrame(
        {
            "work_id": pd.to_numeric(titles["work_id"], errors="coerce"),
            "title": titles["title"].astype(str) if "title" in titles.columns else "",
            "rating": bayesian_average(number_column(titles, "vote_average"), number_column(titles, "vote_count")),
            "total": number_column(titles, "episodes_total"),
        }
    ).drop_duplicates("work_id")
    joined = per_viewer.merge(known, on="work_id", how="inner", sort=False)
    # Of the episodes out: distinct ones where the log names them, else as many as there were plays, at most all.
    episodes = np.where(joined["episodes"] > 0, joined["episodes"], joined["plays"])
    total = joined["total"].to_numpy(dtype=np.float64)
    series = total > 0
    joined["seen"] = np.where(series, np.clip(episodes / np.where(series, total, 1.0), 0.0, 1.0), joined["best"])
    works = joined.groupby("work_id", sort=True).agg(
        viewers=("user_id", "nunique"),
        plays=("plays", "sum"),
        recent_plays=("recent_plays", "sum"),
        seen=("seen", "sum"),
        told=("seen", "count"),
        title=("title", "first"),
        rating=("rating", "first"),
    )
    told = joined["seen"].dropna()
    usual = float(np.mean(told)) if len(told) else 0.5
    works["completion"] = (works["seen"] + prior_viewers * usual) / (works["told"] + max(prior_viewers, 1e-9))
    usual_plays = float(np.mean(joined["recent_plays"]))
    each = (works["recent_plays"] + prior_viewers * usual_plays) / (works["viewers"] + prior_viewers)
    works["recent_plays"] = each * works["viewers"]
    return works.reset_index().astype({"work_id": "int64"})


def _empty_picks() -> pd.DataFrame:
    types: dict[str, Any] = {"completion": "float64", "score": "float64", "relaxed": "bool"}
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, "int64")) for name in TOP_PICKS_COLUMNS})
