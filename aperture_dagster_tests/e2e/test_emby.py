"""What was watched on Emby."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import metadata_of

pytestmark = pytest.mark.e2e


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
