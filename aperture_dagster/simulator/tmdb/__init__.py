"""A stand-in for TMDb's API (version 3) and its image host."""

from aperture_dagster.simulator.tmdb.app import TmdbImageService, TmdbService

__all__ = ["TmdbImageService", "TmdbService"]
