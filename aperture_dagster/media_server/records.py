"""Plain records of what a media server holds, the same for Jellyfin and Emby.

A reader skips items that it cannot parse and reports them: :class:`ParsedPage` carries both. :class:`Listing` shows
whether a listing is *complete*; only a complete one may lead to removals.

Records of which a library has many are tuples, because a frozen data class takes several times as long to create.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from aperture_dagster.model import MediaType as MediaType

Record = TypeVar("Record")
# Servers are asked for small pages, and a transaction for each would cost more than reading it.
STATES_PER_BATCH = 5_000
LIKED_FROM = 6.5
"""The rating (0-10) from which servers count an item as liked: a thumb up is 10, a thumb down 1."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Which server this is."""

    server_id: str
    name: str
    version: str
    product: str


@dataclass(frozen=True, slots=True)
class ServerUser:
    """A user account on the server.

    Items with one of ``blocked_tags`` are hidden from the user, and so is everything below ``excluded_folders`` (paths
    on the server). If there are ``allowed_tags``, the user sees only items that have one of them or that are in one of
    ``open_library_ids``. ``email_hint`` is a value that may be an e-mail address.
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
    """A library; ``collection_type`` is None for mixed content, ``locations`` are paths on the server.

    ``library_id`` is empty while the server has not assigned one, because the folder does not exist or was never
    scanned. Such a library cannot be read, and its items do not count as missing.
    """

    library_id: str
    name: str
    collection_type: str | None
    locations: tuple[str, ...] = ()


class ServerTitle(NamedTuple):
    """A film or series. ``picture_tag`` names the content of its primary picture, if it has one.

    Listings leave out its alternate versions (``version_ids``); a user's state of one of them counts for this item.
    """

    server_item_id: str
    title: str
    original_title: str | None = None
    year: int | None = None
    premiere_date: date | None = None
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
    picture_tag: str | None = None
    version_ids: tuple[str, ...] = ()


class ServerEpisode(NamedTuple):
    """An episode. ``number_end`` is set for a double episode; ``version_ids`` are as in :class:`ServerTitle`."""

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


class ItemState(NamedTuple):
    """A user's state of an item. ``position_share`` is 0-1, ``position_ticks`` in 100 ns, ``rating`` 0-10.

    Names and numbers reveal whether the id still refers to the item that the catalogue knows. ``path``, as the server
    sees it, reveals a published copy.
    """

    server_item_id: str
    is_episode: bool = False
    played: bool = False
    play_count: int = 0
    position_share: float = 0.0
    last_played_at: datetime | None = None
    favorite: bool = False
    rating: float | None = None
    name: str | None = None
    series_name: str | None = None
    season: int | None = None
    number: int | None = None
    has_runtime: bool = True
    path: str | None = None
    position_ticks: int = 0

    @property
    def was_started(self) -> bool:
        """Whether the user finished or began the item, now or before."""
        return bool(self.played or self.play_count or self.position_share)

    @property
    def has_content(self) -> bool:
        """Whether the user did anything with the item."""
        return self.was_started or self.favorite or self.rating is not None


def with_content(pages: Iterable[list[ItemState]]) -> Iterator[list[ItemState]]:
    """Drop the states of items that the user did nothing with."""
    for page in pages:
        yield [state for state in page if state.has_content]


def in_batches(pages: Iterable[list[ItemState]], size: int = STATES_PER_BATCH) -> Iterator[list[ItemState]]:
    """Join pages to batches of at least so many states, but for the last."""
    batch: list[ItemState] = []
    for page in pages:
        batch += page
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class ServerStudio:
    """A studio. The server creates one for each studio name that its titles carry."""

    server_item_id: str
    name: str
    has_picture: bool


@dataclass(frozen=True, slots=True)
class ServerVersion:
    """The product and version of a server, and the time on its clock when it answered (UTC), if it says."""

    product: Literal["jellyfin", "emby"]
    version: tuple[int, ...]
    clock: datetime | None = None

    def __str__(self) -> str:
        """Describe the server for messages."""
        return f"{self.product.capitalize()} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True, slots=True)
class PublishedLibrary:
    """A library as the server's administrator sees it.

    ``item_id`` is its id in listings, empty while the server has not assigned one; ``policy_id`` its id in users'
    policies; ``call_id`` its id in calls that change it. ``options`` are its ``LibraryOptions`` as sent, empty while
    there is no id. ``refresh_progress`` is a percentage.
    """

    name: str
    item_id: str
    policy_id: str
    call_id: str
    locations: tuple[str, ...]
    collection_type: str | None
    options: dict[str, Any] = field(hash=False)
    refresh_status: str = "Idle"
    refresh_progress: float | None = None


@dataclass(frozen=True, slots=True)
class PublishedItem:
    """An item of a library of ours, with what can be verified after publishing."""

    server_item_id: str
    item_type: str
    name: str
    path: str | None = None
    sort_name: str | None = None
    official_rating: str | None = None
    series_item_id: str | None = None
    season: int | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class MediaSource:
    """A version of a title: its file, or a folder for a disc image (``video_type`` Dvd or BluRay).

    ``parts`` are the files that continue it, ``side_cars`` subtitles and audio tracks beside it. Paths are as the
    server sees them. ``size`` is in bytes, ``width`` and ``height`` in pixels, ``bitrate`` in bits per second.
    """

    path: str | None
    video_type: str | None = None
    parts: tuple[str, ...] = ()
    side_cars: tuple[str, ...] = ()
    size: int | None = None
    width: int | None = None
    height: int | None = None
    bitrate: int | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of its file and of those that continue it."""
        return (self.path, *self.parts) if self.path is not None else ()


ArtworkKind = Literal["Backdrop", "Logo", "Thumb"]
PictureKind = ArtworkKind | Literal["Primary"]


class Artwork(NamedTuple):
    """A picture of a title apart from its poster.

    ``tag`` changes with it. ``path`` is that of its file, as the server sees it; None if the server does not say.
    """

    kind: ArtworkKind
    tag: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class OriginalFiles:
    """The versions of a title, a tag that changes with its poster (None if it has none), and its other pictures."""

    sources: tuple[MediaSource, ...]
    picture_tag: str | None = None
    artwork: tuple[Artwork, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerList:
    """A collection or a playlist. ``marker`` is the stamp that identifies one of ours."""

    list_id: str
    name: str
    list_type: Literal["BoxSet", "Playlist"]
    marker: str | None = None


@dataclass(slots=True)
class ParsedPage(Generic[Record]):
    """A page of a listing, and the problems found in it.

    ``virtual_ids`` are items without a file, which are left out; ``foreign``: items of a type that was not requested.
    """

    records: list[Record]
    problems: list[str] = field(default_factory=list)
    total: int | None = None
    unreadable_ids: list[str] = field(default_factory=list)
    virtual_ids: list[str] = field(default_factory=list)
    foreign: bool = False


@dataclass(slots=True)
class Listing:
    """Totals and problems of a listing; ``shifted`` if it changed while it was read, so that items may be missing."""

    seen: int = 0
    total: int | None = None
    shifted: bool = False
    problems: list[str] = field(default_factory=list)
    unreadable_ids: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every item was seen, so that an absent item is really gone."""
        return not self.shifted and self.total is not None and self.seen >= self.total
