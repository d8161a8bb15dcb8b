"""Two transactions at once: the second begins before the first commits, and the outcome is that of one after the other.

Each test fails without the lock, or the guard of a statement, that it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.discovery.pool import DETAILS, write_details
from aperture_dagster.discovery.suggestions import StoredRequest, begin_request, dismiss_title, replace_candidates
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.maintenance import forget_unused_works
from aperture_dagster.media_server.records import ServerEpisode, ServerTitle
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.taste.lists import replace_recommendations
from aperture_dagster.trakt.stored import installation_id
from aperture_dagster.worklist.fetches import ask_again, write_fetches
from aperture_dagster.worklist.quota import spend
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.interleaving import Side, race, stop_before_statement, wait_until_blocked
from aperture_dagster_tests.shelf import NOW, Shelf, film, list_rows, played, user_row
from aperture_dagster_tests.waiting import SECONDS

Work = Callable[[Connection], Any]


@pytest.fixture
def at_once(shelf: Shelf, database_url: str) -> Callable[[Work, Work], tuple[Any, Any]]:
    """Return a function that runs two transactions; the first commits when the second waits for it, or is done."""

    def both(first: Work, second: Work) -> tuple[Any, Any]:
        def work() -> Any:
            with shelf.open() as connection:
                return second(connection)

        with shelf.open() as connection:
            one = first(connection)
            other = Side(work)
            wait_until_blocked(database_url, other)
        return one, other.result(SECONDS)

    return both


AtOnce = Callable[[Work, Work], tuple[Any, Any]]


def work_of(shelf: Shelf, number: int) -> int:
    return shelf.item(f"film-{number}")["work_id"]


def new_works(shelf: Shelf, count: int) -> list[int]:
    """Create works that the library has no copies of."""
    shelf.users("ann")
    with shelf.open() as connection:
        return [one for one in works_for(connection, "movie", [ProviderIds(n + 1) for n in range(count)]) if one]


def suggested_work(shelf: Shelf) -> int:
    """Create a work in the pool of discovery."""
    (work,) = new_works(shelf, 1)
    shelf.do(
        "INSERT INTO discovery_pool (work_id, media_type, tmdb_id, wanted_at) VALUES (:work, 'movie', 1, now())",
        work=work,
    )
    return work


# Identity: the lock of the catalogue


def test_a_title_met_by_two_processes_becomes_one_work(at_once: AtOnce, shelf: Shelf):
    one, other = at_once(
        lambda connection: works_for(connection, "movie", [ProviderIds(11)]),
        lambda connection: works_for(connection, "movie", [ProviderIds(11, "tt11")]),
    )
    assert one == other and shelf.value("SELECT count(*) FROM works") == 1


def test_a_film_that_the_library_gets_has_the_work_that_discovery_is_creating(at_once: AtOnce, shelf: Shelf):
    (one,), _ = at_once(
        lambda connection: works_for(connection, "movie", [ProviderIds(1)]), lambda _: shelf.films(film(1))
    )
    assert work_of(shelf, 1) == one and shelf.value("SELECT count(*) FROM works") == 1


def test_new_episodes_belong_to_the_work_to_which_their_series_is_moving(shelf: Shelf, database_url: str):
    shelf.series(ServerTitle("show", "Show", tmdb_id=1))

    def sync() -> int:
        return shelf.episodes(ServerEpisode("e-1", "show", "E", season=1, number=1)).counts.inserted

    def correct() -> None:
        shelf.series(ServerTitle("show", "Show", tmdb_id=99))

    # The series of the episode has been looked up by then.
    with stop_before_statement("CREATE UNIQUE INDEX ON staged_items") as stop:
        assert race(database_url, stop, sync, correct) == (1, None)
    assert shelf.item("e-1")["work_id"] == shelf.item("show")["work_id"]


def test_a_film_is_recognised_by_the_ids_that_its_work_is_gaining(at_once: AtOnce, shelf: Shelf):
    work = suggested_work(shelf)
    answer = dict.fromkeys(DETAILS) | {"tmdb_id": 1, "imdb_id": "tt1"}
    at_once(
        lambda connection: write_details(connection, {work: answer}, now=NOW),
        lambda _: shelf.films(film(7, tmdb_id=None, imdb_id="tt1")),
    )
    assert work_of(shelf, 7) == work and shelf.value("SELECT count(*) FROM works") == 1


def test_a_work_that_a_sync_needs_again_is_not_deleted_under_it(at_once: AtOnce, shelf: Shelf):
    (work,) = new_works(shelf, 1)
    shelf.do("UPDATE works SET unused_since = :old", old=NOW - timedelta(days=90))
    freed, _ = at_once(
        lambda connection: forget_unused_works(connection, now=NOW, before=NOW - timedelta(days=30)),
        lambda _: shelf.films(film(1)),
    )
    assert freed.rows == 1 and work_of(shelf, 1) != work


# Histories and ratings: the lock of a user, and the shared one of the catalogue


def states(user: str, *listed: Any) -> Work:
    return lambda connection: record_states(connection, user, listed, now=NOW)


def test_a_viewing_that_two_processes_read_is_logged_once(at_once: AtOnce, shelf: Shelf):
    furnish(shelf)
    at_once(states("ann", played("film-1")), states("ann", played("film-100")))
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_a_state_is_written_for_the_current_work_of_its_item(at_once: AtOnce, shelf: Shelf):
    furnish(shelf)

    def correct(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('catalogue'))")
        connection.exec_driver_sql(
            "UPDATE titles SET work_id = (SELECT work_id FROM titles WHERE server_item_id = 'film-2') "
            "WHERE server_item_id = 'film-1'"
        )

    at_once(correct, states("ann", played("film-1")))
    assert shelf.value("SELECT work_id FROM watch_state") == work_of(shelf, 2)


def test_an_item_does_not_change_its_work_while_its_state_is_written(at_once: AtOnce, shelf: Shelf):
    furnish(shelf)
    corrected = [film(1, tmdb_id=77), *(film(n) for n in (0, 2, 3, 4)), film(100, tmdb_id=1)]
    at_once(states("ann", played("film-1", rating=5)), lambda _: shelf.films(*corrected))
    for table in ("watch_state", "plays", "ratings"):
        assert shelf.value(f"SELECT work_id FROM {table}") == work_of(shelf, 1)


def test_a_rating_that_is_being_read_from_the_server_can_be_taken_back(at_once: AtOnce, shelf: Shelf):
    furnish(shelf)
    work = work_of(shelf, 1)
    _, is_removed = at_once(
        states("ann", played("film-1", rating=5)), lambda connection: rate_here(connection, "ann", work, None, now=NOW)
    )
    with shelf.open() as connection:
        assert is_removed and ratings_in_force(connection, "ann")[work].value is None


# Lists


def test_of_two_lists_at_once_the_later_one_stands_alone(at_once: AtOnce, shelf: Shelf):
    furnish(shelf)
    first, second = (list_rows("ann", (shelf.item(f"film-{one}") for one in films)) for films in ((0, 1, 2), (3, 4)))
    at_once(
        lambda connection: replace_recommendations(connection, "ann", first, today=NOW.date()),
        lambda connection: replace_recommendations(connection, "ann", second, today=NOW.date()),
    )
    listed = [row["work_id"] for row in shelf.rows("SELECT work_id FROM recommendations ORDER BY rank")]
    assert listed == [work_of(shelf, 3), work_of(shelf, 4)]


def candidates(work: int) -> list[dict[str, Any]]:
    return [
        {
            "user_id": "ann", "media_type": "movie", "rank": 1, "work_id": work, "score": 0.5, "components": {},
            "because": [],
        }
    ]  # fmt: skip


def test_what_is_dismissed_while_the_list_is_made_is_not_on_it(at_once: AtOnce, shelf: Shelf):
    work = suggested_work(shelf)
    at_once(
        lambda connection: dismiss_title(connection, "ann", work, "A film", now=NOW),
        lambda connection: replace_candidates(connection, "ann", candidates(work), today=NOW.date()),
    )
    assert shelf.rows("SELECT * FROM discovery_candidates") == []


# Limits, identities and queues


def test_two_requests_at_once_do_not_exceed_the_day_s_quota(at_once: AtOnce, shelf: Shelf):
    def use(connection: Connection) -> bool:
        return spend(connection, "omdb", day=NOW.date(), limit=2, reported=False)

    with shelf.open() as connection:
        assert use(connection)
    assert at_once(use, use) == (True, False)
    assert shelf.rows('SELECT used, "limit" FROM quota') == [{"used": 2, "limit": 2}]


def test_of_two_notes_at_once_one_is_written_if_the_week_has_room_for_one(at_once: AtOnce, shelf: Shelf):
    def begin(work: int) -> Work:
        note = StoredRequest("ann", work, "movie", work, "A film", state="sending", requested_at=NOW)
        return lambda connection: begin_request(connection, note, per_week=1)

    assert at_once(*map(begin, new_works(shelf, 2))) == (True, False)
    assert shelf.value("SELECT count(*) FROM seerr_requests") == 1


def test_an_installation_has_one_identity_from_its_first_moment(at_once: AtOnce, shelf: Shelf):
    one, other = at_once(installation_id, installation_id)
    assert one == other


def test_two_newcomers_of_one_name_get_different_partitions(at_once: AtOnce, shelf: Shelf):
    def sync(user_id: str) -> Work:
        def key_for(name: str, user_id: str, taken: Any) -> str:
            return name if name not in taken else f"{name}-{user_id}"

        row = user_row("ann") | {"user_id": user_id}
        return lambda connection: write_users(connection, [row], still_there=None, key_for=key_for)

    at_once(sync("1"), sync("2"))
    assert {row["partition_key"] for row in shelf.rows("SELECT partition_key FROM users")} == {"ann", "ann-2"}


def test_writers_of_the_same_items_do_not_wait_for_each_other_in_a_circle(shelf: Shelf, database_url: str):
    shelf.films(*(film(number) for number in range(1, 4)))
    works = [work_of(shelf, number) for number in (3, 2, 1)]
    nothing = {"kind": "movie", "outcome": "error", "attempts": 1, "fetched_at": None, "attempted_at": NOW}
    rows = [nothing | {"item": work, "due_at": NOW, "found_id": None, "detail": None} for work in works]
    with shelf.open() as connection:
        # Their order in the table is not that of their keys, either.
        for row in rows:
            write_fetches(connection, TMDB, [row])

    def transaction(work: Work) -> Side[Any]:
        def run() -> None:
            with shelf.open() as connection:
                work(connection)

        return Side(run)

    with shelf.open() as connection:
        # Holds up the first writer when it has got one of its rows.
        connection.exec_driver_sql(f"SELECT * FROM fetches WHERE item = {works[1]} FOR UPDATE")
        writer = transaction(lambda connection: write_fetches(connection, TMDB, rows))
        wait_until_blocked(database_url, writer)
        other = transaction(lambda connection: ask_again(connection, works))
        wait_until_blocked(database_url, writer, other)
    writer.result(SECONDS)
    other.result(SECONDS)
    assert shelf.value("SELECT count(*) FROM fetches WHERE due_at <= now()") == 3
