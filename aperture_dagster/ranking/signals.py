"""What recommendations and discovery have in common: how histories become components of a score."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.collaborative import Ease, fit_ease, ridge_for
from aperture_dagster.ranking.config import TasteMix
from aperture_dagster.ranking.crowd import Crowd
from aperture_dagster.ranking.diversity import mmr
from aperture_dagster.ranking.features import signed_root
from aperture_dagster.ranking.histories import Doubles, Floats, Rows, positions, rows_where
from aperture_dagster.ranking.library import NO_ROWS, NO_TITLES, Library, UserTitles
from aperture_dagster.ranking.links import Links
from aperture_dagster.ranking.similarity import history_similarity
from aperture_dagster.ranking.taste import taste_weights

_COLUMN_TYPES = {
    "rank": "int64", "work_id": "int64", "media_type": "str", "because": "object", "user_ids": "object", "cold": "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """What the histories say about the people of a run."""

    users: list[Hashable]
    """Users to rank for."""
    column: dict[Hashable, int]
    """Column, or row, of each user in matrices."""
    titles: dict[Hashable, UserTitles]
    household: int
    """Number of people in the household with a title in the item table."""
    liked_by: Doubles
    """Number of people in the household who liked each title, shape (n,)."""
    co_watchers: float
    """Number of people (household and crowd) that co-watch has learned from, and as how many what the titles are about
    counts.
    """
    likings: Floats
    """How much each user liked what they watched, 0 for the rest, shape (users, n)."""
    ease: Ease
    crowd: Links | None
    """The crowd's pairs of titles."""
    co_watch: Floats
    """Scores of the likings by EASE and by the crowd's table, shape (users, n)."""

    def liked_by_others(self, user: Hashable) -> NDArray[np.bool_]:
        """Return which titles somebody else liked, in the household or in the crowd, shape (n,).

        Without content, only these have a score of co-watch, and all count as such.
        """
        if not self.ease.has_content:
            return np.ones(len(self.liked_by), dtype=bool)
        own = self.likings[self.column[user]] > 0
        found = self.liked_by - own > 0
        return found if self.crowd is None else found | (np.diff(self.crowd.first) > 0)

    def watched_with(self, titles: Rows, history: Rows) -> Doubles:
        """Return how much having liked each title of a history speaks for each of ``titles``, (titles, history)."""
        found = self.ease.weights(titles, history)
        return found if self.crowd is None else found + self.crowd.between(titles, history)


def standardise(values: NDArray[np.floating], outlier: float = 8.0) -> Doubles:
    """Scale values to mean 0 and deviation 1, clipped to ± ``outlier``; a constant becomes zeros."""
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    deviation = float(numbers.std()) if len(numbers) else 0.0
    if deviation < 1e-9:
        return np.zeros(len(numbers))
    return np.clip((numbers - numbers.mean()) / deviation, -outlier, outlier)


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
    weights = np.zeros((len(users), n), dtype=np.float32)
    for number, user in enumerate(users):
        own = titles.get(user, NO_TITLES)
        weights[number, own.rows] = own.weights
    return weights.T


def learn_people(
    histories: pd.DataFrame,
    users: Sequence[Hashable] | None,
    crowd: Crowd | None,
    index: Mapping[int, int],
    n: int,
    *,
    as_of: datetime | pd.Timestamp,
    ridge: float = 5.0,
    vectors: Floats | None = None,
    content: float = 0.0,
    content_people: float = 0.0,
) -> People:
    """Learn from the histories of everybody (arguments as in ``RankingInputs``; n: titles in the item table).

    With ``vectors``, shape (n, d), co-watch also learns from what the titles are about, which counts as much as
    ``content`` says in EASE, and as ``content_people`` people for the weight of co-watch.
    """
    learned = in_library(taste_weights(histories, as_of=as_of), index)
    titles = titles_by_user(learned)
    asked = list(dict.fromkeys(users)) if users is not None else sorted(titles, key=str)
    column = {user: number for number, user in enumerate(asked)}
    liked = rows_where(learned, learned["liking"] > 0)
    liked_rows = liked["row"].to_numpy(dtype=np.int64)
    ease = _fit_people(liked, n, ridge, vectors, content)
    liked_columns = positions(liked["user_id"], column)
    is_asked = liked_columns >= 0
    watched = np.zeros((len(asked), n), dtype=np.float32)
    watched[liked_columns[is_asked], liked_rows[is_asked]] = liked["liking"].to_numpy()[is_asked]
    co_watch = ease.score(watched)
    pairs = None if crowd is None else crowd.links(index, n)
    if pairs is not None:
        co_watch += pairs.spread(watched.T).T
    return People(
        users=asked,
        column=column,
        titles=titles,
        household=len(set(learned["user_id"])),
        liked_by=np.bincount(liked_rows, minlength=n).astype(np.float64),
        co_watchers=ease.users + (crowd.people if crowd is not None else 0) + content_people * ease.has_content,
        likings=watched,
        ease=ease,
        crowd=pairs,
        co_watch=co_watch,
    )


def _fit_people(liked: pd.DataFrame, n: int, scale: float, vectors: Floats | None, content: float) -> Ease:
    """Fit EASE to the liked titles of the household."""
    person, people = pd.factorize(liked["user_id"], sort=True)
    value = liked["liking"].to_numpy(dtype=np.float64)
    # The ridge follows the scale of the values: plays without a rating have half the value of the best rating.
    ridge = ridge_for(len(people), scale) * (float(np.mean(value**2)) if len(value) else 1.0)
    row = liked["row"].to_numpy(dtype=np.int64)
    return fit_ease(
        np.asarray(person, dtype=np.int64), row, value, users=len(people), n=n, ridge=ridge, vectors=vectors,
        content=content,
    )  # fmt: skip


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
    kept = [titles.get(user, NO_TITLES).largest(limit) for user in users]
    pooled = np.unique(np.concatenate([NO_ROWS, *(one.rows for one in kept)]))
    weights = np.zeros((len(pooled), len(users)), dtype=np.float32)
    for column, one in enumerate(kept):
        weights[np.searchsorted(pooled, one.rows), column] = one.weights
    found: dict[str, Floats] = {}
    for media_type, rows in (library.rows if candidates is None else candidates).items():
        scaled = np.where(np.isin(pooled, library.rows[media_type])[:, None], weights, weights * np.float32(other_type))
        found[media_type] = history_similarity(library.centred, pooled, scaled, candidates=rows)
    return found


def similar_parts(
    library: Library,
    titles: UserTitles,
    described: NDArray[np.floating] | None,
    candidates: Rows,
    media_type: str,
    mix: TasteMix,
    *,
    other_type: float,
    era_years: float,
    outlier: float = 8.0,
) -> dict[str, Doubles]:
    """Return in which ways candidates (rows of one media type) are like a user's titles: the fields of ``mix``.

    Each part is standardised among the candidates and has its weight. ``described`` is the column of
    :func:`similarities` (None: no description is compared).
    """
    dense = np.zeros(len(library.work_ids))
    dense[titles.rows] = titles.weights * np.where(np.isin(titles.rows, library.rows[media_type]), 1.0, other_type)
    near = {"era": mix.era * standardise(library.features.era(dense, era_years)[candidates], outlier)}
    for field, names in library.features.fields.items():
        near[field] = getattr(mix, field) * standardise(signed_root(names.affinity(dense, candidates)), outlier)
    if described is not None:
        near["description"] = mix.description * standardise(signed_root(described), outlier)
    return near


def select(
    library: Library,
    candidates: Rows,
    score: Doubles,
    components: Mapping[str, Doubles],
    *,
    media_type: str,
    limit: int,
    shortlist: int,
    diversity: float,
) -> tuple[pd.DataFrame, Rows]:
    """Select the list of one user and media type by score and diversity (MMR among the ``shortlist`` best).

    Returns:
        A frame with ``rank``, ``work_id``, ``media_type``, ``score`` and each component; and the positions in
        ``candidates`` that were selected.
    """
    wanted = max(shortlist, limit)
    best = np.arange(len(score))
    if wanted < len(score):
        # Also those with the same score as the last one.
        best = np.flatnonzero(score >= np.partition(score, -wanted)[-wanted])
    best = best[np.lexsort((library.work_ids[candidates[best]], -score[best]))[:wanted]]
    chosen = best[mmr(score[best], library.centred[candidates[best]], limit, diversity=diversity)]
    picked = candidates[chosen]
    frame = pd.DataFrame(
        {
            "rank": np.arange(1, len(chosen) + 1),
            "work_id": library.work_ids[picked],
            "media_type": media_type,
            "score": score[chosen],
            **{name: values[chosen] for name, values in components.items()},
        }
    )
    return frame, chosen


def empty_list(columns: Sequence[str]) -> pd.DataFrame:
    """Return a list without titles that has these columns, with their types."""
    return pd.DataFrame({name: pd.Series(dtype=_COLUMN_TYPES.get(name, "float64")) for name in columns})
