"""The taste of a user: signed weights of watched titles, clusters of tastes, and a summary in words.

A weight says how much, and in which direction, one watched title says about its user. It is the product of engagement
(share watched, repeats, favourite), opinion (from the rating; it sets the sign) and recency (relative to the user's
*own* last activity, so that a pause of a year does not level all weights).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import (
    Doubles,
    Floats,
    Rows,
    number_column,
    positions,
    tidy_histories,
)  # fmt: skip
from aperture_dagster.ranking.names import Names, count_names

HALF_LIFE_DAYS = 180.0
RECENCY_FLOOR = 0.25
SCALE_MIDDLE = 5.0
TYPICAL_RATING = 6.5
TYPICAL_RATING_STRENGTH = 5.0
"""Number of ratings of ``TYPICAL_RATING`` mixed into a user's mean, because a few ratings say little about it."""
ALIKE_BLOCK = 4_096
"""Titles by which users are compared at a time."""
LEFT = 0.25
"""Share of a film below which having left it says nothing: whoever stops after a tenth has not liked it, and may go on
tomorrow. (The benchmark's data has no such films.)"""
UNRATED = 0.5
"""Opinion on a watched title without a rating: mildly positive (a rating of 10 is 1.0)."""


@dataclass(frozen=True, slots=True)
class Lift:
    """A genre or keyword that is more frequent among a user's liked titles than in the library."""

    name: str
    lift: float
    titles: int


@dataclass(frozen=True, slots=True)
class Taste:
    """One of a user's tastes: a direction in the vector space and the liked works closest to it."""

    centroid: Floats
    share: float
    work_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TasteProfile:
    """Summary of a user's taste in one media type."""

    liked: int
    disliked: int
    tastes: tuple[Taste, ...]
    genres: tuple[Lift, ...]
    keywords: tuple[Lift, ...]
    summary: str


def taste_weights(histories: pd.DataFrame, *, as_of: datetime | pd.Timestamp) -> pd.DataFrame:
    """Return one signed weight per user and work of histories (see ``tidy_histories``), sorted by both.

    The columns are ``user_id``, ``work_id``, ``weight`` (about -1 to 2), and its factors: ``liking`` (the weight
    without recency), ``engagement`` (0 to 2), ``recency`` (floor to 1) and ``opinion`` (-1 to 1), all without NaN. Rows
    that were not played, rated or marked as favourite have weight 0.
    """
    tidy = tidy_histories(histories, as_of=as_of)
    engagement, opinion, recency = _engagement(tidy), _opinion(tidy), _recency(tidy)
    # A dislike counts in full, however little was watched: people stop watching what they dislike.
    strength = np.where(opinion < 0, 1.0, np.where(tidy["rating"].notna(), np.maximum(engagement, 0.5), engagement))
    return pd.DataFrame(
        {
            "user_id": tidy["user_id"],
            "work_id": tidy["work_id"],
            "weight": opinion * strength * recency,
            "liking": opinion * strength,
            "engagement": engagement,
            "recency": recency,
            "opinion": opinion,
        }
    )


def centre(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> Floats:
    """Subtract their mean from the normalised rows, shape (n, d), and normalise again: all have length 1 or 0.

    Embeddings of descriptions share one large common direction. Without it, cosine separates titles far better.
    ``mask``, shape (n,), is True where a vector exists (default: everywhere); rows without one become zero.
    """
    unit, present = unit_rows(vectors, mask)
    count = int(present.sum())
    if count:
        # Subtracting the whole mean of very few titles would leave nothing (n = 1) or exact opposites (n = 2). This
        # takes a sixth of the mean for one title, 95 % for ten.
        share = count**2 / (count**2 + 5.0)
        unit -= (unit.sum(axis=0) / count * share).astype(np.float32)
    return _normalise(unit, present)[0]


def unit_rows(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    """Return a copy with rows of length 1, and a mask of those that have a vector; ValueError for wrong shapes."""
    unit = np.array(vectors, dtype=np.float32)
    if unit.ndim != 2:
        raise ValueError(f"vectors must be a matrix (n, d), not {unit.shape}")
    present = np.ones(len(unit), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if present.shape != (len(unit),):
        raise ValueError(f"mask {present.shape} does not fit vectors {unit.shape}")
    return _normalise(unit, present)


def _normalise(unit: Floats, present: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Give the rows length 1 in place, those that are not present, not finite or without a direction length 0.

    No second matrix of this size is made.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.sqrt(np.einsum("nd,nd->n", unit, unit))
    present = present & np.isfinite(lengths) & (lengths > 1e-6)
    unit[~present] = 0.0
    unit /= np.where(present, lengths, 1.0)[:, None]
    return unit, present


def spherical_kmeans(vectors: NDArray[Any], weights: NDArray[Any], clusters: int) -> tuple[Floats, Rows]:
    """Cluster unit vectors, shape (m, d), by direction, with positive weights (m,); deterministic, no random start.

    The first centroid is the vector closest to the weighted mean, each further one the vector farthest from those so
    far (weighted). Then follow Lloyd's iterations with cosine (Dhillon and Modha 2001).

    Returns:
        Centroids of length 1, shape (k, d), at most one per distinct vector, and the label of each vector, shape (m,).
    """
    points = np.asarray(vectors, dtype=np.float32)
    heavy = np.asarray(weights, dtype=np.float32)
    if len(points) == 0 or clusters < 1:
        return np.zeros((0, points.shape[1] if points.ndim == 2 else 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    overall = heavy @ points
    first = int(np.argmax(points @ overall))
    centroids = [points[first]]
    nearest = points @ points[first]
    while len(centroids) < clusters:
        distance = (1.0 - nearest) * (heavy + 1e-6)
        candidate = int(np.argmax(distance))
        if 1.0 - nearest[candidate] < 1e-4:
            break
        centroids.append(points[candidate])
        nearest = np.maximum(nearest, points @ points[candidate])
    centre_rows = np.stack(centroids)
    labels = np.zeros(len(points), dtype=np.int64)
    for step in range(25):
        updated = np.argmax(points @ centre_rows.T, axis=1)
        if step and np.array_equal(updated, labels):
            break
        labels = updated
        of_cluster = np.where(labels == np.arange(len(centre_rows))[:, None], heavy, np.float32(0.0))
        totals = of_cluster @ points
        lengths = np.linalg.norm(totals, axis=1)
        found = lengths > 1e-6
        centre_rows[found] = totals[found] / lengths[found, None]
    return centre_rows, labels


@dataclass(frozen=True, slots=True, eq=False)
class TasteLibrary:
    """The titles of a library that tastes are compared with."""

    work_ids: Rows
    index: Mapping[int, int]
    """Row of each work id."""
    is_compared: NDArray[np.bool_]
    """Whether it is one of these titles, for all rows, shape (m,); the others may be in the other fields as well."""
    vectors: NDArray[Any]
    """Centred, shape (m, d)."""
    genres: Names
    keywords: Names

    def rows_of(self, works: Any) -> Rows:
        """Return the row of each work, -1 for those that are not compared."""
        rows = positions(works, self.index)
        return np.where((rows >= 0) & self.is_compared[rows], rows, -1) if len(self.is_compared) else rows


def taste_profile(weights: pd.DataFrame, library: TasteLibrary, *, max_tastes: int = 5) -> TasteProfile:
    """Return the taste profile of one user, from their rows of ``taste_weights``, in the titles of a library."""
    row = library.rows_of(weights["work_id"])
    weight = np.where(row >= 0, number_column(weights, "weight"), 0.0)
    liked = np.lexsort((weights["work_id"], -weight))[: int(np.sum(weight > 0))]
    liked_rows, liked_weights = row[liked], weight[liked]
    genres = lifts(library.genres, liked_rows, liked_weights)
    keywords = lifts(library.keywords, liked_rows, liked_weights, minimum=2)
    tastes = _tastes(library.vectors[liked_rows], library.work_ids[liked_rows], liked_weights, max_tastes)
    disliked = int(np.sum(weight < 0))
    summary = _sentence(len(liked), disliked, genres, keywords)
    return TasteProfile(len(liked), disliked, tastes, genres, keywords, summary)


def everybody_alike(weights: pd.DataFrame, *, limit: int = 3) -> dict[str, list[tuple[str, float]]]:
    """Return for each user those whose likes and dislikes are most alike, the nearest first, with the cosine (0-1).

    ``weights`` are those of :func:`taste_weights`. Users without anything in common are left out.
    """
    user, users = pd.factorize(weights["user_id"], sort=True)
    work, works = pd.factorize(weights["work_id"])
    by_work = np.argsort(work, kind="stable")
    user, work, value = user[by_work], work[by_work], number_column(weights, "weight")[by_work]
    products = np.zeros((len(users), len(users)))
    for start in range(0, len(works), ALIKE_BLOCK):
        low, high = np.searchsorted(work, [start, start + ALIKE_BLOCK])
        block = np.zeros((len(users), ALIKE_BLOCK))
        block[user[low:high], work[low:high] - start] = value[low:high]
        products += block @ block.T
    lengths = np.sqrt(np.diag(products))
    cosines = products / np.maximum(lengths[:, None] * lengths[None, :], 1e-12)
    np.fill_diagonal(cosines, 0.0)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :limit]
    return {
        one: [(str(users[other]), float(cosines[row, other])) for other in nearest[row] if cosines[row, other] > 0]
        for row, one in enumerate(users)
    }


def lifts(
    names: Names | Sequence[Sequence[str]], liked_rows: Rows, liked_weights: Doubles, *, minimum: int = 1
) -> tuple[Lift, ...]:
    """Return 8 names that are more frequent among liked titles than in the library, most distinctive first.

    Lift is the name's share of the liked weight divided by its share of the library's titles. The former is mixed with
    three average titles of the library, so that a rare keyword seen once does not lead. Names are sorted by share times
    log lift (their part of the Kullback-Leibler divergence): neither by count alone nor by rarity alone. Names of fewer
    than ``minimum`` liked titles are left out.
    """
    if not isinstance(names, Names):
        names = count_names(names)
    scale = len(liked_rows) / max(float(liked_weights.sum()), 1e-9)
    entries, owner = names.entries(liked_rows)
    codes, place, titles = np.unique(names.codes[entries], return_inverse=True, return_counts=True)
    seen = np.bincount(place, weights=liked_weights[owner] * scale, minlength=len(codes))
    usual = names.counts[codes] / names.n
    share = (seen + 3.0 * usual) / (len(liked_rows) + 3.0)
    lift = share / usual
    distinctive = share * np.log(np.maximum(lift, 1e-9))
    listed = np.flatnonzero((lift > 1.0) & (titles >= minimum))
    found = [(-float(distinctive[n]), str(names.distinct[codes[n]]), float(lift[n]), int(titles[n])) for n in listed]
    return tuple(Lift(name, round(times, 3), many) for _, name, times, many in sorted(found)[:8])


def _engagement(tidy: pd.DataFrame) -> Doubles:
    """Return engagement from share watched, repeats and favourite: 0 to 2; 1 for a film watched once to its end."""
    plays = tidy["plays"].to_numpy(dtype=np.float64)
    played, total = tidy["episodes_played"].to_numpy(), tidy["episodes_total"].to_numpy()
    completion = tidy["completion"].to_numpy(dtype=np.float64)
    series = np.nan_to_num(total) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        of_the_series = np.clip(played / total, 0.0, 1.0)
    # A few episodes of a long series are already a choice: the square root makes 4 of 100 count as .2 instead of .04.
    seen = np.where(series & np.isfinite(of_the_series), np.sqrt(np.nan_to_num(of_the_series)), completion)
    seen = np.where(np.isfinite(seen), seen, np.where(plays > 0, 1.0, 0.0))
    seen = np.where((plays > 0) & (seen == 0.0) & ~series, 1.0, seen)
    seen = np.where((plays == 0) & (seen < LEFT) & ~series, 0.0, seen)
    # Plays of a series are mostly its episodes, which `seen` has counted; only films count more when watched again.
    again = np.where(series, 0.0, np.log2(np.maximum(plays, 1.0)) * 0.25)
    engagement = seen * (1.0 + np.minimum(again, 0.75))
    favorite = tidy["favorite"].to_numpy(dtype=bool)
    return np.where(favorite, np.maximum(engagement, 1.0) + 0.25, engagement)


def _opinion(tidy: pd.DataFrame) -> Doubles:
    """Return the rating mapped to -1..1 around a neutral point per user; titles without a rating are mildly positive.

    The neutral point is halfway between the scale's middle and the user's own mean: a 6 from somebody who usually gives
    8.5 is a complaint, and a 5 from somebody who gives 3 is praise, but a high mean alone never makes a 9 a dislike.
    """
    value = number_column(tidy, "rating")
    user = pd.factorize(tidy["user_id"])[0]
    count = np.bincount(user, weights=np.isfinite(value))[user]
    total = np.bincount(user, weights=np.nan_to_num(value))[user]
    mean = (total + TYPICAL_RATING_STRENGTH * TYPICAL_RATING) / (count + TYPICAL_RATING_STRENGTH)
    middle = (SCALE_MIDDLE + mean) / 2.0
    above = (value - middle) / (10.0 - middle)
    below = (value - middle) / middle
    opinion = np.where(value >= middle, above, below)
    unrated = np.where(tidy["favorite"].to_numpy(dtype=bool), 0.8, UNRATED)
    return np.where(np.isfinite(value), opinion, unrated)


def _recency(tidy: pd.DataFrame) -> Doubles:
    """Return the decay since the user's own last activity, at least the floor; unknown dates get the user's median."""
    played = tidy["last_played_at"]
    last = played.groupby(tidy["user_id"]).transform("max")
    days = ((last - played).dt.total_seconds() / 86_400.0).to_numpy(dtype=np.float64)
    recency = np.maximum(np.exp2(-days / HALF_LIFE_DAYS), RECENCY_FLOOR)
    known = pd.Series(np.where(np.isfinite(days), recency, np.nan), index=tidy.index)
    usual = np.nan_to_num(np.asarray(known.groupby(tidy["user_id"]).transform("median"), dtype=np.float64), nan=1.0)
    return np.where(np.isfinite(days), recency, usual)


def _tastes(vectors: NDArray[Any], work_ids: Rows, weights: Doubles, max_tastes: int) -> tuple[Taste, ...]:
    points, heavy = np.asarray(vectors, dtype=np.float32), weights
    present = np.einsum("nd,nd->n", points, points) > 1e-12
    if not present.all():
        points, heavy, work_ids = points[present], weights[present], work_ids[present]
    # One taste per six liked titles; with fewer, every film would be a taste of its own.
    wanted = int(np.clip(round(len(points) / 6), 1, max_tastes))
    centroids, labels = spherical_kmeans(points, heavy, wanted)
    tastes: list[Taste] = []
    for cluster, centroid in enumerate(centroids):
        members = np.flatnonzero(labels == cluster)
        if not len(members):
            continue
        nearest = members[np.lexsort((work_ids[members], -(points[members] @ centroid)))]
        share = float(heavy[members].sum() / heavy.sum())
        tastes.append(Taste(centroid, round(share, 4), tuple(int(work) for work in work_ids[nearest[:5]])))
    return tuple(sorted(tastes, key=lambda taste: (-taste.share, taste.work_ids)))


def _sentence(liked: int, disliked: int, genres: tuple[Lift, ...], keywords: tuple[Lift, ...]) -> str:
    if not liked and not disliked:
        return "Nothing is known yet."
    parts = [f"{liked} liked, {disliked} disliked"]
    if genres:
        parts.append("compared with the library, more " + ", ".join(f"{g.name} ({g.lift:.1f}x)" for g in genres[:4]))
    if keywords:
        parts.append("often " + ", ".join(keyword.name for keyword in keywords[:5]))
    return "; ".join(parts) + "."
