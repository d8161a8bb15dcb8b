"""From histories, vectors and facts to one ranked list a user; what is shared is prepared once, so users are cheap.

``prepare`` computes centring, priors, facts, EASE, and the similarity of all users in one pass over the vectors;
``RankingModel.for_user`` then blends, diversifies and explains. ``recommend`` does both for everybody.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.collaborative import Ease, fit_ease_pairs, recommended_from, ridge_for
from aperture_dagster.ranking.config import (
    COLUMNS,
    COMPONENTS,
    BlendWeights,
    RankingConfig,
    RankingInputs,
    TasteMix,
)
from aperture_dagster.ranking.diversity import mmr
from aperture_dagster.ranking.exclusions import exclusions, started
from aperture_dagster.ranking.facts import signed_root
from aperture_dagster.ranking.histories import places, rows_where, tidy_histories
from aperture_dagster.ranking.library import NO_ROWS, NOTHING_OWN, Library, OwnTitles, Rows, library_of
from aperture_dagster.ranking.popularity import quantile_rank
from aperture_dagster.ranking.similarity import history_similarity, nearest_liked
from aperture_dagster.ranking.taste import taste_weights

__all__ = [
    "COLUMNS",
    "COMPONENTS",
    "BlendWeights",
    "Library",
    "RankingConfig",
    "RankingInputs",
    "RankingModel",
    "TasteMix",
    "blend_shares",
    "exclusions",
    "library_of",
    "prepare",
    "recommend",
    "standard",
]

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RankingModel:
    """What all users of a run share, made by ``prepare``."""

    config: RankingConfig
    library: Library
    users: list[Hashable]
    place: dict[Hashable, int]
    own: dict[Hashable, OwnTitles]
    begun: dict[Hashable, Rows]
    excluded: Mapping[Hashable, NDArray[np.bool_]]
    co_watchers: int
    """People (household and crowd) whom co-watch has learned from."""
    household: int
    liked_by: Doubles
    """How many of the household liked each title, shape (n,)."""
    similarity: dict[str, Floats]
    """Σ w · sim^power per media type, shape (rows of the type, users)."""
    co_watch: Floats
    """EASE scores, shape (users, n)."""
    neighbours: Floats | None
    """Scores from "recommended from this title" lists, shape (n, users)."""

    def for_user(self, user_id: Hashable, *, media_type: str | None = None) -> pd.DataFrame:
        """Return the list of one user: columns ``COLUMNS``, ranked within each media type.

        Args:
            user_id: one of ``users``; anybody else is a cold user.
            media_type: only this type.

        Returns:
            ``min(limit, candidates)`` rows per media type. Components are quantiles among the user's candidates (0-1;
            1 is best; 0.5 where nothing tells them apart), ``because`` lists up to three liked work_ids, nearest first.
        """
        kinds = [media_type] if media_type is not None else list(self.library.rows)
        parts = [self._ranked(user_id, kind) for kind in kinds if kind in self.library.rows]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else _empty_list()

    def known_titles(self, user_id: Hashable) -> int:
        """Return how many titles of the user say something about them."""
        return len(self.own.get(user_id, NOTHING_OWN).rows)

    def components(self, user_id: Hashable, kind: str, candidates: Rows) -> dict[str, Doubles]:
        """Return each component for the candidates, on one scale (mean 0, deviation 1 among them).

        Args:
            user_id: whose.
            kind: the media type of the candidates.
            candidates: rows of that type, ascending, shape (c,).
        """
        own, config = self.own.get(user_id, NOTHING_OWN), self.config
        found = {name: np.zeros(len(candidates)) for name in COMPONENTS}
        found["rating"] = standard(self.library.known.rating[candidates])
        found["popularity"] = self._popularity(own, candidates)
        if not len(own.rows):
            return found
        spread = own.spread(len(self.library.work_ids), self.library.rows[kind], config.other_type)
        near = config.mix.era * standard(self.library.facts.era(spread)[candidates])
        for field, names in self.library.facts.fields.items():
            near += getattr(config.mix, field) * standard(signed_root(names.affinity(spread)[candidates]))
        if user_id in self.place:
            column = self.place[user_id]
            described = self.similarity[kind][np.searchsorted(self.library.rows[kind], candidates), column]
            near += config.mix.description * standard(signed_root(described))
            found["co_watch"] = standard(signed_root(self.co_watch[column, candidates]))
            if self.neighbours is not None:
                found["recommended_from"] = standard(signed_root(self.neighbours[candidates, column]))
        found["similarity"] = standard(near)
        found["novelty"] = standard(self.library.facts.novelty(own.rows)[candidates])
        return found

    def _popularity(self, own: OwnTitles, candidates: Rows) -> Doubles:
        """Votes of the world, mixed with how many others of the household liked it."""
        others = max(self.household - 1, 0)
        local = others / (others + self.config.half_local)
        liked = self.liked_by.copy()
        liked[own.rows[own.weights > 0]] -= 1.0
        votes, counts = (
            standard(self.library.known.votes[candidates]),
            standard(np.log1p(np.maximum(liked[candidates], 0.0))),
        )
        return standard((1.0 - local) * votes + local * counts)

    def _candidates(self, user_id: Hashable, kind: str) -> Rows:
        allowed = np.zeros(len(self.library.work_ids), dtype=bool)
        allowed[self.library.rows[kind]] = True
        if user_id in self.excluded:
            allowed &= ~np.asarray(self.excluded[user_id], dtype=bool)
        allowed[self.begun.get(user_id, NO_ROWS)] = False
        return np.flatnonzero(allowed)

    def _ranked(self, user_id: Hashable, kind: str) -> pd.DataFrame:
        config = self.config
        candidates = self._candidates(user_id, kind)
        if not len(candidates) or config.limit < 1:
            return _empty_list()
        components = self.components(user_id, kind, candidates)
        shares = blend_shares(config, self.known_titles(user_id), self.co_watchers)
        score = np.zeros(len(candidates))
        for name, values in components.items():
            score += shares[name] * values
        # Sums of many numbers differ in their last digits from run to run, as threads share them out; lists must not.
        score = np.round(score, 5)
        order = np.lexsort((self.library.work_ids[candidates], -score))
        pool = order[: max(config.pool, config.limit)]
        chosen = pool[
            mmr(score[pool], self.library.centred[candidates[pool]], config.limit, diversity=config.diversity)
        ]
        picked = candidates[chosen]
        frame = pd.DataFrame(
            {
                "rank": np.arange(1, len(chosen) + 1),
                "work_id": self.library.work_ids[picked],
                "media_type": kind,
                "score": score[chosen],
                **{name: quantile_rank(components[name])[chosen] for name in COMPONENTS},
            }
        )
        frame["because"] = self._because(user_id, picked)
        frame["cold"] = self.known_titles(user_id) < config.cold_below
        return frame.reindex(columns=list(COLUMNS))

    def _because(self, user_id: Hashable, picked: Rows) -> list[list[int]]:
        own = self.own.get(user_id, NOTHING_OWN)
        liked = own.rows[own.weights > 0]
        # One more than asked for: a favourite that was not watched may be recommended, but is no reason for itself.
        kinship = self.config.reason_kinship * self.library.facts.genre_kinship(picked, liked)
        reasons = nearest_liked(
            self.library.centred, picked, liked, k=self.config.reasons + 1, kinship=kinship.astype(np.float32)
        )
        return [
            [int(self.library.work_ids[row]) for row in entry if row != pick][: self.config.reasons]
            for pick, entry in zip(picked, reasons, strict=True)
        ]


def recommend(inputs: RankingInputs, config: RankingConfig | None = None) -> dict[Hashable, pd.DataFrame]:
    """Return every user's list; see ``RankingModel.for_user`` for its columns."""
    model = prepare(inputs, config)
    return {user: model.for_user(user) for user in model.users}


def prepare(
    inputs: RankingInputs, config: RankingConfig | None = None, *, library: Library | None = None
) -> RankingModel:
    """Compute once what all users share: centring, priors, facts, EASE, and the similarity of all users in one pass.

    Args:
        inputs: titles, vectors and histories.
        config: the dials.
        library: from ``library_of`` for the same items and vectors, when it was made before.

    Raises:
        ValueError: when vectors or masks do not fit the items, a work_id occurs twice, or columns are missing.
    """
    config = config or RankingConfig()
    library = library or library_of(inputs.items, inputs.vectors, inputs.vector_mask)
    index, n = library.index, len(library.work_ids)
    for user, mask in inputs.excluded.items():
        if np.shape(mask) != (n,):
            raise ValueError(f"the exclusions of {user!r} have shape {np.shape(mask)}, not ({n},)")

    learned = _in_library(taste_weights(inputs.histories, as_of=inputs.as_of, config=config.taste), index)
    kept = learned if inputs.weights is None else _in_library(inputs.weights, index)
    own = _own_titles(kept)
    users = list(dict.fromkeys(inputs.users)) if inputs.users is not None else sorted(own, key=str)

    liking = rows_where(learned, learned["liking"] > 0)
    ease = _fit(liking, inputs, index, n, config)
    place = {user: column for column, user in enumerate(users)}
    watched = np.zeros((len(users), n), dtype=np.float32)
    column, liked_row = places(liking["user_id"], place), liking["row"].to_numpy(dtype=np.int64)
    watched[column[column >= 0], liked_row[column >= 0]] = liking["liking"].to_numpy()[column >= 0]
    tidy = tidy_histories(inputs.histories, as_of=inputs.as_of)
    tidy = tidy.assign(row=places(tidy["work_id"], index))
    begun = rows_where(tidy, started(tidy) & (tidy["row"].to_numpy() >= 0)).groupby("user_id")
    return RankingModel(
        config=config,
        library=library,
        users=users,
        place=place,
        own=own,
        begun={user: group["row"].to_numpy(dtype=np.int64) for user, group in begun},
        excluded=inputs.excluded,
        co_watchers=ease.users,
        household=len(set(learned["user_id"])),
        liked_by=np.bincount(liked_row, minlength=n).astype(np.float64),
        similarity=_similarities(library, own, users, config),
        co_watch=ease.score(watched),
        neighbours=None if inputs.edges is None else _neighbours(inputs.edges, library, own, users),
    )


def blend_shares(config: RankingConfig, known: int, co_watchers: int) -> dict[str, float]:
    """Return the weight of each component for a user with ``known`` titles among ``co_watchers`` people.

    Both curves are x / (x + half): they were read off weights fitted to histories cut to 1-40 titles and to households
    of 2-400 people (users 1-200 of the benchmark's data). Popularity and rating keep theirs; up to ``lead_until``
    titles the others together never weigh more than they, and beyond it the bound grows in proportion.
    """
    base = config.weights
    taste = known / (known + config.half_known)
    others = max(co_watchers - 1, 0)
    crowd = others / (others + config.half_household) * known / (known + config.half_known_co_watch)
    personal = {
        "similarity": base.similarity * taste,
        "co_watch": base.co_watch * crowd,
        "recommended_from": base.recommended_from * taste,
        "novelty": base.novelty * taste,
    }
    bound = (base.rating + base.popularity) * max(1.0, known / config.lead_until)
    total = sum(abs(weight) for weight in personal.values())
    # Weights without popularity and rating at all are somebody's choice, and have nothing to be led by.
    scale = min(1.0, bound / total) if total > 0 and bound > 0 else 1.0
    return {name: weight * scale for name, weight in personal.items()} | {
        "rating": base.rating,
        "popularity": base.popularity,
    }


def standard(values: NDArray[np.floating]) -> Doubles:
    """Bring values to mean 0 and deviation 1 within the candidates, clipped to ±8; a constant becomes zeros."""
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    spread = float(numbers.std()) if len(numbers) else 0.0
    if spread < 1e-9:
        return np.zeros(len(numbers))
    return np.clip((numbers - numbers.mean()) / spread, -8.0, 8.0)


def _in_library(weights: pd.DataFrame, index: dict[int, int]) -> pd.DataFrame:
    """The weights of works in the item table that say anything, with their ``row``."""
    found = weights.assign(row=places(weights["work_id"], index))
    return rows_where(found, (found["row"] >= 0) & (found["weight"].fillna(0.0) != 0))


def _own_titles(weights: pd.DataFrame) -> dict[Hashable, OwnTitles]:
    heaviest = weights.assign(size=weights["weight"].abs())
    heaviest = heaviest.sort_values(["size", "work_id"], ascending=[False, True], kind="stable")
    return {
        user: OwnTitles(group["row"].to_numpy(dtype=np.int64), group["weight"].to_numpy(dtype=np.float64))
        for user, group in heaviest.groupby("user_id", sort=True)
    }


def _fit(liking: pd.DataFrame, inputs: RankingInputs, index: dict[int, int], n: int, config: RankingConfig) -> Ease:
    """EASE on what the household liked, and the crowd from outside where there is one."""
    pairs = liking.reindex(columns=["user_id", "row", "liking"]).assign(outside=False)
    if inputs.crowd is not None and len(inputs.crowd):
        crowd = _in_library(taste_weights(inputs.crowd, as_of=inputs.as_of, config=config.taste), index)
        crowd = rows_where(crowd, crowd["liking"] > 0)
        # The most active ones: they say most about what goes together.
        person, people = pd.factorize(crowd["user_id"], sort=True)
        sizes = np.bincount(person, minlength=len(people))
        active = np.argsort(-sizes, kind="stable")[: config.crowd_limit]
        crowd = rows_where(crowd, np.isin(person, active)).assign(outside=True)
        pairs = pd.concat([pairs, crowd.reindex(columns=pairs.columns)], ignore_index=True)
    person = pairs.groupby(["outside", "user_id"], sort=True).ngroup().to_numpy(dtype=np.int64)
    value = pairs["liking"].to_numpy(dtype=np.float64)
    people = int(person.max()) + 1 if len(person) else 0
    # The ridge follows the scale of the values: unrated plays count half of the best rating, and mean just as much.
    ridge = ridge_for(people) * (float(np.mean(value**2)) if len(value) else 1.0)
    return fit_ease_pairs(person, pairs["row"].to_numpy(dtype=np.int64), value, people, n, ridge)


def _similarities(
    library: Library, own: Mapping[Hashable, OwnTitles], users: list[Hashable], config: RankingConfig
) -> dict[str, Floats]:
    """Σ w · sim^power of all users at once: their titles are pooled, so that each similarity is computed once."""
    histories = [own.get(user, NOTHING_OWN) for user in users]
    pooled = np.unique(np.concatenate([NO_ROWS, *(entry.rows[: config.history_limit] for entry in histories)]))
    matrix = np.zeros((len(pooled), len(users)), dtype=np.float32)
    for column, entry in enumerate(histories):
        kept = entry.rows[: config.history_limit]
        matrix[np.searchsorted(pooled, kept), column] = entry.weights[: config.history_limit]
    found: dict[str, Floats] = {}
    for kind, kind_rows in library.rows.items():
        toned = np.where(np.isin(pooled, kind_rows)[:, None], matrix, matrix * np.float32(config.other_type))
        found[kind] = history_similarity(library.centred, pooled, toned, power=config.power, candidates=kind_rows)
    return found


def _neighbours(
    edges: pd.DataFrame, library: Library, own: Mapping[Hashable, OwnTitles], users: list[Hashable]
) -> Floats:
    weights = np.zeros((len(library.work_ids), len(users)), dtype=np.float32)
    for column, user in enumerate(users):
        entry = own.get(user, NOTHING_OWN)
        weights[entry.rows, column] = entry.weights
    return recommended_from(edges, library.index, weights)


def _empty_list() -> pd.DataFrame:
    types = {"rank": "int64", "work_id": "int64", "media_type": "str", "because": "object", "cold": "bool"}
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, "float64")) for name in COLUMNS})
