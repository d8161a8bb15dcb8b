"""What goes into a ranking and every dial of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aperture_dagster.ranking.taste import TasteConfig

COMPONENTS = ("similarity", "co_watch", "recommended_from", "rating", "popularity", "novelty")
COLUMNS = ("rank", "work_id", "media_type", "score", *COMPONENTS, "because", "cold")


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """How much each component counts for a user of whom much is known, in a household of very many."""

    similarity: float = 1.0
    co_watch: float = 1.3
    recommended_from: float = 0.5
    rating: float = 0.3
    popularity: float = 0.55
    novelty: float = 0.05
    """Small: more of it costs precision, for genres that a user does not watch are mostly genres they do not want."""


@dataclass(frozen=True, slots=True)
class TasteMix:
    """What similarity to a taste is made of, relative to each other."""

    description: float = 0.3
    """Σ w · sim³ of the vectors."""
    people: float = 0.15
    studios: float = 0.06
    keywords: float = 0.015
    genres: float = 0.09
    era: float = 0.3
    """Below what old histories ask for (0.45): part of that is only that nobody sees films which do not exist yet."""


@dataclass(frozen=True, slots=True)
class RankingConfig:
    """Every dial of the ranking; the defaults were chosen on users 1-200 of the benchmark's data."""

    limit: int = 50
    """Titles per user and media type."""
    weights: BlendWeights = field(default_factory=BlendWeights)
    mix: TasteMix = field(default_factory=TasteMix)
    taste: TasteConfig = field(default_factory=TasteConfig)
    power: int = 3
    half_known: float = 8.0
    """Watched titles at which similarity reaches half of its weight."""
    half_known_co_watch: float = 20.0
    """The same for co-watch, which needs more titles before it knows whom a user is like."""
    lead_until: float = 10.0
    """Watched titles up to which popularity and rating together weigh at least as much as all that is personal."""
    half_household: float = 90.0
    """Others at which co-watch reaches half of its weight: five people tell little about a sixth."""
    half_local: float = 400.0
    """Others at which the household's own counts are half of popularity, beside the votes of the world."""
    cold_below: int = 3
    """A user with fewer watched titles is cold, and is told so."""
    other_type: float = 0.5
    """What a liked series counts for films, and a liked film for series."""
    diversity: float = 0.1
    pool: int = 300
    """Best candidates among which diversity may choose."""
    reasons: int = 3
    reason_kinship: float = 0.3
    """How much shared genres (cosine) count beside similar texts when reasons are chosen."""
    crowd_limit: int = 5_000
    """People of a crowd from outside at most: the most active."""
    history_limit: int = 2_000
    """Titles of one history that similarity looks at: the weightiest."""


@dataclass(frozen=True, slots=True, eq=False)
class RankingInputs:
    """Everything that the ranking knows; nothing else is read.

    ``items`` has one row a work: ``work_id``, and where known ``media_type``, ``title``, ``year``, ``genres``,
    ``keywords``, ``directors``, ``creators``, ``cast``, ``companies``, ``networks`` (lists of names), ``vote_average``
    (0-10), ``vote_count``, ``popularity``. ``vectors`` is (n, d) in the same order, or None; rows may be zero or
    masked. ``excluded`` has a mask (n,) per user: True is never recommended (see ``exclusions``); what the user's own
    history says was started, finished or rated is left out besides.
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
    weights: pd.DataFrame | None = None
    """What ``taste_weights`` said of ``histories`` (``user_id``, ``work_id``, ``weight``), when it was kept."""
    crowd: pd.DataFrame | None = None
    """Histories from outside the household (the same columns, ids of works that are in ``items``)."""
