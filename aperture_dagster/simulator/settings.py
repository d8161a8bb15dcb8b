"""Settings of the stand-ins: keys, versions, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from aperture_dagster.simulator.rules import ServerRules, version_numbers


def _embedding_models() -> dict[str, int]:
    return {
        "text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "demo-embedding": 256,
        "nomic-embed-text": 768, "mxbai-embed-large": 1024,
    }  # fmt: skip


def _embedding_contexts() -> dict[str, int]:
    return {"nomic-embed-text": 2048, "mxbai-embed-large": 512}


def _ollama_models() -> dict[str, tuple[str, ...]]:
    return {
        "nomic-embed-text:latest": ("embedding",), "mxbai-embed-large:335m": ("embedding",),
        "llama3.2:3b": ("completion", "tools"), "gpt-oss:120b-cloud": ("completion", "thinking"),
    }  # fmt: skip


def _lm_studio_models() -> dict[str, str]:
    return {"text-embedding-nomic-embed-text-v1.5": "embedding", "qwen/qwen3-4b": "llm"}


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """Settings of one simulator. The keys are not secret: only the stand-ins accept them."""

    jellyfin_key: str = "demo-jellyfin-key"
    user_password: str = "demo-password"
    """The password of every user of Jellyfin."""
    jellyfin_version: str = "12.0.0"
    """``10.9.11`` to ``12.0.0``; from 12 on, legacy authentication is refused."""
    media_server: Literal["jellyfin", "emby"] = "jellyfin"
    """The media server whose libraries clients can change, and whose rules apply to scans and to user data."""
    emby_key: str = "demo-emby-key"
    emby_version: str = "4.8.11.0"
    tmdb_key: str = "demo-tmdb-key"
    tmdb_limit: tuple[int, float] = (1000, 1.0)
    """Requests allowed in any window of this many seconds; more are answered with 429."""
    tmdb_retry_after: int | None = None
    """Seconds for ``Retry-After`` with a 429; None: no such header, as often from the real service."""
    tmdb_untranslated_share: float = 0.3
    """Share of titles whose overview and tagline exist only in English."""
    tmdb_moved: Mapping[int, int] = field(default_factory=dict)
    """Current TMDb id by former one. The media server still has the former id; TMDb knows only the current one."""
    omdb_key: str = "demo-omdb-key"
    omdb_daily_limit: int = 1000
    omdb_limit_error: str = "Request limit reached!"
    """Error text when the daily quota is spent; the real service has also used ``Daily request limit reached!``."""
    omdb_unknown_share: float = 0.05
    """Share of titles with an IMDb id that it does not know, chosen by their keys."""
    omdb_malformed_share: float = 0.02
    """Share of titles whose plot makes the JSON invalid: raw control characters, bad escapes."""
    mdblist_key: str = "demo-mdblist-key"
    mdblist_daily_limit: int = 1000
    mdblist_limit: tuple[int, float] = (1000, 1.0)
    """Requests allowed in any window of this many seconds; more are answered with 429."""
    mdblist_retry_after: int | None = 1
    """Seconds for ``Retry-After`` when that limit is exceeded. A spent quota names the seconds until midnight."""
    mdblist_largest_batch: int = 200
    """Ids allowed per request. A larger batch is refused and still costs a unit of the quota."""
    mdblist_batch_refusal: int = 400
    """Status for a batch that is too large; the real service has also used 403 and 413."""
    mdblist_unknown_share: float = 0.05
    """Share of titles that it does not know, chosen by their keys."""
    mdblist_lists: Mapping[str, Sequence[str]] | None = None
    """Keys of the titles of each list, by ``user/slug``; None: the best known films and series."""
    mdblist_limit_in_body: bool = False
    """Report a spent quota with status 200 and ``"response": false`` instead of 429."""
    mdblist_batch_path: Literal["any", "slash_by_redirect", "slash_only"] = "any"
    """Whether the path of a batch may lack its trailing slash; otherwise such a request is answered with 301 or 404."""
    trakt_client_id: str = "demo-trakt-client-id"
    trakt_client_secret: str = "demo-trakt-client-secret"
    trakt_token_seconds: int = 604_800
    """Life of an access token; it was three months once, and then a day."""
    trakt_device_seconds: int = 600
    """Life of a device code."""
    trakt_device_interval: int = 5
    """Seconds between two polls for a token."""
    trakt_reads: tuple[int, float] = (500, 300.0)
    """Reads allowed per user in any window of this many seconds."""
    trakt_writes: tuple[int, float] = (1, 1.0)
    """Writes allowed per user in any window of this many seconds."""
    trakt_ratings_limits: tuple[int, int] = (10_000, 20_000)
    """Ratings that an account can hold, free and VIP."""
    trakt_unknown_share: float = 0.02
    """Share of titles that Trakt does not know, chosen by their keys."""
    trakt_missing_ids_share: float = 0.1
    """Share of titles of which it lacks the IMDb id (films) or the TVDb id (shows), chosen by their keys."""
    seerr_key: str = "demo-seerr-key"
    seerr_version: str = "3.0.1"
    seerr_without: tuple[str, ...] = ()
    """Names of users of the media server that were not imported into Seerr."""
    seerr_permissions: int = 32
    """Permissions of imported users: they may make requests, which wait for approval."""
    seerr_movie_quota: tuple[int, int] | None = None
    """Films that a user may request in so many days; None: as many as they like."""
    seerr_tv_quota: tuple[int, int] | None = None
    """The same for seasons of series."""
    seerr_csrf: bool = False
    """Whether its protection against forged requests is on, which refuses writes with the key."""
    openai_key: str = "demo-openai-key"
    """If empty, no key is required, as with a local model server."""
    embedding_models: Mapping[str, int] = field(default_factory=_embedding_models)
    """Dimensions by embedding model."""
    embedding_max_inputs: int = 2048
    embedding_max_tokens_each: int = 8192
    embedding_contexts: Mapping[str, int] = field(default_factory=_embedding_contexts)
    """Context length by model, for models with a shorter one; these fail as Ollama's do."""
    embedding_max_tokens: int = 300_000
    embedding_credit: int | None = None
    """Tokens that the account can pay for; beyond that, every request is ``insufficient_quota``. None: unlimited."""
    embedding_refused_words: tuple[str, ...] = ()
    """Words that trigger the content filter, which refuses the whole request."""
    ollama_models: Mapping[str, tuple[str, ...]] = field(default_factory=_ollama_models)
    """Capabilities by name of the models that Ollama lists; those with a tag that ends in ``cloud`` are remote."""
    ollama_lists_capabilities: bool = True
    """Whether ``/api/tags`` has the capabilities; otherwise only ``/api/show``, as in older versions."""
    lm_studio_models: Mapping[str, str] = field(default_factory=_lm_studio_models)
    """Type by key of the models that LM Studio has downloaded."""
    lm_studio_has_v1: bool = True
    """Whether it has ``/api/v1/models``, which older versions lack."""
    group_into_collections: bool = False
    """The media server's setting that shows users a box set instead of its members; off by default."""
    volumes: Mapping[str, str | Path] = field(default_factory=dict)
    """Folders of this machine by the path at which the media server sees them; it sees no others."""
    scan_seconds: float = 0.005
    """Duration of a scan, of one library or of all."""
    scan_entries_per_second: float | None = None
    """Films and episodes that a scan reads per second, one library after the other; they appear as they are read. A
    real server with two cores read 12. None: a scan takes ``scan_seconds``, and everything appears at its end.
    """
    scan_gap_seconds: float = 0.001
    """Time for which a refresh is queued, and then seems idle, before it starts."""
    plugins: tuple[str, ...] = ("TMDb", "OMDb")
    """Names of the media server's plugins, such as ``Merge Versions``."""
    file_creation_time: bool = True
    """Whether the date of a new item is that of its file (``UseFileCreationTimeForDateAdded``), or the current one."""
    group_shows_into_collections: bool | None = None
    """The same for series; None: as for films."""
    emby_reads_locked_nfo: bool = True
    """Whether Emby reads the NFO file of a locked item again, which is not known for sure."""
    emby_shares_user_data: bool = True
    """Whether Emby shares user data between items with a common provider id, which is not known for 4.9."""
    emby_nfo_tolerance: float = 0.0
    """Seconds by which an NFO file must be newer than the item for Emby to read it again; the real value is unknown."""
    emby_scan_key: str = "RefreshLibrary"
    """Key of the task that scans Emby's libraries, which is not known for sure."""
    playlist_duplicates: bool = False
    """Whether playlists of Jellyfin 10.9 accept an item twice: its configuration; later versions have fixed rules."""
    identify_box_sets: bool = True
    """Whether Jellyfin searches TMDb by the name of a new, unlocked box set, and takes the first hit's metadata."""
    playlists_keep_provider_ids: bool = True
    """Whether Jellyfin stores provider ids that clients write to playlists; not verified."""
    emby_reuses_box_sets: bool = True
    """Whether a new collection with the name of an existing one becomes that one on Emby; not verified."""
    emby_keeps_empty_box_sets: bool = False
    """Whether Emby keeps collections without members; not verified."""
    emby_public_playlists: bool = False
    """Whether everyone sees new playlists on Emby; not verified."""
    today: datetime | None = None
    """The current day of the world; None: the day of its last play, or else the real current day."""

    @property
    def jellyfin_release(self) -> tuple[int, int]:
        """Major and minor version, which decide the behaviour: 10.9, 10.10, 10.11 or 12."""
        first, second = self.jellyfin_version.split(".")[:2]
        return int(first), int(second)

    @property
    def rules(self) -> ServerRules:
        """The rules of the media server for libraries, scans and user data."""
        version = self.emby_version if self.media_server == "emby" else self.jellyfin_version
        return ServerRules(self.media_server == "emby", version_numbers(version))
