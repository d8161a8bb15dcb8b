"""Read Emby 4.8 and newer.

Facts of the API that shaped this file:

- Hardly any field comes without being asked for, not even the play count.
- A library has one id to list it by (``ItemId``) and another in the users' policies (``Guid``); its folders have ids
  of their own, which policies name as ``Guid_Id``.
- Without ``GroupItemsIntoCollections=false`` a collection may be listed in place of its films.
- No parameter leaves out virtual items (episodes known from metadata alone), so ``LocationType`` identifies them.
- ``MinDateLastSavedForUser`` looks at the user's own data, so one listing gives everything that changed, what was
  unmarked included. Versions of a film share it by their provider ids.
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
    of_type,
    plain_id,
    read_episode,
    read_page,
    read_state,
    read_title,
    read_user,
    text_of,
    texts_of,
    that_say_something,
    walk,
    walk_parts,
)
from aperture_dagster.resources.transport import expect

Record = TypeVar("Record")

PREFIX = "/emby"
TITLE_FIELDS = (
    "ProviderIds,Overview,Genres,Tags,Studios,DateCreated,OriginalTitle,Taglines,SortName,Path,ProductionYear,"
    "PremiereDate,EndDate,CommunityRating,CriticRating,OfficialRating,Status"
)
EPISODE_FIELDS = "Path,PremiereDate"
STATE_FIELDS = "UserDataPlayCount,UserDataLastPlayedDate"


class EmbyServer(MediaServerClient):
    """An Emby server over HTTP, its address with or without ``/emby`` at its end; implements ``MediaServer``."""

    product = "Emby"

    @staticmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the key's own header, which no reverse proxy needs."""
        return {"X-Emby-Token": api_key}, {}

    def _system_info(self) -> Any:
        """Asked first: from here on the server is asked below ``/emby`` if only that path leads to it."""
        try:
            return self._http.get_json("/System/Info")
        except NotFound:
            if self._http.base_url.endswith(PREFIX):
                raise
        # The server answers with and without the prefix; a proxy before it may know one path only.
        self._http.base_url += PREFIX
        return self._http.get_json("/System/Info")

    def users(self) -> Page[ServerUser]:
        """Every user, each with the libraries that they may see by the ids that ``libraries`` gives, and the paths of
        folders that they may not.

        Raises:
            BadAnswer: the list is not whole; who is missing could not be told from who is gone.
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
            # A folder that is no more excludes nothing.
            page.records = [
                replace(
                    user, excluded_folders=tuple(sorted({paths[one] for one in user.excluded_folders if one in paths}))
                )
                for user in page.records
            ]
        return page

    def _folder_paths(self) -> dict[str, str]:
        """The paths of all folders of libraries, by the names that users' policies have for them."""
        what = "Emby's list of folders"
        answer = expect(self._http.get_json("/Library/SelectableMediaFolders"), list, what)
        paths: dict[str, str] = {}
        for library in answer:
            guid = plain_id(expect(library, dict, what).get("Guid"), "Guid")
            for folder in expect(library.get("SubFolders") or [], list, what):
                path = text_of(expect(folder, dict, what), "Path")
                if path is not None:
                    paths[f"{guid}_{folder.get('Id')}"] = path
        return paths

    def _all_users(self) -> Page[ServerUser]:
        def fetch(start: int, more: int) -> Any:
            return self._http.get_json("/Users/Query", {"StartIndex": start, "Limit": self._page_size + more})

        listing = Listing()
        try:
            pages = walk(fetch, read_emby_user, listing, what="Emby's list of users", identity=attrgetter("user_id"))
            users = [user for page in pages for user in page]
        except (NotFound, RequestRejected):
            # Older servers know the bare list only.
            answer = expect(self._http.get_json("/Users"), list, "Emby's list of users")
            return read_page(answer, read_emby_user)
        nameless = len(listing.problems) - len(listing.unreadable_ids)
        if listing.shifted or listing.seen + nameless < (listing.total or 0):
            raise BadAnswer("Emby's list of users changed while it was read.")
        return Page(users, listing.problems, listing.total, listing.unreadable_ids)

    def libraries(self) -> list[ServerLibrary]:
        """Every library; see :class:`ServerLibrary` for those without an id.

        Raises:
            BadAnswer: a library cannot be read; without it what is missing could not be told from what is gone.
        """
        return [library for library, _ in self._libraries()]

    def _libraries(self) -> list[tuple[ServerLibrary, str | None]]:
        """Every library with the id that users' policies name it by."""
        what = "Emby's list of libraries"
        try:
            answer = expect(self._http.get_json("/Library/VirtualFolders/Query"), dict, what).get("Items")
        except (NotFound, RequestRejected):
            answer = self._http.get_json("/Library/VirtualFolders")
        page = read_page(expect(answer, list, what), read_library)
        if page.problems:
            raise BadAnswer(f"{what} cannot be read: {page.problems[0]}")
        return page.records

    def titles(self, library: ServerLibrary, media_type: MediaType, listing: Listing) -> Iterator[list[ServerTitle]]:
        """All films or series of a library, oldest first, so that what is added meanwhile comes at the end."""
        item_type = ITEM_TYPES[media_type]
        query = {
            "ParentId": library.library_id,
            "IncludeItemTypes": item_type,
            "Fields": TITLE_FIELDS,
            "EnableUserData": "false",
        }
        return self._pages("/Items", query, of_type(item_type, read_title), listing)

    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """All episodes of a library that have a file."""
        query = {
            "ParentId": library.library_id,
            "IncludeItemTypes": "Episode",
            "Fields": EPISODE_FIELDS,
            "EnableUserData": "false",
        }
        return self._pages("/Items", query, of_type("Episode", read_episode), listing)

    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """All states that were saved since then, with a day's overlap; those of unmarked items, too."""
        horizon = (since - OVERLAP).astimezone(UTC)
        return self._states(user_id, {"MinDateLastSavedForUser": f"{horizon:%Y-%m-%dT%H:%M:%SZ}"}, listing)

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Everything that the user played, started or marked."""
        filters = ("IsPlayed", "IsResumable", "IsFavorite")
        walks = [partial(self._states, user_id, {"Filters": each}) for each in filters]
        return walk_parts([*walks, partial(self._series_states, user_id)], listing)

    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """What the user did with these items, be it nothing; those that they cannot see are left out."""
        for ids in batches(item_ids):
            yield from self._states(user_id, {"Ids": ids}, Listing())

    def _series_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """What the user said of whole series. No filter knows ratings, but there are few series."""
        return that_say_something(self._states(user_id, {"IncludeItemTypes": "Series"}, listing))

    def _states(self, user_id: str, query: Mapping[str, str], listing: Listing) -> Iterator[list[ItemState]]:
        asked = {
            "IncludeItemTypes": "Movie,Series,Episode",
            "Fields": STATE_FIELDS,
            "EnableUserData": "true",
            **query,
        }
        path, read = f"/Users/{quote(user_id, safe='')}/Items", of_type(asked["IncludeItemTypes"], read_state)
        return self._pages(path, asked, read, listing, page_size=min(self._page_size, STATES_AT_ONCE))

    def _pages(
        self,
        path: str,
        query: Mapping[str, str],
        read: Callable[[dict[str, Any]], Record],
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

        def fetch(start: int, more: int) -> Any:
            return self._http.get_json(path, {**base, "StartIndex": start, "Limit": size + more})

        return walk(fetch, read, listing, what=f"Emby's {path}")


def read_emby_user(item: dict[str, Any]) -> ServerUser:
    """A user from the server's JSON. The name of a linked Emby Connect account is often an e-mail address.

    Allowed tags are ``IncludeTags``. A policy of an older server has one list, ``BlockedTags``, and
    ``IsTagBlockingModeInclusive`` when those are the tags that are allowed. ``excluded_folders`` are still names.
    """
    user = replace(read_user(item), email_hint=text_of(item, "ConnectUserName"))
    policy = item.get("Policy") if isinstance(item.get("Policy"), dict) else {}
    assert isinstance(policy, dict)
    blocked, allowed = user.blocked_tags, texts_of(policy, "IncludeTags")
    if policy.get("IsTagBlockingModeInclusive") is True and not allowed:
        blocked, allowed = (), blocked
    excluded = texts_of(policy, "ExcludedSubFolders")
    return replace(
        user,
        blocked_tags=blocked,
        allowed_tags=allowed,
        excluded_folders=tuple(
            f"{plain_id(guid)}_{folder}" for guid, _, folder in (one.partition("_") for one in excluded)
        ),
    )


def read_library(item: dict[str, Any]) -> tuple[ServerLibrary, str | None]:
    """A library from the server's JSON, and the id that users' policies name it by, if it has one."""
    library_id = item.get("ItemId", item.get("Id"))
    library = ServerLibrary(
        library_id=plain_id(library_id) if library_id is not None else "",
        name=text_of(item, "Name", required=True) or "",
        collection_type=text_of(item, "CollectionType"),
    )
    return library, plain_id(item["Guid"], "Guid") if item.get("Guid") is not None else None
