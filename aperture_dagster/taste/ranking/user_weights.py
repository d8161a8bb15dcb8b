"""Weights that follow facts of the user, for lists of films where people outside say nothing.

TMDb's recommended lists and a crowd say which films belong together. Without either, year, genres, texts and votes are
all that is known of a candidate, and how much each says depends on who asks: somebody who watches what is new, or what
few people know, is served worst by weights that are alike for all. Here each component gains, or loses, a multiple of
its own standardised value, which is linear in three facts: how many films are known, how old they were when the user
was last active, and how many votes they have. The last ten films count apart: what somebody watches now is not what
they watched over the years.

The numbers in ``fitted_weights.py`` were fitted on users 1-200 of the benchmark's data by
``benchmarks/user_weights.py``, which writes them: a conditional logit (McFadden 1974) over the candidates, as an
addition to the other weights, with a penalty on the squares. Users 201-400 had no part in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from aperture_dagster.taste.ranking import fitted_weights
from aperture_dagster.taste.ranking.config import TasteMix
from aperture_dagster.taste.ranking.histories import Doubles, Rows, rows_where
from aperture_dagster.taste.ranking.library import NO_TITLES, Library, UserTitles
from aperture_dagster.taste.ranking.signals import history_similarity, similar_parts, standardise

FILMS = "movie"
EVERYBODY = "everybody"
FACTS = ("known", "age", "votes")
COMPONENTS = ("rating", "popularity", "era", "people", "genres", "description", "co_watch")
"""Parts of a score that gain or lose weight."""
LATEST = {
    "era": "latest_era",
    "description": "latest_description",
    "people": "latest_people",
    "genres": "latest_genres",
}
"""Parts that compare candidates with the latest films alone, by the part that they belong to."""
EACH_AS_MUCH = TasteMix(description=1.0, people=1.0, genres=1.0, era=1.0)
NEWNESS = "newness"
"""How new a candidate is, part of ``era``."""
COLUMNS = (*COMPONENTS, *LATEST.values(), NEWNESS)
LATEST_FILMS = 10
HALF_KNOWN = 20.0
"""Number of films at which these weights have half of their effect; below, it falls with the square: of five films, the
last ten say nothing new, and the fit has seen few people who knew so little."""
MOST = 2.5
"""Facts further from their mean than so many deviations count as that."""


@dataclass(frozen=True, slots=True, eq=False)
class LatestFilms:
    """What a user has watched, as these weights look at it."""

    rows: Rows
    """The latest films that are not disliked, at most ``LATEST_FILMS``, shape (h,)."""
    known: int
    """Number of films watched or rated."""
    year: int
    """Year (UTC) of the user's last activity."""


@dataclass(frozen=True, slots=True, eq=False)
class UserWeights:
    """The fitted numbers."""

    means: Doubles
    """Of each fact among the people of the fit, shape (facts,)."""
    deviations: Doubles
    weights: Doubles
    """Of each column for an average user, then what each fact adds per deviation, shape (1 + facts, columns)."""

    def for_user(self, facts: Doubles) -> dict[str, float]:
        """Return the weight of each of ``COLUMNS`` for a user with these facts, shape (facts,)."""
        deviations = np.clip((facts - self.means) / self.deviations, -MOST, MOST)
        return dict(zip(COLUMNS, (np.array([1.0, *deviations]) @ self.weights).tolist(), strict=True))


@cache
def fitted() -> UserWeights:
    """Return the numbers that are shipped."""
    facts, weights = fitted_weights.FACTS, fitted_weights.WEIGHTS
    return UserWeights(
        means=np.array([facts[fact]["mean"] for fact in FACTS]),
        deviations=np.array([facts[fact]["deviation"] for fact in FACTS]),
        weights=np.array([[weights[of][column] for column in COLUMNS] for of in (EVERYBODY, *FACTS)]),
    )


def latest_films(
    tidy: pd.DataFrame, library: Library, titles: Mapping[Hashable, UserTitles]
) -> dict[Hashable, LatestFilms]:
    """Return the latest films of each user who has dated ones.

    ``tidy`` has what users started or rated of the library, with ``row``; ``titles`` have what they think of it.
    """
    films = library.rows.get(FILMS)
    if films is None:
        return {}
    seen = rows_where(tidy, np.isin(tidy["row"], films))
    counts: dict[Hashable, int] = seen.groupby("user_id").size().to_dict()
    dated = rows_where(seen, seen["last_played_at"].notna()).sort_values(["last_played_at", "work_id"], kind="stable")
    found: dict[Hashable, LatestFilms] = {}
    for user, group in dated.groupby("user_id"):
        rows, own = group["row"].to_numpy(dtype=np.int64), titles.get(user, NO_TITLES)
        liked = rows[np.isin(rows, own.rows[own.weights > 0])]
        year = group["last_played_at"].max().year
        found[user] = LatestFilms(rows=liked[-LATEST_FILMS:], known=counts[user], year=year)
    return found


def facts_of(library: Library, titles: UserTitles, latest: LatestFilms) -> Doubles:
    """Return the facts of a user, in the order of ``FACTS``.

    These are the logarithm of the number of known films, and of what the user likes, weighted, the mean age in years at
    the last activity, and the mean logarithm of votes. Unknown years do not count.
    """
    is_film = np.isin(titles.rows, library.rows[FILMS])
    liked, weights = titles.rows[is_film], np.maximum(titles.weights[is_film], 0.0)
    ages = np.maximum(latest.year - library.features.years[liked], 0.0)
    return np.array([np.log(latest.known), _mean(ages, weights), _mean(library.priors.votes[liked], weights)])


def latest_parts(library: Library, latest: LatestFilms, candidates: Rows) -> dict[str, Doubles]:
    """Return how candidates compare with the latest films, and how new they are, each standardised."""
    titles = UserTitles(latest.rows, np.ones(len(latest.rows)))
    described = history_similarity(library.centred, titles.rows, titles.weights, candidates=candidates)
    near = similar_parts(library, titles, described, candidates, FILMS, EACH_AS_MUCH)
    ages = np.maximum(latest.year - library.features.years[candidates], 0.0)
    newness = standardise(-np.log1p(ages), np.isfinite(ages))
    return {LATEST[part]: values for part, values in near.items()} | {NEWNESS: newness}


def columns_of(
    library: Library, latest: LatestFilms, parts: Mapping[str, Doubles], candidates: Rows
) -> dict[str, Doubles]:
    """Return ``COLUMNS``, given the parts of the score: each standardised, and 0 for a part that has no weight.

    Co-watch is as it is: in a household of ten, it has little weight, and gains or loses as little.
    """
    none = np.zeros(len(candidates))
    own = {name: standardise(parts.get(name, none)) for name in COMPONENTS} | {"co_watch": parts.get("co_watch", none)}
    return own | latest_parts(library, latest, candidates)


def effect(known: float) -> float:
    """Return how much of these weights counts for a user with ``known`` films, 0-1."""
    return known**2 / (known**2 + HALF_KNOWN**2)


def added(
    library: Library,
    titles: UserTitles,
    latest: LatestFilms,
    parts: Mapping[str, Doubles],
    candidates: Rows,
) -> dict[str, Doubles]:
    """Return what each part of a user's score gains or loses by the facts, shape (candidates,) each."""
    columns = columns_of(library, latest, parts, candidates)
    weights = fitted().for_user(facts_of(library, titles, latest))
    scale = effect(latest.known)
    belongs = {column: part for part, column in LATEST.items()} | {NEWNESS: "era"}
    found: dict[str, Doubles] = {}
    for name, values in columns.items():
        part = belongs.get(name, name)
        found[part] = found.get(part, 0.0) + scale * weights[name] * values
    return found


def _mean(values: Doubles, weights: Doubles) -> float:
    known = np.isfinite(values)
    total = float(weights[known].sum())
    return float((values[known] * weights[known]).sum() / total) if total > 0 else 0.0
