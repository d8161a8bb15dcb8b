"""The base class of the services' clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aperture_dagster.http.limits import Access, Limits

if TYPE_CHECKING:
    from aperture_dagster.http.transport import Transport

OF_ACCESS = frozenset({"headers", "params", "secrets", "setting", "address_setting"})
OF_TRANSPORT = frozenset({"inspect", "route"})


class ServiceClient:
    """A client of a service.

    ``options`` are those of :class:`Access`, :class:`Limits` and :class:`Transport`; None stands for the default.
    """

    transport: Transport

    def __init__(self, service: str, url: str, **options: Any) -> None:
        # It loads httpx, which only a request needs.
        from aperture_dagster.http.transport import Transport

        given = {name: value for name, value in options.items() if value is not None}
        access = Access(**{name: given.pop(name) for name in OF_ACCESS & given.keys()})
        own = {name: given.pop(name) for name in OF_TRANSPORT & given.keys()}
        self.transport = Transport(service, url, access, Limits(**given), **own)

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
