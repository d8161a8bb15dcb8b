"""A stand-in for a Jellyfin server, versions 10.9 to 12."""

from aperture_dagster.simulator.jellyfin.app import JellyfinService

__all__ = ["JellyfinService"]
