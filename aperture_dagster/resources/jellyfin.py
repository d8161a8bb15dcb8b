"""Jellyfin 10.9 to 12, read.

Facts of the API that shaped this file: the only auth form that every version takes is ``Authorization: MediaBrowser
Token="…"``; ``minDateLastSavedForUser`` does not look at user data, so what is new comes from ``sortBy=DatePlayed``
with an early stop; an item marked as played by hand may have no date and sorts last; pages shift when items are added
or removed while they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server import (
    ItemState,
    Listing,
    MediaType,
    Page,
    ServerEpisode,
    ServerLibrary,
    ServerTitle,
    ServerUser,
)
from aperture_dagster.resources.media_server_client import MediaServerClient
from aperture_dagster.resources.media_server_items import (
    ITEM_TYPES,
    OVERLAP,
    batches,
    plain_id,
    read_episode,
    read_page,
    read_state,
    read_title,
    read_user,
    text_of,
    that_say_something,
    walk,
    walk_parts,
)
from aperture_dagster.resources.transport import expect

Record = TypeVar("Record")

TITLE_FIELDS = "ProviderIds,Overview,Genres,Tags,Studios,DateCreated,OriginalTitle,Taglines,SortName,Path"


class JellyfinServer(MediaServerClient):
    """A Jellyfin server over HTTP; implements ``MediaServer``."""

    product = "Jellyfin"

    @staticmethod
    def auth_headers(api_key: str) -> dict[str, str]:
        """Only the token is sent: more would rewrite the key's device record."""
        return {"Authorization": f'MediaBrowser Token="{api_key}"'}

    def users(self) -> Page[ServerUser]:
        """Every user. Jellyfin knows no e-mail addresses."""
        answer = expect(self._http.get_json("/Users"), list, "Jellyfin's list of users")
        return read_page(answer, read_user)

    def libraries(self) -> list[ServerLibrary]:
        """Every library.

        Raises:
            BadAnswer: a library cannot be read; without it what is missing could not be told from what is gone.
        """
        answer = expect(self._http.get_json("/Library/VirtualFolders"), list, "Jellyfin's list of libraries")
        page = read_page(answer, read_library)
        if page.problems:
            raise BadAnswer(f"Jellyfin's list of libraries cannot be read: {page.problems[0]}")
        return page.records

    def titles(self, library: ServerLibrary, media_type: MediaType, listing: Listing) -> Iterator[list[ServerTitle]]:
        """All films or series of a library, oldest first, so that what is added meanwhile comes at the end."""
        query = {
            "parentId": library.library_id,
            "includeItemTypes": ITEM_TYPES[media_type],
            "fields": TITLE_FIELDS,
            "sortBy": "DateCreated,SortName",
            "enableUserData": "false",
        }
        return self._pages(query, read_title, listing)

    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """All episodes of a library that have a file."""
        query = {
            "parentId": library.library_id,
            "includeItemTypes": "Episode",
            "fields": "Path",
            "sortBy": "DateCreated,SortName",
            "enableUserData": "false",
        }
        return self._pages(query, read_episode, listing)

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """What was played since then (newest first, with a day's overlap), and all that is in progress or favourite.

        What was *un*marked never shows here; the daily full comparison finds it.
        """
        query = self._state_query(user_id) | {
            "isPlayed": "true",
            "sortBy": "DatePlayed",
            "sortOrder": "Descending",
        }
        horizon = since - OVERLAP
        for page in self._pages(query, read_state, listing):
            yield page
            if page and all(state.last_played_at is None or state.last_played_at < horizon for state in page):
                # What is older need not be seen.
                listing.total = listing.seen
                break
        yield from walk_parts(self._unfinished_and_marked(user_id), listing)

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Everything that the user played, started or marked."""
        played = partial(self._pages, self._state_query(user_id) | {"isPlayed": "true"}, read_state)
        return walk_parts([played, *self._unfinished_and_marked(user_id)], listing)

    def _unfinished_and_marked(self, user_id: str) -> list[Callable[[Listing], Iterator[list[ItemState]]]]:
        parts = ("IsResumable", "IsFavorite")
        walks = [partial(self._pages, self._state_query(user_id) | {"filters": part}, read_state) for part in parts]
        return [*walks, partial(self._series_states, user_id)]

    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """What the user did with these items, be it nothing; those that they cannot see are left out."""
        for ids in batches(item_ids):
            query = self._state_query(user_id) | {"ids": ids, "includeItemTypes": "Movie,Series,Episode"}
            yield from self._pages(query, read_state, Listing())

    def _series_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """What the user said of whole series. No filter knows ratings, but there are few series."""
        query = self._state_query(user_id) | {"includeItemTypes": "Series"}
        return that_say_something(self._pages(query, read_state, listing))

    def _state_query(self, user_id: str) -> dict[str, str]:
        return {
            "userId": user_id,
            "includeItemTypes": "Movie,Episode",
            "sortBy": "DateCreated,SortName",
            "enableUserData": "true",
        }

    def _pages(
        self, query: Mapping[str, str], read: Callable[[dict[str, Any]], Record], listing: Listing
    ) -> Iterator[list[Record]]:
        base = {
            "recursive": "true",
            "sortOrder": "Ascending",
            "excludeLocationTypes": "Virtual",
            "enableImages": "false",
            "enableTotalRecordCount": "true",
            **query,
        }

        def fetch(start: int, more: int) -> Any:
            return self._http.get_json("/Items", {**base, "startIndex": start, "limit": self._page_size + more})

        return walk(fetch, read, listing, what="Jellyfin's /Items")


def read_library(item: dict[str, Any]) -> ServerLibrary:
    """A library from the server's JSON."""
    return ServerLibrary(
        library_id=plain_id(item.get("ItemId")),
        name=text_of(item, "Name", required=True) or "",
        collection_type=text_of(item, "CollectionType"),
    )
