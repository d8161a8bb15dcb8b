"""Read the price list, and the models that the endpoint offers, and store them."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.http.messages import Request
from aperture_dagster.model import Clock, Progress
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import lock_until_commit
from aperture_dagster.prices.endpoint import list_models
from aperture_dagster.prices.price_list import (
    PriceListRejected,
    parse_price_list,
)
from aperture_dagster.prices.stored import (
    replace_offered,
    write_prices,
)
from aperture_dagster.settings import Settings
from aperture_dagster.taste.configured_embedder import Embedders

_LOG = logging.getLogger(__name__)
LIST_LABEL = "The price list"
# LiteLLM's had 3.5 MB in November 2026.
LARGEST_LIST = 20_000_000


class PriceList:
    """A public list of prices, at the address of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.prices_url
        self._options = _attempts(settings)

    def fetch(self, log: logging.Logger) -> bytes | None:
        """Download the list; None if it is switched off. Raises ServiceError: see :meth:`Transport.send`.

        ``log`` is for progress.
        """
        if self.url is None:
            return None
        folder, _, file = self.url.rpartition("/")
        with closing(
            ServiceClient(LIST_LABEL, folder, address_setting="APERTURE_PRICES_URL", **self._options)
        ) as client:
            progress = Progress(log, "bytes of the price list")
            # Its host serves it as text, so the content type says nothing.
            return client.transport.send(Request("GET", f"/{file}", max_bytes=LARGEST_LIST, progress=progress)).body


def _attempts(settings: Settings) -> dict[str, Any]:
    return {"attempts": settings.http_attempts, "first_wait_seconds": settings.http_retry_wait_seconds}


OFF = "The price list is switched off (APERTURE_PRICES_URL=off): only the packaged prices are used."


def refresh_prices(
    price_list: PriceList, database: Database, clock: Clock, log: logging.Logger = _LOG
) -> tuple[int, str | None]:
    """Read the price list and store what changed; return how many prices, and why the list was not used, if so.

    ``log`` is for progress.
    """
    try:
        content = price_list.fetch(log)
        if content is None:
            return 0, None
        listed = parse_price_list(content)
    except (ServiceError, PriceListRejected) as error:
        return 0, str(error)
    with database.transaction() as connection:
        # Two runs at once would both write the same change.
        lock_until_commit(connection, "ai_prices")
        return write_prices(connection, listed, clock.now()), None


def refresh_offered(settings: Settings, embedder: Embedders, database: Database) -> str | None:
    """Read which models the configured endpoint offers now, and store them; return why not if it does not answer."""
    if settings.embedder != "openai":
        return None
    try:
        models = list_models(settings, embedder)
    except ServiceError as error:
        return str(error)
    with database.transaction() as connection:
        replace_offered(connection, settings.embedder_url, models)
    return None
