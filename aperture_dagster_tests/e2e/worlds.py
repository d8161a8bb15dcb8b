"""Small worlds for whole runs."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import WorldSize, generate_world

ENRICHED = ("sync_users", "sync_movies", "sync_series", "enrich_metadata")
"""The jobs after which the studios of a library are known."""


def small_world(*, movies: int = 60, users: int = 4, plays: int = 200) -> World:
    """Return a world with some films, ten series, and a few users; ``ada0`` watches most."""
    return generate_world(
        WorldSize(movies=movies, series=10, episodes=60, users=users, plays=plays), seed=1, now=datetime.now(UTC)
    )


@functools.cache
def world_of_studios() -> World:
    """Return the world whose home after ``ENRICHED`` the tests of studios copy."""
    return small_world(movies=25)
