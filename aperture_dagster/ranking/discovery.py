"""Discovery: rank titles that are not in the library, for each user and for the household.

Pool and library are rows of one item table, compared as for recommendations. ``prepare_discovery`` computes once what
all users share; ``DiscoveryModel.for_user`` blends, diversifies and explains, which is cheap.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.config import TasteMix
from aperture_dagster.ranking.crowd import Crowd
from aperture_dagster.ranking.features import signed_root
from aperture_dagster.ranking.histories import (
    Doubles,
    Floats,
    Rows,
    as_utc,
    index_of,
    number_column,
    positions,
    rows_where,
    started,
    tidy_histories,
    utc_column,
)
from aperture_dagster.ranking.library import NO_TITLES, Library, UserTitles, library_of
from aperture_dagster.ranking.links import Links, links_of
from aperture_dagster.ranking.signals import (
    HISTORY_LIMIT,
    People,
    empty_list,
    learn_people,
    ranked_list,
    select,
    similar_parts,
    similarities,
    standardise,
    weight_matrix,
)
from aperture_dagster.ranking.similarity import nearest_liked

DISCOVERY_COMPONENTS = ("similarity", "co_watch", "agreement", "quality", "recency")
DISCOVERY_COLUMNS = ("rank", "work_id", "media_type", "score", *DISCOVERY_COMPONENTS, "because")
HOUSEHOLD_COLUMNS = ("media_type", "rank", "work_id", "score", "user_ids")
USUAL_FONDNESS = 0.5
"""Fondness of new releases (see ``DiscoveryModel.fondness``) at which recency has its own weight."""
RECOMMENDATIONS = "recommendations"
"""The source of suggestions whose seed is the ``work_id`` of a title that the user liked."""


@dataclass(frozen=True, slots=True)
class DiscoveryWeights:
    """Weight of each component for a user with a long history (co-watch: among very many people)."""

    similarity: float = 1.0
    co_watch: float = 1.0
    agreement: float = 1.0
    quality: float = 0.5
    recency: float = 0.05
    """Small, and scaled by how new a user's liked titles were when they were watched."""


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """All parameters of discovery; the defaults were chosen on users 1-200 of the benchmark's data."""

    limit: int = 50
    """Titles per user and media type."""
    weights: DiscoveryWeights = field(default_factory=DiscoveryWeights)
    mix: TasteMix = field(default_factory=lambda: TasteMix(description=0.3, people=0.15, genres=0.09, era=0.3))
    """Relative weights of the parts of similarity."""
    second_order: float = 2.0
    """Weight of "recommended from what is recommended from liked titles" within agreement; direct links have 1. The
    short lists of few liked titles miss much of what belongs together."""
    lists: float = 0.2
    """Weight of the other lists within agreement: discover queries, Trakt."""
    votes: float = 1.0
    """Weight of the number of votes within quality; the Bayesian average has 1."""
    half_known: float = 6.0
    """Number of watched titles at which similarity and agreement have half of their weights."""
    half_known_co_watch: float = 20.0
    """The same for co-watch, which needs more titles."""
    half_household: float = 90.0
    """Number of other people at which co-watch has half of its weight."""
    half_life_years: float = 3.0
    """Age of a release at which it counts half as recent."""
    fresh_days: int = 7
    fatigue: float = 0.01
    """Score that a title loses with each day beyond ``fresh_days`` on a list; off it, it has all of it again."""
    most_fatigue: float = 0.3
    diversity: float = 0.1
    reasons: int = 3
    reason_genres: float = 0.3
    """Weight of the cosine of genres, added to the cosine of the vectors, when choosing reasons."""


@dataclass(frozen=True, slots=True, eq=False)
class DiscoveryInputs:
    """All inputs of discovery.

    ``items`` (the library) and ``pool`` (the candidates) have the columns of ``RankingInputs.items``; ``pool`` also has
    ``release_date``. Rows of the pool whose ``work_id`` is in the library are ignored. ``vectors`` and ``pool_vectors``
    have shapes (n, d) and (m, d) in the order of these tables; rows may be zero or masked (``vector_mask``,
    ``pool_mask``: True where one exists). ``excluded`` has a mask (m,) per user of titles of the pool that are not
    suggested to them, beside those that their own history shows as started, finished or rated.
    """

    items: pd.DataFrame
    pool: pd.DataFrame
    histories: pd.DataFrame
    """Columns of ``tidy_histories``; works are in the library or (rated elsewhere) in the pool, others are ignored."""
    as_of: datetime | pd.Timestamp
    vectors: NDArray[Any] | None = None
    vector_mask: NDArray[np.bool_] | None = None
    pool_vectors: NDArray[Any] | None = None
    pool_mask: NDArray[np.bool_] | None = None
    users: Sequence[Hashable] | None = None
    """Users to rank for; default: everybody in ``histories``. Co-watch always learns from all histories."""
    excluded: Mapping[Hashable, NDArray[np.bool_]] = field(default_factory=dict)
    listed_days: Mapping[Hashable, Mapping[int, int]] = field(default_factory=dict)
    """Days without a break for which titles have been on each user's list."""
    suggestions: pd.DataFrame | None = None
    """``user_id``, ``work_id`` (of the pool), ``source``, ``seed``, ``rank``: which list suggested what to whom."""
    edges: pd.DataFrame | None = None
    """"Recommended from this title" lists of titles of the library and of the pool: ``work_id``,
    ``recommended_work_id``, ``rank``. Suggestions of the source "recommendations" are added to them."""
    crowd: Crowd | None = None
    """What people outside the household watched together (work ids from ``items`` and ``pool``)."""


@dataclass(frozen=True, slots=True, eq=False)
class DiscoveryModel:
    """Data shared by all users of a run; the n rows are those of the library, then those of the pool."""

    config: DiscoveryConfig
    library: Library
    """All n titles, those of the pool included."""
    pool: dict[str, Rows]
    """Rows of the pool per media type."""
    people: People
    closed: dict[Hashable, NDArray[np.bool_]]
    """Titles that are not suggested to a user, shape (n,)."""
    listed_days: Mapping[Hashable, Mapping[int, int]]
    similarity: dict[str, Floats]
    """Σ w · sim³ per media type, shape (pool of the type, users)."""
    links: Links
    linked: Floats
    """Scores by links to the user's titles, shape (n, users)."""
    linked_twice: Floats
    """Scores by links to titles that are linked to the user's, shape (n, users)."""
    listed: Floats
    """Scores by other lists, shape (n, users)."""
    freshness: Doubles
    """1 for a release at ``as_of``, falling to 0 with age, shape (n,)."""
    fondness: Doubles
    """How new the titles that each user liked were when they watched them, on average, 0-1, shape (users,)."""

    def for_user(self, user_id: Hashable) -> pd.DataFrame:
        """Return the list of one user, ranked within each media type, with ``DISCOVERY_COLUMNS``.

        ``score`` (0-1) rises with the sum of the components, less fatigue; 0.5 is an average candidate. The components
        are what each adds to that sum, compared with an average candidate. ``because`` lists up to three liked
        work_ids: first those whose lists led to the title, then the most similar. An unknown user gets what is well
        liked in general.
        """
        parts = [self._ranked(user_id, media_type) for media_type in self.pool]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else empty_list(DISCOVERY_COLUMNS)

    def _components(
        self, user_id: Hashable, titles: UserTitles, media_type: str, candidates: Rows
    ) -> dict[str, Doubles]:
        """Return each component for the candidates (rows of one media type, ascending), standardised among them."""
        config, priors = self.config, self.library.priors
        found = {name: np.zeros(len(candidates)) for name in DISCOVERY_COMPONENTS}
        found["quality"] = standardise(
            standardise(priors.rating[candidates]) + config.votes * standardise(priors.votes[candidates])
        )
        found["recency"] = standardise(self.freshness[candidates])
        described = None
        if user_id in self.people.column:
            column = self.people.column[user_id]
            described = self.similarity[media_type][np.searchsorted(self.pool[media_type], candidates), column]
            found["co_watch"] = standardise(signed_root(self.people.co_watch[column, candidates]))
            found["agreement"] = standardise(
                standardise(signed_root(self.linked[candidates, column]))
                + config.second_order * standardise(signed_root(self.linked_twice[candidates, column]))
                + config.lists * standardise(self.listed[candidates, column])
            )
        if len(titles.rows):
            near = similar_parts(self.library, titles, described, candidates, media_type, config.mix)
            found["similarity"] = standardise(sum(near.values(), np.zeros(len(candidates))))
        return found

    def _ranked(self, user_id: Hashable, media_type: str) -> pd.DataFrame:
        config, titles = self.config, self.people.titles.get(user_id, NO_TITLES)
        candidates = self.pool[media_type]
        if user_id in self.closed:
            candidates = candidates[~self.closed[user_id][candidates]]
        if not len(candidates) or config.limit < 1:
            return empty_list(DISCOVERY_COLUMNS)
        components = self._components(user_id, titles, media_type, candidates)
        fondness = (
            float(self.fondness[self.people.column[user_id]]) if user_id in self.people.column else USUAL_FONDNESS
        )
        shares = discovery_shares(config, len(titles.rows), self.people.co_watchers, fondness)
        components = {name: shares[name] * values for name, values in components.items()}
        blend = sum(components.values(), np.zeros(len(candidates)))
        spread = np.sqrt(sum(share**2 for share in shares.values()))
        # The last digits of long sums depend on how threads share the work; the lists must not.
        score = 1.0 / (1.0 + np.exp(-blend / max(spread, 1e-9)))
        score = np.round(np.maximum(score - self._fatigue(user_id, candidates), 0.0), 5)
        chosen = select(self.library, candidates, score, limit=config.limit, diversity=config.diversity)
        picked, components = candidates[chosen], {name: values[chosen] for name, values in components.items()}
        frame = ranked_list(self.library, picked, media_type, score[chosen], components)
        frame["because"] = self._because(titles, picked)
        return frame

    def _fatigue(self, user_id: Hashable, candidates: Rows) -> Doubles:
        """Return the score that candidates lose because they have been on the user's list for long."""
        days = self.listed_days.get(user_id, {})
        late = np.array([days.get(int(work), 0) for work in self.library.work_ids[candidates]]) - self.config.fresh_days
        return np.clip(self.config.fatigue * late, 0.0, self.config.most_fatigue)

    def _because(self, titles: UserTitles, picked: Rows) -> list[list[int]]:
        config, compared = self.config, titles.largest(HISTORY_LIMIT)
        liked = compared.rows[compared.weights > 0]
        dense = np.zeros(len(self.library.work_ids))
        dense[titles.rows] = titles.weights
        bonus = (config.reason_genres * self.library.features.genre_cosine(picked, liked)).astype(np.float32)
        # One more than needed: a favourite that nobody watched yet must not be a reason for itself.
        nearest = nearest_liked(self.library.centred, picked, liked, k=config.reasons + 1, bonus=bonus)
        found: list[list[int]] = []
        for pick, near in zip(picked, nearest, strict=True):
            rows, adds = self.links.contributions(int(pick), dense)
            linked = rows[np.lexsort((self.library.work_ids[rows], -np.round(adds, 6)))]
            reasons = [row for row in dict.fromkeys([*linked.tolist(), *near]) if row != pick]
            found.append([int(self.library.work_ids[row]) for row in reasons[: config.reasons]])
        return found


def prepare_discovery(inputs: DiscoveryInputs, config: DiscoveryConfig | None = None) -> DiscoveryModel:
    """Compute what all users share.

    Raises:
        ValueError: when vectors or masks do not fit their tables, a work_id occurs twice, or columns are missing.
    """
    config = config or DiscoveryConfig()
    for user, mask in inputs.excluded.items():
        if np.shape(mask) != (len(inputs.pool),):
            raise ValueError(f"the exclusions of {user!r} have shape {np.shape(mask)}, not ({len(inputs.pool)},)")
    library, items, fresh = _all_titles(inputs)
    index, n = library.index, len(library.work_ids)

    people = learn_people(inputs.histories, library, as_of=inputs.as_of, users=inputs.users, crowd=inputs.crowd)
    titles, users, column = people.titles, people.users, people.column
    tidy = tidy_histories(inputs.histories, as_of=inputs.as_of)
    tidy = tidy.assign(row=positions(tidy["work_id"], index))
    tidy = rows_where(tidy, tidy["row"] >= 0)
    links = links_of(_edges(inputs), index, n)
    linked = links.spread(weight_matrix(titles, users, n))
    pool = {media_type: rows[rows >= len(inputs.items)] for media_type, rows in library.rows.items()}
    pool = {media_type: rows for media_type, rows in pool.items() if len(rows)}
    return DiscoveryModel(
        config=config,
        library=library,
        pool=pool,
        people=people,
        closed=_closed(inputs, tidy, fresh),
        listed_days=inputs.listed_days,
        similarity=similarities(library, people, pool),
        links=links,
        linked=linked,
        linked_twice=links.spread(linked),
        listed=_listed(inputs.suggestions, index, column, n),
        freshness=_freshness(items, as_utc(inputs.as_of), config.half_life_years),
        fondness=_fondness(items, tidy, titles, column, config.half_life_years),
    )


def discovery_shares(
    config: DiscoveryConfig, known: int, co_watchers: int, fondness: float = USUAL_FONDNESS
) -> dict[str, float]:
    """Return the weight of each component for a user with ``known`` titles among ``co_watchers`` people.

    What depends on the user's titles grows with their number. Recency grows with ``fondness`` (0-1), up to twice its
    weight: whoever likes old films gets no bonus for new ones.
    """
    base = config.weights
    taste = known / (known + config.half_known)
    others = max(co_watchers - 1, 0)
    crowd = others / (others + config.half_household) * known / (known + config.half_known_co_watch)
    return {
        "similarity": base.similarity * taste,
        "co_watch": base.co_watch * crowd,
        "agreement": base.agreement * taste,
        "quality": base.quality,
        "recency": base.recency * (1.0 - taste + taste * fondness / USUAL_FONDNESS),
    }


def household(
    lists: Mapping[Hashable, pd.DataFrame], *, limit: int = 50, users: Sequence[Hashable] | None = None
) -> pd.DataFrame:
    """Return what would please most people, ranked within each media type, with ``HOUSEHOLD_COLUMNS``.

    The score of a title is the mean over all users, in which whoever does not have it on their list counts 0: what one
    person loves and nobody else wants is below what most like. Ties go to the title of more users, then to the lower
    work_id.

    Args:
        lists: results of ``DiscoveryModel.for_user`` (``work_id``, ``media_type``, ``score``), by user.
        limit: maximum number of titles per media type.
        users: all people of the household, if some of them have no list.
    """
    people = set(lists) | set(users or ())
    parts = [
        frame.reindex(columns=["work_id", "media_type", "score"]).assign(user_id=user) for user, frame in lists.items()
    ]
    parts = [part for part in parts if len(part)]
    if not parts or limit < 1:
        return empty_list(HOUSEHOLD_COLUMNS)
    wanted = pd.concat(parts, ignore_index=True).dropna(subset=["work_id", "score"])
    wanted = wanted.assign(name=wanted["user_id"].astype(str)).sort_values(
        ["score", "name"], ascending=[False, True], kind="stable"
    )
    together = wanted.groupby(["media_type", "work_id"], sort=True).agg(
        total=("score", "sum"), fans=("user_id", "size"), user_ids=("user_id", list)
    )
    together = together.reset_index()
    together["score"] = (together["total"] / len(people)).round(5)
    together = together.sort_values(
        ["media_type", "score", "fans", "work_id"], ascending=[True, False, False, True], kind="stable"
    )
    together["rank"] = together.groupby("media_type").cumcount() + 1
    together = rows_where(together, together["rank"] <= limit)
    return together.reindex(columns=list(HOUSEHOLD_COLUMNS)).reset_index(drop=True)


def _all_titles(inputs: DiscoveryInputs) -> tuple[Library, pd.DataFrame, NDArray[np.bool_]]:
    """Return library and pool, in this order, as one table; and which rows of the pool are in it, shape (m,)."""
    owned = index_of(inputs.items["work_id"])
    index_of(inputs.pool["work_id"])
    fresh = np.array([int(work) not in owned for work in inputs.pool["work_id"]], dtype=bool)
    tables = [table for table in (inputs.items, rows_where(inputs.pool, fresh)) if len(table)]
    together = pd.concat(tables, ignore_index=True) if tables else inputs.items.reset_index(drop=True)
    return library_of(together, *_all_vectors(inputs, fresh)), together, fresh


def _all_vectors(inputs: DiscoveryInputs, fresh: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    given = []
    for name, table, vectors, mask in (
        ("items", inputs.items, inputs.vectors, inputs.vector_mask),
        ("titles of the pool", inputs.pool, inputs.pool_vectors, inputs.pool_mask),
    ):
        if vectors is not None and len(vectors) != len(table):
            raise ValueError(f"{len(vectors)} vectors for {len(table)} {name}")
        known = np.full(len(table), vectors is not None) if mask is None else np.asarray(mask, dtype=bool)
        if known.shape != (len(table),):
            raise ValueError(f"mask {known.shape} does not fit {len(table)} {name}")
        given.append((vectors, known))
    size = next((np.shape(vectors)[1] for vectors, _ in given if vectors is not None and np.ndim(vectors) == 2), 1)
    parts = [
        np.zeros((len(known), size), dtype=np.float32) if vectors is None else np.asarray(vectors)
        for vectors, known in given
    ]
    return np.concatenate([parts[0], parts[1][fresh]]), np.concatenate([given[0][1], given[1][1][fresh]])


def _edges(inputs: DiscoveryInputs) -> pd.DataFrame:
    """Return all "recommended from" lists: those of titles, and those that became suggestions."""
    columns = ["work_id", "recommended_work_id", "rank"]
    parts = [] if inputs.edges is None else [inputs.edges.reindex(columns=columns)]
    if inputs.suggestions is not None and len(inputs.suggestions):
        own = rows_where(inputs.suggestions, inputs.suggestions["source"] == RECOMMENDATIONS)
        parts.append(
            pd.DataFrame(
                {
                    "work_id": pd.to_numeric(own["seed"], errors="coerce"),
                    "recommended_work_id": own["work_id"],
                    "rank": own["rank"],
                }
            ).dropna()
        )
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _listed(
    suggestions: pd.DataFrame | None, index: Mapping[int, int], column: Mapping[Hashable, int], n: int
) -> Floats:
    """Return for each title and user the sum over other lists, each counting less the lower the rank in it."""
    scores = np.zeros((n, len(column)), dtype=np.float32)
    if suggestions is None or not len(suggestions):
        return scores
    others = rows_where(suggestions, suggestions["source"] != RECOMMENDATIONS)
    others = others.sort_values(["user_id", "work_id", "source", "seed"], kind="stable")
    row, user = positions(others["work_id"], index), positions(others["user_id"], column)
    rank = np.maximum(np.nan_to_num(number_column(others, "rank"), nan=100.0), 1.0)
    keep = (row >= 0) & (user >= 0)
    np.add.at(scores, (row[keep], user[keep]), (1.0 / np.log2(1.0 + rank[keep])).astype(np.float32))
    return scores


def _freshness(items: pd.DataFrame, as_of: pd.Timestamp, half_life_years: float) -> Doubles:
    """Return 1 for a release at ``as_of``, half after each half-life, shape (n,); unknown dates get the mean."""
    released = utc_column(items, "release_date")
    age = ((as_of - released).dt.total_seconds() / (365.25 * 86_400.0)).to_numpy(dtype=np.float64)
    fresh = np.exp2(-np.maximum(age, 0.0) / half_life_years)
    known = np.isfinite(fresh)
    return np.where(known, fresh, fresh[known].mean() if known.any() else 0.0)


def _fondness(
    items: pd.DataFrame,
    tidy: pd.DataFrame,
    titles: Mapping[Hashable, UserTitles],
    column: Mapping[Hashable, int],
    half_life_years: float,
) -> Doubles:
    """Return how new each user's liked titles were when watched, 0-1, shape (users,); usual where dates are unknown."""
    found = np.full(len(column), USUAL_FONDNESS)
    years = number_column(items, "year")
    for user, watched in tidy.groupby("user_id"):
        own = titles.get(user, NO_TITLES)
        if user not in column or not (own.weights > 0).any():
            continue
        liking = np.zeros(len(items))
        liking[own.rows] = np.maximum(own.weights, 0.0)
        rows = watched["row"].to_numpy(dtype=np.int64)
        age = watched["last_played_at"].dt.year.to_numpy(dtype=np.float64) - years[rows]
        weight = np.where(np.isfinite(age), liking[rows], 0.0)
        if weight.sum() > 0:
            new = np.exp2(-np.maximum(np.nan_to_num(age), 0.0) / half_life_years)
            found[column[user]] = float((weight * new).sum() / weight.sum())
    return found


def _closed(inputs: DiscoveryInputs, tidy: pd.DataFrame, fresh: NDArray[np.bool_]) -> dict[Hashable, NDArray[np.bool_]]:
    """Return the titles that are not suggested to each user: excluded, or in their own history."""
    of_library = np.zeros(len(inputs.items), dtype=bool)
    closed: dict[Hashable, NDArray[np.bool_]] = {
        user: np.concatenate([of_library, np.asarray(mask, dtype=bool)[fresh]])
        for user, mask in inputs.excluded.items()
    }
    none = np.concatenate([of_library, np.zeros(int(fresh.sum()), dtype=bool)])
    for user, group in rows_where(tidy, started(tidy)).groupby("user_id"):
        closed.setdefault(user, none.copy())[group["row"].to_numpy(dtype=np.int64)] = True
    return closed
