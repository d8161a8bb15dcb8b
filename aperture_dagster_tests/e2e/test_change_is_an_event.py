"""Real runs and Dagster's real evaluation of the conditions: what follows from a change, and from none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.automation import FROM_AUTOMATION
from aperture_dagster.instance.runs import SCHEDULE_TAG
from aperture_dagster.partitions import USERS, range_tags
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import Play, World
from aperture_dagster.taste import profiles
from aperture_dagster_tests.household import Household, failures

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Parameter `include_sources`")]

Requests = dict[str, set[str | None]]


class Living:
    """A household whose schedules start jobs, and whose automation is followed by real runs."""

    def __init__(self, home: Household, state: SimulatorState, world: World) -> None:
        self.home, self.state, self.world = home, state, world
        # The conditions' hourly ticks come at minutes 17 and 41: they shall not pass by chance.
        self.now = datetime.now(UTC).replace(minute=0)
        self._cursor: Any = None

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.home.instance

    def scheduled(self, job: str) -> dg.ExecuteInProcessResult:
        """Run a job as its schedule would."""
        tags = {SCHEDULE_TAG: f"{job}_schedule"}
        if job == "sync_watch_history":
            users = self.home.everyone()
            tags |= range_tags(users[0], users[-1])
        result = self.home.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=False
        )
        assert result.success, failures(result)
        return result

    def tick(self) -> Requests:
        """What the automation requests now."""
        self.now += timedelta(seconds=30)
        result = dg.evaluate_automation_conditions(
            self.home.definitions, self.instance, cursor=self._cursor, evaluation_time=self.now
        )
        self._cursor = result.cursor
        return {
            key.to_user_string(): set(result.get_requested_partitions(key))
            for key in self.home.definitions.resolve_asset_graph().materializable_asset_keys
            if result.get_num_requested(key)
        }

    def follow(self) -> list[Requests]:
        """Tick, and run what is requested as the daemon would, until nothing more is; what was requested."""
        seen = []
        while requested := self.tick():
            assert len(seen) < 12, f"no end to it: {seen}"
            seen.append(requested)
            for asset, partitions in requested.items():
                self._run(asset, sorted(key for key in partitions if key is not None))
        return seen

    def _run(self, asset: str, users: list[str]) -> None:
        tags = {FROM_AUTOMATION: "true"}
        if len(users) > 1:
            everyone = list(self.instance.get_dynamic_partitions(USERS))
            assert set(everyone) == set(users), "ranges of some users only are not needed here"
            tags |= range_tags(everyone[0], everyone[-1])
        result = self.home.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset)],
            partition_key=users[0] if len(users) == 1 else None,
            tags=tags,
            raise_on_error=False,
        )
        assert result.success, failures(result)

    def list_of(self, user: str) -> list[Any]:
        return self.home.rows(
            "SELECT r.* FROM recommendations r JOIN users u USING (user_id) WHERE u.name = :user "
            "ORDER BY media_type, rank",
            user=user,
        )


@pytest.fixture
def living(settled: Callable[..., Any]) -> Iterator[Living]:
    """A household in which everything has been made, and the automation has come to rest."""
    with settled() as (simulator, home, world):
        alive = Living(home, simulator.state, world)
        alive.tick()
        assert alive.follow() == []
        yield alive


@pytest.mark.nightly(
    reason="Dagster evaluates the conditions of the whole graph at each tick, which takes seconds.",
    instead="e2e/test_change_is_an_event.py::test_a_play_moves_the_taste_and_the_list_of_the_user_who_watched",
)
def test_syncs_that_find_nothing_new_are_one_run_each_and_start_nothing(living: Living):
    events = []
    for job in ("sync_watch_history", "sync_users", "sync_movies", "sync_series", "enrich_metadata", "enrich_mdblist"):
        result = living.scheduled(job)
        events.append(len(living.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)))
        assert living.follow() == [], job
    assert events[0] == 0, "no history changed, so no user is recorded"


def test_a_play_moves_the_taste_and_the_list_of_the_user_who_watched(living: Living):
    user, other = living.home.everyone()[:2]
    film = next(title for title in living.world.titles if title.title == living.home.titles_for(user)[0])
    before = living.list_of(other)
    living.scheduled("sync_movies")
    assert living.follow() == [], "nothing is new"
    living.state.play(Play(user, film.key, datetime.now(UTC)))
    living.scheduled("sync_watch_history")
    assert living.follow() == [{"taste_profiles": {user}, "shows_you_watch": {user}}, {"recommendations": {user}}]
    assert film.title not in living.home.titles_for(user)
    assert living.list_of(other) == before


@pytest.mark.nightly(
    reason="Dagster evaluates the conditions of the whole graph at each tick, which takes seconds.",
    instead="defs/test_conditions.py::test_changes_wait_for_their_hour_which_stands_for_all_of_them",
)
def test_the_page_of_the_household_follows_changed_lists_once_an_hour(living: Living):
    user = living.home.everyone()[0]
    film = next(title for title in living.world.titles if title.title == living.home.titles_for(user)[0])
    living.state.play(Play(user, film.key, datetime.now(UTC)))
    living.scheduled("sync_watch_history")
    assert {"recommendations": {user}} in living.follow()
    living.now = living.now.replace(minute=30)
    assert living.follow() == [], "not for every change"
    living.now = living.now.replace(minute=45)
    assert living.follow() == [{"household_overview": {None}}]
    living.now += timedelta(hours=3)
    assert living.follow() == [], "nothing has changed since"


@pytest.mark.nightly(
    reason="Dagster evaluates the conditions of the whole graph at each tick, which takes seconds.",
    instead="defs/test_automation.py::test_a_changed_film_is_merged_then_embedded_then_moves_everybody",
)
def test_changed_keywords_of_a_film_reach_the_view_the_vectors_and_then_the_lists(living: Living):
    film = living.world.titles[0]
    living.state.add_title(replace(film, keywords=("lighthouse", "octopus", "fog horn")))
    living.home.rows("UPDATE fetches SET due_at = now() - interval '1 day' WHERE source = 'tmdb' RETURNING 1")
    living.scheduled("enrich_metadata")
    requested = living.follow()
    everyone = set(living.home.everyone())
    followed = [{name: users for name, users in step.items() if "studio" not in name} for step in requested]
    assert [step for step in followed if step] == [
        {"embeddings": {None}},
        {"recommendations": everyone},
    ]


@pytest.mark.nightly(
    reason="Dagster evaluates the conditions of the whole graph at each tick, which takes seconds.",
    instead="defs/test_conditions.py::test_a_change_is_requested_once_and_an_equal_version_never",
)
def test_a_parental_limit_set_on_the_server_changes_the_list_after_the_next_sync(living: Living):
    user = living.home.everyone()[0]
    before = living.list_of(user)
    living.state.change_user(user, max_parental_rating=0)
    living.scheduled("sync_users")
    (requested,) = living.follow()
    assert user in requested["recommendations"]
    assert living.list_of(user) != before


@pytest.mark.nightly(
    reason="Dagster evaluates the conditions of the whole graph at each tick, which takes seconds.",
    instead="defs/test_conditions.py::test_a_change_is_requested_once_and_an_equal_version_never",
)
def test_a_user_who_is_renamed_moves_no_list(living: Living):
    living.state.rename_user(living.home.everyone()[0], "somebody else")
    living.scheduled("sync_users")
    assert living.follow() == []


@pytest.mark.nightly(
    reason="Dagster evaluates the conditions of the whole graph at each tick, which takes seconds.",
    instead="defs/test_conditions.py::test_a_failure_is_repeated_at_the_next_turn_of_the_hour_or_at_the_next_change",
)
def test_a_taste_that_cannot_be_learned_holds_up_the_lists_of_others_for_less_than_an_hour(living: Living, monkeypatch):
    unlucky, *others = living.home.everyone()
    whole = profiles._profile_row

    def broken(user: Any, *more: Any) -> Any:
        if user.name == unlucky:
            raise RuntimeError("nobody foresaw this")
        return whole(user, *more)

    monkeypatch.setattr(profiles, "_profile_row", broken)
    again = {"taste_profiles": {"recompute": True}}
    result = living.home.run("generate_recommendations", users=living.home.everyone(), scheduled=True, config=again)
    assert list(failures(result)) == ["taste_profiles"], "the lists wait for the tastes in one run"
    assert living.tick() == {}
    living.now += timedelta(hours=1)
    requested = living.tick()
    assert requested == {"taste_profiles": {unlucky}, "recommendations": set(others)}
