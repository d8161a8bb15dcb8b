"""The embedder of the settings."""

from __future__ import annotations

from collections.abc import Callable

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedder import FASTEMBED_MODEL, Embedder, FastEmbedEmbedder, StaticEmbedder
from aperture_dagster.taste.endpoint import OpenAiEmbedder, endpoint_client


def make_embedder(settings: Settings) -> Embedder:
    """Make the embedder of the settings. Raises ServiceNotConfigured if its package is not installed."""
    key = settings.embedder_api_key
    if settings.embedder == "fastembed":
        model = settings.embedder_model or FASTEMBED_MODEL
        return FastEmbedEmbedder(model, str(settings.home_path / "models"))
    if settings.embedder == "openai":
        return OpenAiEmbedder(
            settings.embedder_url,
            key.get_secret_value() if key else None,
            model=settings.embedder_model or "text-embedding-3-small",
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )
    return StaticEmbedder()


class Embedders:
    """The embedder of the settings, made once per process: a local model takes a moment to load."""

    def __init__(self, settings: Settings, make: Callable[[Settings], Embedder] = make_embedder) -> None:
        self._settings = settings
        self._make = make
        self._embedder: Embedder | None = None

    def get(self) -> Embedder:
        """Return the embedder. Raises ServiceNotConfigured if its package is not installed."""
        if self._embedder is None:
            self._embedder = self._make(self._settings)
        return self._embedder

    def connect(self, url: str) -> ServiceClient:
        """Return a client of the configured endpoint with its key, for requests below ``url``, an address there."""
        settings = self._settings
        key = settings.embedder_api_key
        return endpoint_client(
            url,
            key.get_secret_value() if key is not None else None,
            attempts=settings.http_attempts,
            first_wait_seconds=settings.http_retry_wait_seconds,
        )
