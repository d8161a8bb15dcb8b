"""Watch states, and the log of plays derived from their changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.catalogue.people import write_users
from aperture_dagster.catalogue.watch_states import (
    SyncMark,
    latest_plays,
    read_mark,
    read_plays,
    stale_histories,
    write_mark,
)
from aperture_dagster.postgres.connection import close_engine
from aperture_dagster_tests.catalogue.viewers import DAY, furnish, histories, history_of, mark, marked
from aperture_dagster_tests.shelf import NOW, Shelf, film, played, user_row


@pytest.fixture(autouse=True)
def home(shelf: Shelf) -> None:
    furnish(shelf)


# States and plays


def test_the_same_states_again_write_nothing_and_those_of_unknown_items_are_counted_and_left_out(shelf: Shelf):
    states = [played("film-1", position_share=0.123456, rating=7.3), played("film-2", favorite=True)]
    first = shelf.history("ann", *states, played("nobody's"), played("trailer"))
    assert (first.states.inserted, first.plays, first.unknown) == (2, 2, 2)
    before = shelf.rows("SELECT * FROM watch_state ORDER BY item_id")
    again = shelf.history("ann", *states, now=NOW + DAY)
    assert (again.states.written, again.plays) == (0, 0)
    assert shelf.rows("SELECT * FROM watch_state ORDER BY item_id") == before


def test_every_observed_play_is_logged_with_its_date(shelf: Shelf):
    shelf.history("ann", played("film-1", play_count=5, last_played_at=NOW - 9 * DAY))
    shelf.history("ann", played("film-1", play_count=6, last_played_at=NOW - 2 * DAY))
    shelf.history("ann", played("film-1", play_count=8, last_played_at=NOW - DAY))
    log = shelf.rows("SELECT played_at, play_count FROM plays ORDER BY played_at")
    assert [(row["played_at"], row["play_count"]) for row in log] == [
        (NOW - 9 * DAY, 1),
        (NOW - 2 * DAY, 1),
        (NOW - DAY, 2),
    ]
    assert shelf.value("SELECT play_count FROM watch_state") == 8


def test_a_play_stays_in_the_log_when_its_mark_is_removed(shelf: Shelf):
    shelf.history("ann", played("film-1"), played("film-2", favorite=True))
    assert mark(shelf, "ann", "film-1") == 1
    state = shelf.rows("SELECT played, favorite, play_count FROM watch_state w JOIN titles t USING (item_id) "
                       "WHERE t.server_item_id = 'film-2'")  # fmt: skip
    assert state == [{"played": False, "favorite": False, "play_count": 0}]
    assert shelf.value("SELECT count(*) FROM plays") == 2
    assert mark(shelf, "ann", "film-1") == 0
    assert marked(shelf) == 1


def test_marks_of_removed_titles_are_kept(shelf: Shelf):
    shelf.history("ann", played("film-1"), played("film-2"))
    shelf.do("UPDATE titles SET removed_at = now() WHERE server_item_id = 'film-2'")
    assert mark(shelf, "ann") == 1
    assert shelf.value("SELECT bool_or(played) FROM watch_state")
    assert marked(shelf) == 0, "and they do not count as known either"


def test_a_user_who_left_keeps_their_history_which_counts_for_nothing_meanwhile(shelf: Shelf):
    shelf.history("ann", played("film-1"))
    shelf.history("bob", played("film-2", rating=9, last_played_at=NOW - 9 * DAY))
    with shelf.open() as connection:
        write_users(connection, [user_row("bob")], still_there=["bob"], key_for=lambda name, *_: name)
    assert shelf.value("SELECT count(*) FROM plays WHERE user_id = 'ann'") == 1
    with shelf.open() as connection:
        assert read_plays(connection, since=NOW - DAY, until=NOW).empty, "but they count for nobody's Top Picks"
    assert set(histories(shelf).user_id) == {"bob"}
    shelf.users("ann", "bob")
    with shelf.open() as connection:
        assert len(read_plays(connection, since=NOW - DAY, until=NOW)) == 1


# How far it has been read


def test_a_sync_mark_holds_the_last_sync_and_the_last_full_one(shelf: Shelf):
    def note(watermark: datetime | None, now: datetime, full: bool) -> SyncMark:
        with shelf.open() as connection:
            write_mark(connection, "ann", watermark, now=now, full=full)
            return read_mark(connection, "ann")

    with shelf.open() as connection:
        assert read_mark(connection, "ann") == SyncMark(None, None, None)
    assert note(None, NOW, False) == SyncMark(None, NOW, None)
    assert note(NOW, NOW, True) == SyncMark(NOW, NOW, NOW)
    assert note(NOW + DAY, NOW + DAY, False) == SyncMark(NOW + DAY, NOW + DAY, NOW), "the last whole look is kept"


def test_histories_not_read_for_a_day_are_listed(shelf: Shelf):
    with shelf.open() as connection:
        write_mark(connection, "ann", None, now=NOW - DAY, full=True)
        assert [row["name"] for row in stale_histories(connection, now=NOW)] == ["bob"]
        later = NOW + timedelta(seconds=1)
        assert [row["name"] for row in stale_histories(connection, now=later)] == ["bob", "ann"]
        assert len(stale_histories(connection, now=NOW - 9 * DAY)) == 2, "the clock was ahead: nobody knows when it was"


# What the ranking reads


def test_copies_of_a_film_count_together(shelf: Shelf):
    copy = played("film-100", favorite=True, last_played_at=NOW - DAY)
    shelf.history("ann", played("film-1", play_count=1), copy)
    assert shelf.value("SELECT count(*) FROM plays") == 2, "they were watched separately"
    row = history_of(shelf, "film-1")
    assert (row["plays"], row["completion"], row["favorite"]) == (2, 1, True)
    assert row["last_played_at"] == NOW
    assert row["episodes_played"] != row["episodes_played"]


def test_copies_of_an_episode_count_once_and_specials_do_not_count(shelf: Shelf):
    shelf.history(
        "ann",
        *(played(f"show-1-{number}", is_episode=True) for number in (1, 2)),
        *(played(f"show-copy-1-{number}", is_episode=True) for number in (1, 2)),
        played("show-copy-2-1", is_episode=True),
        played("show-0-1", is_episode=True),
    )
    row = history_of(shelf, "show")
    assert (row["episodes_played"], row["episodes_total"]) == (3, 5)
    assert row["completion"] != row["completion"], "a series has no completion of its own"


def test_an_empty_state_is_no_history_and_one_in_progress_has_its_completion(shelf: Shelf):
    shelf.history("ann", played("film-1", played=False, play_count=0, last_played_at=None))
    assert histories(shelf, "ann").empty
    shelf.history("ann", played("film-2", played=False, play_count=0, last_played_at=None, rating=3))
    assert history_of(shelf, "film-2")["rating"] == 3
    shelf.history("ann", played("film-3", played=False, play_count=0, position_share=0.25))
    row = history_of(shelf, "film-3")
    assert (row["plays"], row["completion"]) == (0, 0.25)


def test_plays_are_read_by_time_excluding_the_start(shelf: Shelf):
    for number, when in enumerate((NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY, NOW)):
        shelf.history("ann", played(f"film-{number}", last_played_at=when))
    shelf.history("ann", played("show-1-1", is_episode=True, last_played_at=NOW - DAY))
    with shelf.open() as connection:
        frame = read_plays(connection, since=NOW - 2 * DAY, until=NOW - DAY)
    assert len(frame) == 2
    assert frame.episode_id.notna().sum() == 1


def test_the_latest_plays_are_shown_with_titles(shelf: Shelf):
    """A removed title keeps its name for a month, and its row forever."""
    shelf.history("ann", played("film-1", last_played_at=NOW - DAY), played("show-2-1", is_episode=True))
    shelf.history("ann", played("film-2", last_played_at=NOW - 2 * DAY))
    shelf.films(*(film(number) for number in (0, 3, 4, 100)))
    shelf.do("UPDATE titles SET removed_at = now() - interval '31 days' WHERE server_item_id = 'film-1'")
    shelf.do("UPDATE titles SET removed_at = now() - interval '29 days' WHERE server_item_id = 'film-2'")
    shelf.films(*(film(number) for number in (0, 3, 4, 100)))
    with shelf.open() as connection:
        shown = latest_plays(connection, ["ann"])
    assert [(row["title"], row["episode"]) for row in shown] == [
        ("Show", "S2E1"),
        ("(no longer in the library)", None),
        ("Film 2", None),
    ]
    assert shelf.value("SELECT count(*) FROM titles WHERE removed_at IS NOT NULL") == 2


def test_dates_do_not_depend_on_the_time_zone_of_the_database_server(shelf: Shelf, database_url: str):
    last = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    shelf.history("ann", played("film-1", last_played_at=last), now=last)
    name = shelf.value("SELECT current_database()")
    shelf.do(f"ALTER DATABASE {name} SET timezone = 'Pacific/Auckland'")
    close_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    assert history_of(shelf, "film-1")["last_played_at"] == last
    shelf.history("ann", played("film-2"))
    with shelf.open() as connection:
        shown = {row["title"]: row["played_at"] for row in latest_plays(connection, ["ann"], timezone="Asia/Kolkata")}
    assert shown["Film 2"] == "2026-05-17 21:00", "in the operator's own zone, not the server's"


# Ids that mean something else by now


def test_a_state_with_a_reassigned_id_waits_for_the_catalogue(shelf: Shelf):
    """Histories are read more often than the catalogue, and the server may have reassigned ids since."""
    shelf.history("ann", played("film-1", name="Film 1", last_played_at=NOW - DAY))
    result = shelf.history("ann", played("film-1", name="Film 2"))
    assert (result.unknown, result.states.written, result.plays) == (1, 0, 0)
    assert shelf.history("ann", played("film-1", is_episode=True)).unknown == 1
    episode = {"is_episode": True, "name": "E", "series_name": "Show", "season": 1, "number": 1}
    assert shelf.history("ann", played("show-1-1", **episode)).unknown == 0
    for other in ({"name": "F"}, {"series_name": "Other"}, {"season": 2}, {"number": 2}):
        assert shelf.history("ann", played("show-1-1", **episode | other)).unknown == 1
    # Missing names do not count as different.
    assert shelf.history("ann", played("film-1"), played("show-1-1", is_episode=True, name="E")).unknown == 0


def test_many_copies_may_become_versions_at_once(shelf: Shelf):
    """This happens when the server is updated to Jellyfin 12."""
    films = [film(n) for n in range(30)]
    copies = [film(200 + n, tmdb_id=n) for n in range(30)]
    shelf.films(*films, *copies)
    grouped = (film(n, version_ids=(f"film-{200 + n}",)) for n in range(30))
    result = shelf.films(*grouped, complete={"films"})
    assert (result.refusal, result.removed) == (None, 30)
