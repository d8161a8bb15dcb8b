"""Two processes at once: migrations, pools, leases, ratings, prices and the lock files of the embedded database."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.files import locks
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.model import Clock
from aperture_dagster.postgres import database, embedded
from aperture_dagster.postgres.cluster import Cluster
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.ratings.server import rate_on_server
from aperture_dagster.trakt.pushing import TraktOutbox
from aperture_dagster.trakt.sign_in import TraktSignIn
from aperture_dagster_tests.holders import run
from aperture_dagster_tests.interleaving import (
    Side,
    WatchedLock,
    count_statements,
    race,
    stop_at,
    wait_until,
    wait_until_blocked,
    wait_until_blocked_by_file,
)
from aperture_dagster_tests.media_server.writers import film_ids, user_id, writing
from aperture_dagster_tests.shelf import Shelf
from aperture_dagster_tests.trakt.rated_home import RatedHome
from aperture_dagster_tests.trakt.trakt_home import LIFE, TraktHome, trakt_home
from aperture_dagster_tests.waiting import SECONDS

TRY_LOCK = "pg_try_advisory_lock"


@contextmanager
def waits_at_lease(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Side[Any]], None]]:
    """Yield a function that waits until a side has found a lease taken twice, or is over."""
    monkeypatch.setattr(database, "POLL_SECONDS", 0.01)
    with count_statements(TRY_LOCK) as tries:

        def wait(side: Side[Any]) -> None:
            before = tries()
            wait_until(lambda: side.is_over or tries() >= before + 3, "a side waits for a lease, or ends")

        yield wait


# Ratings


@pytest.fixture
def trakt(serve: Callable[..., Any]) -> Iterator[TraktHome]:
    with trakt_home(serve) as opened:
        yield opened


def test_tokens_that_two_processes_find_due_are_renewed_once(trakt: TraktHome, monkeypatch: pytest.MonkeyPatch):
    trakt.connect("ada")
    trakt.wait(LIFE * 0.95)
    trakt.state.reset_counters()
    with waits_at_lease(monkeypatch) as wait, stop_at(TraktSignIn, "refresh") as stop:
        first = Side(lambda: trakt.look("ada"))
        stop.wait_for(first)
        second = Side(lambda: trakt.look("ada"))
        wait(second)
        stop.go_on()
        assert (first.result(SECONDS), second.result(SECONDS)) == ("ada", "ada")
    assert trakt.count("POST /oauth/token") == 1 and trakt.states() == {"ada": "connected"}


def test_what_two_syncs_find_waiting_is_pushed_to_trakt_once(trakt: TraktHome, monkeypatch: pytest.MonkeyPatch):
    trakt.connect("ada")
    rated = RatedHome(trakt)
    rated.sync()
    rated.rate("ada", "movie:1", 9)
    with waits_at_lease(monkeypatch) as wait, stop_at(TraktOutbox, "push") as stop:
        first = Side(rated.sync)
        stop.wait_for(first)
        second = Side(rated.sync)
        wait(second)
        stop.go_on()
        first.result(SECONDS)
        second.result(SECONDS)
    assert [one["key"] for one in rated.pushed()] == ["movie:1"]


def test_a_rating_given_during_a_sync_with_trakt_is_not_lost(trakt: TraktHome, database_url: str):
    """The sync must not merge while somebody is rating, nor put an older rating in force after that."""
    trakt.connect("ada")
    rated = RatedHome(trakt)
    rated.sync()
    rated.rate_on_trakt("ada", "movie:1", 3)
    trakt.wait(60)
    with trakt.database.transaction() as connection:
        rate_here(connection, "ada", rated.works["movie:1"], 9, now=trakt.clock.now())
        sync = Side(rated.sync)
        wait_until_blocked(database_url, sync)
    sync.result(SECONDS)
    rated.sync()
    assert rated.values() == rated.values_there() == {"movie:1": 9}


class RatedServer:
    """A user who rates a film here, and the writer that brings ratings to the media server."""

    def __init__(self, shelf: Shelf, writer: MediaServerWriter) -> None:
        self.shelf, self.writer, self.bo = shelf, writer, user_id(writer, "bo")
        self.film = film_ids(writer)["Alone"]
        shelf.sync(writer.reader)  # pyright: ignore[reportArgumentType]
        shelf.users(self.bo)
        self.work = shelf.item(self.film)["work_id"]

    def rate(self, connection: Any, rating: int) -> None:
        rate_here(connection, self.bo, self.work, rating, now=Clock().now())

    def write(self) -> int:
        with self.shelf.open() as connection:
            user: User = next(one for one in read_users(connection) if one.user_id == self.bo)
        log = logging.getLogger("ratings")
        return rate_on_server(self.shelf.database, self.writer, user, log=log).written

    def there(self) -> float | None:
        ((state,),) = self.writer.reader.states_of(self.bo, [self.film])
        return state.rating


@pytest.fixture
def server(shelf: Shelf) -> Iterator[RatedServer]:
    with writing("10.11.11") as (_, writer):
        yield RatedServer(shelf, writer)


def test_a_rating_that_two_processes_find_missing_is_written_to_the_server_once(server: RatedServer, database_url: str):
    with server.shelf.open() as connection:
        server.rate(connection, 9)
    with stop_at(server.writer, "set_rating") as stop:
        assert race(database_url, stop, server.write, server.write) == (1, 0)
    assert server.there() == 9


# Files that processes of one home lock


@pytest.fixture
def separate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let threads meet as processes do, which share nothing but files."""
    monkeypatch.setattr(embedded, "_thread_lock", nullcontext())


@pytest.mark.usefixtures("separate")
def test_of_two_processes_at_the_first_start_one_creates_the_embedded_database(folder: Path):
    with stop_at(Cluster, "run") as stop:
        first = Side(lambda: start_embedded_server(folder))
        stop.wait_for(first)
        second = Side(lambda: start_embedded_server(folder))
        wait_until_blocked_by_file(Cluster(folder).admin, second)
        stop.go_on()
        assert first.result(SECONDS) == second.result(SECONDS)
    assert run(first.result(SECONDS), "SELECT 1") == [(1,)]


@pytest.mark.usefixtures("separate")
def test_a_thread_that_releases_the_server_waits_for_one_that_looks_after_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Otherwise nobody would stop it: while it is looked after, it does not count as in use."""
    lock = WatchedLock()
    monkeypatch.setattr(embedded, "_thread_lock", lock)
    start_embedded_server(folder)
    with stop_at(embedded, "_ensure_running") as stop:
        looking = Side(lambda: start_embedded_server(folder, verify=True))
        stop.wait_for(looking)
        releasing = Side(lambda: release_embedded_server(folder))
        lock.wait_until_wanted(releasing)
        stop.go_on()
        looking.result(SECONDS)
        releasing.result(SECONDS)
    assert not locks.is_held(Cluster(folder).life)
