"""What the product wants of a media server, whichever it is; and the plain records it gets.

A client that finds one item unreadable leaves it out, reports it, and goes on: :class:`Page` carries both. Whether a
listing can be trusted as *complete* is said by :class:`Listing`, and only a complete one may lead to removals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Generic, Literal, Protocol, TypeVar

MediaType = Literal["movie", "series"]
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Which server this is."""

    server_id: str
    name: str
    version: str
    product: str


@dataclass(frozen=True, slots=True)
class ServerUser:
    """A user as the server describes them. ``email_hint`` is what the server knows that may be an address.

    The user sees nothing with one of ``blocked_tags``, and nothing below one of ``excluded_folders``, paths on the
    server. Where there are ``allowed_tags``, they see only what has one of them or lies in an open library.
    """

    user_id: str
    name: str
    is_administrator: bool = False
    is_hidden: bool = False
    is_disabled: bool = False
    max_parental_rating: int | None = None
    all_libraries: bool = True
    library_ids: tuple[str, ...] = ()
    blocked_tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] = ()
    open_library_ids: tuple[str, ...] = ()
    excluded_folders: tuple[str, ...] = ()
    last_activity_at: datetime | None = None
    email_hint: str | None = None


@dataclass(frozen=True, slots=True)
class ServerLibrary:
    """A library; ``collection_type`` is None for one of mixed content.

    ``library_id`` is empty while the server has none for it, because its folder does not exist or was never scanned: it
    cannot be read then, and nothing of it is missing.
    """

    library_id: str
    name: str
    collection_type: str | None


@dataclass(frozen=True, slots=True)
class ServerTitle:
    """A film or series item. ``version_ids`` are the ids of its alternate versions, which listings leave out: what a
    user did with one of them counts for this item.
    """

    server_item_id: str
    title: str
    original_title: str | None = None
    sort_title: str | None = None
    year: int | None = None
    premiere_date: date | None = None
    end_date: date | None = None
    overview: str | None = None
    tagline: str | None = None
    genres: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    studios: tuple[str, ...] = ()
    official_rating: str | None = None
    community_rating: float | None = None
    critic_rating: float | None = None
    runtime_minutes: int | None = None
    status: str | None = None
    path: str | None = None
    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None
    added_at: datetime | None = None
    version_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerEpisode:
    """An episode item; ``number_end`` is set for a double episode, ``version_ids`` as in :class:`ServerTitle`."""

    server_item_id: str
    series_item_id: str
    title: str
    season: int | None = None
    number: int | None = None
    number_end: int | None = None
    air_date: date | None = None
    runtime_minutes: int | None = None
    path: str | None = None
    version_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemState:
    """What a user has done with an item. ``position_share`` is 0-1, ``rating`` 0-10.

    What the server calls the item shows whether its id still means what it meant when the catalogue was read.
    """

    server_item_id: str
    is_episode: bool
    played: bool
    play_count: int
    position_share: float
    last_played_at: datetime | None
    favorite: bool
    rating: float | None
    name: str | None = None
    series_name: str | None = None
    season: int | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class ServerStudio:
    """A studio as the server has it: made by itself from the names that its titles carry."""

    server_item_id: str
    name: str
    has_picture: bool


@dataclass(slots=True)
class Page(Generic[Record]):
    """Some records of a listing, and what could not be read of it.

    ``virtual_ids`` are items without a file, which are left out; with ``foreign`` there were items of another type than
    was asked for.
    """

    records: list[Record]
    problems: list[str] = field(default_factory=list)
    total: int | None = None
    unreadable_ids: list[str] = field(default_factory=list)
    virtual_ids: list[str] = field(default_factory=list)
    foreign: bool = False


@dataclass(slots=True)
class Listing:
    """How a listing went, known when its pages are all read. With ``shifted`` it does not show all there is."""

    seen: int = 0
    total: int | None = None
    shifted: bool = False
    problems: list[str] = field(default_factory=list)
    unreadable_ids: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything there was has been seen, so that what is missing is really gone."""
        return not self.shifted and self.total is not None and self.seen >= self.total


class MediaServer(Protocol):
    """The server, read; and the few things that are written to it."""

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        ...

    def identity(self) -> ServerIdentity:
        """Which server this is; also proves that the key is accepted."""
        ...

    def users(self) -> Page[ServerUser]:
        """Every user, hidden and disabled ones included."""
        ...

    def libraries(self) -> list[ServerLibrary]:
        """Every library."""
        ...

    def titles(self, library: ServerLibrary, media_type: MediaType, listing: Listing) -> Iterator[list[ServerTitle]]:
        """All films or series of a library, a page at a time; ``listing`` is filled on the way."""
        ...

    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """All episodes of a library, a page at a time; ``listing`` is filled on the way."""
        ...

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """At least what the user played, started or marked as favourite since then; may give more.

        A rating alone may be found by ``all_states`` only.
        """
        ...

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Everything that the user played, started, marked or rated."""
        ...

    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """What the user did with these items, be it nothing; those that they cannot see are left out."""
        ...

    def studios(self) -> Iterator[list[ServerStudio]]:
        """All studios, a page at a time."""
        ...

    def set_picture(self, server_item_id: str, content: bytes, media_type: str) -> None:
        """Make ``content`` the primary picture of an item, or of a studio. Safe to repeat."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
