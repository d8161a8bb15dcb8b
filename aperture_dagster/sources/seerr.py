"""Seerr (Jellyseerr, Overseerr) as a service: one process at a time, so that nothing is requested twice."""

from __future__ import annotations

from aperture_dagster.resources.errors import ServiceNotConfigured
from aperture_dagster.resources.seerr import Seerr
from aperture_dagster.settings import Settings
from aperture_dagster.sources.services import Service


def _connect(settings: Settings, key: str, **options: object) -> Seerr:
    if settings.seerr_url is None:
        raise ServiceNotConfigured("APERTURE_SEERR_URL is not set")
    return Seerr(settings.seerr_url, key, **options)


SEERR: Service[Seerr] = Service(
    name="seerr",
    label="Seerr",
    connect=_connect,
    key=lambda settings: settings.seerr_api_key,
    key_setting="SEERR_API_KEY",
    url=lambda settings: settings.seerr_url or "",
    without_key="nothing can be requested",
)


def why_not_configured(settings: Settings) -> str | None:
    """Name the setting that requests need and that is missing; None if there is none."""
    if settings.seerr_url is None:
        return "APERTURE_SEERR_URL is not set: set it to the address of Seerr, such as http://192.168.1.10:5055."
    if settings.seerr_api_key is None:
        return "SEERR_API_KEY is not set: set it to the API key in Seerr's Settings, General."
    return None
