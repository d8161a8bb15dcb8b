"""From histories, vectors and features to one ranked list per user.

``prepare`` computes once what all users share: centring, priors, features, EASE, and the similarity of all users in one
pass over the vectors. ``RankingModel.for_user`` then blends, diversifies and explains, which is cheap.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.collaborative import recommended_from
from aperture_dagster.ranking.config import COLUMNS, COMPONENTS, RankingConfig, RankingInputs
from aperture_dagster.ranking.diversity import mmr
from aperture_dagster.ranking.features import signed_root
from aperture_dagster.ranking.histories import Doubles, Floats, Rows, positions, rows_where, started, tidy_histories
from aperture_dagster.ranking.library import NO_ROWS, NO_TITLES, Library, UserTitles, library_of
from aperture_dagster.ranking.popularity import quantile_rank
from aperture_dagster.ranking.signals import (
    fit_people,
    in_library,
    mixed_similarity,
    similarities,
    standardise,
    titles_by_user,
    weight_matrix,
)
from aperture_dagster.ranking.similarity import nearest_liked
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
        found["rating"] = standardise(self.library.priors.rating[candidates])
        found["popularity"] = self._popularity(titles, candidates)
        if not len(titles.rows):
            return found
        described = None
        if user_id in self.column:
            column = self.column[user_id]
            described = self.similarity[media_type][np.searchsorted(self.library.rows[media_type], candidates), column]
            found["co_watch"] = standardise(signed_root(self.co_watch[column, candidates]))
            if self.recommended_from is not None:
                found["recommended_from"] = standardise(signed_root(self.recommended_from[candidates, column]))
        found["similarity"] = mixed_similarity(
            self.library, titles, described, candidates, media_type, config.mix, other_type=config.other_type
        )
        found["novelty"] = standardise(self.library.features.novelty(titles.rows)[candidates])
        return found

    def _popularity(self, titles: UserTitles, candidates: Rows) -> Doubles:
        """Return votes of the world, mixed with how many others of the household liked each candidate."""
        others = max(self.household - 1, 0)
        local = others / (others + self.config.half_local)
        liked = self.liked_by.copy()
        liked[titles.rows[titles.weights > 0]] -= 1.0
        votes = standardise(self.library.priors.votes[candidates])
        counts = standardise(np.log1p(np.maximum(liked[candidates], 0.0)))
        return standardise((1.0 - local) * votes + local * counts)

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

    learned = in_library(taste_weights(inputs.histories, as_of=inputs.as_of), index)
    titles = titles_by_user(learned if inputs.weights is None else in_library(inputs.weights, index))
    users = list(dict.fromkeys(inputs.users)) if inputs.users is not None else sorted(titles, key=str)
    column = {user: number for number, user in enumerate(users)}
    linked = None
    if inputs.edges is not None:
        linked = recommended_from(inputs.edges, index, weight_matrix(titles, users, n))

    liked = rows_where(learned, learned["liking"] > 0)
    liked_rows = liked["row"].to_numpy(dtype=np.int64)
    ease = fit_people(liked, inputs.crowd, index, n, as_of=inputs.as_of, crowd_limit=config.crowd_limit)
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
        similarity=similarities(library, titles, users, other_type=config.other_type, limit=config.history_limit),
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


def _empty_list() -> pd.DataFrame:
    types = {"rank": "int64", "work_id": "int64", "media_type": "str", "because": "object", "cold": "bool"}
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, "float64")) for name in COLUMNS})
