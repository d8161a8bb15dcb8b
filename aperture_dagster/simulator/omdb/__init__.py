"""A stand-in for OMDb."""

from aperture_dagster.simulator.omdb.app import OmdbService

__all__ = ["OmdbService"]
