"""Who left the media server is forgotten after 90 days on which that was certain, and it is said before."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from aperture_dagster.instance.forgetting import Forgetting, Night
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.commands import run_command
from aperture_dagster_tests.e2e.conftest import household
from aperture_dagster_tests.household import Household, SetClock, metadata_of
from aperture_dagster_tests.inbox import Inbox

__all__ = ["household"]

LOG = logging.getLogger("test")
DAY = timedelta(days=1)
SAID = (
    "Ben left the media server {} days ago, and everything about them is deleted in {} days. "
    "APERTURE_FORGET_AFTER_DAYS=0 keeps it."
)


class Nights:
    """Nights of housekeeping: the whole job, or only what it does about users who left."""

    def __init__(self, home: Household, clock: SetClock) -> None:
        self.home, self.clock = home, clock

    def short(self, count: int = 1) -> Night:
        night = Night()
        for _ in range(count):
            self.clock.moment += DAY
            night = self.look()
        return night

    def skip_to(self, days: int) -> None:
        self.home.rows("UPDATE departures SET days = :days RETURNING 1", days=days)

    def look(self, **settings: Any) -> Night:
        home = self.home
        given = home.settings.model_copy(update=settings)
        return Forgetting(given, home.database, home.instance, self.clock, LOG).look_after_departures()

    def whole(self) -> dict[str, Any]:
        self.clock.moment += DAY
        return metadata_of(self.home.must("housekeeping"), "housekeeping")

    def users(self) -> list[str]:
        return [row["name"] for row in self.home.rows("SELECT name FROM users ORDER BY name")]

    def days(self) -> list[int]:
        return [row["days"] for row in self.home.rows("SELECT days FROM departures")]

    def shown(self) -> list[str]:
        return json.loads(run_command(self.home.settings, "status", "--json").stdout)["forgotten_soon"]


def test_who_left_is_forgotten_after_90_days_and_is_named_two_weeks_before(household: Callable[..., Any], inbox: Inbox):
    clock = SetClock(datetime.now(UTC).replace(hour=1, minute=30))
    world = World("a home", [WorldTitle("movie:1", "movie", "Film", 2000)], users=[WorldUser("Anna"), WorldUser("Ben")])
    with household(world, parts={"clock": clock}, alert_urls=inbox.url) as (simulator, home):
        nights = Nights(home, clock)
        home.must("sync_users")
        simulator.state.remove_user("Ben")
        home.must("sync_users")

        # What is not certain does not count: a server that is down, or says that nobody is there.
        simulator.state.add_fault(FaultRule("jellyfin", "/Users"))
        for _ in range(3):
            clock.moment += timedelta(days=30)
            assert "does not count" in nights.look().notes[0] and nights.days() == []
        simulator.state.clear_faults()
        simulator.state.add_fault(FaultRule("jellyfin", "/Users", kind="empty_list"))
        assert "does not count" in nights.short().notes[0] and nights.days() == []
        simulator.state.clear_faults()

        assert nights.short(2) == Night() and nights.days() == [2]
        nights.skip_to(74)
        assert nights.short() == Night() and nights.shown() == []
        # A clock that jumps is one day, and a second look on a day is none.
        clock.moment += timedelta(days=400)
        assert nights.look().announced == nights.look().soon and nights.days() == [76]
        assert nights.shown() == [SAID.format(76, 14)]

        nights.skip_to(75)
        home.rows("UPDATE departures SET announced_at = NULL RETURNING 1")
        said = nights.whole()
        assert SAID.format(76, 14) in said["users_forgotten_soon"] and inbox.titles == ["Aperture: users who left"]
        nights.skip_to(87)
        assert nights.short().soon == [SAID.format(88, 2)]
        said = nights.whole()
        assert SAID.format(89, 1).replace("1 days", "1 day") in said["users_forgotten_soon"]
        assert nights.users() == ["Anna", "Ben"] and inbox.titles == []
        assert nights.whole()["users_forgotten"] == 1
        assert nights.users() == ["Anna"] and nights.shown() == []


def test_who_comes_back_or_is_kept_by_the_setting_is_not_forgotten(household: Callable[..., Any]):
    clock = SetClock(datetime.now(UTC).replace(hour=1, minute=30))
    world = World("a home", [WorldTitle("movie:1", "movie", "Film", 2000)], users=[WorldUser("Anna"), WorldUser("Ben")])
    with household(world, parts={"clock": clock}) as (simulator, home):
        nights = Nights(home, clock)
        home.must("sync_users")
        simulator.state.remove_user("Ben")
        home.must("sync_users")
        nights.short()
        home.rows("UPDATE departures SET days = 89, announced_at = 76 RETURNING 1")
        simulator.state.restore_user("Ben")
        home.must("sync_users")
        assert nights.days() == []
        simulator.state.remove_user("Ben")
        home.must("sync_users")
        # Gone long before the period was shortened: there is still time to keep them.
        nights.short()
        nights.skip_to(60)
        clock.moment += DAY
        assert nights.look(forget_after_days=30).soon == [SAID.format(61, 14)]
        clock.moment += DAY
        assert nights.look(forget_after_days=0) == Night() and nights.days() == [61]
        assert nights.users() == ["Anna", "Ben"]
