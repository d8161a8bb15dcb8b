"""Every server gives the same catalogue, without expensive requests that load the whole library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.simulator.jellyfin.items import SERIES_COUNTED
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import DEFAULT_LIBRARIES, BoxSet, Play, World, WorldLibrary, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.habits import VERSIONS, small_world
from aperture_dagster_tests.household import Household, metadata_of

pytestmark = pytest.mark.e2e

OLDER = pytest.mark.nightly(reason="Every version of Jellyfin again.", instead="the same test on Emby")
SERVERS = [*(pytest.param(version, marks=OLDER) for version in VERSIONS), "emby"]
NOW = datetime.now(UTC).replace(microsecond=0)


def large_world() -> World:
    """A world with 600 films, 45 collections, 40 films in two versions (half merged), a library without an id."""
    films = [
        WorldTitle(
            f"movie:{number}", "movie", f"Film {number}", 1950 + number % 70, tmdb_id=1000 + number,
            imdb_id=f"tt{7_000_000 + number}", runtime_minutes=100, versions=2 if number < 40 else 1,
            merged=number < 20, library="Kids" if number % 10 == 9 else None,
        )
        for number in range(600)
    ]  # fmt: skip
    box_sets = [
        BoxSet(f"Collection {number}", tuple(f"movie:{number * 4 + part}" for part in range(4)), tmdb_id=1000 + number)
        for number in range(45)
    ]
    libraries = (
        *DEFAULT_LIBRARIES,
        WorldLibrary("Kids", "movies", ("/media/kids",)),
        WorldLibrary("Not Mounted", "movies", ("/media/nas",), has_id=False),
    )
    show = WorldTitle("series:1", "series", "Show", 2000, tmdb_id=1, episodes_per_season=(3,), specials=1)
    plays = [Play("ada", f"movie:{number}", NOW - timedelta(days=number)) for number in range(60, 90)]
    return World("large", [*films, show], [WorldUser("ada")], plays, libraries=libraries, box_sets=box_sets)


def served_by(server: str) -> dict[str, Any]:
    if server == "emby":
        return {"server": "emby"}
    return {"stand_ins": SimulatorSettings(jellyfin_version=server)}


def costly(simulator: Any, server: str) -> int:
    """Return the number of requests that made the server collapse collections or load its whole library."""
    service = "emby" if server == "emby" else "jellyfin"
    return simulator.state.costly(service) - simulator.state.costly(service, SERIES_COUNTED)


def catalogue(home: Household) -> set[tuple[Any, ...]]:
    """Return every work with the names and ids of its copies."""
    rows = home.rows(
        "SELECT w.tmdb_id, w.imdb_id, array_agg(DISTINCT t.title) AS titles FROM works w "
        "JOIN titles t USING (work_id) WHERE t.removed_at IS NULL AND t.media_type = 'movie' GROUP BY w.work_id"
    )
    return {(row["tmdb_id"], row["imdb_id"], *row["titles"]) for row in rows}


@pytest.mark.parametrize("server", SERVERS)
def test_films_on_many_pages_give_the_same_catalogue_on_every_server(household, server: str):
    """Including collections, merged versions and a library without an id."""
    world = large_world()
    with household(world, page_size=100, **served_by(server)) as (simulator, home):
        home.must("sync_users")
        for _ in range(2):
            films = home.must("sync_movies")
            home.must("sync_series")
            home.must("sync_watch_history", users=home.everyone())
            expected = {(one.tmdb_id, one.imdb_id, one.title) for one in world.titles if one.media_type == "movie"}
            assert catalogue(home) == expected
            assert home.value("SELECT count(*) FROM titles WHERE removed_at IS NOT NULL") == 0
            assert home.value("SELECT count(*) FROM watch_state WHERE played") == 30
            assert costly(simulator, server) == 0
        assert metadata_of(films, "movies")["rows_written"] == 0


@pytest.mark.parametrize("server", [pytest.param("12.0.0", marks=OLDER), "emby"])
def test_titles_hidden_from_a_user_by_tags_or_folders_are_not_recommended(household, server: str):
    world = small_world()
    world.titles = [
        WorldTitle("movie:1", "movie", "Gory", 2001, tmdb_id=1, tags=("gore",)),
        WorldTitle("movie:2", "movie", "For Kids", 2002, tmdb_id=2, tags=("Kids",)),
        WorldTitle("movie:3", "movie", "Untagged", 2003, tmdb_id=3, tags=()),
        WorldTitle("movie:4", "movie", "Elsewhere", 2004, tmdb_id=4, tags=("kids",), location="/media/more"),
        WorldTitle("series:1", "series", "Gory Show", 2005, tmdb_id=5, tags=("Gore",), episodes_per_season=(2,)),
        # Two copies each, one of them a cut version.
        WorldTitle("movie:6", "movie", "Cut", 2006, tmdb_id=6, tags=("gore",)),
        WorldTitle("movie:7", "movie", "Cut", 2006, tmdb_id=6, tags=()),
        WorldTitle("movie:8", "movie", "Uncut", 2007, tmdb_id=7, tags=()),
        WorldTitle("movie:9", "movie", "Uncut", 2007, tmdb_id=7, tags=("gore",)),
    ]
    world.libraries = (WorldLibrary("Movies", "movies", ("/media/movies", "/media/more")), DEFAULT_LIBRARIES[1])
    world.box_sets = []
    world.users = [WorldUser(name) for name in ("all", "mild", "child", "confined")]
    with household(world, **served_by(server)) as (simulator, home):
        simulator.state.restrict("mild", blocked_tags=["GORE"])
        simulator.state.restrict("child", allowed_tags=["kids"])
        simulator.state.restrict("confined", excluded_locations=["/media/more"])
        read_server(home, histories=True)
        for job in ("enrich_metadata", "generate_embeddings"):
            home.must(job)
        home.must("generate_recommendations", users=home.everyone())
        offered = {user: set(home.titles_for(user) + home.titles_for(user, "series")) for user in home.everyone()}
        everything = {"Gory", "For Kids", "Untagged", "Elsewhere", "Gory Show", "Cut", "Uncut"}
        assert offered["all"] == everything
        assert offered["mild"] == {"For Kids", "Untagged", "Elsewhere", "Cut", "Uncut"}
        shown = home.rows(
            "SELECT t.tags FROM recommendations r JOIN users u USING (user_id) JOIN titles t USING (item_id) "
            "WHERE u.name = 'mild'"
        )
        assert not any("gore" in row["tags"] for row in shown), "the item of a recommendation is visible to the user"
        assert offered["child"] == {"For Kids", "Elsewhere"}
        # Jellyfin has no excluded folders.
        assert offered["confined"] == (everything - {"Elsewhere"} if server == "emby" else everything)


def test_a_library_that_loses_its_id_keeps_its_films_and_blocks_nothing_else(household):
    world = large_world()
    world.titles = [one for one in world.titles if one.media_type == "series"] + world.titles[:40]
    world.box_sets, world.plays = [], []
    with household(world) as (simulator, home):
        read_server(home)
        simulator.state.change_library("Kids", has_id=False)
        simulator.state.remove_title("movie:0")
        films = home.must("sync_movies")
        log = "\n".join(event.message or "" for event in films.all_events)
        assert metadata_of(films, "movies")["removed"] == 1, log
        gone = home.rows("SELECT title FROM titles WHERE removed_at IS NOT NULL")
        assert [row["title"] for row in gone] == ["Film 0"]
        home.must("sync_series")
