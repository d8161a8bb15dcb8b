"""A household with suggestions of titles that it does not own, and Seerr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from click.testing import Result
from sqlalchemy import insert

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.discovery.tables import discovery_candidates, discovery_pool
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser
from aperture_dagster_tests.e2e.commands import run_command
from aperture_dagster_tests.e2e.reading import read_server
from aperture_dagster_tests.household import Household, SetClock, failures, metadata_of

START = datetime(2026, 5, 17, 9, tzinfo=UTC)
# The household's suggestions, the best first, and a film and a series that it owns.
FILMS = [WorldTitle(f"movie:{one}", "movie", f"Film {one}", 2000 + one, tmdb_id=one, copies=0) for one in range(1, 7)]
SHOW = WorldTitle("series:8", "series", "Show", 2010, tmdb_id=8, tvdb_id=80, episodes_per_season=(2, 2, 2), copies=0)
OWNED = WorldTitle("movie:9", "movie", "Owned", 1999, tmdb_id=9, imdb_id="tt0000009")
HALF = WorldTitle("series:10", "series", "Half a show", 2012, tmdb_id=10, tvdb_id=100, episodes_per_season=(2, 2))
ON: dict[str, Any] = {"requests_per_week": 2}


class Requesting:
    """Runs the job and the commands, and reads what they did here and on Seerr."""

    def __init__(self, home: Household, state: SimulatorState, clock: SetClock) -> None:
        self.home, self.state, self.clock = home, state, clock
        self.works: dict[str, int] = {}

    def suggest(self, user: str, *titles: WorldTitle, score: float = 0.9) -> None:
        """Make these titles the suggestions of a user, the best first."""
        for rank, title in enumerate(titles, start=1):
            with self.home.database.transaction() as connection:
                (work_id,) = works_for(connection, title.media_type, [ProviderIds(title.tmdb_id)])
                assert work_id is not None
                if title.key not in self.works:
                    pool = {
                        "work_id": work_id, "media_type": title.media_type, "tmdb_id": title.tmdb_id,
                        "title": title.title, "release_date": f"{title.year}-01-01",
                        "wanted_at": self.clock.moment, "fetched_at": self.clock.moment, "vote_count": 5000,
                        "certifications": {"US": ["PG"]}, "genres": ["Drama"],
                    }  # fmt: skip
                    connection.execute(insert(discovery_pool).values(pool))
                self.works[title.key] = work_id
                row = {
                    "user_id": self.user(user).user_id, "media_type": title.media_type, "rank": rank,
                    "work_id": work_id, "score": score - rank / 100, "components": {}, "because": [],
                    "listed_since": self.clock.moment.date(),
                }  # fmt: skip
                connection.execute(insert(discovery_candidates).values(row))

    def user(self, name: str) -> User:
        with self.home.database.transaction() as connection:
            return next(one for one in read_users(connection) if one.name == name)

    def run(self, *users: str) -> dg.ExecuteInProcessResult:
        """Run the job for users (default: everybody)."""
        keys = [self.user(one).partition_key for one in users] or self.home.everyone()
        return self.home.run("send_requests", users=keys)

    def send(self, *users: str) -> list[tuple[str, str]]:
        """Run the job, which must succeed; return what is new on Seerr: who, and which title."""
        before = len(self.state.seerr_requests())
        result = self.run(*users)
        assert result.success, failures(result)
        self.last = result
        return self.on_seerr()[before:]

    def page(self, user: str) -> dict[str, Any]:
        """Return the metadata of a user in the last run."""
        return metadata_of(self.last, "seerr_requests", self.user(user).partition_key)

    def on_seerr(self) -> list[tuple[str, str]]:
        return [(one["user"], one["key"]) for one in self.state.seerr_requests()]

    def states(self, user: str) -> dict[str, str]:
        """Return the states of a user's requests by title."""
        rows = self.home.rows(
            "SELECT title, state FROM seerr_requests JOIN users USING (user_id) WHERE name = :user", user=user
        )
        return {row["title"]: row["state"] for row in rows}

    def decide(self, key: str, status: str) -> None:
        (found,) = (one["id"] for one in self.state.seerr_requests() if one["key"] == key)
        self.state.seerr_decide(found, status)

    def later(self, **time_passed: float) -> None:
        self.clock.moment += timedelta(**time_passed)

    def command(self, *arguments: str, answer: str | None = None) -> Result:
        """Run a command; ``answer`` is typed when it asks."""
        return run_command(self.home.settings, *arguments, answer=answer)


@contextmanager
def requesting(
    household: Callable[..., Any], *, stand_ins: dict[str, Any] | None = None, **settings: Any
) -> Iterator[Requesting]:
    """Open a household of ann, bob and cy, whom Seerr does not know."""
    clock = SetClock(START)
    world = World(
        "wishes",
        [*FILMS, SHOW, OWNED, HALF],
        [WorldUser("ann", is_administrator=True), WorldUser("bob"), WorldUser("cy")],
    )
    known = SimulatorSettings(**{"seerr_without": ("cy",)} | (stand_ins or {}))
    with household(world, parts={"clock": clock}, stand_ins=known, **settings) as (simulator, home):
        read_server(home)
        yield Requesting(home, simulator.state, clock)
