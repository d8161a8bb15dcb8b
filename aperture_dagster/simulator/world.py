"""What a world is: the titles, users and plays that the stand-ins serve.

A world is plain data. Where it comes from (the packaged demo, a folder, a generator) is decided in the
sibling modules; how it is served (Jellyfin, TMDb, ...) in the service modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

MediaType = Literal["movie", "series"]


@dataclass(frozen=True, slots=True)
class CastMember:
    """One actor, in billing order."""

    name: str
    character: str = ""


@dataclass(frozen=True, slots=True)
class WorldTitle:
    """A film or a series, with everything that the media server and the metadata services know of it.

    ``key`` is unique in the world and stable between runs (``movie:1``, ``series:900000001``). A title may be on the
    media server in several ``copies`` (0: the metadata services know it, the server does not own it).
    """

    key: str
    media_type: MediaType
    title: str
    year: int | None = None
    original_title: str | None = None
    genres: tuple[str, ...] = ()
    overview: str = ""
    tagline: str = ""
    keywords: tuple[str, ...] = ()
    cast: tuple[CastMember, ...] = ()
    directors: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()
    composers: tuple[str, ...] = ()
    cinematographers: tuple[str, ...] = ()
    companies: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    language: str | None = None
    runtime_minutes: int | None = None
    release_date: str | None = None
    status: str | None = None
    official_rating: str | None = None
    vote_average: float | None = None
    vote_count: int | None = None
    popularity: float | None = None
    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None
    collection: tuple[int, str] | None = None
    recommended_tmdb_ids: tuple[int, ...] = ()
    episodes_per_season: tuple[int, ...] = ()
    copies: int = 1


@dataclass(frozen=True, slots=True)
class WorldUser:
    """A user of the media server."""

    name: str
    is_administrator: bool = False
    is_hidden: bool = False
    is_disabled: bool = False
    max_parental_rating: int | None = None


@dataclass(frozen=True, slots=True)
class Play:
    """One play by one user of a film, or of one episode of a series (``season``/``episode`` from 1)."""

    user: str
    title_key: str
    played_at: datetime
    season: int | None = None
    episode: int | None = None
    rating: float | None = None
    """0-10 as the media server keeps it, or None. With an episode, the series is rated; so it is with ``favorite``."""
    completion: float = 1.0
    """Share watched; below 0.9 the item is in progress, not played."""
    favorite: bool = False


@dataclass(slots=True)
class World:
    """Everything that the stand-ins serve. ``plays`` are in order of time."""

    name: str
    titles: list[WorldTitle] = field(default_factory=list)
    users: list[WorldUser] = field(default_factory=list)
    plays: list[Play] = field(default_factory=list)
