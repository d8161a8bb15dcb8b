"""A home whose users are on Trakt, for tests: the stand-in, a database, and a clock for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World, WorldTitle
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.records import TokenPair, parse_tokens
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.shelf import user_row

LIFE = 1000
FILMS = [
    WorldTitle(f"movie:{number}", "movie", f"Film {number}", 2000, tmdb_id=number, imdb_id=f"tt{number:07d}")
    for number in range(1, 31)
]
SHOWS = [
    WorldTitle(f"series:{number}", "series", f"Show {number}", 2010, tmdb_id=number, tvdb_id=number + 70)
    for number in range(1, 4)
]
SECRET_KEY = "a key with which tokens are encrypted"
USERS = ("ada", "ben")


class TraktHome:
    """Users, their accounts on Trakt of the same names, and what is stored about them."""

    def __init__(self, simulator: RunningSimulator, settings: Settings) -> None:
        self.state = simulator.state
        self.clock = SetClock(datetime.now(UTC))
        self.use(settings)
        with self.database.transaction() as connection:
            write_users(connection, map(user_row, USERS), still_there=USERS, key_for=lambda name, *_: name)

    def use(self, settings: Settings) -> None:
        """Use other settings from now on."""
        self.settings = settings
        self.database = Database(settings)
        self.accounts = TraktAccounts(settings, self.database, self.clock)

    def environment(self) -> dict[str, str]:
        """Return variables that give another process, or a command, these settings."""
        settings = self.settings
        secrets = {
            "APERTURE_DATABASE_URL": settings.database_url,
            "APERTURE_SECRET_KEY": settings.secret_key,
            "TRAKT_CLIENT_SECRET": settings.trakt_client_secret,
        }
        return {
            "APERTURE_HOME": str(settings.home),
            "APERTURE_TRAKT_URL": settings.trakt_url,
            "TRAKT_CLIENT_ID": settings.trakt_client_id or "",
            **{name: value.get_secret_value() if value else "" for name, value in secrets.items()},
        }

    def grant(self, account: str) -> TokenPair:
        """Let the app in on Trakt."""
        return parse_tokens(self.state.trakt_connect(account), self.clock.now())

    def connect(self, *users: str) -> None:
        """Connect users to their accounts."""
        for user in users:
            self.accounts.connect(user, self.grant(user))

    def look(self, user: str) -> str:
        """Connect to Trakt for a user, and return the name of the account."""
        with self.accounts.open(user) as client:
            return client.account()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.state.advance(seconds)
        self.clock.moment += timedelta(seconds=seconds)

    def count(self, operation: str = "") -> int:
        """Return the number of requests of both hosts since the last reset."""
        counters = self.state.counters
        return counters.total("trakt", operation) + counters.total("trakt_auth", operation)

    def states(self) -> dict[str, str]:
        """Return the states of the accounts."""
        return {account.user_id: account.state.name for account in self.accounts.accounts()}

    def trouble(self, user: str) -> str:
        """Return what is wrong with an account."""
        return next(account.state.reason or "" for account in self.accounts.accounts() if account.user_id == user)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with self.database.transaction() as connection:
            return read_rows(connection, statement)

    def do(self, statement: str) -> None:
        """Execute a statement."""
        with self.database.transaction() as connection:
            execute(connection, statement)


@contextmanager
def quick_trakt() -> Iterator[None]:
    """Let clients of Trakt write as often as the stand-in allows, and repeat soon what failed or is in use."""
    writes = patch("aperture_dagster.trakt.client.WRITE_SECONDS", 0.01)
    leases = patch("aperture_dagster.postgres.database.POLL_SECONDS", 0.02)
    with writes, leases, patch("aperture_dagster.trakt.answers.OUTAGE_WAIT_SECONDS", 0.02):
        yield


@contextmanager
def trakt_home(serve: Callable[..., Any], *, stand_ins: Any = None, **overrides: Any) -> Iterator[TraktHome]:
    """Open a home with the stand-in for Trakt; ``stand_ins`` changes its settings."""
    quick = {
        "trakt_token_seconds": LIFE,
        "trakt_writes": (1000, 1.0),
        "trakt_unknown_share": 0.0,
        "trakt_missing_ids_share": 0.0,
    }
    world = World("films", [*FILMS, *SHOWS])
    served = serve(world, stand_ins=SimulatorSettings(**quick | (stand_ins or {})))
    with quick_trakt(), served as (simulator, settings):
        values: dict[str, Any] = {
            "trakt_client_id": "demo-trakt-client-id",
            "trakt_client_secret": "demo-trakt-client-secret",
            "trakt_url": simulator.trakt_url,
            "secret_key": SECRET_KEY,
            "http_retry_wait_seconds": 0.001,
        }
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        yield TraktHome(simulator, load_settings(**given | values | overrides))
