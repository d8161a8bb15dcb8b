"""What every client of a service shares: one transport, the number of requests sent over it, and its end."""

from __future__ import annotations

from aperture_dagster.resources.transport import Transport


class ServiceClient:
    """A service over HTTP.

    Args:
        transport: to its address, with its key and its limits.
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self.transport.requests

    def cancel(self) -> None:
        """End requests and waits that are under way in any thread; see :meth:`Transport.cancel`."""
        self.transport.cancel()

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()
