"""The base class of the services' clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aperture_dagster.resources.transport import Transport


class ServiceClient:
    """A client of a service; ``options`` are those of :class:`Transport`."""

    transport: Transport

    def __init__(self, service: str, url: str, **options: Any) -> None:
        # It loads httpx, which only a request needs.
        from aperture_dagster.resources.transport import Transport

        self.transport = Transport(service, url, **options)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self.transport.requests

    def cancel(self) -> None:
        """End the requests and waits of all threads; see :meth:`Transport.cancel`."""
        self.transport.cancel()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()
