"""How the stand-ins behave: keys, versions, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


def _embedding_models() -> dict[str, int]:
    return {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "demo-embedding": 256}


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Settings of one simulator. The keys are no secrets: they open nothing but the stand-ins."""

    jellyfin_key: str = "demo-jellyfin-key"
    jellyfin_version: str = "12.0.0"
    """``10.9.11`` to ``12.0.0``; from 12 on the old forms of authentication are refused."""
    emby_key: str = "demo-emby-key"
    emby_version: str = "4.8.11.0"
    tmdb_key: str = "demo-tmdb-key"
    tmdb_limit: tuple[int, float] = (1000, 1.0)
    """At most this many requests in any window of this many seconds; more are answered 429."""
    tmdb_retry_after: int | None = None
    """Seconds to name in ``Retry-After`` of a 429; None: no such header, as the real service often does."""
    omdb_key: str = "demo-omdb-key"
    omdb_daily_limit: int = 1000
    omdb_limit_error: str = "Request limit reached!"
    """What it says when the day's quota is spent; ``Daily request limit reached!`` has been seen, too."""
    omdb_unknown_share: float = 0.05
    """Share of the titles with an IMDb id that it has nothing on; which these are follows from their keys."""
    mdblist_key: str = "demo-mdblist-key"
    mdblist_daily_limit: int = 1000
    mdblist_limit: tuple[int, float] = (1000, 1.0)
    """At most this many requests in any window of this many seconds; more are answered 429."""
    mdblist_retry_after: int | None = 1
    """Seconds to name in ``Retry-After`` when that limit is exceeded; of the day's quota it names those left."""
    mdblist_largest_batch: int = 200
    """Ids allowed in one request; with more, nothing is answered, and a unit of the day's quota is gone."""
    mdblist_batch_refusal: int = 400
    """The status that refuses a larger batch; 403 and 413 have been seen, too."""
    mdblist_unknown_share: float = 0.05
    """Share of the titles that it has nothing on; which these are follows from their keys."""
    openai_key: str = "demo-openai-key"
    """An empty key asks for none, like a local model server."""
    embedding_models: Mapping[str, int] = field(default_factory=_embedding_models)
    """Name of every embedding model, and the length of its vectors."""
    embedding_max_inputs: int = 2048
    embedding_max_tokens_each: int = 8192
    embedding_max_tokens: int = 300_000
    today: datetime | None = None
    """The day that dates are reckoned from; None: the day of the world's last play, else the current day."""
