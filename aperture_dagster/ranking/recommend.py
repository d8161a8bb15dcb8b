"""From histories, vectors and facts to one ranked list a user: everything shared is prepared once, users are cheap."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.collaborative import Ease, fit_ease, recommended_from, ridge_for
from aperture_dagster.ranking.diversity import mmr
from aperture_dagster.ranking.histories import index_of, list_column, tidy_histories, users_in
from aperture_dagster.ranking.popularity import media_rows, priors, quantile_rank
from aperture_dagster.ranking.similarity import history_similarity, nearest_liked
from aperture_dagster.ranking.taste import TasteConfig, centre, taste_weights

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

COMPONENTS = ("similarity", "co_watch", "recommended_from", "rating", "popularity", "novelty")
COLUMNS = ("rank", "work_id", "media_type", "score", *COMPONENTS, "because", "cold")


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """How much each component counts for a user of whom much is known, in a household of many."""

    similarity: float = 1.0
    co_watch: float = 1.5
    recommended_from: float = 0.5
    rating: float = 0.4
    popularity: float = 0.8
    novelty: float = 0.0


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """Every dial of the ranking; the defaults were chosen on users 1-200 of the benchmark's data."""

    limit: int = 50
    """Titles per user and media type."""
    weights: BlendWeights = field(default_factory=BlendWeights)
    taste: TasteConfig = field(default_factory=TasteConfig)
    power: int = 3
    half_known: float = 8.0
    """Watched titles at which taste and co-watch reach half of their weight; below it popularity leads."""
    half_household: float = 30.0
    """Users at which co-watch reaches half of its weight."""
    cold_below: int = 3
    """A user with fewer watched titles is cold, and is told so."""
    other_type: float = 0.5
    """What a liked series counts for films, and a liked film for series."""
    diversity: float = 0.1
    pool: int = 300
    """Best candidates among which diversity may choose."""
    reasons: int = 3
    history_limit: int = 2_000
    """Titles of one history that similarity looks at: the weightiest."""


@dataclass(frozen=True, slots=True, eq=False)
class RankingInputs:
    """Everything that the ranking knows; nothing else is read.

    ``items`` has one row a work (``work_id``, ``media_type``, ``title``, ``year``, ``genres``, ``keywords``,
    ``directors``, ``vote_average``, ``vote_count``, ``popularity``); only ``work_id`` must be there. ``vectors`` is
    (n, d) in the same order, or None; rows may be zero or masked. ``excluded`` has a mask (n,) per user: True is never
    recommended (see ``exclusions``); titles of the user's own history with plays are left out besides.
    """

    items: pd.DataFrame
    histories: pd.DataFrame
    as_of: datetime | pd.Timestamp
    vectors: NDArray[Any] | None = None
    vector_mask: NDArray[np.bool_] | None = None
    users: Sequence[Hashable] | None = None
    """Whom to rank for; default everybody in ``histories``. All histories count for what others watched."""
    excluded: Mapping[Hashable, NDArray[np.bool_]] = field(default_factory=dict)
    edges: pd.DataFrame | None = None
    """"Recommended from this title" lists: ``work_id``, ``recommended_work_id``, ``rank``."""
    crowd: pd.DataFrame | None = None
    """Histories from outside the household (the same columns, ids of works that are in ``items``)."""


@dataclass(slots=True, eq=False)
class RankingModel:
    """What all users of a run share, made by ``prepare``."""

    config: RankingConfig
    items: pd.DataFrame
    index: dict[int, int]
    work_ids: NDArray[np.int64]
    centred: Floats
    rows: dict[str, NDArray[np.int64]]
    rating: Doubles
    popularity: Doubles
    weights: pd.DataFrame
    users: list[Hashable]
    excluded: Mapping[Hashable, NDArray[np.bool_]]
    co_watchers: int
    similarity: dict[str, Floats]
    co_watch: Floats
    neighbours: Floats | None
    started: dict[Hashable, NDArray[np.int64]]

    def for_user(self, user_id: Hashable, *, media_type: str | None = None) -> pd.DataFrame:
        """Return the list of one user: columns ``COLUMNS``, ranked within each media type.

        Args:
            user_id: one of ``users``; anybody else is a cold user.
            media_type: only this type.

        Returns:
            ``min(limit, candidates)`` rows per media type. Components are quantiles among the user's candidates (0-1;
            1 is best), ``because`` lists up to three liked work_ids, nearest first.
        """
        kinds = [media_type] if media_type is not None else list(self.rows)
        parts = [self._ranked(user_id, kind) for kind in kinds if kind in self.rows]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else _empty_list()

    def known_titles(self, user_id: Hashable) -> int:
        """Return how many works with a weight the user has."""
        return len(self._own(user_id))

    def _own(self, user_id: Hashable) -> pd.DataFrame:
        return self.weights[self.weights["user_id"] == user_id]

    def _candidates(self, user_id: Hashable, kind: str) -> NDArray[np.int64]:
        allowed = np.zeros(len(self.items), dtype=bool)
        allowed[self.rows[kind]] = True
        if user_id in self.excluded:
            allowed &= ~np.asarray(self.excluded[user_id], dtype=bool)
        allowed[self.started.get(user_id, np.zeros(0, dtype=np.int64))] = False
        return np.flatnonzero(allowed)

    def _ranked(self, user_id: Hashable, kind: str) -> pd.DataFrame:
        config = self.config
        candidates = self._candidates(user_id, kind)
        if not len(candidates) or config.limit < 1:
            return _empty_list()
        own = self._own(user_id)
        known = len(own)
        components = self._components(user_id, kind, candidates, own)
        shares = blend_shares(config, known, self.co_watchers)
        score = np.zeros(len(candidates))
        for name, values in components.items():
            score += shares[name] * values
        order = np.lexsort((self.work_ids[candidates], -score))
        pool = order[: max(config.pool, config.limit)]
        chosen = pool[mmr(score[pool], self.centred[candidates[pool]], config.limit, diversity=config.diversity)]
        picked = candidates[chosen]
        frame = pd.DataFrame(
            {
                "rank": np.arange(1, len(chosen) + 1),
                "work_id": self.work_ids[picked],
                "media_type": kind,
                "score": score[chosen],
                **{name: quantile_rank(components[name])[chosen] for name in COMPONENTS},
            }
        )
        frame["because"] = self._because(picked, own)
        frame["cold"] = known < config.cold_below
        return frame[list(COLUMNS)]

    def _components(
        self, user_id: Hashable, kind: str, candidates: NDArray[np.int64], own: pd.DataFrame
    ) -> dict[str, Doubles]:
        zeros = np.zeros(len(candidates))
        found = {name: zeros for name in COMPONENTS}
        found["rating"] = standard(self.rating[candidates])
        found["popularity"] = standard(self.popularity[candidates])
        if user_id in self._place:
            place = self._place[user_id]
            local = np.searchsorted(self.rows[kind], candidates)
            found["similarity"] = standard(self.similarity[kind][local, place])
            found["co_watch"] = standard(self.co_watch[place, candidates])
            if self.neighbours is not None:
                found["recommended_from"] = standard(self.neighbours[candidates, place])
        found["novelty"] = standard(self._novelty(candidates, own))
        return found

    def _novelty(self, candidates: NDArray[np.int64], own: pd.DataFrame) -> Doubles:
        """How much of a title's genres the user has not had: 1 less the mean share of its genres in the history."""
        genres = list_column(self.items, "genres")
        seen = [self.index[work] for work in own["work_id"]]
        counts: dict[str, int] = {}
        for row in seen:
            for name in genres[row]:
                counts[name] = counts.get(name, 0) + 1
        usual = {name: count / max(len(seen), 1) for name, count in counts.items()}
        return np.array(
            [1.0 - float(np.mean([usual.get(g, 0.0) for g in genres[c]])) if genres[c] else 0.5 for c in candidates]
        )

    def _because(self, picked: NDArray[np.int64], own: pd.DataFrame) -> list[list[int]]:
        liked = own[own["weight"] > 0].sort_values(["weight", "work_id"], ascending=[False, True])
        rows = np.array([self.index[work] for work in liked["work_id"]], dtype=np.int64)
        reasons = nearest_liked(self.centred, picked, rows, k=self.config.reasons)
        return [[int(self.work_ids[row]) for row in entry] for entry in reasons]

    @property
    def _place(self) -> dict[Hashable, int]:
        return {user: place for place, user in enumerate(self.users)}


def recommend(inputs: RankingInputs, config: RankingConfig | None = None) -> dict[Hashable, pd.DataFrame]:
    """Return every user's list; see ``RankingModel.for_user`` for its columns."""
    model = prepare(inputs, config)
    return {user: model.for_user(user) for user in model.users}


def prepare(inputs: RankingInputs, config: RankingConfig | None = None) -> RankingModel:
    """Compute once what all users share: centring, priors, EASE, and the similarity of all users in one pass.

    Raises:
        ValueError: when vectors or masks do not fit the items, a work_id occurs twice, or columns are missing.
    """
    config = config or RankingConfig()
    items = inputs.items.reset_index(drop=True)
    index = index_of(items["work_id"])
    n = len(items)
    vectors = np.zeros((n, 1), dtype=np.float32) if inputs.vectors is None else inputs.vectors
    if len(vectors) != n:
        raise ValueError(f"{len(vectors)} vectors for {n} items")
    for user, mask in inputs.excluded.items():
        if np.shape(mask) != (n,):
            raise ValueError(f"the exclusions of {user!r} have shape {np.shape(mask)}, not ({n},)")
    centred = centre(vectors, inputs.vector_mask)
    rows = media_rows(items)
    known = priors(items)
    weights = _own_works(inputs.histories, index, inputs.as_of, config)
    users = list(dict.fromkeys(inputs.users)) if inputs.users is not None else users_in(weights)
    ease, co_watchers = _fit(weights, inputs, index, n, config)
    co_watch = ease.score(_interactions(weights, users, index, n))
    dense = _weight_matrix(weights, users, index, n)
    tidy = tidy_histories(inputs.histories, as_of=inputs.as_of)
    begun = tidy[started(tidy) & tidy["work_id"].isin(index)]
    return RankingModel(
        config=config,
        items=items,
        index=index,
        work_ids=items["work_id"].to_numpy(dtype=np.int64),
        centred=centred,
        rows=rows,
        rating=known.rating,
        popularity=known.votes,
        weights=weights,
        users=users,
        excluded=inputs.excluded,
        co_watchers=co_watchers,
        similarity=_similarities(centred, weights, users, index, rows, config),
        co_watch=co_watch,
        neighbours=None if inputs.edges is None else recommended_from(inputs.edges, index, dense.T),
        started={user: group["work_id"].map(index).to_numpy(np.int64) for user, group in begun.groupby("user_id")},
    )


def blend_shares(config: RankingConfig, known: int, co_watchers: int) -> dict[str, float]:
    """Return the weight of each component for a user with ``known`` titles among ``co_watchers`` people."""
    base = config.weights
    taste = known / (known + config.half_known)
    others = max(co_watchers - 1, 0)
    crowd = others / (others + config.half_household)
    return {
        "similarity": base.similarity * taste,
        "co_watch": base.co_watch * taste * crowd,
        "recommended_from": base.recommended_from * taste,
        "rating": base.rating,
        "popularity": base.popularity,
        "novelty": base.novelty * taste,
    }


def started(tidy: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows of a tidy history are of titles that were begun (5 % or more), finished or rated, shape (rows,)."""
    begun = (tidy["plays"] > 0) | (tidy["completion"] >= 0.05) | (tidy["episodes_played"] > 0) | tidy["rating"].notna()
    return begun.to_numpy(dtype=bool)


def exclusions(
    items: pd.DataFrame,
    histories: pd.DataFrame,
    user_id: Hashable,
    *,
    as_of: datetime | pd.Timestamp,
    hidden: Collection[int] = (),
    visible: Collection[int] | None = None,
    age_ratings: NDArray[Any] | None = None,
    age_limit: float | None = None,
    block_unrated: bool = False,
) -> NDArray[np.bool_]:
    """Return the titles that one user is never recommended, shape (n,).

    Args:
        items: the item table.
        histories: of any users; only this user's rows count. Watched, started (5 %) and rated titles are excluded.
        user_id: whose.
        as_of: the present.
        hidden: work_ids that the user or the operator dismissed.
        visible: work_ids in libraries that the user may see; None means all.
        age_ratings: the parental level of each item, shape (n,), NaN where unknown.
        age_limit: the user's parental limit; levels above it are excluded. None means no limit.
        block_unrated: exclude titles of unknown level as well, when there is a limit.
    """
    works = items["work_id"].to_numpy(dtype=np.int64)
    own = tidy_histories(histories[histories["user_id"] == user_id] if len(histories) else histories, as_of=as_of)
    mask = np.isin(works, own.loc[started(own), "work_id"].to_numpy(dtype=np.int64))
    mask |= np.isin(works, np.array(sorted(hidden), dtype=np.int64))
    if visible is not None:
        mask |= ~np.isin(works, np.array(sorted(visible), dtype=np.int64))
    if age_limit is not None and age_ratings is not None:
        levels = np.asarray(age_ratings, dtype=np.float64)
        mask |= levels > age_limit
        if block_unrated:
            mask |= ~np.isfinite(levels)
    return mask


def standard(values: NDArray[Any]) -> Doubles:
    """Bring values to mean 0 and deviation 1 within the candidates, clipped to ±8; a constant becomes zeros."""
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    spread = float(numbers.std()) if len(numbers) else 0.0
    if spread < 1e-12:
        return np.zeros(len(numbers))
    return np.clip((numbers - numbers.mean()) / spread, -8.0, 8.0)


def _own_works(
    histories: pd.DataFrame, index: dict[int, int], as_of: datetime | pd.Timestamp, config: RankingConfig
) -> pd.DataFrame:
    weights = taste_weights(histories, as_of=as_of, config=config.taste)
    return weights[weights["work_id"].isin(index) & (weights["weight"] != 0)].reset_index(drop=True)


def _places(
    weights: pd.DataFrame, users: Sequence[Hashable], index: dict[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """The user place, item row and weight of every history row whose user is among ``users``."""
    place = {user: number for number, user in enumerate(users)}
    own = weights[weights["user_id"].isin(place)]
    return (
        own["user_id"].map(place).to_numpy(dtype=np.int64),
        own["work_id"].map(index).to_numpy(dtype=np.int64),
        own["weight"].to_numpy(dtype=np.float32),
    )


def _weight_matrix(weights: pd.DataFrame, users: Sequence[Hashable], index: dict[int, int], n: int) -> Floats:
    matrix = np.zeros((len(users), n), dtype=np.float32)
    place, row, value = _places(weights, users, index)
    matrix[place, row] = value
    return matrix


def _interactions(weights: pd.DataFrame, users: Sequence[Hashable], index: dict[int, int], n: int) -> Floats:
    matrix = np.zeros((len(users), n), dtype=np.float32)
    place, row, value = _places(weights, users, index)
    matrix[place, row] = np.where(value > 0, 1.0, 0.3)
    return matrix


def _fit(
    weights: pd.DataFrame, inputs: RankingInputs, index: dict[int, int], n: int, config: RankingConfig
) -> tuple[Ease, int]:
    parts = [_interactions(weights, users_in(weights), index, n)]
    if inputs.crowd is not None and len(inputs.crowd):
        crowd = _own_works(inputs.crowd, index, inputs.as_of, config)
        parts.append(_interactions(crowd, users_in(crowd), index, n))
    matrix = np.concatenate(parts)
    ease = fit_ease(matrix, ridge_for(len(matrix)))
    return ease, ease.users


def _similarities(
    centred: Floats,
    weights: pd.DataFrame,
    users: Sequence[Hashable],
    index: dict[int, int],
    rows: dict[str, NDArray[np.int64]],
    config: RankingConfig,
) -> dict[str, Floats]:
    """Σ w · sim³ of all users at once: their titles are pooled, so that each similarity is computed once."""
    heavy = weights.assign(size=weights["weight"].abs())
    heavy = heavy.sort_values(["size", "work_id"], ascending=[False, True], kind="stable")
    heavy = heavy[heavy.groupby("user_id").cumcount() < config.history_limit]
    place, row, value = _places(heavy, users, index)
    pooled, position = np.unique(row, return_inverse=True)
    found: dict[str, Floats] = {}
    for kind, own_rows in rows.items():
        matrix = np.zeros((len(pooled), len(users)), dtype=np.float32)
        matrix[position, place] = value
        matrix[~np.isin(pooled, own_rows)] *= config.other_type
        found[kind] = history_similarity(centred, pooled, matrix, power=config.power, candidates=own_rows)
    return found


def _empty_list() -> pd.DataFrame:
    types: dict[str, str] = {
        "rank": "int64",
        "work_id": "int64",
        "media_type": "object",
        "because": "object",
        "cold": "bool",
    }
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, "float64")) for name in COLUMNS})
