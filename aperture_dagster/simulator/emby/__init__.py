"""A stand-in for an Emby server, version 4.8."""

from aperture_dagster.simulator.emby.app import EmbyService

__all__ = ["EmbyService"]
