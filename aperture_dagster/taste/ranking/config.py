"""Inputs and parameters of the ranking."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.taste.ranking.crowd import Crowd

COMPONENTS = ("similarity", "era", "co_watch", "recommended_from", "rating", "popularity")
COLUMNS = ("rank", "work_id", "media_type", "score", *COMPONENTS, "because", "cold")


@dataclass(frozen=True, slots=True)
class TasteMix:
    """Weights of the ways in which a title can be like those in a history."""

    description: float = 0.6
    people: float = 0.25
    genres: float = 0.15
    era: float = 0.7
    """Closeness in years."""


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """Weight of each component for a user with a long history (co-watch: among very many people).

    A score is the sum of the components, each standardised among the user's candidates and multiplied by its weight.
    """

    co_watch: float = 1.2
    recommended_from: float = 1.0
    rating: float = 0.4
    votes: float = 0.45
    trend: float = 0.3
    """TMDb's popularity: how much a title is looked at these days."""


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """All parameters of the blend of a media type; the defaults were chosen on users 1-200 of the benchmark's data."""

    limit: int = 50
    """Titles per user and media type."""
    weights: BlendWeights = field(default_factory=BlendWeights)
    mix: TasteMix = field(default_factory=TasteMix)
    half_known: float = 30.0
    """Number of watched titles at which similarity has half of its weight."""
    half_known_era: float = 20.0
    """The same for closeness in years."""
    half_known_co_watch: float = 28.0
    """The same for co-watch."""
    half_known_rating: float = 3.0
    """The same for rating and TMDb's popularity: for somebody unknown, the number of votes alone is the best guess."""
    other_known: float = 0.2
    """How much a watched series counts as one of the known titles of a list of films, and the other way round."""
    half_household: float = 90.0
    """Number of other people at which co-watch has half of its weight: five people say little about a sixth."""
    fade: float = 0.8
    """Share of the weights of era, rating and popularity that goes as co-watch gains its own."""
    fade_linked: float = 0.7
    """The same as TMDb's lists gain theirs. With less, the lists of all users are alike."""
    cold_below: int = 3
    """With fewer known titles, a list says that its user is cold."""
    diversity: float = 0.1
    by_facts: bool = True
    """Whether weights follow facts of the user in lists of films where neither TMDb's recommended lists nor a crowd say
    what belongs together."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """What components are multiplied with, 1 for those that are not named; and the weight of ``recency``: how new a
    title is among the candidates, part of the component era."""
    earned: Mapping[str, float] = field(default_factory=dict)
    """What the weights of components are multiplied with, 1 for those that are not named, as they have earned it on the
    server's own past. Less weight of co-watch or of TMDb's lists leaves more to what fades as these gain theirs."""


@dataclass(frozen=True, slots=True, eq=False)
class RankingInputs:
    """All inputs of the ranking.

    ``items`` has one row per work: ``work_id``, and where known ``media_type``, ``title``, ``year``, ``genres``,
    ``directors``, ``creators``, ``cast`` (lists of names), ``vote_average`` (0-10), ``vote_count``, ``popularity``,
    ``collection`` (a number) and ``released`` (year and part of the year).
    ``vectors`` has shape (n, d) in the same order; rows may be zero or masked (``vector_mask``, shape (n,), is True
    where one exists). ``excluded`` has a mask (n,) per user of titles that are not recommended, beside those that their
    own history shows as started, finished or rated.
    """

    items: pd.DataFrame
    histories: pd.DataFrame
    as_of: datetime | pd.Timestamp
    vectors: NDArray[Any] | None = None
    vector_mask: NDArray[np.bool_] | None = None
    users: Sequence[Hashable] | None = None
    """Users to rank for; default: everybody in ``histories``. Co-watch always learns from all histories."""
    excluded: Mapping[Hashable, NDArray[np.bool_]] = field(default_factory=dict)
    unnamed: Mapping[Hashable, NDArray[np.bool_]] = field(default_factory=dict)
    """By user a mask (n,) of the titles that no reason names."""
    fatigue: Mapping[Hashable, NDArray[np.float64]] = field(default_factory=dict)
    """By user the score, shape (n,), that titles lose because they have been on the user's list for long."""
    resting: Mapping[Hashable, Collection[int]] = field(default_factory=dict)
    """By user the works that come after the top of the list."""
    edges: pd.DataFrame | None = None
    """"Recommended from this title" lists: ``work_id``, ``recommended_work_id``, ``rank``."""
    crowd: Crowd | None = None
    """What people outside the household watched together (work ids from ``items``)."""
