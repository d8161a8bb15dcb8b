"""The engine that works through a list: answers are stored in batches, and none is lost or asked for twice."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from aperture_dagster.catalogue.sync.merge import Coverage, RemovalRules, write_libraries
from aperture_dagster.catalogue.sync.titles import TitleSync
from aperture_dagster.enrichment.omdb.source import OMDB
from aperture_dagster.http.errors import BadAnswer, QuotaSpent, ServicePaused, ServiceRefused
from aperture_dagster.postgres.database import Database
from aperture_dagster.worklist import engine
from aperture_dagster.worklist.engine import STORED_AT_ONCE, work_through
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.health import failing_services
from aperture_dagster.worklist.work_list import Attempt, WorkList
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.shelf import FILMS, NOW, film

LOG = logging.getLogger(__name__)


@pytest.fixture
def films(database: Database) -> int:
    """Put films into the library, and return how many."""
    count = 3 * STORED_AT_ONCE
    with database.connection() as connection:
        with connection.begin():
            write_libraries(connection, [FILMS])
        sync = TitleSync(connection, "movie")
        sync.add(FILMS, [film(number, imdb_id=f"tt{number:07}") for number in range(1, count + 1)])
        sync.merge(Coverage(complete={FILMS.library_id}), RemovalRules(accepted=False))
    return count


class Service:
    """A service that counts what it is asked, and fails from some request on."""

    def __init__(self, *, fails_after: int | None = None, error: BaseException | None = None) -> None:
        self.asked: Counter[int] = Counter()
        self.batches: list[int] = []
        self._fails_after, self._error = fails_after, error
        self._lock = threading.Lock()

    def ask(self, unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        for item in unit:
            with self._lock:
                if self._error is not None and self.asked.total() == self._fails_after:
                    raise self._error
                self.asked[item.item] += 1
            yield [Attempt(item, "ok", answer={})]

    def store(self, connection: Any, attempts: Sequence[Attempt]) -> int:
        self.batches.append(len(attempts))
        return len(attempts)

    def work(self, **options: Any) -> WorkList:
        return Work(self, **options)


class Work(WorkList[Any]):
    """The work list of such a service; ``options`` replace attributes and methods."""

    def __init__(self, service: Service, **options: Any) -> None:
        self.source, self.client, self.quota, self.concurrency = OMDB, service, None, 4
        for name, value in options.items():
            setattr(self, name, value)

    def ask(self, unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        return self.client.ask(unit)

    def store(self, connection: Any, attempts: Sequence[Attempt]) -> int:
        return self.client.store(connection, attempts)

    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        return timedelta(days=30)

    def cancel(self) -> None:
        pass


def done(database: Database) -> int:
    with database.transaction() as connection:
        return connection.execute(text("SELECT count(*) FROM fetches WHERE outcome = 'ok'")).scalar_one()


def test_answers_are_stored_together_and_each_once(database: Database, films: int):
    service = Service()
    tally = work_through(service.work(), database, SetClock(NOW), LOG)
    assert (tally.ok, tally.rows, tally.still_due, done(database)) == (films, films, 0, films)
    assert set(service.asked.values()) == {1}
    assert sum(service.batches) == films
    assert len(service.batches) < films / 5, "a transaction for each answer would take longer than the answer"


def test_answers_are_stored_while_the_rest_of_their_unit_is_asked_about(
    database: Database, films: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engine, "LONGEST_UNSTORED_SECONDS", 0.1)
    service = Service()
    stored = threading.Event()

    def ask(unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        attempts = service.ask(unit)
        yield next(attempts)
        assert stored.wait(60), "a run that is killed would lose an answer that came long before"
        yield from attempts

    def store(connection: Any, attempts: Sequence[Attempt]) -> int:
        stored.set()
        return service.store(connection, attempts)

    work_through(service.work(ask=ask, store=store, unit_size=films), database, SetClock(NOW), LOG)
    assert (service.batches[0], done(database)) == (1, films)


def test_an_error_of_a_unit_concerns_only_the_items_without_an_answer(database: Database, films: int):
    service = Service(fails_after=7, error=BadAnswer("the list ends early"))
    tally = work_through(service.work(unit_size=films, concurrency=1), database, SetClock(NOW), LOG)
    assert (tally.ok, tally.error, done(database)) == (7, films - 7, 7)


def test_answers_before_an_error_that_concerns_all_titles_are_stored(database: Database, films: int):
    service = Service(fails_after=STORED_AT_ONCE + 7, error=ServiceRefused("the key was refused"))
    with pytest.raises(ServiceRefused):
        work_through(service.work(), database, SetClock(NOW), LOG)
    assert done(database) == sum(service.batches) == service.asked.total() == STORED_AT_ONCE + 7
    again = Service()
    work_through(again.work(), database, SetClock(NOW), LOG)
    assert not again.asked.keys() & service.asked.keys(), "nothing is asked twice"
    assert done(database) == films


def test_an_interrupted_run_stores_the_answers_that_wait(database: Database, films: int, monkeypatch):
    service = Service()
    fetched = threading.Event()

    def ask(unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        yield from service.ask(unit)
        if service.asked.total() >= 5:
            fetched.set()
            raise ServiceRefused("stopped here")

    def interrupt(*_: Any) -> Any:
        assert fetched.wait(60)
        raise KeyboardInterrupt

    # The thread that stores is interrupted while it waits for results.
    monkeypatch.setattr("aperture_dagster.worklist.engine._Run._wait_for_results", interrupt)
    with pytest.raises(KeyboardInterrupt):
        work_through(service.work(ask=ask, concurrency=8), database, SetClock(NOW), LOG)
    assert done(database) == service.asked.total() >= 5


class Ledger:
    """The quota of a key that other programs use as well."""

    resumes_at = NOW + timedelta(hours=9)
    is_exhausted = False

    def exhaust(self) -> None:
        self.is_exhausted = True


def failing(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [row["service"] for row in failing_services(connection)]


def test_a_key_that_is_used_up_is_not_asked_again_today_and_is_no_trouble(database: Database, films: int):
    ledger: Any = Ledger()
    service = Service(fails_after=4, error=QuotaSpent("none left"))
    tally = work_through(service.work(concurrency=1, quota=ledger), database, SetClock(NOW), LOG)
    assert ledger.is_exhausted, "our own count may be lower than the service's"
    assert (tally.ok, tally.still_due, tally.resumes_at) == (4, films - 4, ledger.resumes_at)
    assert failing(database) == []


def test_a_pause_is_trouble_only_if_it_comes_before_any_answer(database: Database, films: int):
    pause = ServicePaused("wait", NOW + timedelta(hours=1))
    first = Service(fails_after=3, error=pause)
    assert work_through(first.work(concurrency=1), database, SetClock(NOW), LOG).resumes_at == pause.resumes_at
    assert failing(database) == []
    work_through(Service(fails_after=0, error=pause).work(concurrency=1), database, SetClock(NOW), LOG)
    assert failing(database) == [OMDB.name]
    work_through(Service().work(), database, SetClock(NOW), LOG)
    assert (failing(database), done(database)) == ([], films)
