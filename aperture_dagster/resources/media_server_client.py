"""What the clients of both media servers share: how they are made and closed, and how a server says which it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server import ServerIdentity
from aperture_dagster.resources.transport import Transport, expect


class MediaServerClient(ABC):
    """A media server over HTTP.

    Args:
        transport: to the server's address, with its auth header.
        page_size: items asked for in one request.
    """

    product: ClassVar[str]
    """The server's name, for messages."""

    def __init__(self, transport: Transport, *, page_size: int = 500) -> None:
        self._http = transport
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
    ) -> Self:
        """A client for the server at ``url``."""
        transport = Transport(
            cls.product,
            url,
            headers=cls.auth_headers(api_key),
            timeout_seconds=timeout_seconds,
            attempts=attempts,
            first_wait_seconds=first_wait_seconds,
            connections=4,
            secrets=[api_key],
            setting="APERTURE_MEDIA_SERVER_API_KEY",
            address_setting="APERTURE_MEDIA_SERVER_URL",
        )
        return cls(transport, page_size=page_size)

    @staticmethod
    @abstractmethod
    def auth_headers(api_key: str) -> dict[str, str]:
        """The headers that carry the key."""

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._http.requests

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
