"""The life of a user: joins, is renamed, disabled, gone and back again, and stays one person all the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.model import Clock
from aperture_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser
from aperture_dagster.taste.vectors import activate_model, register_model
from aperture_dagster_tests.e2e.publishing import Publishing, publishing
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household
from aperture_dagster_tests.sensors.runs import look

pytestmark = pytest.mark.e2e


class Life:
    """A household that publishes, at which the daemon looks after each sync."""

    def __init__(self, place: Publishing) -> None:
        self.place, self.state = place, place.state
        self.cursor: str | None = None

    @property
    def home(self) -> Household:
        return self.place.home

    def sync(self) -> list[str]:
        """Sync, let the sensor look, and publish; return who gets a first list. A second sync has nothing to do."""
        home = self.home
        home.must("sync_users")
        (job,) = (job for job in all_jobs(home.settings) if job.name == "sync_users")
        assert job.why_skip(home.instance, home.settings, Clock()) == "No user changed since the last run."
        ranges = self._look()
        everyone = home.everyone()
        for first, last in ranges:
            for key in everyone[everyone.index(first) : everyone.index(last) + 1]:
                home.instance.report_runless_asset_event(dg.AssetMaterialization("recommendations", partition=key))
        self.place.publish_now()
        return [first for first, _ in ranges]

    def _look(self) -> list[tuple[str, str]]:
        home, sensor = self.home, self.home.definitions.resolve_sensor_def("users_sensor")
        data = look(sensor, home.instance, home.definitions, self.cursor, database=home.database, clock=Clock())
        self.cursor = data.cursor
        return [(request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) for request in data.run_requests or ()]

    def row(self, name: str) -> dict[str, Any]:
        """The user of this name who is on the server, or else who was."""
        rows = self.home.rows("SELECT * FROM users WHERE name = :name ORDER BY removed_at NULLS FIRST", name=name)
        return rows[0]

    def shown(self) -> set[str]:
        """The libraries of recommended films on the server."""
        return {name.partition("'")[0] for name in self.place.libraries() if name.endswith("AI Picks - Movies")}


@pytest.mark.nightly(
    reason="A long history.",
    instead="catalogue/test_catalogue.py::test_reassigned_ids_do_not_move_history",
)
def test_a_user_is_one_person_from_the_first_day_to_the_last(household: Any, tmp_path: Path):
    films = [
        WorldTitle(f"movie:{n}", "movie", f"Film {n}", 2000 + n, tmdb_id=1000 + n, official_rating="PG")
        for n in range(1, 5)
    ]
    users = [WorldUser("Anna", is_administrator=True), WorldUser("Ben"), WorldUser("Cleo")]
    # Ben has an address of the operator, Cleo does not take part.
    given = {"user_emails": {"Ben": "ben@home.example"}, "exclude_users": ("cleo",)}
    with publishing(household, World("a home", films, users=users), tmp_path, server="emby", **given) as place:
        home = Life(place)
        with place.home.database.transaction() as connection:
            register_model(connection, "model", 3)
            activate_model(connection, "model")
        read_server(place.home)
        place.recommend("Anna", "Film 1", "Film 2")
        place.recommend("Ben", "Film 3", "Film 4")
        assert home.sync() == ["Anna"], "one run serves both, from Anna to Ben"
        assert place.home.everyone() == ["Anna", "Ben"]
        assert home.shown() == {"Anna", "Ben"}

        state, before = home.state, home.row("Ben")
        assert (before["email"], before["email_source"]) == ("ben@home.example", "operator")
        anna = home.row("Anna")
        # Only Emby knows an address, that of the linked account.
        assert (anna["email"], anna["email_source"]) == ("anna@example.org", "media_server")
        assert home.row("Cleo")["email"] is None, "the name of a linked account need not be an address"

        # Renamed: the same person, with partition and address; nobody takes part because of a new name.
        state.rename_user("Ben", "Benjamin")
        state.rename_user("Cleo", "Cleopatra")
        assert home.sync() == []
        ben = home.row("Benjamin")
        assert (ben["user_id"], ben["partition_key"]) == (before["user_id"], "Ben")
        assert (ben["email"], ben["former_names"]) == ("ben@home.example", ["Ben"])
        assert home.home.everyone() == ["Anna", "Ben"]
        assert home.shown() == {"Anna", "Benjamin"}

        # Disabled, and enabled again.
        state.change_user("Benjamin", is_disabled=True)
        assert home.sync() == []
        assert home.home.everyone() == ["Anna"]
        assert home.shown() == {"Anna"}
        state.change_user("Benjamin", is_disabled=False)
        assert home.sync() == ["Ben"]
        assert home.home.everyone() == ["Anna", "Ben"]
        assert home.shown() == {"Anna", "Benjamin"}

        # Gone, and back again.
        state.remove_user("Benjamin")
        assert home.sync() == []
        gone = home.row("Benjamin")
        assert gone["removed_at"] is not None and gone["email"] == "ben@home.example"
        assert home.home.everyone() == ["Anna"]
        assert home.shown() == {"Anna"}
        state.restore_user("Benjamin")
        assert home.sync() == ["Ben"]
        back = home.row("Benjamin")
        # Ben's own published library joined the list of what he may see before he left.
        assert set(back["library_ids"]) > set(gone["library_ids"])
        changing = ("updated_at", "library_ids", "removed_at")
        same = [{key: value for key, value in row.items() if key not in changing} for row in (back, gone)]
        assert same[0] == same[1] and back["removed_at"] is None
        assert home.home.everyone() == ["Anna", "Ben"]
        assert home.shown() == {"Anna", "Benjamin"}

        # A new account with an old name is somebody else.
        state.add_user(WorldUser("Ben"))
        assert home.sync() == [home.row("Ben")["partition_key"]]
        assert home.row("Ben")["user_id"] != before["user_id"]
        assert home.row("Ben")["partition_key"].startswith("Ben-")
        assert home.row("Benjamin")["email"] == "ben@home.example"
        assert home.home.value("SELECT count(*) FROM recommendations WHERE user_id = :id", id=before["user_id"]) == 2
