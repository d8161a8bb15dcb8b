"""A household whose ratings are kept in step with Trakt, for tests with real runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.settings import load_settings
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import Play, World, WorldTitle, WorldUser
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.records import parse_tokens
from aperture_dagster_tests.e2e.reading import read_histories, read_server
from aperture_dagster_tests.household import Household, SetClock, materializations, metadata_of
from aperture_dagster_tests.sensors.runs import look
from aperture_dagster_tests.trakt.trakt_home import quick_trakt

JOB = "sync_trakt_ratings"
FILM, TWICE, ELSEWHERE = "movie:1", "movie:2", "movie:9"
TRAKT: dict[str, Any] = {
    "trakt_client_id": "demo-trakt-client-id",
    "trakt_client_secret": "demo-trakt-client-secret",
    "secret_key": "a key with which tokens are encrypted",
}


def film(number: int, **facts: Any) -> WorldTitle:
    ids: dict[str, Any] = {"tmdb_id": number, "imdb_id": f"tt{number:07}"}
    return WorldTitle(f"movie:{number}", "movie", f"Film {number}", 2000, **ids | facts)


TITLES = [film(1), film(2, copies=2), film(3), film(4), film(9, copies=0)]
USERS = ["ann", "bob", "cy"]


class Raters:
    """Three users of a library, of whom some are connected to Trakt."""

    def __init__(self, simulator: Any, home: Household, clock: SetClock) -> None:
        self.state, self.home, self.clock = simulator.state, home, clock
        self.trakt = TraktAccounts(home.settings, home.database, clock)
        read_server(home, histories=True)
        self.ids = {row["name"]: row["user_id"] for row in home.rows("SELECT name, user_id FROM users")}

    def connect(self, *users: str) -> None:
        for user in users:
            tokens = parse_tokens(self.state.trakt_connect(user), self.clock.now())
            self.trakt.connect(self.ids[user], tokens)

    def read_server(self) -> None:
        read_histories(self.home, full=True)

    def sync(self, *, scheduled: bool = False, **config: Any) -> dict[str, dict[str, Any]]:
        """Sync everybody; return the metadata of each, with the data version."""
        given = {"trakt_ratings": config} if config else None
        result = self.home.must(JOB, users=self.home.everyone(), scheduled=scheduled, config=given)
        return {
            one.partition or "": metadata_of(result, "trakt_ratings", one.partition)
            | {"version": (one.tags or {})[VERSION_TAG]}
            for one in materializations(result)
        }

    def catch_up(self) -> None:
        """Set the clock to that of commands, which is the real one."""
        self.clock.moment = max(self.clock.moment, datetime.now(UTC))

    def tick(self) -> Any:
        """One look of the sensor."""
        self.catch_up()
        sensor = self.home.definitions.resolve_sensor_def("ratings_outbox_sensor")
        parts = {"database": self.home.database, "trakt": self.trakt, "clock": self.clock}
        return look(sensor, self.home.instance, self.home.definitions, **parts)

    def there(self, user: str) -> dict[str, int]:
        return {key: one["rating"] for key, one in self.state.trakt_ratings(user).items()}

    def here(self, user: str) -> dict[str, float | None]:
        rows = self.home.rows(
            "SELECT DISTINCT ON (work_id) 'movie:' || w.tmdb_id AS key, rating "
            "FROM ratings JOIN works w USING (work_id) WHERE user_id = :user ORDER BY work_id, ratings.updated_at DESC",
            user=self.ids[user],
        )
        return {row["key"]: row["rating"] for row in rows}

    def on_server(self, user: str, key: str) -> list[float | None]:
        """Return the ratings of all copies."""
        owner = self.state.owner(user)
        return [owner.of(item).rating for item in self.state.catalogue.top_items(key)]


@contextmanager
def rating(household: Callable[..., Any], **overrides: Any) -> Iterator[Raters]:
    """Open a household whose users may be connected to Trakt, at a time of whole seconds."""
    now = datetime.now(UTC).replace(microsecond=0)
    clock = SetClock(now)
    plays = [Play(user, FILM, now - timedelta(days=9)) for user in USERS]
    world = World("rated", TITLES, [WorldUser(one) for one in USERS], plays)
    stand_ins = SimulatorSettings(trakt_writes=(1000, 1.0), trakt_unknown_share=0.0, trakt_missing_ids_share=0.0)
    with (
        quick_trakt(),
        household(world, parts={"clock": clock}, stand_ins=stand_ins, **TRAKT | overrides) as (simulator, home),
    ):
        settings = home.settings
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        urls = {"trakt_url": simulator.trakt_url}
        home = Household(load_settings(**given | urls), home.instance, clock=clock)
        yield Raters(simulator, home, clock)
