"""Read a media server: what the syncs need, whichever server it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import BadAnswer, NotFound
from aperture_dagster.http.home_network import Route
from aperture_dagster.http.messages import expect
from aperture_dagster.media_server.activity_log import Activity, parse_activity
from aperture_dagster.media_server.items import (
    ITEM_TYPES,
    parse_episode,
    parse_library,
    parse_state,
    parse_studio,
    parse_title,
    parse_user,
)
from aperture_dagster.media_server.listing import (
    Parse,
    id_batches,
    only_types,
    parse_all,
    parse_page,
    read_listing,
    read_listings,
)
from aperture_dagster.media_server.records import (
    ItemState,
    Listing,
    MediaType,
    ParsedPage,
    ServerEpisode,
    ServerIdentity,
    ServerLibrary,
    ServerStudio,
    ServerTitle,
    ServerUser,
    with_content,
)
from aperture_dagster.media_server.values import parse_id

Record = TypeVar("Record")


Item = TypeVar("Item", ServerTitle, ServerEpisode)


# User data costs a server more than everything else of an item.
STATES_PER_PAGE = 200


# Clocks differ and plays are reported late, so changes are read from a day before the newest that is known.
STATE_OVERLAP = timedelta(days=1)


# Of the activity log. Whoever is not among its newest 2,500 entries waits for the next reading of all histories.
ENTRIES_PER_PAGE, MOST_PAGES_OF_LOG = 500, 5


# More series than anybody follows.
NEXT_UP = 500


SINGLE_TYPES, ALL_TYPES = "Movie,Episode", "Movie,Series,Episode"


FAVORITES, LIKES = "IsFavorite", "Likes"


class MediaServerReader(ServiceClient, ABC):
    """A media server, read over HTTP with an administrator's key. Query parameters are written as Emby spells them.

    Methods that yield pages fill ``listing`` on the way; it is final after the last page.
    """

    product: ClassVar[str]
    """The server's name, for messages."""
    title_fields: ClassVar[str]
    episode_fields: ClassVar[str]
    state_fields: ClassVar[str] = "Path"
    listing_query: ClassVar[Mapping[str, str]]
    """Parameters of every listing."""
    log_query: ClassVar[Mapping[str, str]] = {}
    """Parameters of the activity log, besides those that every server has."""
    tells_unmarked: ClassVar[bool]
    """Whether :meth:`changed_states` yields what has lost its mark, too."""
    usual_page_size: ClassVar[int] = 500
    """Items per request, unless a reader is made for another number."""

    def __init__(
        self, url: str, api_key: str, *, page_size: int | None = None, route: Route | None = None, **options: Any
    ) -> None:
        headers, params = self.credentials(api_key, route.headers if route else {})
        super().__init__(
            self.product,
            url,
            headers=headers,
            params=params,
            route=route,
            secrets=[api_key],
            setting="APERTURE_MEDIA_SERVER_API_KEY",
            address_setting="APERTURE_MEDIA_SERVER_URL",
            **{"timeout_seconds": 60, **options},
        )
        self.page_size = page_size or self.usual_page_size
        self.last_identity: ServerIdentity | None = None
        """What :meth:`identity` returned last."""

    @staticmethod
    @abstractmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and query parameters that carry the key, given the headers for a reverse proxy."""

    def identity(self) -> ServerIdentity:
        """Return which server this is.

        Raises:
            ServiceRefused: the key is not accepted.
            BadAnswer: the address belongs to something else.
        """
        info = expect(self._system_info(), dict, f"{self.product}'s /System/Info")
        server_id = info.get("Id")
        if not isinstance(server_id, str) or not server_id:
            raise BadAnswer("its /System/Info has no Id")
        self.last_identity = ServerIdentity(
            server_id=server_id,
            name=str(info.get("ServerName") or ""),
            version=str(info.get("Version") or ""),
            product=str(info.get("ProductName") or f"{self.product} Server"),
        )
        return self.last_identity

    def _system_info(self) -> Any:
        return self.transport.get_json("/System/Info")

    @abstractmethod
    def users(self) -> ParsedPage[ServerUser]:
        """Return all users, hidden and disabled ones included."""

    @abstractmethod
    def user_page(self, parse: Parse[Record], key: Callable[[Record], str]) -> ParsedPage[Record]:
        """Return all users as ``parse`` reads them, and ``key`` tells them apart.

        Raises:
            BadAnswer: the list is incomplete; missing users could not be distinguished from deleted ones.
        """

    def activities(self, since: datetime) -> list[Activity] | None:
        """Return what users have done since then, by the server's activity log, the newest first.

        One request for all users, as long as not much happened. None if the server has no such log.
        """
        what, found = f"{self.product}'s activity log", list[Activity]()
        query = {"MinDate": f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", "Limit": ENTRIES_PER_PAGE, **self.log_query}
        for page in range(MOST_PAGES_OF_LOG):
            params = {name[0].lower() + name[1:]: value for name, value in query.items()}
            params["startIndex"] = page * ENTRIES_PER_PAGE
            try:
                answer = self.transport.get_json("/System/ActivityLog/Entries", params)
            except NotFound:
                return None
            entries = expect(expect(answer, dict, what).get("Items"), list, f"{what}: Items")
            # An entry that cannot be read is about nobody.
            found += [record for record in parse_page(entries, parse_activity).records if record is not None]
            if len(entries) < ENTRIES_PER_PAGE:
                break
        return found

    def last_requests(self) -> dict[str, datetime]:
        """Return when clients of each user last asked the server for anything, by its clock, to some minutes.

        One request for all users.
        """
        page = self.user_page(parse_user, attrgetter("user_id"))
        return {user.user_id: user.last_activity_at for user in page.records if user.last_activity_at is not None}

    def count_marks(self, user_id: str) -> tuple[int, int]:
        """Return how many titles and episodes are a user's favourites, and how many they like.

        Two requests, whose answers hold no item. A like is a rating from 6.5 on.
        """
        favorites, liked = (self._count(user_id, {"Filters": one}) for one in (FAVORITES, LIKES))
        return favorites, liked

    def _count(self, user_id: str, query: Mapping[str, str]) -> int:
        nothing = {"EnableImages": "false", "EnableUserData": "false", "StartIndex": 0, "Limit": 0}
        query = {"Recursive": "true", "IncludeItemTypes": ALL_TYPES, **self.listing_query, **query, **nothing}
        what = f"{self.product}'s list of items"
        answer = expect(self.get_items(query, user_id), dict, what)
        return expect(answer.get("TotalRecordCount"), int, f"{what}: TotalRecordCount")

    def playing(self) -> set[tuple[str, str]]:
        """Return what clients are playing at this moment: pairs of ids of a user and an item."""
        what, found = f"{self.product}'s list of sessions", set[tuple[str, str]]()
        for session in expect(self.transport.get_json("/Sessions"), list, what):
            item = expect(session, dict, what).get("NowPlayingItem")
            if item is None:
                continue
            viewers = [session, *expect(session.get("AdditionalUsers") or [], list, what)]
            item_id = parse_id(expect(item, dict, what).get("Id"))
            found |= {(parse_id(viewer["UserId"], "UserId"), item_id) for viewer in viewers if viewer.get("UserId")}
        return found

    def next_up(self, user_id: str) -> list[str]:
        """Return the ids of the episodes that a user's home screen offers next, one for each series."""
        query = {"userId": user_id, "limit": NEXT_UP, "enableImages": "false", "enableUserData": "false"}
        what = f"{self.product}'s list of next episodes"
        answer = expect(self.transport.get_json("/Shows/NextUp", query), dict, what)
        items = expect(answer.get("Items"), list, what)
        return [parse_id(expect(item, dict, what).get("Id")) for item in items]

    def libraries(self) -> list[ServerLibrary]:
        """Return all libraries.

        Raises:
            BadAnswer: a library cannot be parsed. Without it, missing and deleted items look the same.
        """
        return parse_all(self.library_objects(), parse_library, f"{self.product}'s list of libraries")

    @abstractmethod
    def library_objects(self) -> list[Any]:
        """Return all libraries as the server sends them."""

    def titles(self, library: ServerLibrary, media_type: MediaType, listing: Listing) -> Iterator[list[ServerTitle]]:
        """Yield all films or series of a library, oldest first, so that new ones are added at the end."""
        return self._library_items(library, ITEM_TYPES[media_type], self.title_fields, parse_title, listing)

    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """Yield all episodes of a library that have a file."""
        return self._library_items(library, "Episode", self.episode_fields, parse_episode, listing)

    @abstractmethod
    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield at least the items that the user played, started, liked or marked as favourite since then.

        Another changed rating may be found by :meth:`all_states` only.
        """

    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield every item that the user played, started, marked or rated."""
        filters = ("IsPlayed", "IsResumable", FAVORITES)
        parts = [
            partial(self._states, user_id, {"Filters": one, "IncludeItemTypes": "Movie,Episode"}) for one in filters
        ]
        return read_listings([*parts, partial(self._series_states, user_id)], listing)

    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """Yield the user's states of these items, empty states included; items hidden from the user are left out."""
        for ids in id_batches(item_ids):
            yield from self._states(user_id, {"Ids": ids}, Listing())

    def _series_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        # No filter knows all ratings, so all series are read, and their favourites with them.
        return with_content(self._states(user_id, {"IncludeItemTypes": "Series"}, listing))

    def _states(self, user_id: str, query: Mapping[str, str], listing: Listing) -> Iterator[list[ItemState]]:
        query = {"IncludeItemTypes": ALL_TYPES, "EnableUserData": "true", "Fields": self.state_fields, **query}
        parse, page_size = only_types(query["IncludeItemTypes"], parse_state), min(self.page_size, STATES_PER_PAGE)
        return self._pages(query, parse, listing, user_id=user_id, page_size=page_size)

    def _library_items(
        self, library: ServerLibrary, item_type: str, fields: str, parse: Parse[Item], listing: Listing
    ) -> Iterator[list[Item]]:
        query = {"ParentId": library.library_id, "IncludeItemTypes": item_type, "Fields": fields}
        # Of titles, the tag of the poster is kept.
        query |= {"EnableUserData": "false", "EnableImages": "false" if item_type == "Episode" else "true"}
        return self._pages(query, only_types(item_type, parse), listing)

    def _pages(
        self,
        query: Mapping[str, str],
        parse: Parse[Record],
        listing: Listing,
        *,
        user_id: str | None = None,
        key: Callable[[Record], str] = attrgetter("server_item_id"),
        page_size: int | None = None,
    ) -> Iterator[list[Record]]:
        size = page_size or self.page_size
        order = {"SortBy": "DateCreated,SortName", "SortOrder": "Ascending"}
        base = {"Recursive": "true", **order, "EnableImages": "false", **self.listing_query, **query}

        def fetch(start: int, overlap: int) -> Any:
            return self.get_items({**base, "StartIndex": start, "Limit": size + overlap}, user_id)

        return read_listing(fetch, parse, listing, what=f"{self.product}'s list of items", key=key)

    @abstractmethod
    def get_items(self, query: Mapping[str, Any], user_id: str | None) -> Any:
        """Return the answer to a query of items, as a user sees them if there is one."""

    def studios(self) -> Iterator[list[ServerStudio]]:
        """Yield all studios. Raises BadAnswer if the answer is not a listing."""
        start = 0
        while True:
            params = {"startIndex": start, "limit": self.page_size, "enableImages": "true"}
            answer = expect(self.transport.get_json("/Studios", params), dict, f"{self.product}'s /Studios")
            items = expect(answer.get("Items"), list, f"{self.product}'s /Studios: Items")
            if not items:
                return
            yield [studio for item in items if (studio := parse_studio(item)) is not None]
            start += len(items)
            if start >= expect(answer.get("TotalRecordCount"), int, "TotalRecordCount"):
                return
