"""From the media server's plays to each user's list of watched series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import Play, World, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household, SetClock, materializations, metadata_of

pytestmark = pytest.mark.e2e

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ADULT = {"official_rating": "TV-MA", "status": "Returning Series"}


def series(number: int, name: str, *episodes: int, **facts: Any) -> WorldTitle:
    usual: dict[str, Any] = {"tmdb_id": number, "year": 2015, "runtime_minutes": 50, "episodes_per_season": episodes}
    return WorldTitle(f"series:{number}", "series", name, **usual | ADULT | facts)


def watch(user: str, number: int, season: int, *episodes: int, days_ago: float = 1) -> list[Play]:
    at = NOW - days_ago * DAY
    return [Play(user, f"series:{number}", at + timedelta(minutes=one), season=season, episode=one) for one in episodes]


WORLD = World(
    "watching",
    [
        series(1, "Running", 4, 3, specials=2),
        series(2, "Ended", 6, status="Ended"),
        series(3, "Two Copies", 5, copies=2),
        series(4, "For Children", 5, official_rating="TV-Y"),
    ],
    [WorldUser("ann", is_administrator=True), WorldUser("bob"), WorldUser("cy")],
    [
        *watch("ann", 1, 1, 1, 2, 3, 4, days_ago=5),
        *watch("ann", 1, 0, 1, days_ago=4),
        *watch("ann", 2, 1, 1, 2),
        *watch("ann", 3, 1, 1, 2, days_ago=2),
        *watch("ann", 4, 1, 1),
        *watch("cy", 1, 1, 1, 2, 3),
        *watch("cy", 4, 1, 1, 2, 3, 4, 5, days_ago=3),
    ],
)


class Watching:
    """A household of three users, whose list of watched series is made by real runs."""

    def __init__(self, home: Household, state: SimulatorState, clock: SetClock) -> None:
        self.home, self.state, self.clock = home, state, clock

    def make(self) -> dict[str, dict[str, Any]]:
        """Materialize the lists of all users; return the metadata of each with its data version."""
        result = self.home.must("sync_watching_libraries", users=self.home.everyone(), scheduled=True)
        return {
            one.partition: metadata_of(result, "shows_you_watch", one.partition)
            | {"version": (one.tags or {})[VERSION_TAG]}
            for one in materializations(result)
        }

    def read_again(self) -> None:
        self.home.must("sync_series")
        self.home.must("sync_watch_history", users=self.home.everyone())

    def rows(self, user: str) -> list[dict[str, Any]]:
        return self.home.rows(
            "SELECT n.title, s.*, e.season || 'x' || e.number AS next FROM shows_you_watch s "
            "JOIN users u USING (user_id) JOIN work_names n USING (work_id) "
            "LEFT JOIN episodes e ON e.item_id = s.next_item_id WHERE u.name = :user ORDER BY rank",
            user=user,
        )

    def brief(self, user: str) -> list[tuple[Any, ...]]:
        return [
            (one["title"], one["episodes_played"], one["episodes_out"], one["next"], one["behind"])
            for one in self.rows(user)
        ]


@pytest.fixture
def watching(household: Callable[..., Any]) -> Iterator[Watching]:
    clock = SetClock(NOW)
    with household(replace(WORLD), parts={"clock": clock}) as (simulator, home):
        read_server(home, histories=True)
        home.must("enrich_metadata")
        # What cy watched before is known.
        simulator.state.change_user("cy", max_parental_rating=7)
        home.must("sync_users")
        yield Watching(home, simulator.state, clock)


def test_a_night_without_changes_is_recorded_for_everybody(watching: Watching):
    """Otherwise, what is current would be reported as out of date after two such nights."""
    for _ in range(2):
        result = watching.home.must("sync_watching_libraries", users=watching.home.everyone(), scheduled=True)
    recorded = {(one.asset_key.to_user_string(), one.partition) for one in materializations(result)}
    for asset in ("shows_you_watch", "shows_you_watch_libraries"):
        assert {(asset, user) for user in ("ann", "bob", "cy")} <= recorded


def test_each_user_gets_the_series_that_they_watch_and_may_see(watching: Watching):
    made = watching.make()
    assert watching.brief("ann") == [("Two Copies", 2, 5, "1x3", 3), ("Running", 4, 7, "2x1", 3)]
    assert watching.brief("cy") == [("For Children", 5, 5, None, 0)]
    assert watching.brief("bob") == []
    assert {user: one["dagster/row_count"] for user, one in made.items()} == {"ann": 2, "bob": 0, "cy": 1}
    for row in [*watching.rows("ann"), *watching.rows("cy")]:
        assert NOW.date() < row["next_air_date"] <= NOW.date() + 29 * DAY, "as TMDb announces"
    shown = made["ann"]["series"]
    columns = [column.name for column in shown.schema.columns]
    assert columns == ["rank", "title", "next episode", "behind", "next air date", "days until"]
    _, second = shown.records
    assert (second.data["title"], second.data["next episode"], second.data["behind"]) == ("Running", "S02E01", 3)
    air_date = date.fromisoformat(str(second.data["next air date"]))
    assert second.data["days until"] == (air_date - NOW.date()).days
