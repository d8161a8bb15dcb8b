"""A small world with items that media servers treat differently: collections, versions, specials, missing folders."""

from __future__ import annotations

from datetime import UTC, datetime

from aperture_dagster.simulator.world import BoxSet, World, WorldLibrary, WorldTitle, WorldUser

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
VERSIONS = ("10.9.11", "10.10.7", "10.11.11", "12.0.0")
FILMS = {"recursive": "true", "includeItemTypes": "Movie"}


def small_world() -> World:
    return World(
        "habits",
        [
            WorldTitle("movie:1", "movie", "Alone", 2001, tmdb_id=11),
            WorldTitle("movie:2", "movie", "Part One", 2002, tmdb_id=12),
            WorldTitle("movie:3", "movie", "Part Two", 2003, tmdb_id=13),
            WorldTitle("movie:4", "movie", "Two Files", 2004, tmdb_id=14, runtime_minutes=100, versions=2),
            WorldTitle("movie:5", "movie", "Merged", 2005, tmdb_id=15, runtime_minutes=100, versions=2, merged=True),
            WorldTitle(
                "series:1", "series", "Show", 2000, tmdb_id=21, episodes_per_season=(4,), specials=1,
                missing_episodes=((1, 4),), double_episodes=((1, 1),),
            ),
        ],
        [WorldUser("ada", is_administrator=True)],
        libraries=(
            WorldLibrary("Movies", "movies", ("/media/movies",)),
            WorldLibrary("TV Shows", "tvshows", ("/media/tv",)),
            WorldLibrary("Music", "music", ("/media/music",), has_id=False),
        ),
        box_sets=[BoxSet("Parts Collection", ("movie:2", "movie:3"), tmdb_id=900)],
    )  # fmt: skip
