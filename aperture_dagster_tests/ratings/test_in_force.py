"""Of the ratings of a work from several sources, the one written last is in force, and counts for the taste."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history.states import SeenRating
from aperture_dagster.postgres.queries import database_time, read_value
from aperture_dagster.ratings.in_force import (
    OWN,
    TRAKT,
    give_rating,
    rated_since,
    ratings_in_force,
    ratings_version,
    write_server_ratings,
)
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.ratings.removals import held_removals
from aperture_dagster.ratings.server import copies_to_rate
from aperture_dagster.ratings.synced import works_to_push
from aperture_dagster.taste.histories import read_histories
from aperture_dagster_tests.catalogue.viewers import DAY, furnish, history_of, mark, marked
from aperture_dagster_tests.shelf import NOW, Shelf, film, played


@pytest.fixture(autouse=True)
def home(shelf: Shelf) -> None:
    furnish(shelf)


def work(shelf: Shelf, item: str = "film-1") -> int:
    return shelf.item(item)["work_id"]


def give(shelf: Shelf, source: str, rating: float | None, at: datetime = NOW, item: str = "film-1") -> None:
    with shelf.open() as connection:
        lock_history(connection, "ann")
        give_rating(connection, "ann", work(shelf, item), rating, source=source, rated_at=at)


def on_server(shelf: Shelf, rating: float | None, at: datetime = NOW) -> None:
    shelf.history("ann", played("film-1", rating=rating), now=at)


def in_force(shelf: Shelf, item: str = "film-1") -> tuple[int | None, datetime, bool] | None:
    with shelf.open() as connection:
        one = ratings_in_force(connection, "ann").get(work(shelf, item))
    return (one.value, one.rated_at, one.is_observed) if one is not None else None


def counted(shelf: Shelf, *without: str, item: str = "film-1") -> float | None:
    """The rating that counts for the taste; None if there is none."""
    with shelf.open() as connection:
        frame = read_histories(connection, without=without)
    found = frame[(frame.work_id == work(shelf, item)) & (frame.user_id == "ann")].rating.dropna()
    return float(found.iloc[0]) if len(found) else None


def test_the_rating_written_last_is_in_force_whatever_its_date(shelf: Shelf):
    on_server(shelf, 6.4)
    assert (in_force(shelf), counted(shelf)) == ((6, NOW, True), 6.4)
    give(shelf, TRAKT, 3, NOW - 900 * DAY)
    assert (in_force(shelf), counted(shelf)) == ((3, NOW - 900 * DAY, False), 3)
    give(shelf, OWN, 9, NOW - 1000 * DAY)
    assert (in_force(shelf), counted(shelf)) == ((9, NOW - 1000 * DAY, False), 9)
    on_server(shelf, 2, NOW + DAY)
    assert (in_force(shelf), counted(shelf)) == ((2, NOW + DAY, True), 2)
    give(shelf, TRAKT, 3, NOW - 900 * DAY)
    assert in_force(shelf) == (3, NOW - 900 * DAY, False), "the same again"


@pytest.mark.parametrize("source", [OWN, TRAKT])
def test_a_removal_overrides_what_other_sources_have(shelf: Shelf, source: str):
    on_server(shelf, 6.4)
    give(shelf, source, None)
    assert in_force(shelf) == (None, NOW, False) and counted(shelf) is None
    on_server(shelf, 6.4, NOW + DAY)
    assert counted(shelf) is None, "the server has nothing new"
    on_server(shelf, 7, NOW + DAY)
    assert counted(shelf) == 7


def test_the_server_confirms_a_rating_without_a_new_date(shelf: Shelf):
    give(shelf, OWN, 9)
    for rating in (8.6, 9, 9.4):
        on_server(shelf, rating, NOW + DAY)
        assert in_force(shelf) == (9, NOW, False)
    on_server(shelf, None, NOW + 2 * DAY)
    assert in_force(shelf) == (None, NOW + 2 * DAY, True), "it was removed where it had been confirmed"
    assert counted(shelf) is None
    give(shelf, OWN, 5, NOW + 3 * DAY)
    on_server(shelf, None, NOW + 4 * DAY)
    assert in_force(shelf) == (5, NOW + 3 * DAY, False)


def test_another_rating_that_leaves_the_server_takes_nothing_back(shelf: Shelf):
    on_server(shelf, 6)
    give(shelf, OWN, 9)
    on_server(shelf, None, NOW + DAY)
    assert in_force(shelf) == (9, NOW, False)
    assert shelf.value("SELECT count(*) FROM ratings WHERE source = 'server'") == 0


def test_zero_on_the_server_is_no_rating(shelf: Shelf):
    on_server(shelf, 0)
    assert in_force(shelf) is None and counted(shelf) is None
    on_server(shelf, 7)
    on_server(shelf, 0.3)
    assert in_force(shelf) is None and shelf.value("SELECT count(*) FROM ratings") == 0


def test_episodes_have_ratings_of_their_own(shelf: Shelf):
    shelf.history("ann", *(played(f"show-1-{number}", is_episode=True, rating=3 * number) for number in (1, 2)))
    assert in_force(shelf, "show") is None and counted(shelf, item="show") == 4.5
    give(shelf, TRAKT, 9, item="show")
    assert counted(shelf, item="show") == 9
    give(shelf, TRAKT, None, item="show")
    assert counted(shelf, item="show") == 4.5


def test_sync_only_ratings_from_trakt_do_not_count_not_even_when_the_server_confirms_them(shelf: Shelf):
    give(shelf, OWN, 8)
    give(shelf, TRAKT, 3, NOW + DAY)
    assert (counted(shelf), counted(shelf, TRAKT)) == (3, 8)
    on_server(shelf, 3, NOW + 2 * DAY)
    assert (counted(shelf), counted(shelf, TRAKT)) == (3, 8)
    on_server(shelf, 4, NOW + 3 * DAY)
    assert (counted(shelf), counted(shelf, TRAKT)) == (4, 4)
    give(shelf, TRAKT, None, NOW + 4 * DAY)
    assert (counted(shelf), counted(shelf, TRAKT)) == (None, 4)


def test_a_transaction_that_began_earlier_and_wrote_later_is_in_force(shelf: Shelf):
    """The time of a transaction is that of its begin."""
    with shelf.open() as early:
        read_value(early, "SELECT now()")
        give(shelf, TRAKT, 3)
        lock_history(early, "ann")
        give_rating(early, "ann", work(shelf), 9, source=OWN, rated_at=NOW)
    assert in_force(shelf) == (9, NOW, False)


def test_ratings_wait_for_trakt_only_if_the_user_has_an_account(shelf: Shelf):
    def waiting() -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in shelf.rows("SELECT rating, rated_at FROM rating_outbox")]

    def rate(rating: int | None) -> None:
        with shelf.open() as connection:
            rate_here(connection, "ann", work(shelf), rating, now=NOW)

    rate(8)
    on_server(shelf, 3)
    assert waiting() == []
    shelf.connect_to_trakt("ann")
    on_server(shelf, 7.6, NOW + DAY)
    assert waiting() == [(8, NOW + DAY)]
    shelf.do("INSERT INTO trakt_ratings VALUES ('ann', :work, 'movie', 8, now())", work=work(shelf))
    shelf.do("UPDATE rating_outbox SET attempted_at = now()")
    on_server(shelf, 2, NOW + 2 * DAY)
    on_server(shelf, 8, NOW + 3 * DAY)
    assert waiting() == [(8, NOW + 3 * DAY)], "the 2 may have been pushed meanwhile"
    shelf.do("DELETE FROM rating_outbox")
    on_server(shelf, 8.2, NOW + 4 * DAY)
    assert waiting() == [], "Trakt has it"
    on_server(shelf, None, NOW + 5 * DAY)
    assert waiting() == [(None, NOW + 5 * DAY)]


def test_copies_that_lack_the_rating_in_force_are_found(shelf: Shelf):
    def lacking() -> list[tuple[Any, ...]]:
        with shelf.open() as connection:
            found = copies_to_rate(connection, "ann")
        return [(one.server_item_id, one.wanted, one.known) for one in found]

    on_server(shelf, 7.6)
    assert lacking() == [], "it came from there"
    give(shelf, TRAKT, 8)
    assert lacking() == [("film-100", 8, None)]
    give(shelf, TRAKT, None)
    assert lacking() == [("film-1", None, 7.6)]


def test_versions_and_dates_tell_whether_there_is_something_new(shelf: Shelf):
    def version() -> str:
        with shelf.open() as connection:
            return ratings_version(connection, "ann", OWN, TRAKT)

    empty = version()
    on_server(shelf, 3)
    assert version() == empty
    give(shelf, OWN, 9, NOW.replace(microsecond=0))
    assert version() != empty
    with shelf.open() as connection:
        assert rated_since(connection, "ann", NOW, now=NOW)
        assert not rated_since(connection, "ann", NOW + DAY, now=NOW + DAY)
        assert not rated_since(connection, "ann", NOW - 2 * DAY, now=NOW - DAY), "rated while the clock was a day ahead"


def test_what_was_rated_while_the_clock_of_the_database_was_ahead_follows_the_server_again(shelf: Shelf):
    on_server(shelf, 6)
    shelf.do("UPDATE rating_changes SET noted_at = noted_at + interval '1 year'")
    with shelf.open() as connection:
        reported = [SeenRating(work(shelf), shelf.item("film-1")["item_id"], False, 9)]
        changes = write_server_ratings(connection, "ann", reported, now=NOW, requested_at=database_time(connection))
    assert changes[0] == 1 and counted(shelf) == 9


# Their dates and changes


def test_a_title_outside_the_library_is_named_as_the_discovery_pool_has_it(shelf: Shelf):
    shelf.do("INSERT INTO works (work_id, media_type, tmdb_id) VALUES (901, 'movie', 7), (902, 'movie', 8)")
    shelf.do(
        "INSERT INTO discovery_pool (work_id, media_type, tmdb_id, wanted_at, title, release_date) "
        "VALUES (901, 'movie', 7, now(), 'Stalker', '1979-05-25')"
    )
    shelf.do("INSERT INTO rating_removals SELECT 'ann', work_id, 'here', 3, now() FROM works WHERE work_id > 900")
    with shelf.open() as connection:
        titles = {work: ids.title for work, ids in works_to_push(connection, [901, 902]).items()}
        held = [removal.title for removal in held_removals(connection, "ann")]
    assert titles == {901: "Stalker", 902: "movie 8"} and held == ["Stalker (1979)", "work 902"]


def rating_log(shelf: Shelf) -> list[tuple[Any, ...]]:
    statement = "SELECT previous, rating, rated_at FROM rating_changes ORDER BY change_id"
    return [tuple(row.values()) for row in shelf.rows(statement)]


def test_a_rating_keeps_the_date_when_it_was_first_seen(shelf: Shelf):
    """A rating had no date, and was overwritten."""
    shelf.history("ann", played("film-1", rating=7.3), now=NOW)
    shelf.history("ann", played("film-1", rating=7.3, play_count=2), now=NOW + DAY)
    assert shelf.rows("SELECT source, rating, rated_at FROM ratings") == [
        {"source": "server", "rating": 7.3, "rated_at": NOW}
    ]
    shelf.history("ann", played("film-1", rating=8), now=NOW + 2 * DAY)
    assert shelf.value("SELECT rated_at FROM ratings") == NOW + 2 * DAY
    assert rating_log(shelf) == [(None, 7.3, NOW), (7.3, 8.0, NOW + 2 * DAY)]


def test_the_latest_rating_of_two_copies_counts(shelf: Shelf):
    """Each copy has its own rating."""
    shelf.history("ann", played("film-100", rating=9), played("film-1", rating=2))
    shelf.history("ann", played("film-100", rating=5), played("film-1", rating=2), now=NOW + DAY)
    assert history_of(shelf, "film-1")["rating"] == 5


def test_a_rating_that_is_taken_off_a_published_copy_stays_in_force(shelf: Shelf):
    """It is on the original by then; the member has removed nothing."""
    shelf.do(
        "INSERT INTO item_versions (server_item_id, item_id, primary_item_id, is_published) "
        "SELECT 'copy', nextval('item_id_seq'), item_id, true FROM items WHERE server_item_id = 'film-1'"
    )
    give(shelf, OWN, 4, NOW)
    shelf.history("ann", played("copy", rating=10), now=NOW + DAY)
    assert counted(shelf) == 10
    shelf.history("ann", played("film-1", rating=10), now=NOW + DAY)
    shelf.history("ann", played("copy"), now=NOW + DAY)
    assert counted(shelf) == 10
    shelf.history("ann", played("film-1"), now=NOW + 2 * DAY)
    assert counted(shelf) is None, "what is removed from the original is removed"


def test_an_item_that_is_only_rated_counts_as_marked(shelf: Shelf):
    """Items that are only rated are read again when the server no longer lists them."""
    nothing = {"played": False, "play_count": 0, "last_played_at": None}
    shelf.history("ann", played("film-1", rating=3, **nothing))
    assert marked(shelf) == 1
    mark(shelf, "ann")
    assert (marked(shelf), shelf.value("SELECT count(*) FROM ratings")) == (0, 0)


def test_ratings_follow_a_corrected_identification(shelf: Shelf):
    shelf.history("ann", played("film-1", rating=3))
    shelf.films(film(1, tmdb_id=77), *(film(n) for n in (0, 2, 3, 4)), film(100, tmdb_id=1))
    for table in ("ratings", "rating_changes"):
        assert shelf.value(f"SELECT work_id FROM {table}") == shelf.item("film-1")["work_id"]
