"""What recommendations and discovery have in common: how histories become components of a score."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.collaborative import Ease, fit_ease, ridge_for
from aperture_dagster.ranking.config import TasteMix
from aperture_dagster.ranking.features import signed_root
from aperture_dagster.ranking.histories import Doubles, Floats, Rows, positions, rows_where
from aperture_dagster.ranking.library import NO_ROWS, NO_TITLES, Library, UserTitles
from aperture_dagster.ranking.similarity import history_similarity
from aperture_dagster.ranking.taste import taste_weights


def standardise(values: NDArray[np.floating]) -> Doubles:
    """Scale values to mean 0 and deviation 1, clipped to ±8; a constant becomes zeros."""
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    deviation = float(numbers.std()) if len(numbers) else 0.0
    if deviation < 1e-9:
        return np.zeros(len(numbers))
    return np.clip((numbers - numbers.mean()) / deviation, -8.0, 8.0)


def in_library(weights: pd.DataFrame, index: Mapping[int, int]) -> pd.DataFrame:
    """Return the non-zero weights of works in the item table, with their ``row``."""
    found = weights.assign(row=positions(weights["work_id"], index))
    return rows_where(found, (found["row"] >= 0) & (found["weight"].fillna(0.0) != 0))


def titles_by_user(weights: pd.DataFrame) -> dict[Hashable, UserTitles]:
    """Return the titles of each user, from the result of :func:`in_library`."""
    heaviest = weights.assign(size=weights["weight"].abs())
    heaviest = heaviest.sort_values(["size", "work_id"], ascending=[False, True], kind="stable")
    return {
        user: UserTitles(group["row"].to_numpy(dtype=np.int64), group["weight"].to_numpy(dtype=np.float64))
        for user, group in heaviest.groupby("user_id", sort=True)
    }


def weight_matrix(titles: Mapping[Hashable, UserTitles], users: Sequence[Hashable], n: int) -> Floats:
    """Return the signed weights of all titles as one matrix, shape (n, users)."""
    weights = np.zeros((n, len(users)), dtype=np.float32)
    for number, user in enumerate(users):
        own = titles.get(user, NO_TITLES)
        weights[own.rows, number] = own.weights
    return weights


def fit_people(
    liked: pd.DataFrame,
    crowd: pd.DataFrame | None,
    index: Mapping[int, int],
    n: int,
    *,
    as_of: datetime | pd.Timestamp,
    crowd_limit: int,
) -> Ease:
    """Fit EASE to the liked titles of the household, and of the external crowd if there is one."""
    pairs = liked.reindex(columns=["user_id", "row", "liking"]).assign(outside=False)
    if crowd is not None and len(crowd):
        outside = in_library(taste_weights(crowd, as_of=as_of), index)
        outside = rows_where(outside, outside["liking"] > 0)
        # The most active people say most about what goes together.
        person, people = pd.factorize(outside["user_id"], sort=True)
        sizes = np.bincount(person, minlength=len(people))
        active = np.argsort(-sizes, kind="stable")[:crowd_limit]
        outside = rows_where(outside, np.isin(person, active)).assign(outside=True)
        pairs = pd.concat([pairs, outside.reindex(columns=pairs.columns)], ignore_index=True)
    person = pairs.groupby(["outside", "user_id"], sort=True).ngroup().to_numpy(dtype=np.int64)
    value = pairs["liking"].to_numpy(dtype=np.float64)
    people = int(person.max()) + 1 if len(person) else 0
    # The ridge follows the scale of the values: plays without a rating have half the value of the best rating.
    ridge = ridge_for(people) * (float(np.mean(value**2)) if len(value) else 1.0)
    return fit_ease(person, pairs["row"].to_numpy(dtype=np.int64), value, users=people, n=n, ridge=ridge)


def similarities(
    library: Library,
    titles: Mapping[Hashable, UserTitles],
    users: Sequence[Hashable],
    *,
    other_type: float,
    limit: int,
    candidates: Mapping[str, Rows] | None = None,
) -> dict[str, Floats]:
    """Return Σ w · sim³ per media type, shape (candidates of the type, users).

    The titles of all users are pooled, so that each similarity is computed once. At most ``limit`` titles of a user
    count, those with the largest weights; titles of the other type are multiplied by ``other_type``. ``candidates`` has
    the rows to score of each type (default: all).
    """
    kept = [titles.get(user, NO_TITLES) for user in users]
    kept = [UserTitles(one.rows[:limit], one.weights[:limit]) for one in kept]
    pooled = np.unique(np.concatenate([NO_ROWS, *(one.rows for one in kept)]))
    weights = np.zeros((len(pooled), len(users)), dtype=np.float32)
    for column, one in enumerate(kept):
        weights[np.searchsorted(pooled, one.rows), column] = one.weights
    found: dict[str, Floats] = {}
    for media_type, rows in (library.rows if candidates is None else candidates).items():
        scaled = np.where(np.isin(pooled, library.rows[media_type])[:, None], weights, weights * np.float32(other_type))
        found[media_type] = history_similarity(library.centred, pooled, scaled, candidates=rows)
    return found


def mixed_similarity(
    library: Library,
    titles: UserTitles,
    described: NDArray[np.floating] | None,
    candidates: Rows,
    media_type: str,
    mix: TasteMix,
    *,
    other_type: float,
) -> Doubles:
    """Return the similarity of candidates (rows of one media type) to a user's titles, mean 0 and deviation 1.

    It is the weighted sum of era, names in common, and ``described``, the column of :func:`similarities` (None: no
    description is compared).
    """
    dense = np.zeros(len(library.work_ids))
    dense[titles.rows] = titles.weights * np.where(np.isin(titles.rows, library.rows[media_type]), 1.0, other_type)
    near = mix.era * standardise(library.features.era(dense)[candidates])
    for field, names in library.features.fields.items():
        near += getattr(mix, field) * standardise(signed_root(names.affinity(dense)[candidates]))
    if described is not None:
        near += mix.description * standardise(signed_root(described))
    return standardise(near)
