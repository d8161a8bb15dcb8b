"""A world: the titles, users and plays that the stand-ins serve.

A world is plain data. Sibling modules load or generate it; the service modules (Jellyfin, TMDb, ...) serve it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
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
class Release:
    """A release of a film in a country (ISO 3166-1), as the metadata services list it.

    ``type`` is TMDb's: 1 premiere, 2 limited, 3 theatrical, 4 digital, 5 physical, 6 television.
    """

    country: str
    type: int
    day: str
    certification: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A way to watch a title in a country (ISO 3166-1): ``kind`` is flatrate, free, ads, rent or buy."""

    country: str
    kind: str
    service: str


@dataclass(frozen=True, slots=True)
class WorldTitle:
    """A film or series, with everything that the media server and the metadata services know about it.

    ``key`` is unique in the world and stable between runs (``movie:1``, ``series:900000001``). The media server may
    own several ``copies`` (0: only the metadata services know the title).
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
    similar_tmdb_ids: tuple[int, ...] | None = None
    """What TMDb lists as similar; None: the titles that share most keywords."""
    episodes_per_season: tuple[int, ...] = ()
    copies: int = 1
    tags: tuple[str, ...] | None = None
    """Tags on the media server; None: the first three keywords."""
    library: str | None = None
    """The library that owns it; None: the first one of its type."""
    location: str | None = None
    """The folder of the library that it is in; None: the first one."""
    versions: int = 1
    """Number of files of a film that the media server groups as versions; the first is the primary one."""
    merged: bool = False
    """Whether the versions are separate folders merged by hand, rather than files in one folder."""
    specials: int = 0
    """Number of episodes in season 0."""
    missing_episodes: tuple[tuple[int, int], ...] = ()
    """Episodes (season, number) without a file, which the media server knows from metadata (virtual items)."""
    double_episodes: tuple[tuple[int, int], ...] = ()
    """Episodes (season, number) whose file contains the next episode too, which has no item of its own."""
    parts: int = 1
    """Number of files of a film that are played one after the other."""
    sidecars: tuple[str, ...] = ()
    """Ends of the names of external subtitle and audio files beside each video file, such as ``.en.srt``."""
    disc: Literal["dvd", "bluray", "iso"] | None = None
    """Whether the film is a folder of a disc, or an image of one, rather than a video file."""
    heights: tuple[int, ...] = (1080,)
    """Lines of the picture, by copy and then by version; the last one counts for the rest."""
    artwork: tuple[str, ...] = ()
    """Pictures on the media server apart from the poster: ``Backdrop``, ``Logo``, ``Thumb``."""
    adult: bool = False
    """Whether TMDb marks it as adult. Not every erotic title is marked."""
    certifications: tuple[tuple[str, str], ...] | None = None
    """Certification by country; None: derived from the official rating, which is that of the US."""
    releases: tuple[Release, ...] | None = None
    """Releases of a film; None: derived from its release date and certifications."""
    offers: tuple[Offer, ...] | None = None
    """Where it can be watched; None: derived from its releases."""

    @property
    def server_tags(self) -> tuple[str, ...]:
        """Tags on the media server."""
        return self.keywords[:3] if self.tags is None else self.tags


@dataclass(frozen=True, slots=True)
class WorldLibrary:
    """A library of the media server. Its collection type is empty if it has both films and series.

    Without ``has_id``, its folder does not exist (yet), so it has no items.
    """

    name: str
    collection_type: str
    locations: tuple[str, ...]
    has_id: bool = True
    tags: tuple[str, ...] = ()
    """Tags of the library itself, which apply to all its items."""
    enabled: bool = True
    """Whether users see it; the server maintains it either way."""
    item_id: str = field(init=False)
    """The library's id on Jellyfin."""

    def __post_init__(self) -> None:
        """Set the id, which follows from the name."""
        number = hashlib.md5(f"library|{self.name}".encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "item_id", number)


@dataclass(frozen=True, slots=True)
class BoxSet:
    """A collection on the media server: an item besides its members, with the collection's TMDb id."""

    name: str
    title_keys: tuple[str, ...]
    tmdb_id: int | None = None


DEFAULT_LIBRARIES = (
    WorldLibrary("Movies", "movies", ("/media/movies",)),
    WorldLibrary("TV Shows", "tvshows", ("/media/tv",)),
)


@dataclass(frozen=True, slots=True)
class WorldUser:
    """A user of the media server. If there are ``allowed_tags``, titles need one of them; see ``visible_to``."""

    name: str
    is_administrator: bool = False
    is_hidden: bool = False
    is_disabled: bool = False
    max_parental_rating: int | None = None
    blocked_tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] = ()
    excluded_locations: tuple[str, ...] = ()
    """Folders of libraries that the user must not see; only Emby has this rule."""


@dataclass(frozen=True, slots=True)
class Play:
    """One play of a film, or of an episode of a series (``season`` 0: specials), by one user."""

    user: str
    title_key: str
    played_at: datetime
    season: int | None = None
    episode: int | None = None
    rating: float | None = None
    """0-10, or None. With an episode, rating and ``favorite`` apply to the series."""
    completion: float = 1.0
    """Share watched; below 0.9, the item is in progress, not played."""
    favorite: bool = False
    version: int = 0
    """The version of a film that was played."""


@dataclass(slots=True)
class World:
    """Everything that the stand-ins serve. ``plays`` are in chronological order."""

    name: str
    titles: list[WorldTitle] = field(default_factory=list)
    users: list[WorldUser] = field(default_factory=list)
    plays: list[Play] = field(default_factory=list)
    libraries: tuple[WorldLibrary, ...] = DEFAULT_LIBRARIES
    box_sets: list[BoxSet] = field(default_factory=list)


def box_sets_of(titles: Iterable[WorldTitle], *, at_least: int = 2) -> list[BoxSet]:
    """Make a box set of every collection with enough films on the server, as the server's own plugin does."""
    members: dict[tuple[int, str], list[str]] = {}
    for title in titles:
        if title.collection is not None and title.copies and title.media_type == "movie":
            members.setdefault(title.collection, []).append(title.key)
    return [BoxSet(name, tuple(keys), number) for (number, name), keys in members.items() if len(keys) >= at_least]
