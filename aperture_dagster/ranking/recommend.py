"""From histories, vectors and features to one ranked list per user.

``prepare`` computes once what all users share: centring, priors, features, EASE, and the similarity of all users in one
pass over the vectors. ``RankingModel.for_user`` then blends, diversifies and explains, which is cheap.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.collaborative import Ease, fit_ease, recommended_from, ridge_for
from aperture_dagster.ranking.config import COLUMNS, COMPONENTS, RankingConfig, RankingInputs
from aperture_dagster.ranking.diversity import mmr
from aperture_dagster.ranking.features import signed_root
from aperture_dagster.ranking.histories import Doubles, Floats, Rows, positions, rows_where, started, tidy_histories
from aperture_dagster.ranking.library import NO_ROWS, NO_TITLES, Library, UserTitles, library_of
from aperture_dagster.ranking.popularity import quantile_rank
from aperture_dagster.ranking.similarity import history_similarity, nearest_liked
from aperture_dagster.ranking.taste import taste_weights


@dataclass(frozen=True, slots=True, eq=False)
class RankingModel:
    """Data shared by all users of a run."""

    config: RankingConfig
    library: Library
    users: list[Hashable]
    column: dict[Hashable, int]
    """Column of each user in the matrices below."""
    titles: dict[Hashable, UserTitles]
    started: dict[Hashable, Rows]
    excluded: Mapping[Hashable, NDArray[np.bool_]]
    co_watchers: int
    """Number of people (household and crowd) that co-watch has learned from."""
    household: int
    liked_by: Doubles
    """Number of people in the household who liked each title, shape (n,)."""
    similarity: dict[str, Floats]
    """Σ w · sim³ per media type, shape (rows of the type, users)."""
    co_watch: Floats
    """EASE scores, shape (users, n)."""
    recommended_from: Floats | None
    """Scores from "recommended from this title" lists, shape (n, users)."""

    def for_user(self, user_id: Hashable) -> pd.DataFrame:
        """Return the list of one user, ranked within each media type, with ``COLUMNS``; an unknown user is cold.

        Components are quantiles among the user's candidates (0-1, 1 is best, 0.5 where all are equal). ``because``
        lists up to three liked work_ids, most similar first.
        """
        parts = [self._ranked(user_id, media_type) for media_type in self.library.rows]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else _empty_list()

    def _components(
        self, user_id: Hashable, titles: UserTitles, media_type: str, candidates: Rows
    ) -> dict[str, Doubles]:
        """Return each component for the candidates (rows of one media type, ascending), standardised among them."""
        config = self.config
        found = {name: np.zeros(len(candidates)) for name in COMPONENTS}
        found["rating"] = _standardise(self.library.priors.rating[candidates])
        found["popularity"] = self._popularity(titles, candidates)
        if not len(titles.rows):
            return found
        type_rows = self.library.rows[media_type]
        dense = np.zeros(len(self.library.work_ids))
        dense[titles.rows] = titles.weights * np.where(np.isin(titles.rows, type_rows), 1.0, config.other_type)
        near = config.mix.era * _standardise(self.library.features.era(dense)[candidates])
        for field, names in self.library.features.fields.items():
            near += getattr(config.mix, field) * _standardise(signed_root(names.affinity(dense)[candidates]))
        if user_id in self.column:
            column = self.column[user_id]
            described = self.similarity[media_type][np.searchsorted(type_rows, candidates), column]
            near += config.mix.description * _standardise(signed_root(described))
            found["co_watch"] = _standardise(signed_root(self.co_watch[column, candidates]))
            if self.recommended_from is not None:
                found["recommended_from"] = _standardise(signed_root(self.recommended_from[candidates, column]))
        found["similarity"] = _standardise(near)
        found["novelty"] = _standardise(self.library.features.novelty(titles.rows)[candidates])
        return found

    def _popularity(self, titles: UserTitles, candidates: Rows) -> Doubles:
        """Return votes of the world, mixed with how many others of the household liked each candidate."""
        others = max(self.household - 1, 0)
        local = others / (others + self.config.half_local)
        liked = self.liked_by.copy()
        liked[titles.rows[titles.weights > 0]] -= 1.0
        votes = _standardise(self.library.priors.votes[candidates])
        counts = _standardise(np.log1p(np.maximum(liked[candidates], 0.0)))
        return _standardise((1.0 - local) * votes + local * counts)

    def _ranked(self, user_id: Hashable, media_type: str) -> pd.DataFrame:
        config, titles = self.config, self.titles.get(user_id, NO_TITLES)
        allowed = np.zeros(len(self.library.work_ids), dtype=bool)
        allowed[self.library.rows[media_type]] = True
        if user_id in self.excluded:
            allowed &= ~np.asarray(self.excluded[user_id], dtype=bool)
        allowed[self.started.get(user_id, NO_ROWS)] = False
        candidates = np.flatnonzero(allowed)
        if not len(candidates) or config.limit < 1:
            return _empty_list()
        components = self._components(user_id, titles, media_type, candidates)
        shares = blend_shares(config, len(titles.rows), self.co_watchers)
        score = np.zeros(len(candidates))
        for name, values in components.items():
            score += shares[name] * values
        # The last digits of long sums depend on how threads share the work; the lists must not.
        score = np.round(score, 5)
        order = np.lexsort((self.library.work_ids[candidates], -score))
        pool = order[: max(config.pool, config.limit)]
        vectors = self.library.centred[candidates[pool]]
        chosen = pool[mmr(score[pool], vectors, config.limit, diversity=config.diversity)]
        picked = candidates[chosen]
        frame = pd.DataFrame(
            {
                "rank": np.arange(1, len(chosen) + 1),
                "work_id": self.library.work_ids[picked],
                "media_type": media_type,
                "score": score[chosen],
                **{name: quantile_rank(components[name])[chosen] for name in COMPONENTS},
            }
        )
        frame["because"] = self._because(titles, picked)
        frame["cold"] = len(titles.rows) < config.cold_below
        return frame.reindex(columns=list(COLUMNS))

    def _because(self, titles: UserTitles, picked: Rows) -> list[list[int]]:
        config, liked = self.config, titles.rows[titles.weights > 0]
        bonus = (config.reason_genres * self.library.features.genre_cosine(picked, liked)).astype(np.float32)
        # One more than needed: an unwatched favourite may be recommended, but must not be a reason for itself.
        reasons = nearest_liked(self.library.centred, picked, liked, k=config.reasons + 1, bonus=bonus)
        return [
            [int(self.library.work_ids[row]) for row in entry if row != pick][: config.reasons]
            for pick, entry in zip(picked, reasons, strict=True)
        ]


def prepare(
    inputs: RankingInputs, config: RankingConfig | None = None, *, library: Library | None = None
) -> RankingModel:
    """Compute what all users share; ``library`` is that of the same items and vectors, if it exists already.

    Raises:
        ValueError: when vectors or masks do not fit the items, a work_id occurs twice, or columns are missing.
    """
    config = config or RankingConfig()
    library = library or library_of(inputs.items, inputs.vectors, inputs.vector_mask)
    index, n = library.index, len(library.work_ids)
    for user, mask in inputs.excluded.items():
        if np.shape(mask) != (n,):
            raise ValueError(f"the exclusions of {user!r} have shape {np.shape(mask)}, not ({n},)")

    learned = _in_library(taste_weights(inputs.histories, as_of=inputs.as_of), index)
    titles = _user_titles(learned if inputs.weights is None else _in_library(inputs.weights, index))
    users = list(dict.fromkeys(inputs.users)) if inputs.users is not None else sorted(titles, key=str)
    column = {user: number for number, user in enumerate(users)}
    linked = None
    if inputs.edges is not None:
        weights = np.zeros((n, len(users)), dtype=np.float32)
        for user, number in column.items():
            own = titles.get(user, NO_TITLES)
            weights[own.rows, number] = own.weights
        linked = recommended_from(inputs.edges, index, weights)

    liked = rows_where(learned, learned["liking"] > 0)
    liked_rows = liked["row"].to_numpy(dtype=np.int64)
    ease = _fit(liked, inputs, index, n, config)
    liked_columns = positions(liked["user_id"], column)
    asked = liked_columns >= 0
    watched = np.zeros((len(users), n), dtype=np.float32)
    watched[liked_columns[asked], liked_rows[asked]] = liked["liking"].to_numpy()[asked]

    tidy = tidy_histories(inputs.histories, as_of=inputs.as_of)
    tidy = tidy.assign(row=positions(tidy["work_id"], index))
    started_by_user = rows_where(tidy, started(tidy) & (tidy["row"].to_numpy() >= 0)).groupby("user_id")
    return RankingModel(
        config=config,
        library=library,
        users=users,
        column=column,
        titles=titles,
        started={user: group["row"].to_numpy(dtype=np.int64) for user, group in started_by_user},
        excluded=inputs.excluded,
        co_watchers=ease.users,
        household=len(set(learned["user_id"])),
        liked_by=np.bincount(liked_rows, minlength=n).astype(np.float64),
        similarity=_similarities(library, titles, users, config),
        co_watch=ease.score(watched),
        recommended_from=linked,
    )


def blend_shares(config: RankingConfig, known: int, co_watchers: int) -> dict[str, float]:
    """Return the weight of each component for a user with ``known`` titles among ``co_watchers`` people.

    Both curves are x / (x + half). They were fitted on histories cut to 1-40 titles and households of 2-400 people
    (users 1-200 of the benchmark's data). Popularity and rating keep their weights. Up to ``lead_until`` titles all
    other components together weigh at most as much; beyond it, this bound grows in proportion.
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
    # A configuration without popularity and rating has no bound.
    scale = min(1.0, bound / total) if total > 0 and bound > 0 else 1.0
    general = {"rating": base.rating, "popularity": base.popularity}
    return {name: weight * scale for name, weight in personal.items()} | general


def _standardise(values: NDArray[np.floating]) -> Doubles:
    """Scale values to mean 0 and deviation 1, clipped to ±8; a constant becomes zeros."""
    numbers = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    deviation = float(numbers.std()) if len(numbers) else 0.0
    if deviation < 1e-9:
        return np.zeros(len(numbers))
    return np.clip((numbers - numbers.mean()) / deviation, -8.0, 8.0)


def _in_library(weights: pd.DataFrame, index: dict[int, int]) -> pd.DataFrame:
    """Return the non-zero weights of works in the item table, with their ``row``."""
    found = weights.assign(row=positions(weights["work_id"], index))
    return rows_where(found, (found["row"] >= 0) & (found["weight"].fillna(0.0) != 0))


def _user_titles(weights: pd.DataFrame) -> dict[Hashable, UserTitles]:
    heaviest = weights.assign(size=weights["weight"].abs())
    heaviest = heaviest.sort_values(["size", "work_id"], ascending=[False, True], kind="stable")
    return {
        user: UserTitles(group["row"].to_numpy(dtype=np.int64), group["weight"].to_numpy(dtype=np.float64))
        for user, group in heaviest.groupby("user_id", sort=True)
    }


def _fit(liked: pd.DataFrame, inputs: RankingInputs, index: dict[int, int], n: int, config: RankingConfig) -> Ease:
    """Fit EASE to the liked titles of the household, and of the external crowd if there is one."""
    pairs = liked.reindex(columns=["user_id", "row", "liking"]).assign(outside=False)
    if inputs.crowd is not None and len(inputs.crowd):
        crowd = _in_library(taste_weights(inputs.crowd, as_of=inputs.as_of), index)
        crowd = rows_where(crowd, crowd["liking"] > 0)
        # The most active people say most about what goes together.
        person, people = pd.factorize(crowd["user_id"], sort=True)
        sizes = np.bincount(person, minlength=len(people))
        active = np.argsort(-sizes, kind="stable")[: config.crowd_limit]
        crowd = rows_where(crowd, np.isin(person, active)).assign(outside=True)
        pairs = pd.concat([pairs, crowd.reindex(columns=pairs.columns)], ignore_index=True)
    person = pairs.groupby(["outside", "user_id"], sort=True).ngroup().to_numpy(dtype=np.int64)
    value = pairs["liking"].to_numpy(dtype=np.float64)
    people = int(person.max()) + 1 if len(person) else 0
    # The ridge follows the scale of the values: plays without a rating have half the value of the best rating.
    ridge = ridge_for(people) * (float(np.mean(value**2)) if len(value) else 1.0)
    return fit_ease(person, pairs["row"].to_numpy(dtype=np.int64), value, users=people, n=n, ridge=ridge)


def _similarities(
    library: Library, titles: Mapping[Hashable, UserTitles], users: list[Hashable], config: RankingConfig
) -> dict[str, Floats]:
    """Return Σ w · sim³ of all users; their titles are pooled, so that each similarity is computed once."""
    kept = [titles.get(user, NO_TITLES) for user in users]
    kept = [UserTitles(one.rows[: config.history_limit], one.weights[: config.history_limit]) for one in kept]
    pooled = np.unique(np.concatenate([NO_ROWS, *(one.rows for one in kept)]))
    weights = np.zeros((len(pooled), len(users)), dtype=np.float32)
    for column, one in enumerate(kept):
        weights[np.searchsorted(pooled, one.rows), column] = one.weights
    found: dict[str, Floats] = {}
    for media_type, rows in library.rows.items():
        scaled = np.where(np.isin(pooled, rows)[:, None], weights, weights * np.float32(config.other_type))
        found[media_type] = history_similarity(library.centred, pooled, scaled, candidates=rows)
    return found


def _empty_list() -> pd.DataFrame:
    types = {"rank": "int64", "work_id": "int64", "media_type": "str", "because": "object", "cold": "bool"}
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, "float64")) for name in COLUMNS})
