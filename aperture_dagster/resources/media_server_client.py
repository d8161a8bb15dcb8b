"""What the clients of both media servers share: how they are made and closed, and how a server says which it is."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.home_network import CERTIFICATE_ADVICE, DIRECT, PASSWORD_ADVICE, Route
from aperture_dagster.resources.media_server import ServerIdentity, ServerStudio
from aperture_dagster.resources.transport import Transport, expect


class MediaServerClient(ServiceClient, ABC):
    """A media server over HTTP.

    Args:
        transport: to the server's address, with its auth header.
        page_size: items asked for in one request.
    """

    product: ClassVar[str]
    """The server's name, for messages."""

    def __init__(self, transport: Transport, *, page_size: int = 500) -> None:
        super().__init__(transport)
        self._page_size = page_size

    @classmethod
    def connect(
        cls,
        url: str,
        api_key: str,
        *,
        page_size: int = 500,
        timeout_seconds: float = 60,
        attempts: int = 5,
        first_wait_seconds: float = 0.5,
        route: Route = DIRECT,
    ) -> Self:
        """A client for the server at ``url``."""
        headers, params = cls.credentials(api_key, route.headers)
        transport = Transport(
            cls.product,
            url,
            headers={**route.headers, **headers},
            params=params,
            verify=route.verify,
            direct=route.direct,
            certificate_advice=CERTIFICATE_ADVICE,
            password_advice=PASSWORD_ADVICE,
            timeout_seconds=timeout_seconds,
            attempts=attempts,
            first_wait_seconds=first_wait_seconds,
            connections=4,
            secrets=[api_key, *route.headers.values()],
            setting="APERTURE_MEDIA_SERVER_API_KEY",
            address_setting="APERTURE_MEDIA_SERVER_URL",
        )
        return cls(transport, page_size=page_size)

    @staticmethod
    @abstractmethod
    def credentials(api_key: str, extra_headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the headers and the query parameters that carry the key, beside what a reverse proxy needs."""

    def studios(self) -> Iterator[list[ServerStudio]]:
        """All studios, a page at a time. Raises BadAnswer, and what :class:`Transport` raises."""
        start = 0
        while True:
            params = {"startIndex": start, "limit": self._page_size, "enableImages": "true"}
            answer = expect(self._http.get_json("/Studios", params), dict, f"{self.product}'s /Studios")
            items = expect(answer.get("Items"), list, f"{self.product}'s /Studios: Items")
            if not items:
                return
            yield [studio for item in items if (studio := _studio(item)) is not None]
            start += len(items)
            if start >= expect(answer.get("TotalRecordCount"), int, "TotalRecordCount"):
                return

    def set_picture(self, server_item_id: str, content: bytes, media_type: str) -> None:
        """Make ``content`` the primary picture of an item or a studio; both servers want it as base64 text.

        Raises:
            NotFound: there is no such item (any more).
            RequestRejected: the server does not take the picture.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        self._http.request(
            "POST",
            f"/Items/{server_item_id}/Images/Primary",
            content=base64.b64encode(content),
            headers={"Content-Type": media_type},
            repeatable=True,
        )

    def identity(self) -> ServerIdentity:
        """Which server this is.

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
        return self._http.get_json("/System/Info")


def _studio(item: Any) -> ServerStudio | None:
    if not isinstance(item, dict):
        return None
    server_item_id, name, tags = item.get("Id"), item.get("Name"), item.get("ImageTags")
    if not isinstance(server_item_id, str) or not server_item_id or not isinstance(name, str):
        return None
    return ServerStudio(server_item_id, name, has_picture=isinstance(tags, dict) and bool(tags.get("Primary")))
