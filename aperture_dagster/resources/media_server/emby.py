"""Read Emby 4.8 and newer.

Facts about the API that shaped this module:

- Hardly any field is returned unless requested, not even the play count.
- A library has one id for listing (``ItemId``) and another in users' policies (``Guid``); its folders have ids of their
  own, which policies write as ``Guid_Id``.
- Without ``GroupItemsIntoCollections=false`` a collection may be listed in place of its films.
- No parameter leaves out virtual items (episodes known from metadata only); ``LocationType`` identifies them.
- ``MinDateLastSavedForUser`` considers the user's own data, so a single listing returns every change, unmarked items
  included. Versions of a film share user data by their provider ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar
from urllib.parse import quote

from aperture_dagster.resources.errors import BadAnswer, NotFound, RequestRejected
from aperture_dagster.resources.json_text import expect
from aperture_dagster.resources.media_server.items import (
    ITEM_TYPES,
    parse_episode,
    parse_state,
    parse_title,
    parse_user,
    policy_of,
)
from aperture_dagster.resources.media_server.listing import (
    id_batches,
    only_types,
    parse_page,
    read_listing,
    read_listings,
)
from aperture_dagster.resources.media_server.reader import STATE_OVERLAP, STATES_PER_PAGE, MediaServerReader
from aperture_dagster.resources.media_server.records import (
    ItemState,
    Listing,
    MediaType,
    Page,
    ServerEpisode,
    ServerLibrary,
    ServerTitle,
    ServerUser,
    with_content,
)
from aperture_dagster.resources.media_server.values import parse_id, parse_text, parse_texts, require_text

Record = TypeVar("Record")

PREFIX = "/emby"
TITLE_FIELDS = (
    "ProviderIds,Overview,Genres,Tags,Studios,DateCreated,OriginalTitle,Taglines,SortName,Path,ProductionYear,"
    "PremiereDate,EndDate,CommunityRating,CriticRating,OfficialRating,Status"
)
EPISODE_FIELDS = "Path,PremiereDate"
STATE_FIELDS = "UserDataPlayCount,UserDataLastPlayedDate"


class EmbyReader(MediaServerReader):
    """An Emby server; its address may or may not end in ``/emby``."""

    product = "Emby"

    @staticmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return Emby's own header, which no reverse proxy needs."""
        return {"X-Emby-Token": api_key}, {}

    def _system_info(self) -> Any:
        """Request the system info, first without and then with the prefix; later requests use what worked."""
        try:
            return self.transport.get_json("/System/Info")
        except NotFound:
            if self.transport.base_url.endswith(PREFIX):
                raise
        # The server answers with and without the prefix; a reverse proxy may forward only one of them.
        self.transport.base_url += PREFIX
        return self.transport.get_json("/System/Info")

    def users(self) -> Page[ServerUser]:
        """Return all users, with the library ids of :meth:`libraries` and the paths of excluded folders.

        Raises:
            BadAnswer: the list is incomplete; missing users could not be told from deleted ones.
        """
        page = self._all_users()
        if not all(user.all_libraries for user in page.records):
            ids = {guid: library.library_id for library, guid in self._libraries() if guid and library.library_id}
            page.records = [
                replace(user, library_ids=tuple(sorted(ids.get(folder, folder) for folder in user.library_ids)))
                for user in page.records
            ]
        if any(user.excluded_folders for user in page.records):
            paths = self._folder_paths()
            # A folder that no longer exists excludes nothing.
            page.records = [
                replace(
                    user, excluded_folders=tuple(sorted({paths[one] for one in user.excluded_folders if one in paths}))
                )
                for user in page.records
            ]
        return page

    def _folder_paths(self) -> dict[str, str]:
        """Return the paths of the libraries' folders, by their names in users' policies."""
        what = "Emby's list of folders"
        answer = expect(self.transport.get_json("/Library/SelectableMediaFolders"), list, what)
        paths: dict[str, str] = {}
        for library in answer:
            guid = parse_id(expect(library, dict, what).get("Guid"), "Guid")
            for folder in expect(library.get("SubFolders") or [], list, what):
                path = parse_text(expect(folder, dict, what), "Path")
                if path is not None:
                    paths[f"{guid}_{folder.get('Id')}"] = path
        return paths

    def _all_users(self) -> Page[ServerUser]:
        def fetch(start: int, overlap: int) -> Any:
            return self.transport.get_json("/Users/Query", {"StartIndex": start, "Limit": self._page_size + overlap})

        what, listing = "Emby's list of users", Listing()
        try:
            pages = read_listing(fetch, parse_emby_user, listing, what=what, key=attrgetter("user_id"))
            users = [user for page in pages for user in page]
        except (NotFound, RequestRejected):
            # Older servers have the plain list only.
            return parse_page(expect(self.transport.get_json("/Users"), list, what), parse_emby_user)
        without_id = len(listing.problems) - len(listing.unreadable_ids)
        if listing.shifted or listing.seen + without_id < (listing.total or 0):
            raise BadAnswer(f"{what} changed while it was read.")
        return Page(users, listing.problems, listing.total, listing.unreadable_ids)

    def libraries(self) -> list[ServerLibrary]:
        """Return all libraries; see :meth:`MediaServerReader.libraries`."""
        return [library for library, _ in self._libraries()]

    def _libraries(self) -> list[tuple[ServerLibrary, str | None]]:
        """Return all libraries with their ids in users' policies."""
        what = "Emby's list of libraries"
        try:
            answer = expect(self.transport.get_json("/Library/VirtualFolders/Query"), dict, what).get("Items")
        except (NotFound, RequestRejected):
            answer = self.transport.get_json("/Library/VirtualFolders")
        page = parse_page(expect(answer, list, what), parse_library)
        if page.problems:
            raise BadAnswer(f"{what} cannot be parsed: {page.problems[0]}")
        return page.records

    def titles(self, library: ServerLibrary, media_type: MediaType, listing: Listing) -> Iterator[list[ServerTitle]]:
        """Yield all films or series of a library; see :meth:`MediaServerReader.titles`."""
        return self._library_items(library, ITEM_TYPES[media_type], TITLE_FIELDS, parse_title, listing)

    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """Yield all episodes of a library that have a file."""
        return self._library_items(library, "Episode", EPISODE_FIELDS, parse_episode, listing)

    def _library_items(
        self,
        library: ServerLibrary,
        item_type: str,
        fields: str,
        parse: Callable[[dict[str, Any]], Record],
        listing: Listing,
    ) -> Iterator[list[Record]]:
        query = {
            "ParentId": library.library_id,
            "IncludeItemTypes": item_type,
            "Fields": fields,
            "EnableUserData": "false",
        }
        return self._pages("/Items", query, only_types(item_type, parse), listing)

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield all states that were saved since then, unmarked items included."""
        horizon = (since - STATE_OVERLAP).astimezone(UTC)
        return self._states(user_id, {"MinDateLastSavedForUser": f"{horizon:%Y-%m-%dT%H:%M:%SZ}"}, listing)

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield every item that the user played, started, marked or rated.

        No filter knows ratings, so all series are read.
        """
        parts = [partial(self._states, user_id, {"Filters": one}) for one in ("IsPlayed", "IsResumable", "IsFavorite")]
        return read_listings([*parts, partial(self._series_states, user_id)], listing)

    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """Yield the user's states of these items; see :meth:`MediaServerReader.states_of`."""
        for ids in id_batches(item_ids):
            yield from self._states(user_id, {"Ids": ids}, Listing())

    def _series_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        return with_content(self._states(user_id, {"IncludeItemTypes": "Series"}, listing))

    def _states(self, user_id: str, query: Mapping[str, str], listing: Listing) -> Iterator[list[ItemState]]:
        query = {
            "IncludeItemTypes": "Movie,Series,Episode",
            "Fields": STATE_FIELDS,
            "EnableUserData": "true",
            **query,
        }
        path, parse = f"/Users/{quote(user_id, safe='')}/Items", only_types(query["IncludeItemTypes"], parse_state)
        return self._pages(path, query, parse, listing, page_size=min(self._page_size, STATES_PER_PAGE))

    def _pages(
        self,
        path: str,
        query: Mapping[str, str],
        parse: Callable[[dict[str, Any]], Record],
        listing: Listing,
        *,
        page_size: int | None = None,
    ) -> Iterator[list[Record]]:
        size = page_size or self._page_size
        base = {
            "Recursive": "true",
            "SortBy": "DateCreated,SortName",
            "SortOrder": "Ascending",
            "GroupItemsIntoCollections": "false",
            "EnableImages": "false",
            **query,
        }

        def fetch(start: int, overlap: int) -> Any:
            return self.transport.get_json(path, {**base, "StartIndex": start, "Limit": size + overlap})

        return read_listing(fetch, parse, listing, what=f"Emby's {path}")


def parse_emby_user(item: dict[str, Any]) -> ServerUser:
    """Parse a user; ``excluded_folders`` are still the names that policies use.

    The name of a linked Emby Connect account is often an e-mail address. Allowed tags are ``IncludeTags``; older
    servers have one list, ``BlockedTags``, which holds the allowed tags if ``IsTagBlockingModeInclusive`` is set.
    """
    user, policy = parse_user(item), policy_of(item)
    blocked, allowed = user.blocked_tags, parse_texts(policy, "IncludeTags")
    if policy.get("IsTagBlockingModeInclusive") is True and not allowed:
        blocked, allowed = (), blocked
    excluded = [name.partition("_") for name in parse_texts(policy, "ExcludedSubFolders")]
    return replace(
        user,
        email_hint=parse_text(item, "ConnectUserName"),
        blocked_tags=blocked,
        allowed_tags=allowed,
        excluded_folders=tuple(f"{parse_id(guid)}_{folder}" for guid, _, folder in excluded),
    )


def parse_library(item: dict[str, Any]) -> tuple[ServerLibrary, str | None]:
    """Parse a library; return it with its id in users' policies, if it has one."""
    library_id = item.get("ItemId", item.get("Id"))
    library = ServerLibrary(
        library_id=parse_id(library_id) if library_id is not None else "",
        name=require_text(item, "Name"),
        collection_type=parse_text(item, "CollectionType"),
    )
    return library, parse_id(item["Guid"], "Guid") if item.get("Guid") is not None else None
