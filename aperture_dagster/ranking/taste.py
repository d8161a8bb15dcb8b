"""The taste of a user: signed weights of watched titles, clusters of tastes, and a summary in words.

A weight says how much, and in which direction, one watched title says about its user. It is the product of engagement
(share watched, repeats, favourite), opinion (from the rating; it sets the sign) and recency (relative to the user's
*own* last activity, so that a pause of a year does not level all weights).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import (
    Doubles,
    Floats,
    Rows,
    index_of,
    list_column,
    number_column,
    positions,
    rows_where,
    tidy_histories,
)  # fmt: skip

HALF_LIFE_DAYS = 180.0
RECENCY_FLOOR = 0.25
SCALE_MIDDLE = 5.0
TYPICAL_RATING = 6.5
TYPICAL_RATING_STRENGTH = 5.0
"""Number of ratings of ``TYPICAL_RATING`` mixed into a user's mean, because a few ratings say little about it."""
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
        unit[present] -= (unit[present].mean(axis=0) * share).astype(np.float32)
    return unit_rows(unit, present)[0]


def unit_rows(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    """Return a copy with rows of length 1, and a mask of those that have a vector; ValueError for wrong shapes."""
    unit = np.array(vectors, dtype=np.float32)
    if unit.ndim != 2:
        raise ValueError(f"vectors must be a matrix (n, d), not {unit.shape}")
    present = np.ones(len(unit), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if present.shape != (len(unit),):
        raise ValueError(f"mask {present.shape} does not fit vectors {unit.shape}")
    unit[~np.isfinite(unit).all(axis=1) | ~present] = 0.0
    lengths = np.linalg.norm(unit, axis=1)
    present = lengths > 1e-6
    unit[~present] = 0.0
    unit[present] /= lengths[present, None]
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
    overall = (heavy[:, None] * points).sum(axis=0)
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
        for cluster in range(len(centre_rows)):
            total = (heavy[labels == cluster, None] * points[labels == cluster]).sum(axis=0)
            length = float(np.linalg.norm(total))
            if length > 1e-6:
                centre_rows[cluster] = total / length
    return centre_rows, labels


def taste_profile(
    weights: pd.DataFrame,
    items: pd.DataFrame,
    centred: NDArray[Any],
    *,
    media_type: str | None = None,
    max_tastes: int = 5,
) -> TasteProfile:
    """Return the taste profile of one user, from their rows of ``taste_weights``.

    ``items`` has the rows of ``centred``, shape (n, d). ``media_type`` limits both the liked titles and the library
    that they are compared with.
    """
    library, vectors = items.reset_index(drop=True), np.asarray(centred)
    if media_type is not None and "media_type" in library.columns:
        of_type = np.asarray(library["media_type"] == media_type, dtype=bool)
        library, vectors = rows_where(library, of_type), vectors[of_type]
    row = positions(weights["work_id"], index_of(library["work_id"]))
    weight = np.where(row >= 0, number_column(weights, "weight"), 0.0)
    liked = np.lexsort((weights["work_id"], -weight))[: int(np.sum(weight > 0))]
    liked_rows, liked_weights = row[liked], weight[liked]
    genres = lifts(list_column(library, "genres"), liked_rows, liked_weights)
    keywords = lifts(list_column(library, "keywords"), liked_rows, liked_weights, minimum=2)
    works = library["work_id"].to_numpy(dtype=np.int64)[liked_rows]
    tastes = _tastes(vectors[liked_rows], works, liked_weights, max_tastes)
    disliked = int(np.sum(weight < 0))
    summary = _sentence(len(liked), disliked, genres, keywords)
    return TasteProfile(len(liked), disliked, tastes, genres, keywords, summary)


def most_alike(weights: pd.DataFrame, user_id: str, *, limit: int = 3) -> list[tuple[str, float]]:
    """Return the users whose likes and dislikes are most like a user's, the nearest first, with the cosine (0-1).

    ``weights`` are those of :func:`taste_weights`. Users without anything in common are left out.
    """
    own = weights.loc[weights["user_id"] == user_id].set_index("work_id")["weight"]
    if own.empty:
        return []
    others = weights.loc[weights["user_id"] != user_id]
    products = (others["weight"] * others["work_id"].map(own).fillna(0.0)).groupby(others["user_id"]).sum()
    lengths = (others["weight"] ** 2).groupby(others["user_id"]).sum() ** 0.5 * float((own**2).sum()) ** 0.5
    cosines = (products / lengths.where(lengths > 0)).dropna()
    nearest = cosines[cosines > 0].sort_values(ascending=False, kind="stable").head(limit)
    return [(str(user), float(cosine)) for user, cosine in nearest.items()]


def lifts(
    names: Sequence[Sequence[str]], liked_rows: Rows, liked_weights: Doubles, *, minimum: int = 1
) -> tuple[Lift, ...]:
    """Return 8 names that are more frequent among liked titles than in the library, most distinctive first.

    Lift is the name's share of the liked weight divided by its share of the library's titles. The former is mixed with
    three average titles of the library, so that a rare keyword seen once does not lead. Names are sorted by share times
    log lift (their part of the Kullback-Leibler divergence): neither by count alone nor by rarity alone. Names of fewer
    than ``minimum`` liked titles are left out.
    """
    library = Counter(chain.from_iterable(map(dict.fromkeys, names)))
    scale = len(liked_rows) / max(float(liked_weights.sum()), 1e-9)
    mass: dict[str, float] = {}
    titles: Counter[str] = Counter()
    for row, weight in zip(liked_rows.tolist(), liked_weights.tolist(), strict=True):
        for name in dict.fromkeys(names[int(row)]):
            mass[name] = mass.get(name, 0.0) + weight * scale
            titles[name] += 1
    found: list[tuple[float, Lift]] = []
    for name, seen in mass.items():
        usual = library[name] / len(names)
        share = (seen + 3.0 * usual) / (len(liked_rows) + 3.0)
        lift = share / usual
        if lift > 1.0 and titles[name] >= minimum:
            found.append((share * float(np.log(lift)), Lift(name, round(lift, 3), titles[name])))
    found.sort(key=lambda entry: (-entry[0], entry[1].name))
    return tuple(lift for _, lift in found[:8])


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
    points = vectors.astype(np.float32)
    present = np.linalg.norm(points, axis=1) > 1e-6
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
