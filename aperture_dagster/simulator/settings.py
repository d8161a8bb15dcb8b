"""Settings of the stand-ins: keys, versions, limits; and what differs between versions of the media servers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from aperture_dagster.settings import PREFIX

# What differs between versions of the media servers in libraries, scans and user data.
#
# Jellyfin: read in the source of 10.9.11, 10.10.7, 10.11.0 to 10.11.11 and 12.0-rc5. Emby is closed source: that it
# reads the NFO files of locked items again, and shares user data between items with a common provider id, is assumed.


@dataclass(frozen=True, slots=True)
class ServerRules:
    """The rules of one server. ``version`` is that of the server itself, Jellyfin's or Emby's."""

    emby: bool
    version: tuple[int, ...]

    def _jellyfin_from(self, *version: int) -> bool:
        return not self.emby and self.version >= version

    @property
    def validates_on_create(self) -> bool:
        """Whether a new library has its id at once, even without a scan (``LibraryManager.AddVirtualFolder``)."""
        return self.emby or self._jellyfin_from(10, 11)

    @property
    def adds_paths_of_options(self) -> bool:
        """Whether new paths in options become locations (``UpdateLibraryOptions``)."""
        return self._jellyfin_from(10, 11, 6)

    @property
    def substring_conflicts(self) -> bool:
        """Whether a library is a duplicate when its path contains another's (``NormalizeRootPathList``)."""
        return not self.emby and self.version < (12, 1)

    @property
    def removes_on_any_scan(self) -> bool:
        """Whether any scan deletes the items of removed libraries, not only the one that the removal asked for."""
        return self.emby or self._jellyfin_from(12)

    @property
    def plays_local_strm(self) -> bool:
        """Whether a local path in a STRM file plays (``ProbeProvider.FetchShortcutInfo``)."""
        return self.emby or self.version < (10, 11, 7)

    @property
    def keeps_relative_strm(self) -> bool:
        """Whether such a path may be relative."""
        return self.emby

    @property
    def nfo_tolerance(self) -> float:
        """Seconds by which an NFO file must be newer than the item (``BaseNfoProvider.HasChanged``)."""
        return 60.0 if self._jellyfin_from(10, 11, 3) else 0.0

    @property
    def skips_nfo_of_locked(self) -> bool:
        """Whether a locked item's NFO file is not read again (``MetadataService.RefreshWithProviders``)."""
        return self._jellyfin_from(10, 9, 4)

    @property
    def dates_links_by_target(self) -> bool:
        """Whether a link's date is that of its target."""
        return self._jellyfin_from(10, 11)

    @property
    def resets_date_of_changed_files(self) -> bool:
        """Whether a newer file gives its item a new date."""
        return self._jellyfin_from(10, 11)

    @property
    def shares_user_data(self) -> bool:
        """Whether items with a common key share user data (rows by key), rather than each having its own."""
        return self.emby or self.version < (10, 11)

    @property
    def groups_series(self) -> bool:
        """Whether series with a common key become one, across libraries (``Series.CreatePresentationUniqueKey``)."""
        return self._jellyfin_from(12)

    @property
    def sorts_as_named(self) -> bool:
        """Whether a forced sort name loses articles and characters, as a name does."""
        return self._jellyfin_from(12)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as ``10.11.3``; ``12.0-rc5`` counts as 12.0."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("-")[0]))


def _embedding_models() -> dict[str, int]:
    return {
        "text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "demo-embedding": 256,
        "nomic-embed-text": 768, "mxbai-embed-large": 1024,
    }  # fmt: skip


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
    tmdb_moved: Mapping[int, int] = field(default_factory=dict)
    """Current TMDb id by former one. The media server still has the former id; TMDb knows only the current one."""
    omdb_key: str = "demo-omdb-key"
    omdb_daily_limit: int = 1000
    omdb_unknown_share: float = 0.05
    """Share of titles with an IMDb id that it does not know, chosen by their keys."""
    omdb_malformed_share: float = 0.02
    """Share of titles whose plot makes the JSON invalid: raw control characters, bad escapes."""
    mdblist_key: str = "demo-mdblist-key"
    mdblist_daily_limit: int = 1000
    mdblist_largest_batch: int = 200
    """Ids allowed per request. A larger batch is refused and still costs a unit of the quota."""
    mdblist_batch_refusal: int = 400
    """Status for a batch that is too large; the real service has also used 403 and 413."""
    mdblist_unknown_share: float = 0.05
    """Share of titles that it does not know, chosen by their keys."""
    mdblist_lists: Mapping[str, Sequence[str]] | None = None
    """Keys of the titles of each list, by ``user/slug``; None: the best known films and series."""
    mdblist_batch_path: Literal["any", "slash_by_redirect", "slash_only"] = "any"
    """Whether the path of a batch may lack its trailing slash; otherwise such a request is answered with 301 or 404."""
    trakt_client_id: str = "demo-trakt-client-id"
    trakt_client_secret: str = "demo-trakt-client-secret"
    trakt_token_seconds: int = 604_800
    """Life of an access token; it was three months once, and then a day."""
    trakt_device_interval: int = 5
    """Seconds between two polls for a token."""
    trakt_writes: tuple[int, float] = (1, 1.0)
    """Writes allowed per user in any window of this many seconds."""
    trakt_unknown_share: float = 0.02
    """Share of titles that Trakt does not know, chosen by their keys."""
    trakt_missing_ids_share: float = 0.1
    """Share of titles of which it lacks the IMDb id (films) or the TVDb id (shows), chosen by their keys."""
    seerr_key: str = "demo-seerr-key"
    seerr_without: tuple[str, ...] = ()
    """Names of users of the media server that were not imported into Seerr."""
    openai_key: str = "demo-openai-key"
    """If empty, no key is required, as with a local model server."""
    embedding_models: Mapping[str, int] = field(default_factory=_embedding_models)
    """Dimensions by embedding model."""
    embedding_refused_words: tuple[str, ...] = ()
    """Words that trigger the content filter, which refuses the whole request."""
    ollama_models: tuple[str, ...] = ("nomic-embed-text:latest", "mxbai-embed-large:335m", "gpt-oss:120b-cloud")
    """Models that Ollama lists; those whose name ends in ``cloud`` are remote."""
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


JELLYFIN_PATH = "/jellyfin"
EMBY_PATH = "/emby"
TMDB_PATH = "/tmdb/3"
TMDB_IMAGES_PATH = "/tmdb-images"
OPENAI_PATH = "/openai/v1"
OMDB_PATH = "/omdb"
MDBLIST_PATH = "/mdblist"
TRAKT_PATH = "/trakt"
TRAKT_AUTH_PATH = TRAKT_PATH + "/auth"
SEERR_PATH = "/seerr"
OLLAMA_PATH = "/ollama"
LM_STUDIO_PATH = "/lm-studio"
PRICES_PATH = "/prices"
PRICES_FILE = "/model_prices_and_context_window.json"
VOLUME = "/data/aperture"
"""Where the media server of a demo sees the folder for published libraries."""
SECRET_KEY = "demo-secret-key-of-the-stand-ins"
"""Encrypts tokens of the stand-in for Trakt, which are not secret."""


def environment(root: str, server: str = "jellyfin", settings: SimulatorSettings | None = None) -> dict[str, str]:
    """Return variables that point every service at the stand-ins under ``root``, with ``server`` as the media server.

    The product may use the stand-ins' limits. At the real services' rates, 10,000 films would take most of an hour,
    and OMDb alone ten days.
    """
    settings = settings or SimulatorSettings()
    tmdb_requests, tmdb_seconds = settings.tmdb_limit
    return {
        PREFIX + "MEDIA_SERVER_URL": root + (EMBY_PATH if server == "emby" else JELLYFIN_PATH),
        PREFIX + "MEDIA_SERVER_TYPE": server,
        PREFIX + "MEDIA_SERVER_API_KEY": settings.emby_key if server == "emby" else settings.jellyfin_key,
        "TMDB_API_KEY": settings.tmdb_key,
        PREFIX + "TMDB_URL": root + TMDB_PATH,
        # A little less than the stand-in allows in the 10 seconds of the setting.
        PREFIX + "TMDB_REQUESTS": str(max(1, int(tmdb_requests * 10 / tmdb_seconds * 0.95))),
        PREFIX + "TMDB_IMAGE_URL": root + TMDB_IMAGES_PATH,
        "OMDB_API_KEY": settings.omdb_key,
        PREFIX + "OMDB_URL": root + OMDB_PATH,
        PREFIX + "OMDB_DAILY_LIMIT": str(settings.omdb_daily_limit),
        "MDBLIST_API_KEY": settings.mdblist_key,
        PREFIX + "MDBLIST_URL": root + MDBLIST_PATH,
        "TRAKT_CLIENT_ID": settings.trakt_client_id,
        "TRAKT_CLIENT_SECRET": settings.trakt_client_secret,
        PREFIX + "TRAKT_URL": root + TRAKT_PATH,
        PREFIX + "SECRET_KEY": SECRET_KEY,
        PREFIX + "SEERR_URL": root + SEERR_PATH,
        "SEERR_API_KEY": settings.seerr_key,
        PREFIX + "PRICES_URL": root + PRICES_PATH + PRICES_FILE,
    }
