"""The base class of the services' clients."""

from __future__ import annotations

from aperture_dagster.resources.transport import Transport


class ServiceClient:
    """A client of a service.

    Args:
        transport: to the service's address, with its key and its limits.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

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
