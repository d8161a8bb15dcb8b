"""Lists to publish, with their titles, the originals of these, and the episodes of series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aperture_dagster.media_server.records import Artwork, MediaSource
from aperture_dagster.publishing.disk.nfo import EpisodeFacts, TitleFacts
from aperture_dagster.publishing.placed import MediaType

Number = tuple[int, int]
"""Season and number of an episode."""


@dataclass(frozen=True, slots=True)
class Original:
    """A film or series on the media server: one of the copies of a work. ``library`` is the name of its library."""

    item_id: int
    server_item_id: str
    sources: tuple[MediaSource, ...] = ()
    picture_tag: str | None = None
    artwork: tuple[Artwork, ...] = ()
    official_rating: str | None = None
    library: str = ""


@dataclass(frozen=True, slots=True)
class OriginalEpisode(EpisodeFacts):
    """An episode of one copy of a series."""

    item_id: int
    server_item_id: str
    sources: tuple[MediaSource, ...]


@dataclass(frozen=True, slots=True)
class ListedTitle:
    """A title of a list.

    Args:
        work_id: the work.
        rank: its place in the list.
        facts: what the NFO says; marker, date, sort title and official rating are filled in here.
        copies: the copies that every viewer may see.
        episodes: of each copy of a series, by the copy's item id.
        start: the first episode to publish; None: any.
        watched: the furthest episode that the owner of the list has watched; None: none.
        because: the liked titles for which it is recommended, by work, the most important first; None: it is on the
            list for another reason.
        poster_path: a picture at TMDb, for titles without one on the server.
        playing: the episodes of which a copy in this list is being played: they stay in it.
    """

    work_id: int
    rank: int
    facts: TitleFacts
    copies: tuple[Original, ...]
    episodes: Mapping[int, Sequence[OriginalEpisode]] = field(default_factory=dict)
    start: Number | None = None
    watched: Number | None = None
    because: Mapping[int, str] | None = None
    poster_path: str | None = None
    playing: frozenset[Number] = frozenset()


@dataclass(frozen=True, slots=True)
class ListSpec:
    """A list, and how it is published.

    Args:
        list_key: identifies it for ever.
        name: of the library.
        media_type: of its titles.
        user_id: the owner; None if it is shared.
        viewers: ids of the users who may see it.
        badges: whether posters show the rank.
        most_episodes: of a series, from its start on; None: the next season to watch.
    """

    list_key: str
    name: str
    media_type: MediaType
    user_id: str | None
    viewers: frozenset[str]
    badges: bool = False
    most_episodes: int | None = None
