"""Popularity: Top Picks from the plays of the household."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import as_utc, number_column, rows_where, utc_column
from aperture_dagster.ranking.priors import bayesian_average

Scores = NDArray[np.float64]

TOP_PICKS_COLUMNS = ("rank", "work_id", "viewers", "plays", "completion", "score", "relaxed")
_TYPES = {"completion": "float64", "score": "float64", "relaxed": "bool"}
TOP_PICKS_WEIGHTS = {"viewers": 0.5, "plays": 0.3, "completion": 0.2}
PRIOR_VIEWERS = 1.0
"""Average viewers mixed into a title's plays per viewer and completion, so that one person's ten evenings with a film
do not make it a favourite of the household."""


def local_top_picks(
    plays: pd.DataFrame,
    titles: pd.DataFrame,
    *,
    as_of: datetime | pd.Timestamp,
    window_days: float = 30,
    min_viewers: int = 2,
    limit: int = 10,
    media_type: str | None = None,
) -> pd.DataFrame:
    """Return what this household watched most recently, best first.

    Viewers, plays and completion are each scaled to 0-1 and combined with ``TOP_PICKS_WEIGHTS``. A play that is half
    the window older counts half.

    Args:
        plays: the log of plays, one row per play (of a film or an episode): ``user_id``, ``work_id``, ``played_at`` (or
            ``last_played_at``), and where known ``completion`` (0-1), ``episode_id`` (for series), ``plays`` (number of
            plays that the row stands for, default 1).
        titles: the works that may appear: ``work_id``, ``title``; where known ``media_type``, ``vote_average``,
            ``vote_count`` and ``episodes_total`` (episodes released so far).
        as_of: the end of the window; later plays are ignored, so that a past day can be computed again.
        window_days: length of the window, (as_of - window, as_of].
        min_viewers: distinct viewers that a title needs. Titles with fewer follow at the end, those with more viewers
            first, until the list is full; they are marked ``relaxed``.
        limit: maximum number of rows.
        media_type: only titles of this type.

    Returns:
        Columns ``TOP_PICKS_COLUMNS`` (score 0-1, plays as counted, completion shrunk). Ties are broken by rating, title
        and work_id. The order of the plays makes no difference.
    """
    picks = _household(plays, _of_type(titles, media_type), as_utc(as_of), window_days)
    return _best(rows_where(picks, picks["viewers"] > 0), min_viewers, limit)


def listed_top_picks(
    works: Sequence[int],
    plays: pd.DataFrame,
    titles: pd.DataFrame,
    *,
    as_of: datetime | pd.Timestamp,
    window_days: float = 30,
    limit: int = 10,
    media_type: str | None = None,
) -> pd.DataFrame:
    """Return the works of a list from outside in its order, with what the household watched of them.

    Args:
        works: ``work_id`` of the works, the first on the list first; those that are not among ``titles`` are left out.
        plays, titles, as_of, window_days, limit, media_type: as for :func:`local_top_picks`.

    Returns:
        Columns ``TOP_PICKS_COLUMNS``; the score is the place on the list, from 1 down, and no row is ``relaxed``.
    """
    picks = _household(plays, _of_type(titles, media_type), as_utc(as_of), window_days)
    picks = picks.assign(score=_place_scores(works, picks["work_id"]), listed=True)
    return _best(rows_where(picks, picks["score"].notna()), 1, limit)


def hybrid_top_picks(
    works: Sequence[int],
    plays: pd.DataFrame,
    titles: pd.DataFrame,
    *,
    as_of: datetime | pd.Timestamp,
    window_days: float = 30,
    min_viewers: int = 2,
    limit: int = 10,
    local_weight: float = 0.5,
    media_type: str | None = None,
) -> pd.DataFrame:
    """Return what the household watches and a list from outside, combined.

    The best of each side has 1: the score of the household's plays is divided by the highest, and the list counts by
    place. A title on the list needs no minimum of viewers.

    Args:
        works: as for :func:`listed_top_picks`.
        plays, titles, as_of, window_days, min_viewers, limit, media_type: as for :func:`local_top_picks`.
        local_weight: weight of the household's plays (0-1); the list has the rest.

    Returns:
        Columns ``TOP_PICKS_COLUMNS`` (score 0-1). Ties are broken by rating, title and work_id.
    """
    picks = _household(plays, _of_type(titles, media_type), as_utc(as_of), window_days)
    place = _place_scores(works, picks["work_id"])
    score = picks["score"].to_numpy(dtype=np.float64)
    local = score / max(score.max(initial=0.0), 1e-9)
    score = local_weight * local + (1 - local_weight) * np.nan_to_num(place)
    picks = picks.assign(score=score.round(9), listed=np.isfinite(place))
    return _best(rows_where(picks, picks["listed"] | (picks["viewers"] > 0)), min_viewers, limit)


def _of_type(titles: pd.DataFrame, media_type: str | None) -> pd.DataFrame:
    if media_type is not None and "media_type" in titles.columns:
        return rows_where(titles, titles["media_type"] == media_type)
    return titles


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
    qualified = np.minimum(picks["viewers"].to_numpy(), min_viewers)
    if "listed" in picks.columns:
        qualified = np.where(picks["listed"], min_viewers, qualified)
    picks = picks.assign(qualified=qualified, relaxed=qualified < min_viewers).sort_values(
        ["qualified", "score", "rating", "title", "work_id"], ascending=[False, False, False, True, True], kind="stable"
    )
    picks = picks.head(limit).reset_index(drop=True)
    picks["rank"] = np.arange(1, len(picks) + 1)
    types = {name: _TYPES.get(name, "int64") for name in TOP_PICKS_COLUMNS}
    return picks.reindex(columns=list(TOP_PICKS_COLUMNS)).astype(types)


def _known_titles(titles: pd.DataFrame) -> pd.DataFrame:
    """Return a row per work: ``work_id``, ``title``, ``rating`` and ``total`` (episodes, NaN for films)."""
    if "work_id" not in titles.columns:
        titles = pd.DataFrame({"work_id": []})
    known = pd.DataFrame(
        {
            "work_id": pd.to_numeric(titles["work_id"], errors="coerce"),
            "title": titles["title"].astype(str) if "title" in titles.columns else "",
            "rating": bayesian_average(number_column(titles, "vote_average"), number_column(titles, "vote_count")),
            "total": number_column(titles, "episodes_total"),
        }
    )
    return known.dropna(subset="work_id").drop_duplicates("work_id").astype({"work_id": "int64"})


def _plays_per_viewer(
    plays: pd.DataFrame, titles: pd.DataFrame, as_of: pd.Timestamp, window_days: float
) -> pd.DataFrame:
    """Return a row per work and viewer within the window: plays, recency-weighted plays, best completion, episodes."""
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
    frame = frame.assign(recent=frame["times"] * np.exp2(-age / (window_days / 2.0)))
    if "episode_id" in frame.columns:
        episode = frame["episode_id"].astype(object).where(frame["episode_id"].notna(), None)
    else:
        episode = pd.Series(None, index=frame.index, dtype=object)
    frame = frame.assign(episode=episode)
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
