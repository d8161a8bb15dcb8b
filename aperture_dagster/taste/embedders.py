"""The embedder of the settings."""

from __future__ import annotations

from collections.abc import Callable

from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedder import Embedder, make_embedder


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
