"""The read interface of a media server: what the syncs need, whichever server it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.home_network import Route
from aperture_dagster.resources.json_text import expect
from aperture_dagster.resources.media_server.records import (
    ItemState,
    Listing,
    MediaType,
    Page,
    ServerEpisode,
    ServerIdentity,
    ServerLibrary,
    ServerStudio,
    ServerTitle,
    ServerUser,
)
from aperture_dagster.resources.transport import Transport

# User data costs a server more than everything else of an item.
STATES_PER_PAGE = 200
# Clocks differ and plays are reported late, so changes are read from a day before the newest that is known.
STATE_OVERLAP = timedelta(days=1)


class MediaServerReader(ServiceClient, ABC):
    """A media server, read over HTTP.

    Methods that yield pages fill ``listing`` on the way; it is final after the last page.

    Args:
        transport: to the server's address, with its auth header.
        page_size: items requested at once.
    """

    product: ClassVar[str]
    """The server's name, for messages."""

    def __init__(self, transport: Transport, *, page_size: int = 500) -> None:
        super().__init__(transport)
        self._page_size = page_size

    @classmethod
    def connect(
        cls, url: str, api_key: str, *, page_size: int = 500, route: Route | None = None, **options: Any
    ) -> Self:
        """Make a client for the server at ``url``; ``options`` are passed to the transport."""
        headers, params = cls.credentials(api_key, route.headers if route else {})
        transport = Transport(
            cls.product,
            url,
            headers=headers,
            params=params,
            route=route,
            connections=4,
            secrets=[api_key],
            setting="APERTURE_MEDIA_SERVER_API_KEY",
            address_setting="APERTURE_MEDIA_SERVER_URL",
            **{"timeout_seconds": 60, **options},
        )
        return cls(transport, page_size=page_size)

    @staticmethod
    @abstractmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and query parameters that carry the key, given the headers for a reverse proxy."""

    def identity(self) -> ServerIdentity:
        """Return which server this is; also verifies the key.

        Raises:
            ServiceRefused: the key is not accepted.
            BadAnswer: the address belongs to something else.
        """
        info = expect(self._system_info(), dict, f"{self.product}'s /System/Info")
        server_id = info.get("Id")
        if not isinstance(server_id, str) or not server_id:
            raise BadAnswer("its /System/Info has no Id")
        return ServerIdentity(
            server_id=server_id,
            name=str(info.get("ServerName") or ""),
            version=str(info.get("Version") or ""),
            product=str(info.get("ProductName") or f"{self.product} Server"),
        )

    def _system_info(self) -> Any:
        return self.transport.get_json("/System/Info")

    @abstractmethod
    def users(self) -> Page[ServerUser]:
        """Return all users, hidden and disabled ones included."""

    @abstractmethod
    def libraries(self) -> list[ServerLibrary]:
        """Return all libraries.

        Raises:
            BadAnswer: a library cannot be parsed. Without it, missing items could not be told from deleted ones.
        """

    @abstractmethod
    def titles(self, library: ServerLibrary, media_type: MediaType, listing: Listing) -> Iterator[list[ServerTitle]]:
        """Yield all films or series of a library, oldest first, so that new ones are added at the end."""

    @abstractmethod
    def episodes(self, library: ServerLibrary, listing: Listing) -> Iterator[list[ServerEpisode]]:
        """Yield all episodes of a library that have a file."""

    @abstractmethod
    def changed_states(self, user_id: str, since: datetime, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield at least the items that the user played, started or marked as favourite since then; may yield more.

        A changed rating may be found by :meth:`all_states` only.
        """

    @abstractmethod
    def all_states(self, user_id: str, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield every item that the user played, started, marked or rated."""

    @abstractmethod
    def states_of(self, user_id: str, item_ids: Sequence[str]) -> Iterator[list[ItemState]]:
        """Yield the user's states of these items, empty states included; items hidden from the user are left out."""

    def studios(self) -> Iterator[list[ServerStudio]]:
        """Yield all studios.

        Raises:
            BadAnswer: the answer is not a listing.
        """
        start = 0
        while True:
            params = {"startIndex": start, "limit": self._page_size, "enableImages": "true"}
            answer = expect(self.transport.get_json("/Studios", params), dict, f"{self.product}'s /Studios")
            items = expect(answer.get("Items"), list, f"{self.product}'s /Studios: Items")
            if not items:
                return
            yield [studio for item in items if (studio := _parse_studio(item)) is not None]
            start += len(items)
            if start >= expect(answer.get("TotalRecordCount"), int, "TotalRecordCount"):
                return


def _parse_studio(item: Any) -> ServerStudio | None:
    if not isinstance(item, dict):
        return None
    server_item_id, name, tags = item.get("Id"), item.get("Name"), item.get("ImageTags")
    if not isinstance(server_item_id, str) or not server_item_id or not isinstance(name, str):
        return None
    return ServerStudio(server_item_id, name, has_picture=isinstance(tags, dict) and bool(tags.get("Primary")))
