"""Ratings from here on the media server, while others read and rate there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.http.errors import RequestRejected
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import database_time
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.ratings.server import ServerWrites, rate_on_server
from aperture_dagster_tests.killing import Killed
from aperture_dagster_tests.media_server.writers import film_ids, user_id, writing
from aperture_dagster_tests.shelf import NOW, Shelf

log = logging.getLogger("ratings")
FILM, OTHER = "Alone", "Part One"


class Home:
    """A user with a Trakt account, who rates films here and on the media server."""

    def __init__(self, shelf: Shelf, state: Any, writer: MediaServerWriter) -> None:
        self.shelf, self.state, self.writer = shelf, state, writer
        self.bo = user_id(writer, "bo")
        self.films = film_ids(writer)
        shelf.sync(writer.reader)  # pyright: ignore[reportArgumentType]
        shelf.users(self.bo)
        shelf.connect_to_trakt(self.bo)

    def work(self, film: str = FILM) -> int:
        return self.shelf.item(self.films[film])["work_id"]

    def user(self) -> User:
        with self.shelf.open() as connection:
            return next(one for one in read_users(connection) if one.user_id == self.bo)

    def rate(self, rating: int | None, film: str = FILM) -> None:
        """Rate on the command line."""
        with self.shelf.open() as connection:
            rate_here(connection, self.bo, self.work(film), rating, now=Clock().now())

    def write(self, writer: Any = None, **how: Any) -> ServerWrites:
        """Rate what lacks a rating on the media server."""
        return rate_on_server(self.shelf.database, writer or self.writer, self.user(), log=log, **how)

    def request(self) -> tuple[Any, list[Any]]:
        """Have the server report all films; return when that was requested, and the report."""
        with self.shelf.open() as connection:
            moment = database_time(connection)
        return moment, [one for page in self.writer.reader.states_of(self.bo, [*self.films.values()]) for one in page]

    def store(self, report: tuple[Any, list[Any]]) -> None:
        moment, states = report
        with self.shelf.open() as connection:
            record_states(connection, self.bo, states, now=NOW, requested_at=moment)

    def here(self, film: str = FILM) -> int | None:
        with self.shelf.open() as connection:
            found = ratings_in_force(connection, self.bo).get(self.work(film))
        return None if found is None else found.value

    def there(self, film: str = FILM) -> float | None:
        """Return the rating on the media server."""
        ((state,),) = self.writer.reader.states_of(self.bo, [self.films[film]])
        return state.rating

    def for_trakt(self) -> list[Any]:
        return [row["rating"] for row in self.shelf.rows("SELECT rating FROM rating_outbox ORDER BY work_id")]


@pytest.fixture
def home(database: Database) -> Iterator[Home]:
    with writing("10.11.11") as (running, writer):
        yield Home(Shelf(database), running.state, writer)


@pytest.mark.parametrize(("before", "after"), [(None, 9), (9, 4), (9, None)])
def test_a_report_from_before_a_copy_was_rated_changes_nothing(home: Home, before: int | None, after: int | None):
    if before is not None:
        home.rate(before)
        home.write()
    home.store(home.request())
    report = home.request()
    home.rate(after)
    assert home.write().written == 1
    home.store(report)
    assert (home.here(), home.there(), home.for_trakt()) == (after, after, [after])
    home.store(home.request())
    assert (home.here(), home.for_trakt()) == (after, [after])


def test_a_report_from_before_the_lock_was_free_changes_nothing(home: Home):
    """A transaction may begin long before it writes."""
    home.rate(9)
    with home.shelf.open() as early:
        database_time(early)
        report = home.request()
        home.writer.set_rating(home.bo, home.films[FILM], 9)
        fresh = home.request()[1]
        record_states(early, home.bo, fresh, now=NOW)
    home.store(report)
    assert (home.here(), home.for_trakt()) == (9, [9])


class Interrupted:
    """A writer to whose next rating something happens: before it is set, or (``late``) afterwards."""

    def __init__(self, writer: MediaServerWriter, event: Callable[[], None], *, late: bool) -> None:
        self._writer, self._event, self._late = writer, event, late

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def set_rating(self, *arguments: Any) -> None:
        event, self._event = self._event, lambda: None
        if not self._late:
            event()
        self._writer.set_rating(*arguments)
        if self._late:
            event()


@pytest.mark.parametrize(("late", "newer"), [(False, 5), (True, None)])
def test_a_rating_given_while_others_are_written_is_written_instead(home: Home, late: bool, newer: int | None):
    """It was looked up once, minutes before, and then counted as the server's own."""
    for film in (FILM, OTHER):
        home.rate(9, film)

    def change_both() -> None:
        for film in (FILM, OTHER):
            home.rate(newer, film)

    home.write(Interrupted(home.writer, change_both, late=late))
    assert home.there(OTHER) == newer, "it was looked up again"
    assert (home.here(), home.here(OTHER)) == (newer, newer)
    home.write()
    home.store(home.request())
    assert [home.here(), home.there(), home.here(OTHER), home.there(OTHER)] == [newer] * 4
    assert home.for_trakt() == [newer, newer]


def test_a_rating_that_was_taken_over_from_the_server_meanwhile_is_left_alone(home: Home):
    for film in (FILM, OTHER):
        home.rate(9, film)

    def rate_there() -> None:
        home.writer.set_rating(home.bo, home.films[OTHER], 3)
        home.store(home.request())

    home.write(Interrupted(home.writer, rate_there, late=True))
    assert (home.here(OTHER), home.there(OTHER)) == (3, 3)


def test_a_rating_given_there_after_the_films_were_looked_up_is_left_alone(home: Home):
    for film in (FILM, OTHER):
        home.rate(9, film)
    event = partial(home.writer.set_rating, home.bo, home.films[OTHER], 3)
    assert home.write(Interrupted(home.writer, event, late=True)) == ServerWrites(written=1, left=1)
    assert home.there(OTHER) == 3


def test_a_run_that_was_killed_between_the_server_and_the_record_is_made_up_for(home: Home):
    home.rate(9)

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        home.write(Interrupted(home.writer, die, late=True))
    assert home.there() == 9
    assert home.write().written == 0
    home.store(home.request())
    home.rate(None)
    home.write()
    home.store(home.request())
    assert (home.here(), home.there(), home.for_trakt()) == (None, None, [None])


def test_an_item_that_moves_to_another_work_meanwhile_takes_its_rating_along(home: Home):
    home.rate(9)
    before = home.work()

    def move() -> None:
        statement = "UPDATE titles SET work_id = :other WHERE server_item_id = :id"
        home.shelf.do(statement, other=home.work(OTHER), id=home.films[FILM])

    home.write(Interrupted(home.writer, move, late=True))
    rows = home.shelf.rows("SELECT source, work_id FROM ratings ORDER BY source")
    assert rows == [{"source": "own", "work_id": before}, {"source": "server", "work_id": home.work(OTHER)}]


def test_what_was_not_rated_is_told_apart(home: Home):
    class Refusing(Interrupted):
        def set_rating(self, *arguments: Any) -> None:
            raise RequestRejected("no")

    home.rate(9)
    assert home.write(Refusing(home.writer, lambda: None, late=False)) == ServerWrites(left=1)
    home.shelf.do(
        "UPDATE titles SET server_item_id = :id WHERE server_item_id = :old", id="0" * 32, old=home.films[FILM]
    )
    assert home.write() == ServerWrites(left=1)
