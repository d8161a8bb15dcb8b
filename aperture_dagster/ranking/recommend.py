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
from aperture_dagster.ranking.features import signed_root
from aperture_dagster.ranking.histories import Doubles, Floats, Rows, positions, rows_where, started, tidy_histories
from aperture_dagster.ranking.library import NO_ROWS, NO_TITLES, Library, UserTitles, library_of
from aperture_dagster.ranking.signals import (
    People,
    empty_list,
    learn_people,
    mixed_similarity,
    select,
    similarities,
    standardise,
    weight_matrix,
)
from aperture_dagster.ranking.similarity import nearest_liked


@dataclass(frozen=True, slots=True, eq=False)
class RankingModel:
    """Data shared by all users of a run."""

    config: RankingConfig
    library: Library
    people: People
    started: dict[Hashable, Rows]
    excluded: Mapping[Hashable, NDArray[np.bool_]]
    similarity: dict[str, Floats]
    """Σ w · sim³ per media type, shape (rows of the type, users)."""
    recommended_from: Floats | None
    """Scores from "recommended from this title" lists, shape (n, users)."""

    def for_user(self, user_id: Hashable) -> pd.DataFrame:
        """Return the list of one user, ranked within each media type, with ``COLUMNS``; an unknown user is cold.

        Components are quantiles among the user's candidates (0-1, 1 is best, 0.5 where all are equal). ``because``
        lists up to three liked work_ids, most similar first.
        """
        parts = [self._ranked(user_id, media_type) for media_type in self.library.rows]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else empty_list(COLUMNS)

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
        if user_id in self.people.column:
            column = self.people.column[user_id]
            described = self.similarity[media_type][np.searchsorted(self.library.rows[media_type], candidates), column]
            found["co_watch"] = standardise(signed_root(self.people.co_watch[column, candidates]))
            if self.recommended_from is not None:
                found["recommended_from"] = standardise(signed_root(self.recommended_from[candidates, column]))
        found["similarity"] = mixed_similarity(
            self.library, titles, described, candidates, media_type, config.mix, other_type=config.other_type
        )
        found["novelty"] = standardise(self.library.features.novelty(titles.rows)[candidates])
        return found

    def _popularity(self, titles: UserTitles, candidates: Rows) -> Doubles:
        """Return votes of the world, mixed with how many others of the household liked each candidate."""
        others = max(self.people.household - 1, 0)
        local = others / (others + self.config.half_local)
        liked = self.people.liked_by.copy()
        liked[titles.rows[titles.weights > 0]] -= 1.0
        votes = standardise(self.library.priors.votes[candidates])
        counts = standardise(np.log1p(np.maximum(liked[candidates], 0.0)))
        return standardise((1.0 - local) * votes + local * counts)

    def _ranked(self, user_id: Hashable, media_type: str) -> pd.DataFrame:
        config, titles = self.config, self.people.titles.get(user_id, NO_TITLES)
        allowed = np.zeros(len(self.library.work_ids), dtype=bool)
        allowed[self.library.rows[media_type]] = True
        if user_id in self.excluded:
            allowed &= ~np.asarray(self.excluded[user_id], dtype=bool)
        allowed[self.started.get(user_id, NO_ROWS)] = False
        candidates = np.flatnonzero(allowed)
        if not len(candidates) or config.limit < 1:
            return empty_list(COLUMNS)
        components = self._components(user_id, titles, media_type, candidates)
        shares = blend_shares(config, len(titles.rows), self.people.co_watchers)
        score = np.zeros(len(candidates))
        for name, values in components.items():
            score += shares[name] * values
        # The last digits of long sums depend on how threads share the work; the lists must not.
        score = np.round(score, 5)
        frame, picked = select(
            self.library, candidates, score, components, media_type=media_type, limit=config.limit,
            shortlist=config.pool, diversity=config.diversity,
        )  # fmt: skip
        frame["because"] = self._because(titles, picked)
        frame["cold"] = len(titles.rows) < config.cold_below
        return frame

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

    people = learn_people(inputs.histories, inputs.weights, inputs.users, inputs.crowd, index, n, as_of=inputs.as_of)
    titles, users = people.titles, people.users
    linked = None
    if inputs.edges is not None:
        linked = recommended_from(inputs.edges, index, weight_matrix(titles, users, n))
    tidy = tidy_histories(inputs.histories, as_of=inputs.as_of)
    tidy = tidy.assign(row=positions(tidy["work_id"], index))
    started_by_user = rows_where(tidy, started(tidy) & (tidy["row"].to_numpy() >= 0)).groupby("user_id")
    return RankingModel(
        config=config,
        library=library,
        people=people,
        started={user: group["row"].to_numpy(dtype=np.int64) for user, group in started_by_user},
        excluded=inputs.excluded,
        similarity=similarities(library, titles, users, other_type=config.other_type, limit=config.history_limit),
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
