"""The whole graph on Emby: full sync, incremental history, access."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.cli.demo import demo_home
from aperture_dagster.cli.stand_ins import StandIns
from aperture_dagster.resources.media_server.emby import EmbyReader
from aperture_dagster.simulator.world import Play, World
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import NO_BACKUP, Household, failed_checks, metadata_of, rows_written

pytestmark = pytest.mark.e2e

MARKED = "SELECT count(*) FROM watch_state JOIN users USING (user_id) WHERE name = :user AND (played OR favorite)"


def assert_all_is_read(simulator: Any, home: Household, world: World) -> None:
    """Check titles, marks, addresses, and that every user has a list."""
    copies = sum(title.copies for title in world.titles)
    assert home.value("SELECT count(*) FROM titles") == copies
    assert home.value("SELECT count(*) FROM episodes") == sum(sum(one.episodes_per_season) for one in world.titles)
    for user in world.users:
        done = simulator.state.user_named(user.name).data.values()
        assert home.value(MARKED, user=user.name) == sum(one.played or one.favorite for one in done), user.name
        assert home.titles_for(user.name), user.name
    (address,) = home.rows("SELECT name, email, email_source FROM users WHERE email IS NOT NULL")
    assert address == {"name": "ada0", "email": "ada0@example.org", "email_source": "media_server"}
    assert [name for name, check in home.daily_checks().items() if not check.passed] == [NO_BACKUP]


@pytest.mark.nightly(
    reason="A whole cycle on the other server.",
    instead="e2e/test_whole_cycle.py::test_a_second_cycle_writes_requests_and_embeds_nothing",
)
def test_after_a_cycle_on_emby_everything_is_read_everybody_has_a_list_and_a_second_one_writes_nothing(settled):
    with settled(server="emby") as (simulator, home, world):
        assert_all_is_read(simulator, home, world)
        again = home.cycle()
        assert rows_written(again.values()) == {}
        assert [check for result in again.values() for check in failed_checks(result)] == []
        assert simulator.state.requests("jellyfin") == 0
        assert_all_is_read(simulator, home, world)


def test_an_incremental_history_on_emby_takes_one_request_per_user_and_sees_removed_marks(household):
    world = small_world()
    with household(world, server="emby", after=("sync_users", "sync_movies", "sync_series")) as (simulator, home):
        home.must("sync_watch_history", users=home.everyone())
        films = [title for title in world.titles if title.media_type == "movie"]
        seen = {play.title_key for play in world.plays if play.user == "ada0"}
        unseen = next(film for film in films if film.key not in seen)
        unmarked = next(film for film in films if film.key in seen)
        # Played days ago on a device that reported it to the server only now.
        simulator.state.play(Play("ada0", unseen.key, datetime.now(UTC) - timedelta(days=9)))
        simulator.state.mark_unplayed("ada0", unmarked.key)
        simulator.state.reset_counters()
        result = home.must("sync_watch_history", users=home.everyone())
        assert simulator.state.requests("emby", "/Users/{user_id}/Items") == len(world.users)
        assert metadata_of(result, "watch_history", "ada0")["compared_in_full"] is False
        assert metadata_of(result, "watch_history", "ada0")["plays_logged"] == 1
        played = (
            "SELECT played FROM watch_state JOIN users USING (user_id) JOIN titles USING (item_id) "
            "WHERE users.name = 'ada0' AND titles.title = :title ORDER BY played DESC LIMIT 1"
        )
        assert home.value(played, title=unseen.title) is True
        assert home.value(played, title=unmarked.title) is False


@pytest.mark.nightly(
    reason="A whole cycle on the other server.",
    instead="e2e/test_same_library_everywhere.py::test_titles_hidden_from_a_user_by_tags_or_folders_are_not_recommended",
)
def test_a_user_with_access_to_some_libraries_gets_titles_only_from_those(settled):
    with settled(server="emby") as (simulator, home, _):
        assert home.titles_for("bela1")
        simulator.state.allow_libraries("bela1", ["TV Shows"])
        home.must("sync_users")
        home.must("generate_recommendations", users=home.everyone())
        assert home.titles_for("bela1") == []
        assert home.titles_for("bela1", "series")
        assert home.titles_for("ada0")


def test_the_demo_on_emby_has_its_own_server_and_home(tmp_path):
    assert demo_home(None, "emby") != demo_home(None)
    with StandIns("odd", server="emby").running() as (_, environment):
        assert environment["APERTURE_MEDIA_SERVER_TYPE"] == "emby"
        server = EmbyReader(environment["APERTURE_MEDIA_SERVER_URL"], environment["APERTURE_MEDIA_SERVER_API_KEY"])
        assert server.identity().product == "Emby Server"
        server.close()
