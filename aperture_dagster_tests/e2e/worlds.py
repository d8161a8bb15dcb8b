"""Small worlds for whole runs."""

from __future__ import annotations

from datetime import UTC, datetime

from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import WorldSize, generate_world


def small_world(*, movies: int = 60, users: int = 4, plays: int = 200) -> World:
    """Return a world with some films, ten series, and a few users; ``ada0`` watches most."""
    return generate_world(
        WorldSize(movies=movies, series=10, episodes=60, users=users, plays=plays), seed=1, now=datetime.now(UTC)
    )
