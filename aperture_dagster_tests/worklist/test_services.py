"""State of external services: leases, daily quotas and health."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine

from aperture_dagster.discovery.seerr import SEERR
from aperture_dagster.enrichment.sources import MDBLIST, OMDB
from aperture_dagster.http.errors import QuotaSpent, ServiceBusy
from aperture_dagster.postgres import database as leases
from aperture_dagster.postgres.database import Database, service_lease
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.health import failing_services, note_answers, note_trouble
from aperture_dagster.worklist.quota import QuotaLedger
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster.worklist.source import Source
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.shelf import NOW, Shelf

TODAY = NOW.date()
LATE = datetime(2026, 5, 17, 23, 59, 59, tzinfo=UTC)


# The day's quota


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW)


def left(ledger: QuotaLedger, most: int = 50) -> int:
    """Use up the quota, and return how many requests were left."""
    for number in range(most):
        try:
            ledger.spend()
        except QuotaSpent:
            return number
    return most


def test_every_day_has_its_own_quota(database: Database, clock: SetClock, shelf: Shelf):
    ledger = QuotaLedger(database, clock, OMDB, 3)
    assert (left(ledger), ledger.usage()) == (3, (3, 3))
    assert ledger.resumes_at == datetime(2026, 5, 18, tzinfo=UTC)
    clock.moment = ledger.resumes_at - timedelta(microseconds=1)
    assert left(ledger) == 0
    clock.moment = ledger.resumes_at
    assert (ledger.usage(), left(ledger)) == ((0, 3), 3)
    days = [(row["day"], row["used"]) for row in shelf.rows("SELECT day, used FROM quota ORDER BY day DESC")]
    assert days == [(date(2026, 5, 18), 3), (date(2026, 5, 17), 3)]


def test_the_quota_reported_by_the_service_takes_precedence(database: Database, clock: SetClock):
    ledger = QuotaLedger(database, clock, MDBLIST, 1000, reported=True)
    ledger.spend()
    ledger.report(700, 298)
    assert ledger.usage() == (402, 700)
    ledger.spend()
    assert ledger.usage() == (403, 700)
    ledger.report(700, 0)
    assert left(ledger) == 0
    ledger.report(5000, 4000)
    assert ledger.usage() == (1000, 5000), "it was raised"


def test_a_changed_limit_applies_at_once(database: Database, clock: SetClock):
    assert left(QuotaLedger(database, clock, OMDB, 3)) == 3
    assert left(QuotaLedger(database, clock, OMDB, 5)) == 2
    lower = QuotaLedger(database, clock, OMDB, 4)
    assert (left(lower), lower.usage()) == (0, (5, 4))


@pytest.mark.parametrize(("service", "reported"), [(OMDB, False), (MDBLIST, True)])
def test_a_quota_reported_as_used_up_is_used_up(database: Database, clock: SetClock, service: Source, reported: bool):
    ledger = QuotaLedger(database, clock, service, 10, reported=reported)
    ledger.exhaust()
    assert (ledger.usage(), left(ledger)) == ((10, 10), 0)
    clock.moment += timedelta(days=1)
    ledger.spend()
    ledger.exhaust()
    assert ledger.usage() == (10, 10)


def test_an_answer_after_midnight_does_not_change_the_next_days_quota(database: Database, clock: SetClock):
    clock.moment = LATE
    spent, reported = (QuotaLedger(database, clock, OMDB, 10), QuotaLedger(database, clock, MDBLIST, 10, reported=True))
    spent.spend()
    reported.spend()
    clock.moment = LATE + timedelta(seconds=2)
    spent.exhaust()
    reported.report(10, 0)
    assert (spent.usage(), reported.usage()) == ((0, 10), (0, 10))
    assert spent.resumes_at == datetime(2026, 5, 18, tzinfo=UTC)


def test_requests_taken_from_the_quota_in_advance_are_counted_and_given_back(database: Database, clock: SetClock):
    ledger, doctor = (QuotaLedger(database, clock, OMDB, 30, block=20) for _ in range(2))
    other = QuotaLedger(database, clock, OMDB, 30)
    for _ in range(3):
        ledger.spend()
    assert other.usage() == (20, 30), "a process that is killed now loses these 20 at most"
    assert ledger.usage() == other.usage() == (3, 30)
    assert (left(ledger), other.usage(), left(other)) == (27, (30, 30), 0)
    doctor.give_back()
    assert other.usage() == (30, 30)


def test_requests_taken_in_advance_never_exceed_the_quota(database: Database, clock: SetClock):
    first, second = (QuotaLedger(database, clock, OMDB, 30, block=20) for _ in range(2))
    first.spend()
    assert left(second) == 10
    assert left(first) == 19
    assert first.usage() == (30, 30)


def test_requests_taken_in_advance_belong_to_their_day(database: Database, clock: SetClock, shelf: Shelf):
    clock.moment = LATE
    ledger = QuotaLedger(database, clock, OMDB, 30, block=20)
    ledger.spend()
    clock.moment = LATE + timedelta(seconds=2)
    ledger.spend()
    assert ledger.usage() == (1, 30)
    days = {row["day"]: row["used"] for row in shelf.rows("SELECT day, used FROM quota")}
    assert days == {LATE.date(): 1, LATE.date() + timedelta(days=1): 1}


def test_what_was_taken_in_advance_is_not_given_back_once_the_service_reports_the_quota_as_used_up(
    database: Database, clock: SetClock
):
    ledger = QuotaLedger(database, clock, OMDB, 30, block=20)
    ledger.spend()
    ledger.exhaust()
    ledger.give_back()
    assert (ledger.usage(), left(ledger)) == ((30, 30), 0)


# One user at a time


def test_the_lease_of_a_service_is_exclusive_and_independent_of_other_services(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.01)

    def use(service: str, **how: Any) -> Any:
        return shelf.database.lease(service, waiting=how.pop("waiting", lambda seconds: None), **how)

    waited: list[float] = []
    order: list[str] = []
    asked = threading.Event()

    def second() -> None:
        with use("omdb", waiting=lambda seconds: (waited.append(seconds), asked.set())):
            order.append("second")

    with use("omdb"), use("mdblist"):
        with pytest.raises(TimeoutError, match="another run is using omdb now"), use("omdb", patience_seconds=0):
            raise AssertionError("two at once")
        other = threading.Thread(target=second)
        other.start()
        assert asked.wait(60)
        order.append("first")
    other.join(60)
    assert order == ["first", "second"] and waited[0] >= 0


def test_who_connects_to_a_service_has_it_alone(make_settings: Callable[..., Settings], clock: SetClock):
    settings = make_settings(omdb_api_key="key", seerr_url="http://127.0.0.1:1", seerr_api_key="key")
    database = Database(settings)
    for service in (OMDB, SEERR):
        alone = MeteredService(service, settings, database, clock)
        with alone.open(), pytest.raises(ServiceBusy, match=service.label), alone.open(patience_seconds=0):
            raise AssertionError("two at once")
        with MeteredService(service, settings, database, clock).open(patience_seconds=0):
            pass


def test_the_lease_of_a_killed_process_is_free_at_once(shelf: Shelf, database_url: str):
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    lease = service_lease(engine, "tmdb")
    lease.__enter__()
    with pytest.raises(TimeoutError), shelf.database.lease("tmdb", waiting=lambda seconds: None, patience_seconds=0):
        raise AssertionError("it is in use")
    # What the server does to the connection of a process that is gone.
    shelf.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with shelf.database.lease("tmdb", waiting=lambda seconds: None, patience_seconds=240):
        pass
    # Nor does it stand in the way of a run that outlived a restart of the database.
    lease.__exit__(None, None, None)
    engine.dispose()


# Trouble


def test_a_failing_service_keeps_the_first_time_and_the_last_error_until_it_works(shelf: Shelf):
    hour = timedelta(hours=1)
    with shelf.open() as connection:
        note_answers(connection, "omdb", now=NOW)
        note_trouble(connection, "omdb", now=NOW + hour, trouble="answered 500")
        note_trouble(connection, "omdb", now=NOW + 2 * hour, trouble="no answer in time" + "." * 600)
        note_trouble(connection, "tmdb", now=NOW, trouble="refused")
        omdb, tmdb = failing_services(connection)
        assert (omdb["service"], omdb["failing_since"], omdb["answered_at"]) == ("omdb", NOW + hour, NOW)
        assert omdb["trouble"].startswith("no answer in time") and len(omdb["trouble"]) == 500
        assert (tmdb["service"], tmdb["answered_at"]) == ("tmdb", None)
        note_answers(connection, "omdb", now=NOW + 3 * hour)
        assert [row["service"] for row in failing_services(connection)] == ["tmdb"]
        note_trouble(connection, "omdb", now=NOW + 4 * hour, trouble="again")
        assert failing_services(connection)[0]["failing_since"] == NOW + 4 * hour
