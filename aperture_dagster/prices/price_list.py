"""Client for a public list of the prices of AI models: one file."""

from __future__ import annotations

from typing import Any

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.messages import Request

LABEL = "The price list"
# LiteLLM's had 3.5 MB in November 2026.
LARGEST_LIST = 20_000_000


class PriceListClient(ServiceClient):
    """The file at ``url``; ``options`` are those of the transport."""

    def __init__(self, url: str, **options: Any) -> None:
        folder, _, file = url.rpartition("/")
        super().__init__(LABEL, folder, address_setting="APERTURE_PRICES_URL", **options)
        self._path = f"/{file}"

    def fetch(self) -> bytes:
        """Download the file. Raises ServiceError: see :meth:`Transport.send`."""
        # Its host serves it as text, so the content type says nothing.
        return self.transport.send(Request("GET", self._path, max_bytes=LARGEST_LIST)).body
