"""What a person likes and dislikes: signed weights of what they watched, the several tastes in them, and words for it.

A weight says how strongly, and in which direction, one watched title speaks about its user. It is the product of
engagement (how much of it, how often, favourite), rating (its sign) and recency (how long before the user's *own* last
activity, so that a pause of a year does not flatten everything).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.histories import (
    index_of,
    list_column,
    number_column,
    places,
    rows_where,
    tidy_histories,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TasteConfig:
    """How a history becomes weights. Ratings are on a scale of 0 to 10."""

    half_life_days: float = 180.0
    recency_floor: float = 0.25
    scale_middle: float = 5.0
    typical_rating: float = 6.5
    typical_rating_strength: float = 5.0
    """How many ratings of ``typical_rating`` are mixed into a user's mean: few ratings say little about it."""
    unrated: float = 0.5
    """What a watched, unrated title counts beside a rating of 10 (1.0): mildly positive."""
    max_tastes: int = 5


@dataclass(frozen=True, slots=True)
class Lift:
    """A genre or keyword that is more frequent in what a user liked than in the library."""

    name: str
    lift: float
    share: float
    titles: int


@dataclass(frozen=True, slots=True)
class Taste:
    """One of the tastes in a person: a direction in the vector space and the liked works nearest to it."""

    centroid: Floats
    share: float
    work_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TasteProfile:
    """What is stored and shown of a user's taste."""

    user_id: Hashable
    liked: int
    disliked: int
    tastes: tuple[Taste, ...] = ()
    genres: tuple[Lift, ...] = ()
    keywords: tuple[Lift, ...] = ()
    summary: str = ""

    @property
    def centroids(self) -> Floats:
        """The centroids as one array, shape (tastes, d); (0, 0) without any."""
        if not self.tastes:
            return np.zeros((0, 0), dtype=np.float32)
        return np.stack([taste.centroid for taste in self.tastes])


def taste_weights(
    histories: pd.DataFrame, *, as_of: datetime | pd.Timestamp, config: TasteConfig | None = None
) -> pd.DataFrame:
    """Return one signed weight per user and work.

    Args:
        histories: see ``histories.HISTORY_COLUMNS``; any number of users, columns may be missing.
        as_of: the present; dates after it count as unknown.
        config: half-life and the like.

    Returns:
        A frame with ``user_id``, ``work_id``, ``weight`` (about -1 to 2), and what it is made of: ``liking`` (the
        weight without recency), ``engagement`` (0 to 2), ``recency`` (floor to 1) and ``opinion`` (-1 to 1), sorted by
        user and work. Never NaN. Rows that were never played, rated nor marked have weight 0.
    """
    config = config or TasteConfig()
    tidy = tidy_histories(histories, as_of=as_of)
    engagement = _engagement(tidy)
    opinion = _opinion(tidy, config)
    recency = _recency(tidy, config)
    # A dislike counts in full however little of the title was seen: leaving early is part of disliking.
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


def library_mean(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> Floats:
    """Return the mean of the normalised rows, shape (d,), shrunk towards zero in a library of a few titles.

    Args:
        vectors: shape (n, d); rows that are zero or not finite are left out.
        mask: shape (n,), True where a vector exists; default all.
    """
    unit, present = unit_rows(vectors, mask)
    count = int(present.sum())
    if count == 0:
        return np.zeros(unit.shape[1], dtype=np.float32)
    # The mean of very few titles is those titles themselves: subtracting it whole would leave nothing (n = 1) or
    # exact opposites (n = 2). A sixth of it is taken from one title, 95 % from ten.
    share = count**2 / (count**2 + 5.0)
    return (unit[present].mean(axis=0) * share).astype(np.float32)


def centre(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None, *, mean: NDArray[Any] | None = None) -> Floats:
    """Subtract the library's mean from the normalised rows, and normalise again.

    Embeddings of descriptions share one large common direction; without it cosine tells titles apart.

    Args:
        vectors: shape (n, d).
        mask: shape (n,), True where a vector exists; default all. Rows without one stay zero.
        mean: the mean to subtract, shape (d,), from ``library_mean``; default the mean of these rows. Titles from
            outside (discovery) are centred with the library's.

    Returns:
        float32 array (n, d), every row of length 1 or 0.
    """
    unit, present = unit_rows(vectors, mask)
    mean = library_mean(vectors, mask) if mean is None else np.asarray(mean, dtype=np.float32)
    unit[present] -= mean
    return unit_rows(unit, present)[0]


def unit_rows(vectors: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the rows at length 1 (a fresh array) and which of them exist.

    Raises:
        ValueError: when ``vectors`` is no matrix, or ``mask`` does not fit it.
    """
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


def spherical_kmeans(
    vectors: NDArray[Any], weights: NDArray[Any], clusters: int, *, iterations: int = 25
) -> tuple[Floats, NDArray[np.int64]]:
    """Group unit vectors by direction; deterministic, without a random start.

    The start is the heaviest direction, then each time the vector farthest from the centroids so far (weighted), then
    Lloyd's iterations with cosine (Dhillon and Modha 2001).

    Args:
        vectors: shape (m, d), rows of length 1.
        weights: shape (m,), positive.
        clusters: how many; at most as many come back as there are distinct vectors.
        iterations: at most; it stops when no label changes.

    Returns:
        Centroids of length 1, shape (k, d), and the label of each vector, shape (m,).
    """
    points = np.asarray(vectors, dtype=np.float32)
    heavy = np.maximum(np.asarray(weights, dtype=np.float32), 0.0)
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
    for step in range(iterations):
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
    user_id: Hashable,
    weights: pd.DataFrame,
    items: pd.DataFrame,
    centred: NDArray[Any],
    *,
    media_type: str | None = None,
    config: TasteConfig | None = None,
) -> TasteProfile:
    """Return what is stored and shown of one user's taste.

    Args:
        user_id: whose.
        weights: from ``taste_weights``; rows of other users are left out.
        items: the item table, row i belonging to ``centred[i]``.
        centred: from ``centre``, shape (n, d).
        media_type: only titles of this type, both as liked titles and as the library they are compared with.
        config: how many tastes at most.
    """
    config = config or TasteConfig()
    library, vectors = items.reset_index(drop=True), np.asarray(centred)
    if media_type is not None and "media_type" in library.columns:
        of_type = np.asarray(library["media_type"] == media_type, dtype=bool)
        library, vectors = rows_where(library, of_type), vectors[of_type]
    own = rows_where(weights, weights["user_id"] == user_id)
    row = places(own["work_id"], index_of(library["work_id"]))
    weight = np.where(row >= 0, number_column(own, "weight"), 0.0)
    liked = np.lexsort((own["work_id"], -weight))[: int(np.sum(weight > 0))]
    liked_rows, liked_weights = row[liked], weight[liked]
    genres = lifts(list_column(library, "genres"), liked_rows, liked_weights)
    keywords = lifts(list_column(library, "keywords"), liked_rows, liked_weights, minimum=2)
    works = library["work_id"].to_numpy(dtype=np.int64)[liked_rows]
    tastes = _tastes(vectors[liked_rows], works, liked_weights, config)
    disliked = int(np.sum(weight < 0))
    return TasteProfile(
        user_id=user_id,
        liked=len(liked),
        disliked=disliked,
        tastes=tastes,
        genres=genres,
        keywords=keywords,
        summary=_sentence(len(liked), disliked, genres, keywords),
    )


def lifts(
    names: Sequence[Sequence[str]],
    liked_rows: NDArray[np.int64],
    liked_weights: NDArray[np.float64],
    *,
    top: int = 8,
    minimum: int = 1,
    prior: float = 3.0,
) -> tuple[Lift, ...]:
    """Return the names that set the liked titles apart from the library, strongest first.

    Lift is the name's share of the liked weight over its share of the library's titles, the former mixed with ``prior``
    titles that are like the library, so that a rare keyword seen once does not lead. Ordered by share times log lift
    (the name's part of the divergence between the user and the library): neither a mere count, nor mere rarity.
    """
    if len(liked_rows) == 0 or not names:
        return ()
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
        share = (seen + prior * usual) / (len(liked_rows) + prior)
        lift = share / usual
        if lift > 1.0 and titles[name] >= minimum:
            found.append((share * float(np.log(lift)), Lift(name, round(lift, 3), round(share, 4), titles[name])))
    found.sort(key=lambda entry: (-entry[0], entry[1].name))
    return tuple(lift for _, lift in found[:top])


def _engagement(tidy: pd.DataFrame) -> NDArray[np.float64]:
    """How much of it, how often, favourite: 0 to 2, and 1 for one film seen to its end."""
    plays = tidy["plays"].to_numpy(dtype=np.float64)
    played, total = tidy["episodes_played"].to_numpy(), tidy["episodes_total"].to_numpy()
    completion = tidy["completion"].to_numpy(dtype=np.float64)
    series = np.nan_to_num(total) > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        of_the_series = np.clip(played / total, 0.0, 1.0)
    # A few episodes of a long series are already a choice: the root lifts 4 of 100 to .2 instead of .04.
    seen = np.where(series & np.isfinite(of_the_series), np.sqrt(np.nan_to_num(of_the_series)), completion)
    seen = np.where(np.isfinite(seen), seen, np.where(plays > 0, 1.0, 0.0))
    seen = np.where((plays > 0) & (seen == 0.0) & ~series, 1.0, seen)
    # Plays of a series are mostly its episodes, which `seen` has counted; only films gain by being seen again.
    again = np.where(series, 0.0, np.log2(np.maximum(plays, 1.0)) * 0.25)
    engagement = np.minimum(seen * (1.0 + np.minimum(again, 0.75)), 1.75)
    favorite = tidy["favorite"].to_numpy(dtype=bool)
    return np.where(favorite, np.maximum(engagement, 1.0) + 0.25, engagement)


def _opinion(tidy: pd.DataFrame, config: TasteConfig) -> NDArray[np.float64]:
    """The rating from -1 to 1 around the user's own middle; unrated titles mildly positive.

    The middle lies halfway between the scale's and the user's own mean: a 6 from somebody who gives 8.5 is a complaint,
    and a 5 from somebody who gives 3 is praise, but nobody's mean alone turns a 9 into a dislike.
    """
    value = number_column(tidy, "rating")
    user = pd.factorize(tidy["user_id"])[0]
    count = np.bincount(user, weights=np.isfinite(value))[user]
    total = np.bincount(user, weights=np.nan_to_num(value))[user]
    strength = config.typical_rating_strength
    mean = (total + strength * config.typical_rating) / (count + strength)
    middle = (config.scale_middle + mean) / 2.0
    above = (value - middle) / (10.0 - middle)
    below = (value - middle) / middle
    opinion = np.where(value >= middle, above, below)
    unrated = np.where(tidy["favorite"].to_numpy(dtype=bool), 0.8, config.unrated)
    return np.where(np.isfinite(value), opinion, unrated)


def _recency(tidy: pd.DataFrame, config: TasteConfig) -> NDArray[np.float64]:
    """Half-life from the user's own last activity, never below the floor; unknown dates take their median."""
    played = tidy["last_played_at"]
    last = played.groupby(tidy["user_id"]).transform("max")
    days = ((last - played).dt.total_seconds() / 86_400.0).to_numpy(dtype=np.float64)
    recency = np.maximum(np.exp2(-days / config.half_life_days), config.recency_floor)
    known = pd.Series(np.where(np.isfinite(days), recency, np.nan), index=tidy.index)
    usual = np.nan_to_num(np.asarray(known.groupby(tidy["user_id"]).transform("median"), dtype=np.float64), nan=1.0)
    return np.where(np.isfinite(days), recency, usual)


def _tastes(
    vectors: NDArray[Any], work_ids: NDArray[np.int64], weights: NDArray[np.float64], config: TasteConfig
) -> tuple[Taste, ...]:
    points = vectors.astype(np.float32)
    present = np.linalg.norm(points, axis=1) > 1e-6
    points, heavy, work_ids = points[present], weights[present], work_ids[present]
    # About six titles make a taste: fewer would call every film a taste of its own.
    wanted = int(np.clip(round(len(points) / 6), 1, config.max_tastes))
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
        parts.append("more than the library: " + ", ".join(f"{g.name} ({g.lift:.1f}x)" for g in genres[:4]))
    if keywords:
        parts.append("often " + ", ".join(keyword.name for keyword in keywords[:5]))
    return "; ".join(parts) + "."
