"""Read Jellyfin 10.9 to 12.

Facts of the API that shaped this file:

- The only auth header that every version takes is ``Authorization: MediaBrowser Token="…"``.
- Without ``collapseBoxSetItems=false``, version 12 lists a collection in place of its films, and older versions load
  the whole library for every page.
- ``minDateLastSavedForUser`` does not look at user data, so what is new comes from ``sortBy=DatePlayed`` with an early
  stop; an item marked as played by hand may have no date and sorts last.
- User data of a series makes versions before 12 count its episodes, so series are listed with it once a day only.
- Version 12 lists the primary version of a film alone, yet reports progress under the version that was played.
- Pages shift when items are added or removed while they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from aperture_dagster.library.access import clean_tags
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
    STATES_AT_ONCE,
    batches,
    integer_of,
    of_type,
    plain_id,
    read_episode,
    read_page,
    read_state,
    read_tags,
    read_title,
    read_user,
    read_versions,
    text_of,
    that_say_something,
    walk,
    walk_parts,
)
from aperture_dagster.resources.transport import expect

Record = TypeVar("Record")
Item = TypeVar("Item", ServerTitle, ServerEpisode)

TITLE_FIELDS = (
    "ProviderIds,Overview,Genres,Tags,Studios,DateCreated,OriginalTitle,Taglines,SortName,Path,MediaSourceCount"
)


class JellyfinServer(MediaServerClient):
    """A Jellyfin server over HTTP; implements ``MediaServer``."""

    product = "Jellyfin"

    @staticmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the header that carries the key, or the parameter when a reverse proxy wants that header for itself.

        Jellyfin reads the first ``Authorization`` header alone, ignores it when its scheme is not its own, and then
        takes ``ApiKey`` from the query in every version; the other headers it once took are refused from 12 on
        (jellyfin/jellyfin v10.9.11 to v12.0-rc5, ``Jellyfin.Server.Implementations/Security/AuthorizationContext.cs``).
        Only the token is sent: more would rewrite the key's device record.
        """
        if any(name.lower() == "authorization" for name in extra_headers):
            return {}, {"ApiKey": api_key}
        return {"Authorization": f'MediaBrowser Token="{api_key}"'}, {}

    def users(self) -> Page[ServerUser]:
        """Every user. Jellyfin knows no e-mail addresses."""
        answer = expect(self._http.get_json("/Users"), list, "Jellyfin's list of users")
        page = read_page(answer, read_user)
        if any(user.blocked_tags or user.allowed_tags for user in page.records):
            tags = self._library_tags()
            page.records = [with_tagged_libraries(user, tags) for user in page.records]
        return page

    def _library_tags(self) -> dict[str, tuple[str, ...]]:
        """The tags of every library itself, by its id: all that lies in a library inherits them.

        jellyfin/jellyfin v10.9.11 to v12.0-rc5, ``MediaBrowser.Controller/Entities/BaseItem.cs``: ``GetInheritedTags``.
        """
        ids = [library.library_id for library in self.libraries() if library.library_id]
        found: dict[str, tuple[str, ...]] = dict.fromkeys(ids, ())
        for some in batches(ids):
            query = {"ids": some, "fields": "Tags", "enableUserData": "false"}
            for page in self._pages(query, read_tags, Listing(), itemgetter(0)):
                found.update(page)
        return found

    def libraries(self) -> list[ServerLibrary]:
        """Every library; see :class:`ServerLibrary` for those without an id.

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
        item_type = ITEM_TYPES[media_type]
        query = {
            "parentId": library.library_id,
            "includeItemTypes": item_type,
            "fields": TITLE_FIELDS,
            "sortBy": "DateCreated,SortName",
            "enableUserData": "false",
        }
        return self._with_versions(query, of_type(item_type, read_title), listing)

    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """All episodes of a library that have a file."""
        query = {
            "parentId": library.library_id,
            "includeItemTypes": "Episode",
            "fields": "Path,MediaSourceCount",
            "sortBy": "DateCreated,SortName",
            "enableUserData": "false",
        }
        return self._with_versions(query, of_type("Episode", read_episode), listing)

    def _with_versions(
        self, query: Mapping[str, str], read: Callable[[dict[str, Any]], Item], listing: Listing
    ) -> Iterator[list[Item]]:
        """Pages of a listing, with the ids of the other versions of each item that has some.

        ``MediaSourceCount`` is sent only where there are several. Their ids cost a look into every file, so they are
        asked for by themselves.
        """
        several: list[str] = []

        def read_and_note(item: dict[str, Any]) -> Item:
            record = read(item)
            if (integer_of(item, "MediaSourceCount") or 1) > 1:
                several.append(record.server_item_id)
            return record

        for page in self._pages(query, read_and_note, listing):
            versions = self._versions_of(several)
            yield [replace(one, version_ids=versions.get(one.server_item_id, ())) for one in page]
            several.clear()

    def _versions_of(self, item_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The ids of the other versions of these items, by their own."""
        found: dict[str, tuple[str, ...]] = {}
        for ids in batches(item_ids):
            query = {"ids": ids, "fields": "MediaSources", "enableUserData": "false"}
            for page in self._pages(query, read_versions, Listing(), itemgetter(0)):
                found.update(page)
        return found

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """What was played since then (newest first, with a day's overlap), and all that is in progress or favourite.

        What was *un*marked or rated never shows here; the daily full comparison finds it.
        """
        horizon = since - OVERLAP
        newest_first = {"isPlayed": "true", "sortBy": "DatePlayed", "sortOrder": "Descending"}
        for page in self._states(user_id, newest_first, listing):
            yield page
            if page and all(state.last_played_at is None or state.last_played_at < horizon for state in page):
                # What is older need not be seen.
                listing.total = listing.seen
                break
        favorites = {"filters": "IsFavorite", "includeItemTypes": "Movie,Series,Episode"}
        parts = [partial(self._states, user_id, each) for each in ({"filters": "IsResumable"}, favorites)]
        yield from walk_parts(parts, listing)

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Everything that the user played, started, marked or rated.

        No filter knows ratings, so all series are looked at; their favourites are among them.
        """
        queries = ({"isPlayed": "true"}, {"filters": "IsResumable"}, {"filters": "IsFavorite"})
        parts = [partial(self._states, user_id, query) for query in queries]
        return walk_parts([*parts, partial(self._series_states, user_id)], listing)

    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """What the user did with these items, be it nothing; those that they cannot see are left out."""
        for ids in batches(item_ids):
            yield from self._states(user_id, {"ids": ids, "includeItemTypes": "Movie,Series,Episode"}, Listing())

    def _series_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        return that_say_something(self._states(user_id, {"includeItemTypes": "Series"}, listing))

    def _states(self, user_id: str, query: Mapping[str, str], listing: Listing) -> Iterator[list[ItemState]]:
        asked = {
            "userId": user_id,
            "includeItemTypes": "Movie,Episode",
            "sortBy": "DateCreated,SortName",
            "enableUserData": "true",
            **query,
        }
        size = min(self._page_size, STATES_AT_ONCE)
        return self._pages(asked, of_type(asked["includeItemTypes"], read_state), listing, page_size=size)

    def _pages(
        self,
        query: Mapping[str, str],
        read: Callable[[dict[str, Any]], Record],
        listing: Listing,
        identity: Callable[[Record], str] = attrgetter("server_item_id"),
        *,
        page_size: int | None = None,
    ) -> Iterator[list[Record]]:
        size = page_size or self._page_size
        base = {
            "recursive": "true",
            "sortOrder": "Ascending",
            "collapseBoxSetItems": "false",
            "excludeLocationTypes": "Virtual",
            "enableImages": "false",
            "enableTotalRecordCount": "true",
            **query,
        }

        def fetch(start: int, more: int) -> Any:
            return self._http.get_json("/Items", {**base, "startIndex": start, "limit": size + more})

        return walk(fetch, read, listing, what="Jellyfin's /Items", identity=identity)


def with_tagged_libraries(user: ServerUser, tags: Mapping[str, tuple[str, ...]]) -> ServerUser:
    """Apply a user's rules on tags to the tags of libraries, by library id: which are hidden, and which are open."""
    blocked, allowed = clean_tags(user.blocked_tags), clean_tags(user.allowed_tags)
    hidden = {library_id for library_id, own in tags.items() if blocked & clean_tags(own)}
    if hidden:
        seen = tags.keys() if user.all_libraries else user.library_ids
        user = replace(user, all_libraries=False, library_ids=tuple(sorted(set(seen) - hidden)))
    return replace(user, open_library_ids=tuple(sorted(one for one, own in tags.items() if allowed & clean_tags(own))))


def read_library(item: dict[str, Any]) -> ServerLibrary:
    """A library from the server's JSON."""
    return ServerLibrary(
        library_id=plain_id(item["ItemId"]) if item.get("ItemId") is not None else "",
        name=text_of(item, "Name", required=True) or "",
        collection_type=text_of(item, "CollectionType"),
    )
