"""How the stand-ins behave: keys, versions, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


def _embedding_models() -> dict[str, int]:
    return {
        "text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "demo-embedding": 256,
        "nomic-embed-text": 768, "mxbai-embed-large": 1024,
    }  # fmt: skip


def _embedding_contexts() -> dict[str, int]:
    return {"nomic-embed-text": 2048, "mxbai-embed-large": 512}


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
    tmdb_untranslated_share: float = 0.3
    """Share of the titles without overview and tagline in any language but English."""
    tmdb_moved: Mapping[int, int] = field(default_factory=dict)
    """TMDb ids that are gone, each with the id under which TMDb has the title now: the media server has the old one."""
    omdb_key: str = "demo-omdb-key"
    omdb_daily_limit: int = 1000
    omdb_limit_error: str = "Request limit reached!"
    """What it says when the day's quota is spent; ``Daily request limit reached!`` has been seen, too."""
    omdb_unknown_share: float = 0.05
    """Share of the titles with an IMDb id that it has nothing on; which these are follows from their keys."""
    omdb_malformed_share: float = 0.02
    """Share of the titles whose plot holds what JSON does not allow: raw control characters, bad escapes."""
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
    mdblist_limit_in_body: bool = False
    """Report a spent day with status 200 and ``"response": false`` instead of 429."""
    mdblist_batch_path: Literal["any", "slash_by_redirect", "slash_only"] = "any"
    """Whether a batch may be asked for without a slash at the end of the path; otherwise it is answered 301 or 404."""
    openai_key: str = "demo-openai-key"
    """An empty key asks for none, like a local model server."""
    embedding_models: Mapping[str, int] = field(default_factory=_embedding_models)
    """Name of every embedding model, and the length of its vectors."""
    embedding_max_inputs: int = 2048
    embedding_max_tokens_each: int = 8192
    embedding_contexts: Mapping[str, int] = field(default_factory=_embedding_contexts)
    """Tokens that a text may have, of models that take fewer; they are served as Ollama serves them."""
    embedding_max_tokens: int = 300_000
    embedding_credit: int | None = None
    """Tokens that the account can pay for; beyond them every request is ``insufficient_quota``. None: any number."""
    embedding_refused_words: tuple[str, ...] = ()
    """A request with a text that holds one of these is refused as a whole, by a content filter."""
    group_into_collections: bool = False
    """The media server's own setting that shows users a box set in place of its members; off as shipped."""
    today: datetime | None = None
    """The day that dates are reckoned from; None: the day of the world's last play, else the current day."""

    @property
    def jellyfin_release(self) -> tuple[int, int]:
        """The version's first two numbers, by which it behaves as one of 10.9, 10.10, 10.11 and 12."""
        first, second = self.jellyfin_version.split(".")[:2]
        return int(first), int(second)
