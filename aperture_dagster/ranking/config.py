"""Inputs and parameters of the ranking."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.crowd import Crowd

COMPONENTS = ("similarity", "co_watch", "recommended_from", "rating", "popularity", "novelty")
COLUMNS = ("rank", "work_id", "media_type", "score", *COMPONENTS, "because", "cold")


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """Weight of each component for a user with a long history in a very large household."""

    similarity: float = 1.0
    co_watch: float = 1.3
    recommended_from: float = 0.5
    rating: float = 0.3
    popularity: float = 0.55
    novelty: float = 0.05
    """Small, because genres that a user never watches are mostly genres that they do not like."""


@dataclass(frozen=True, slots=True)
class TasteMix:
    """Relative weights of the parts of ``similarity``."""

    description: float = 0.3
    people: float = 0.15
    studios: float = 0.06
    keywords: float = 0.015
    genres: float = 0.09
    era: float = 0.3
    """Lower than old histories suggest (0.45): in part they prefer a period because later films did not exist yet."""


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """All parameters of the ranking; the defaults were chosen on users 1-200 of the benchmark's data."""

    limit: int = 50
    """Titles per user and media type."""
    weights: BlendWeights = field(default_factory=BlendWeights)
    mix: TasteMix = field(default_factory=TasteMix)
    half_known: float = 8.0
    """Number of watched titles at which similarity has half of its weight."""
    half_known_co_watch: float = 20.0
    """The same for co-watch, which needs more titles."""
    lead_until: float = 10.0
    """Up to this many watched titles, popularity and rating together weigh at least as much as all other components."""
    half_household: float = 90.0
    """Number of other people at which co-watch has half of its weight: five people say little about a sixth."""
    half_local: float = 400.0
    """The same for popularity: half the household's own counts, half TMDb votes."""
    cold_below: int = 3
    """With fewer watched titles, a list says that its user is cold."""
    other_type: float = 0.5
    """Weight of a series in a list of films, and of a film in a list of series."""
    diversity: float = 0.1
    pool: int = 300
    """Number of top candidates from which MMR selects."""
    reasons: int = 3
    reason_genres: float = 0.3
    """Weight of the cosine of genres, added to the cosine of the vectors, when choosing reasons."""
    history_limit: int = 2_000
    """Maximum number of titles per history: similarity uses those with the largest weights."""


@dataclass(frozen=True, slots=True, eq=False)
class RankingInputs:
    """All inputs of the ranking.

    ``items`` has one row per work: ``work_id``, and where known ``media_type``, ``title``, ``year``, ``genres``,
    ``keywords``, ``directors``, ``creators``, ``cast``, ``companies``, ``networks`` (lists of names), ``vote_average``
    (0-10), ``vote_count``, ``popularity``. ``vectors`` has shape (n, d) in the same order; rows may be zero or masked
    (``vector_mask``, shape (n,), is True where one exists). ``excluded`` has a mask (n,) per user of titles that are
    not recommended, beside those that their own history shows as started, finished or rated.
    """

    items: pd.DataFrame
    histories: pd.DataFrame
    as_of: datetime | pd.Timestamp
    vectors: NDArray[Any] | None = None
    vector_mask: NDArray[np.bool_] | None = None
    users: Sequence[Hashable] | None = None
    """Users to rank for; default: everybody in ``histories``. Co-watch always learns from all histories."""
    excluded: Mapping[Hashable, NDArray[np.bool_]] = field(default_factory=dict)
    edges: pd.DataFrame | None = None
    """"Recommended from this title" lists: ``work_id``, ``recommended_work_id``, ``rank``."""
    weights: pd.DataFrame | None = None
    """Stored result of ``taste_weights`` for ``histories`` (``user_id``, ``work_id``, ``weight``), if there is one."""
    crowd: Crowd | None = None
    """What people outside the household watched together (work ids from ``items``)."""
