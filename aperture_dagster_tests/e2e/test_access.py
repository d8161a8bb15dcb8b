"""What a user may not see on the server is not recommended to them, on either server."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster.enrichment.queries import write_enriched
from aperture_dagster.enrichment.sources import merge_plan
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import DEFAULT_LIBRARIES, WorldLibrary, WorldTitle, WorldUser
from aperture_dagster.taste.vectors import activate_model, register_model
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.habits import small_world
from aperture_dagster_tests.marks import ANOTHER_CASE

pytestmark = pytest.mark.e2e


def served_by(server: str) -> dict[str, Any]:
    if server == "emby":
        return {"server": "emby"}
    return {"stand_ins": SimulatorSettings(jellyfin_version=server)}


@pytest.mark.parametrize("server", [pytest.param("12.0.0", marks=ANOTHER_CASE), "emby"])
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
        with home.database.transaction() as connection:
            write_enriched(connection, merge_plan())
            register_model(connection, "model", 3)
            activate_model(connection, "model")
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
