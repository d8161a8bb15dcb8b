"""Settings of the product that point it at the stand-ins instead of the real services."""

from __future__ import annotations

from aperture_dagster.settings import PREFIX
from aperture_dagster.simulator.settings import SimulatorSettings

JELLYFIN_PATH = "/jellyfin"
EMBY_PATH = "/emby"
TMDB_PATH = "/tmdb/3"
TMDB_IMAGES_PATH = "/tmdb-images"
OPENAI_PATH = "/openai/v1"
OMDB_PATH = "/omdb"
MDBLIST_PATH = "/mdblist"
TRAKT_PATH = "/trakt"
TRAKT_AUTH_PATH = TRAKT_PATH + "/auth"
SEERR_PATH = "/seerr"
OLLAMA_PATH = "/ollama"
LM_STUDIO_PATH = "/lm-studio"
PRICES_PATH = "/prices"
PRICES_FILE = "/model_prices_and_context_window.json"
VOLUME = "/data/aperture"
"""Where the media server of a demo sees the folder for published libraries."""
SECRET_KEY = "demo-secret-key-of-the-stand-ins"
"""Encrypts tokens of the stand-in for Trakt, which are not secret."""


def environment(root: str, server: str = "jellyfin", settings: SimulatorSettings | None = None) -> dict[str, str]:
    """Return variables that point every service at the stand-ins under ``root``, with ``server`` as the media server.

    The product may use the stand-ins' limits. At the real services' rates, 10,000 films would take most of an hour,
    and OMDb alone ten days.
    """
    settings = settings or SimulatorSettings()
    tmdb_requests, tmdb_seconds = settings.tmdb_limit
    return {
        PREFIX + "MEDIA_SERVER_URL": root + (EMBY_PATH if server == "emby" else JELLYFIN_PATH),
        PREFIX + "MEDIA_SERVER_TYPE": server,
        PREFIX + "MEDIA_SERVER_API_KEY": settings.emby_key if server == "emby" else settings.jellyfin_key,
        "TMDB_API_KEY": settings.tmdb_key,
        PREFIX + "TMDB_URL": root + TMDB_PATH,
        # A little less than the stand-in allows in the 10 seconds of the setting.
        PREFIX + "TMDB_REQUESTS": str(max(1, int(tmdb_requests * 10 / tmdb_seconds * 0.95))),
        PREFIX + "TMDB_IMAGE_URL": root + TMDB_IMAGES_PATH,
        "OMDB_API_KEY": settings.omdb_key,
        PREFIX + "OMDB_URL": root + OMDB_PATH,
        PREFIX + "OMDB_DAILY_LIMIT": str(settings.omdb_daily_limit),
        "MDBLIST_API_KEY": settings.mdblist_key,
        PREFIX + "MDBLIST_URL": root + MDBLIST_PATH,
        "TRAKT_CLIENT_ID": settings.trakt_client_id,
        "TRAKT_CLIENT_SECRET": settings.trakt_client_secret,
        PREFIX + "TRAKT_URL": root + TRAKT_PATH,
        PREFIX + "SECRET_KEY": SECRET_KEY,
        PREFIX + "SEERR_URL": root + SEERR_PATH,
        "SEERR_API_KEY": settings.seerr_key,
        PREFIX + "PRICES_URL": root + PRICES_PATH + PRICES_FILE,
    }
