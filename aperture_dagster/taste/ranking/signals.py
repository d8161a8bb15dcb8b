"""What recommendations and discovery have in common: how histories become components of a score."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.config import TasteMix
from aperture_dagster.taste.ranking.crowd import Crowd, Ease, fit_ease, ridge_for
from aperture_dagster.taste.ranking.features import signed_root
from aperture_dagster.taste.ranking.histories import Doubles, Floats, Rows, positions, rows_where
from aperture_dagster.taste.ranking.library import NO_ROWS, NO_TITLES, Library, UserTitles
from aperture_dagster.taste.ranking.links import Links
from aperture_dagster.taste.ranking.taste import taste_weights

# Similarity to a history by vectors.


BLOCK = 384
"""Titles compared at a time: their similarities to as many others are half a megabyte, which stays in the processor."""


def history_similarity(
    vectors: NDArray[Any], history: Rows, weights: NDArray[Any], *, candidates: Rows | None = None
) -> Floats:
    """Return Σ_h w_h · sim(candidate, h)³, shape (candidates,) or (candidates, users).

    The power gives more weight to the few titles that are really similar, where a plain sum would amount to one mean
    vector. It is odd and keeps the sign, so that disliked titles push similar ones away.

    Args:
        vectors: unit (or zero) rows, shape (n, d), centred.
        history: rows of the titles in the history, each once, shape (h,).
        weights: signed weights, shape (h,) for one user, or (h, users) for many whose titles are pooled in ``history``.
        candidates: rows to score, each once; default: all.
    """
    matrix, weights = np.asarray(vectors, dtype=np.float32), np.asarray(weights, dtype=np.float32)
    rows = np.arange(len(matrix)) if candidates is None else np.asarray(candidates, dtype=np.int64)
    by_user = weights[:, None] if weights.ndim == 1 else weights
    if not by_user.size:
        return np.zeros((len(rows), *weights.shape[1:]), dtype=np.float32)
    # Titles of the same users come together, so that a block of them concerns few users.
    order = np.lexsort(((by_user != 0).argmax(axis=1), (by_user != 0).sum(axis=1)))
    history, by_user = np.asarray(history, dtype=np.int64)[order], by_user[order]
    place = np.full(len(matrix), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    is_candidate = place[history] >= 0
    both, beside = (_blocks(matrix, history[one], by_user[one]) for one in (is_candidate, ~is_candidate))
    is_watched = np.zeros(len(matrix), dtype=bool)
    is_watched[history] = True
    ordered = np.concatenate([history[is_candidate], rows[~is_watched[rows]]])
    scores = np.zeros((by_user.shape[1], len(rows)), dtype=np.float32)
    buffers = np.empty((2, BLOCK * BLOCK), dtype=np.float32)

    def add(block: _Block, cubes: Floats, start: int) -> None:
        scores[block.users, start : start + cubes.shape[1]] += block.weights @ cubes

    for number, block in enumerate(both):
        for other in both[number:]:
            # One similarity serves both titles.
            cubes = _cubes(block.vectors, other.vectors, buffers)
            add(block, cubes, other.start)
            if other is not block:
                add(other, cubes.T, block.start)
        for other in beside:
            add(other, _cubes(other.vectors, block.vectors, buffers), block.start)
    for start in range(int(is_candidate.sum()), len(ordered), BLOCK):
        found = matrix[ordered[start : start + BLOCK]]
        for block in chain(both, beside):
            add(block, _cubes(block.vectors, found, buffers), start)
    arranged = np.empty_like(scores)
    arranged[:, place[ordered]] = scores
    return arranged.T.reshape(len(rows), *weights.shape[1:])


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Some titles of a history, their vectors (b, d), the u users who have weights for them, and these (u, b)."""

    start: int
    """Place of the first one among them all."""
    vectors: Floats
    users: Rows
    weights: Floats


def _blocks(matrix: Floats, history: Rows, weights: Floats) -> list[_Block]:
    found: list[_Block] = []
    for start in range(0, len(history), BLOCK):
        rows, own = history[start : start + BLOCK], weights[start : start + BLOCK]
        users = np.flatnonzero(own.any(axis=0))
        found.append(_Block(start, matrix[rows], users, np.ascontiguousarray(own[:, users].T)))
    return found


def _cubes(one: Floats, other: Floats, buffers: Floats) -> Floats:
    """Return the cubes of the similarities, shape (one, other), in the first of two buffers."""
    near, power = (buffer[: len(one) * len(other)].reshape(len(one), len(other)) for buffer in buffers)
    np.matmul(one, other.T, out=near)
    np.multiply(near, near, out=power)
    np.multiply(power, near, out=near)
    return near


# Diversify a list with maximal marginal relevance (MMR) on vectors.


def mmr(relevance: NDArray[Any], vectors: NDArray[Any], limit: int, *, diversity: float) -> NDArray[np.int64]:
    """Select ``limit`` candidates greedily: relevant, and different from those already selected.

    Each step takes the candidate with the largest (1 - diversity) · relevance - diversity · (highest similarity to any
    selected one) (Carbonell and Goldstein 1998), with relevance (finite, shape (c,)) scaled to 0-1. ``diversity`` is
    0-1: 0 sorts by relevance, 1 ignores it after the first. ``vectors`` are unit rows, shape (c, d); a zero row is
    similar to nothing. Ties go to the lower position, so the result is deterministic.
    """
    scores = np.asarray(relevance, dtype=np.float64)
    limit = max(min(limit, len(scores)), 0)
    order = np.argsort(-scores, kind="stable")
    if not limit:
        return order[:0].astype(np.int64)
    span = scores.max() - scores.min()
    scaled = (scores - scores.min()) / span if span > 0 else np.ones_like(scores)
    matrix = np.asarray(vectors, dtype=np.float32)
    selected = np.zeros(limit, dtype=np.int64)
    nearest = np.zeros(len(scores))
    free = np.ones(len(scores), dtype=bool)
    pick = int(order[0])
    for place in range(limit):
        if place:
            pick = int(np.argmax(np.where(free, (1.0 - diversity) * scaled - diversity * nearest, -np.inf)))
        selected[place] = pick
        free[pick] = False
        nearest = np.maximum(nearest, np.clip(matrix @ matrix[pick], 0.0, 1.0))
    return selected


OTHER_TYPE = 0.5
"""Weight of a series in the taste for films, and of a film in the taste for series."""
ERA_YEARS = 4.0
"""Standard deviation, in years, of the window around the years of liked titles."""
HISTORY_LIMIT = 1_000
"""Titles of a history that candidates are compared with, at most: those with the largest weights."""
SHORTLIST = 300
"""Number of top candidates from which MMR selects."""
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
    crowd_people: int
    """Number of people outside the household that co-watch has learned from."""
    crowd_knows: NDArray[np.bool_]
    """Which titles the crowd knows, shape (n,)."""
    known: NDArray[np.bool_]
    """Which titles household or crowd know, shape (n,): of others co-watch says nothing."""
    likings: Floats
    """How much each user liked what they watched, 0 for the rest, shape (users, n)."""
    ease: Ease
    crowd: Links | None
    """The crowd's pairs of titles."""
    co_watch: Floats
    """Scores of the likings by EASE and by the crowd's table, shape (users, n)."""

    def co_watchers(self, user: Hashable, rows: Rows) -> float:
        """Return the number of people that co-watch learned from, for a list of some titles (of one media type).

        People outside count by the square of the share of the user's liked titles among these that they know: a crowd
        of films says nothing of series, and one of long ago little to somebody who watches what is new.
        """
        liked = self.likings[self.column[user], rows] > 0
        share = float(self.crowd_knows[rows][liked].mean()) if liked.any() else 0.0
        return self.ease.users + self.crowd_people * share**2

    def watched_with(self, titles: Rows, history: Rows) -> Doubles:
        """Return how much having liked each title of a history speaks for each of ``titles``, (titles, history)."""
        found = self.ease.weights(titles, history)
        return found if self.crowd is None else found + self.crowd.between(titles, history)


def standardise(values: NDArray[np.floating], known: NDArray[np.bool_] | None = None) -> Doubles:
    """Scale values to mean 0 and deviation 1; a constant becomes zeros.

    With ``known``, a mask of the same shape, only these are scaled, among themselves, and the others become 0.
    """
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if known is not None:
        found = np.zeros(len(numbers))
        found[known] = standardise(numbers[known])
        return found
    deviation = float(numbers.std()) if len(numbers) else 0.0
    if deviation < 1e-9:
        return np.zeros(len(numbers))
    return (numbers - numbers.mean()) / deviation


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
    library: Library,
    *,
    as_of: datetime | pd.Timestamp,
    users: Sequence[Hashable] | None = None,
    crowd: Crowd | None = None,
) -> People:
    """Learn from the histories of everybody, in the titles of a library (arguments as in ``RankingInputs``)."""
    n = len(library.work_ids)
    learned = in_library(taste_weights(histories, as_of=as_of), library.index)
    titles = titles_by_user(learned)
    asked = list(dict.fromkeys(users)) if users is not None else sorted(titles, key=str)
    column = {user: number for number, user in enumerate(asked)}
    liked = rows_where(learned, learned["liking"] > 0)
    liked_rows, liking = liked["row"].to_numpy(dtype=np.int64), liked["liking"].to_numpy(dtype=np.float64)
    person, people = pd.factorize(liked["user_id"], sort=True)
    ease = fit_ease(np.asarray(person, np.int64), liked_rows, liking, ridge=ridge_for(len(people), liking))
    liked_columns = positions(liked["user_id"], column)
    is_asked = liked_columns >= 0
    likings = np.zeros((len(asked), n), dtype=np.float32)
    likings[liked_columns[is_asked], liked_rows[is_asked]] = liking[is_asked]
    co_watch = ease.score(likings)
    pairs = None if crowd is None else crowd.links(library.index, n)
    crowd_knows = np.zeros(n, dtype=bool)
    if pairs is not None:
        co_watch += pairs.spread(likings.T).T
        crowd_knows[pairs.start] = True
        crowd_knows[np.diff(pairs.first) > 0] = True
    known = crowd_knows.copy()
    known[ease.items] = True
    return People(
        users=asked,
        column=column,
        titles=titles,
        crowd_people=0 if crowd is None else crowd.people,
        crowd_knows=crowd_knows,
        known=known,
        likings=likings,
        ease=ease,
        crowd=pairs,
        co_watch=co_watch,
    )


def similarities(library: Library, people: People, candidates: Mapping[str, Rows] | None = None) -> dict[str, Floats]:
    """Return Σ w · sim³ per media type, shape (candidates of the type, users).

    The titles of all users are pooled, so that each similarity is computed once. At most ``HISTORY_LIMIT`` titles of a
    user count, those with the largest weights. ``candidates`` has the rows to score of each type (default: all).
    """
    kept = [people.titles.get(user, NO_TITLES).largest(HISTORY_LIMIT) for user in people.users]
    pooled = np.unique(np.concatenate([NO_ROWS, *(one.rows for one in kept)]))
    weights = np.zeros((len(pooled), len(kept)), dtype=np.float32)
    for column, one in enumerate(kept):
        weights[np.searchsorted(pooled, one.rows), column] = one.weights
    found: dict[str, Floats] = {}
    for media_type, rows in (library.rows if candidates is None else candidates).items():
        scaled = np.where(np.isin(pooled, library.rows[media_type])[:, None], weights, weights * np.float32(OTHER_TYPE))
        found[media_type] = history_similarity(library.centred, pooled, scaled, candidates=rows)
    return found


def similar_parts(
    library: Library,
    titles: UserTitles,
    described: NDArray[np.floating] | None,
    candidates: Rows,
    media_type: str,
    mix: TasteMix,
) -> dict[str, Doubles]:
    """Return in which ways candidates (rows of one media type) are like a user's titles: the fields of ``mix``.

    Each part is standardised among the candidates and has its weight. ``described`` is the column of
    :func:`similarities` (None: no description is compared).
    """
    dense = np.zeros(len(library.work_ids))
    dense[titles.rows] = weights_for(library, titles, media_type)
    near = {"era": mix.era * standardise(library.features.era(dense, ERA_YEARS)[candidates])}
    for field, names in library.features.fields.items():
        near[field] = getattr(mix, field) * standardise(signed_root(names.affinity(dense, candidates)))
    if described is not None:
        near["description"] = mix.description * standardise(signed_root(described))
    return near


def weights_for(library: Library, titles: UserTitles, media_type: str) -> Doubles:
    """Return the weights of a user's titles in a list of one media type: those of the other type count less."""
    return titles.weights * np.where(np.isin(titles.rows, library.rows[media_type]), 1.0, OTHER_TYPE)


def select(library: Library, candidates: Rows, score: Doubles, *, limit: int, diversity: float) -> Rows:
    """Return the positions in ``candidates`` of a list, best first: by score and diversity.

    MMR selects among the ``SHORTLIST`` best, or as many as the list is long.
    """
    wanted = max(SHORTLIST, limit)
    best = np.arange(len(score))
    if wanted < len(score):
        # Also those with the same score as the last one.
        best = np.flatnonzero(score >= np.partition(score, -wanted)[-wanted])
    best = best[np.lexsort((library.work_ids[candidates[best]], -score[best]))[:wanted]]
    return best[mmr(score[best], library.centred[candidates[best]], limit, diversity=diversity)]


def ranked_list(
    library: Library, picked: Rows, media_type: str, score: Doubles, components: Mapping[str, Doubles]
) -> pd.DataFrame:
    """Return the list of some rows of one media type, best first, with the score and components of each."""
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(picked) + 1),
            "work_id": library.work_ids[picked],
            "media_type": media_type,
            "score": score,
            **components,
        }
    )


def empty_list(columns: Sequence[str]) -> pd.DataFrame:
    """Return a list without titles that has these columns, with their types."""
    return pd.DataFrame({name: pd.Series(dtype=_COLUMN_TYPES.get(name, "float64")) for name in columns})
