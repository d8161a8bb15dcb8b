"""What users did: the server's state, and the log of plays made from its changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.resources.media_server import ServerEpisode, ServerTitle
from aperture_dagster.storage.catalogue import tombstones
from aperture_dagster.storage.connection import close_engine
from aperture_dagster.storage.history import (
    SyncMark,
    count_plays,
    latest_plays,
    marked_items,
    read_histories,
    read_mark,
    read_plays,
    stale_histories,
    write_mark,
    write_states,
)
from aperture_dagster_tests.storage.conftest import NOW, Shelf, film, played

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def home(shelf: Shelf) -> None:
    """Ann and Bob, five films, a second copy of the first, and a series of two seasons in two copies."""
    shelf.users("ann", "bob")
    shelf.films(*(film(number) for number in range(5)), film(100, tmdb_id=0 + 1, title="Film 1, again"))
    shelf.series(ServerTitle("show", "Show", tmdb_id=1), ServerTitle("show-copy", "Show", tmdb_id=1))
    shelf.episodes(
        *(
            ServerEpisode(f"{series}-{season}-{number}", series, "E", season=season, number=number)
            for series in ("show", "show-copy")
            for season, count in ((0, 1), (1, 3), (2, 2))
            for number in range(1, count + 1)
        )
    )


def mark(shelf: Shelf, user: str, *listed: str) -> int:
    """The server lists these as marked, and says of all others that nothing was done; returns how many changed."""
    with shelf.open() as connection:
        others = marked_items(connection, user) - set(listed)
    nothing = {"played": False, "play_count": 0, "last_played_at": None}
    return shelf.history(user, *(played(one, **nothing) for one in others)).states.updated


def marked(shelf: Shelf, user: str = "ann") -> int:
    with shelf.open() as connection:
        return len(marked_items(connection, user))


def histories(shelf: Shelf, *users: str) -> Any:
    with shelf.open() as connection:
        return read_histories(connection, users or None)


def history_of(shelf: Shelf, server_item_id: str, user: str = "ann") -> dict[str, Any]:
    frame = histories(shelf, user)
    (row,) = frame[frame.work_id == shelf.item(server_item_id)["work_id"]].to_dict("records")
    return row


# States and plays


def test_the_same_states_again_write_nothing(shelf: Shelf):
    states = [played("film-1", position_share=0.123456, rating=7.3), played("film-2", favorite=True)]
    first = shelf.history("ann", *states)
    assert (first.states.inserted, first.plays, first.unknown) == (2, 2, 0)
    before = shelf.rows("SELECT * FROM watch_state ORDER BY item_id")
    again = shelf.history("ann", *states, now=NOW + DAY)
    assert (again.states.written, again.plays) == (0, 0)
    assert shelf.rows("SELECT * FROM watch_state ORDER BY item_id") == before


def test_every_play_that_is_seen_is_in_the_log_with_its_own_date(shelf: Shelf):
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


def test_a_film_seen_in_the_middle_and_at_its_end_is_one_viewing(shelf: Shelf):
    shelf.history("ann", played("film-1", played=False, position_share=0.4))
    shelf.history("ann", played("film-1"), now=NOW + DAY)
    assert shelf.rows("SELECT play_count, completion FROM plays") == [{"play_count": 1, "completion": 1.0}]


def test_a_line_of_the_log_is_never_lessened(shelf: Shelf):
    shelf.history("ann", played("film-1", play_count=5, last_played_at=NOW - DAY))
    shelf.history("ann", played("film-1", play_count=8))
    mark(shelf, "ann")
    shelf.history("ann", played("film-1", play_count=1))
    log = shelf.rows("SELECT play_count, completion FROM plays ORDER BY played_at")
    assert [row["play_count"] for row in log] == [1, 3], "marked again with its old date, it is what it was"


def test_what_the_catalogue_does_not_know_is_counted_and_left_out(shelf: Shelf):
    result = shelf.history("ann", played("film-1"), played("nobody's"), played("trailer"))
    assert (result.states.inserted, result.unknown) == (1, 2)


def test_users_do_not_mix(shelf: Shelf):
    shelf.history("ann", played("film-1"))
    shelf.history("bob", played("film-1", last_played_at=NOW - DAY))
    assert shelf.value("SELECT count(*) FROM watch_state") == 2
    assert shelf.value("SELECT count(*) FROM plays") == 2
    assert (marked(shelf, "ann"), marked(shelf, "bob")) == (1, 1)


def test_a_mark_taken_back_stays_in_the_log(shelf: Shelf):
    shelf.history("ann", played("film-1"), played("film-2", favorite=True))
    assert mark(shelf, "ann", "film-1") == 1
    state = shelf.rows("SELECT played, favorite, play_count FROM watch_state w JOIN titles t USING (item_id) "
                       "WHERE t.server_item_id = 'film-2'")  # fmt: skip
    assert state == [{"played": False, "favorite": False, "play_count": 0}]
    assert shelf.value("SELECT count(*) FROM plays") == 2
    assert mark(shelf, "ann", "film-1") == 0
    assert marked(shelf) == 1


def test_what_is_marked_again_is_a_play_again(shelf: Shelf):
    shelf.history("ann", played("film-1", last_played_at=NOW - 5 * DAY))
    mark(shelf, "ann")
    shelf.history("ann", played("film-1"))
    assert shelf.value("SELECT count(*) FROM plays") == 2


def test_the_server_cannot_take_back_marks_of_titles_that_it_has_no_more(shelf: Shelf):
    shelf.history("ann", played("film-1"), played("film-2"))
    shelf.do("UPDATE titles SET removed_at = now() WHERE server_item_id = 'film-2'")
    assert mark(shelf, "ann") == 1
    assert shelf.value("SELECT bool_or(played) FROM watch_state")
    assert marked(shelf) == 0, "and they do not count as known either"


def test_the_marks_of_one_user_are_not_taken_back_by_anothers_listing(shelf: Shelf):
    shelf.history("ann", played("film-1"))
    shelf.history("bob", played("film-1"))
    assert mark(shelf, "bob") == 1
    assert marked(shelf, "ann") == 1


def test_a_user_who_left_keeps_their_history(shelf: Shelf):
    from aperture_dagster.storage.people import write_users
    from aperture_dagster_tests.storage.conftest import user_row

    shelf.history("ann", played("film-1"))
    with shelf.open() as connection:
        write_users(connection, [user_row("bob")], still_there=["bob"], key_for=lambda name, *_: name)
    assert shelf.value("SELECT count(*) FROM plays WHERE user_id = 'ann'") == 1
    with shelf.open() as connection:
        assert read_plays(connection, since=NOW - DAY, until=NOW).empty, "but they count for nobody's Top Picks"
    shelf.users("ann", "bob")
    with shelf.open() as connection:
        assert len(read_plays(connection, since=NOW - DAY, until=NOW)) == 1


# How far it has been read


def test_a_mark_knows_the_last_look_and_the_last_whole_one(shelf: Shelf):
    def note(watermark: datetime | None, now: datetime, full: bool) -> SyncMark:
        with shelf.open() as connection:
            write_mark(connection, "ann", watermark, now=now, full=full)
            return read_mark(connection, "ann")

    with shelf.open() as connection:
        assert read_mark(connection, "ann") == SyncMark(None, None)
    assert note(None, NOW, False) == SyncMark(None, None)
    assert note(NOW, NOW, True) == SyncMark(NOW, NOW)
    assert note(NOW + DAY, NOW + DAY, False) == SyncMark(NOW + DAY, NOW), "the last whole look is kept"


def test_histories_that_were_not_read_for_a_day_are_named(shelf: Shelf):
    with shelf.open() as connection:
        write_mark(connection, "ann", None, now=NOW - timedelta(hours=23), full=True)
        assert [row["name"] for row in stale_histories(connection, now=NOW)] == ["bob"]
        assert [row["name"] for row in stale_histories(connection, now=NOW + DAY)] == ["bob", "ann"]
        assert len(stale_histories(connection, now=NOW - 9 * DAY)) == 2, "the clock was ahead: nobody knows when it was"


# What the ranking reads


def test_copies_of_a_film_count_together(shelf: Shelf):
    copy = played("film-100", favorite=True, last_played_at=NOW - DAY)
    shelf.history("ann", played("film-1", play_count=1), copy)
    row = history_of(shelf, "film-1")
    assert (row["plays"], row["completion"], row["favorite"]) == (2, 1, True)
    assert row["last_played_at"] == NOW
    assert row["episodes_played"] != row["episodes_played"]


def test_a_film_in_progress_has_its_completion(shelf: Shelf):
    shelf.history("ann", played("film-1", played=False, play_count=0, position_share=0.25))
    row = history_of(shelf, "film-1")
    assert (row["plays"], row["completion"]) == (0, 0.25)


def test_a_mark_without_a_count_is_one_play(shelf: Shelf):
    shelf.history("ann", played("film-1", play_count=0, last_played_at=None))
    assert history_of(shelf, "film-1")["plays"] == 1


def test_an_episode_in_two_copies_is_one_and_specials_are_none(shelf: Shelf):
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


def test_an_episode_that_was_started_counts(shelf: Shelf):
    shelf.history("ann", played("show-1-1", is_episode=True, played=False, play_count=0, position_share=0.5))
    assert history_of(shelf, "show")["episodes_played"] == 1


def test_a_state_that_says_nothing_is_no_history(shelf: Shelf):
    shelf.history("ann", played("film-1", played=False, play_count=0, last_played_at=None))
    assert histories(shelf, "ann").empty
    shelf.history("ann", played("film-2", played=False, play_count=0, last_played_at=None, rating=3))
    assert history_of(shelf, "film-2")["rating"] == 3


def test_histories_are_read_for_some_or_for_all(shelf: Shelf):
    shelf.history("ann", played("film-1"))
    shelf.history("bob", played("film-2"))
    assert set(histories(shelf).user_id) == {"ann", "bob"}
    assert set(histories(shelf, "bob").user_id) == {"bob"}
    with shelf.open() as connection:
        assert read_histories(connection, []).empty
        assert list(read_histories(connection, []).columns) == list(histories(shelf).columns)


def test_plays_are_read_by_their_time_the_beginning_left_out(shelf: Shelf):
    for number, when in enumerate((NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY, NOW)):
        shelf.history("ann", played(f"film-{number}", last_played_at=when))
    shelf.history("ann", played("show-1-1", is_episode=True, last_played_at=NOW - DAY))
    with shelf.open() as connection:
        frame = read_plays(connection, since=NOW - 2 * DAY, until=NOW - DAY)
        assert count_plays(connection) == 5
    assert len(frame) == 2
    assert frame.episode_id.notna().sum() == 1


def test_the_newest_plays_are_shown_with_what_they_were(shelf: Shelf):
    """Finding S4: a title that left has its name for a month, and its row for ever."""
    shelf.history("ann", played("film-1", last_played_at=NOW - DAY), played("show-2-1", is_episode=True))
    shelf.history("ann", played("film-2", last_played_at=NOW - 2 * DAY))
    shelf.films(*(film(number) for number in (0, 3, 4, 100)))
    shelf.do("UPDATE titles SET removed_at = now() - interval '31 days' WHERE server_item_id = 'film-1'")
    shelf.do("UPDATE titles SET removed_at = now() - interval '29 days' WHERE server_item_id = 'film-2'")
    shelf.films(*(film(number) for number in (0, 3, 4, 100)))
    with shelf.open() as connection:
        shown = latest_plays(connection, ["ann"], tombstone_days=30)
        assert tombstones(connection, "movies", 30) == 1
    assert [(row["title"], row["episode"]) for row in shown] == [
        ("Show", "S2E1"),
        ("(no longer in the library)", None),
        ("Film 2", None),
    ]
    assert shelf.value("SELECT count(*) FROM titles WHERE removed_at IS NOT NULL") == 2


def test_dates_are_the_same_wherever_the_database_server_stands(shelf: Shelf, database_url: str):
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


def test_a_history_outlives_a_year_without_its_film_and_counts_once(shelf: Shelf):
    """Finding S4: a title that was purged came back as a new one, and its plays were counted again."""
    shelf.history("ann", played("film-2"))
    before = shelf.item("film-2")
    shelf.films(*(film(n) for n in (0, 1, 3, 4, 100)))
    shelf.do("UPDATE titles SET removed_at = now() - interval '1 year' WHERE server_item_id = 'film-2'")
    shelf.films(*(film(n) for n in (0, 1, 3, 4, 100)))
    assert before["work_id"] in set(histories(shelf, "ann").work_id)
    shelf.films(*(film(n) for n in (0, 1, 3, 4, 100)), ServerTitle("returned", "Film 2", tmdb_id=2))
    shelf.history("ann", played("returned"))
    assert shelf.item("returned") == before
    assert history_of(shelf, "returned")["plays"] == 1
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_a_series_that_returns_after_its_tombstone_has_its_episodes_watched_once(shelf: Shelf):
    """Finding S4: ten of five episodes were watched."""
    numbers = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]

    def listed(series: str) -> list[ServerEpisode]:
        return [ServerEpisode(f"{series}-{s}-{n}", series, "E", season=s, number=n) for s, n in numbers]

    shelf.series(ServerTitle("show", "Show", tmdb_id=1))
    shelf.episodes(*listed("show"))
    shelf.history("ann", *(played(one.server_item_id, is_episode=True) for one in listed("show")))
    shelf.series()
    shelf.episodes()
    shelf.do("UPDATE titles SET removed_at = now() - interval '40 days' WHERE media_type = 'series'")
    shelf.do("UPDATE episodes SET removed_at = now() - interval '40 days'")
    shelf.series()
    shelf.episodes()
    shelf.series(ServerTitle("again", "Show", tmdb_id=1))
    shelf.episodes(*listed("again"))
    shelf.history("ann", *(played(one.server_item_id, is_episode=True) for one in listed("again")))
    row = history_of(shelf, "again")
    assert (row["plays"], row["episodes_played"], row["episodes_total"]) == (5, 5, 5)
    assert shelf.value("SELECT count(*) FROM plays") == 5


# Copies and versions


def test_a_viewing_that_two_copies_report_is_one(shelf: Shelf):
    """Emby, and Jellyfin up to 10.10, keep one state for all copies of a film."""
    both = ("film-1", "film-100")
    shelf.history("ann", *(played(one, last_played_at=NOW - DAY) for one in both))
    assert shelf.value("SELECT count(*) FROM plays") == 1
    shelf.history("ann", *(played(one, play_count=2) for one in both))
    assert shelf.rows("SELECT play_count FROM plays ORDER BY played_at") == [{"play_count": 1}, {"play_count": 1}]
    assert history_of(shelf, "film-1")["plays"] == 2


def test_an_episode_that_two_copies_of_a_series_report_was_watched_once(shelf: Shelf):
    states = [played(f"{series}-1-{n}", is_episode=True) for series in ("show", "show-copy") for n in (1, 2)]
    shelf.history("ann", *states)
    assert shelf.value("SELECT count(*) FROM plays") == 2, "two episodes of one moment are two"


def test_a_copy_that_was_begun_again_adds_no_play(shelf: Shelf):
    shelf.history("ann", played("film-1", last_played_at=NOW - DAY))
    shelf.history("ann", played("film-100", played=False, play_count=1, position_share=0.4))
    assert history_of(shelf, "film-1")["plays"] == 1


def test_copies_that_were_watched_apart_are_two_viewings(shelf: Shelf):
    shelf.history("ann", played("film-1", last_played_at=NOW - DAY), played("film-100"))
    assert shelf.value("SELECT count(*) FROM plays") == 2
    assert history_of(shelf, "film-1")["plays"] == 2


def versions_of_film_1(shelf: Shelf) -> None:
    shelf.films(*(film(n) for n in range(5)), film(1, version_ids=("film-1-uhd",)))
    shelf.films(*(film(n) for n in (0, 2, 3, 4)), film(1, version_ids=("film-1-uhd",)))


def test_what_was_done_with_a_version_counts_for_its_film(shelf: Shelf):
    """Finding R10: a half-watched 4K version was lost, and its film might be recommended."""
    versions_of_film_1(shelf)
    started = played("film-1-uhd", played=False, play_count=0, position_share=0.5)
    assert shelf.history("ann", started).unknown == 0
    row = history_of(shelf, "film-1")
    assert (row["plays"], row["completion"], row["last_played_at"]) == (0, 0.5, NOW)
    assert shelf.value("SELECT item_id FROM plays") == shelf.item("film-1")["item_id"]
    with shelf.open() as connection:
        assert marked_items(connection, "ann") == {"film-1-uhd"}
    mark(shelf, "ann")
    assert histories(shelf, "ann").empty, "and it can be taken back"


def test_a_film_and_its_version_that_share_their_state_count_once(shelf: Shelf):
    """Finding R10: exactly once."""
    versions_of_film_1(shelf)
    shelf.history("ann", played("film-1"), played("film-1-uhd"))
    assert history_of(shelf, "film-1")["plays"] == 1
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_a_version_of_an_episode_counts_for_the_episode(shelf: Shelf):
    """Finding R10: episodes have versions, too."""
    episode = ServerEpisode("show-1-1", "show", "E", season=1, number=1, version_ids=("show-1-1-uhd",))
    shelf.episodes(episode, complete=set())
    shelf.history("ann", played("show-1-1-uhd", is_episode=True), played("show-1-1", is_episode=True))
    row = history_of(shelf, "show")
    assert (row["plays"], row["episodes_played"]) == (1, 1)


def test_a_copy_that_becomes_a_version_keeps_its_marks_and_plays(shelf: Shelf):
    """Finding R10: Jellyfin 12 lists the primary version only of what 10.11 listed twice."""
    shelf.history("ann", played("film-100", last_played_at=NOW - DAY), played("film-1"))
    result = shelf.films(*(film(n) for n in (0, 2, 3, 4)), film(1, version_ids=("film-100",)))
    assert (result.removed, result.recognised, result.refusal) == (1, 0, None)
    shelf.history("ann", played("film-100", last_played_at=NOW - DAY), played("film-1"))
    assert shelf.value("SELECT count(*) FROM plays") == 2
    assert shelf.value("SELECT count(*) FROM watch_state") == 2
    assert history_of(shelf, "film-1")["plays"] == 2
    back = shelf.films(*(film(n) for n in range(5)), film(100, tmdb_id=1))
    assert (back.returned, back.counts.inserted) == (1, 0)


# Ratings


def rating_log(shelf: Shelf) -> list[tuple[Any, ...]]:
    statement = "SELECT previous, rating, rated_at FROM rating_changes ORDER BY change_id"
    return [tuple(row.values()) for row in shelf.rows(statement)]


def test_a_rating_keeps_the_day_on_which_it_was_first_seen(shelf: Shelf):
    """Finding S15: a rating had no date, and was overwritten."""
    shelf.history("ann", played("film-1", rating=7.3), now=NOW)
    assert shelf.history("ann", played("film-1", rating=7.3, play_count=2), now=NOW + DAY).ratings == 0
    assert shelf.rows("SELECT source, rating, rated_at FROM ratings") == [
        {"source": "server", "rating": 7.3, "rated_at": NOW}
    ]
    assert shelf.history("ann", played("film-1", rating=8), now=NOW + 2 * DAY).ratings == 1
    assert shelf.value("SELECT rated_at FROM ratings") == NOW + 2 * DAY
    assert rating_log(shelf) == [(None, 7.3, NOW), (7.3, 8.0, NOW + 2 * DAY)]


def test_a_rating_that_was_taken_back_is_known_to_have_been_there(shelf: Shelf):
    """Finding S15: "unrated" and "never rated" must not look alike."""
    shelf.history("ann", played("film-1", rating=4), played("film-2"))
    result = shelf.history("ann", played("film-1"), played("film-2"), now=NOW + DAY)
    assert (result.ratings, shelf.value("SELECT count(*) FROM ratings")) == (1, 0)
    assert rating_log(shelf) == [(None, 4.0, NOW), (4.0, None, NOW + DAY)]
    shelf.history("ann", played("film-1", rating=4), now=NOW + 2 * DAY)
    assert shelf.value("SELECT rated_at FROM ratings") == NOW + 2 * DAY


def test_of_two_copies_the_rating_given_last_counts(shelf: Shelf):
    """Finding S15: two copies hold two ratings."""
    shelf.history("ann", played("film-100", rating=9), played("film-1", rating=2))
    shelf.history("ann", played("film-100", rating=5), played("film-1", rating=2), now=NOW + DAY)
    assert history_of(shelf, "film-1")["rating"] == 5


def test_a_series_has_its_own_rating_or_that_of_its_episodes(shelf: Shelf):
    shelf.history("ann", *(played(f"show-1-{n}", is_episode=True, rating=3 * n) for n in (1, 2)))
    assert history_of(shelf, "show")["rating"] == 4.5
    shelf.history("ann", played("show", rating=8, last_played_at=None))
    assert history_of(shelf, "show")["rating"] == 8


def test_a_rating_alone_is_looked_after(shelf: Shelf):
    """Finding S15: what is rated and nothing else is asked about when the server lists it no more."""
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


# Ids that mean something else by now


def test_a_state_of_another_item_under_a_known_id_is_left_until_the_catalogue_is_read(shelf: Shelf):
    """Finding S6: histories are read more often than the catalogue, and ids may have been dealt out anew meanwhile."""
    shelf.history("ann", played("film-1", name="Film 1", last_played_at=NOW - DAY))
    result = shelf.history("ann", played("film-1", name="Film 2"))
    assert (result.unknown, result.states.written, result.plays) == (1, 0, 0)
    assert shelf.history("ann", played("film-1", is_episode=True)).unknown == 1
    episode = {"is_episode": True, "name": "E", "series_name": "Show", "season": 1, "number": 1}
    assert shelf.history("ann", played("show-1-1", **episode)).unknown == 0
    for other in ({"name": "F"}, {"series_name": "Other"}, {"season": 2}, {"number": 2}):
        assert shelf.history("ann", played("show-1-1", **episode | other)).unknown == 1


def test_what_the_server_does_not_say_contradicts_nothing(shelf: Shelf):
    assert shelf.history("ann", played("film-1"), played("show-1-1", is_episode=True, name="E")).unknown == 0


def test_many_copies_may_become_versions_at_once(shelf: Shelf):
    """Finding R10: an update of the server to 12 does that, and nothing is lost by it."""
    films = [film(n) for n in range(30)]
    copies = [film(200 + n, tmdb_id=n) for n in range(30)]
    shelf.films(*films, *copies)
    grouped = (film(n, version_ids=(f"film-{200 + n}",)) for n in range(30))
    result = shelf.films(*grouped, complete={"films"})
    assert (result.refusal, result.removed) == (None, 30)


# Several at once


@contextmanager
def waiting_for(shelf: Shelf, work: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Run ``work`` in a thread, and enter the block when it waits for a lock that somebody holds, or is done."""
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND wait_event = 'advisory'"
    )
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        while not running.done() and not shelf.value(waits):
            time.sleep(0.01)
        yield running


def test_two_who_read_one_history_at_once_find_a_viewing_of_two_copies_once(shelf: Shelf):
    with ExitStack() as first:
        connection = first.enter_context(shelf.open())
        write_states(connection, "ann", [played("film-1")], now=NOW, started_share=0.05)
        with waiting_for(shelf, lambda: shelf.history("ann", played("film-100"))):
            first.close()
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_a_state_is_written_for_the_work_that_its_item_has_when_it_is_written(shelf: Shelf):
    with ExitStack() as merge:
        connection = merge.enter_context(shelf.open())
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('catalogue'))")
        connection.exec_driver_sql(
            "UPDATE titles SET work_id = (SELECT work_id FROM titles WHERE server_item_id = 'film-2') "
            "WHERE server_item_id = 'film-1'"
        )
        with waiting_for(shelf, lambda: shelf.history("ann", played("film-1"))):
            merge.close()
    assert shelf.value("SELECT work_id FROM watch_state") == shelf.item("film-2")["work_id"]


def test_an_item_does_not_change_its_work_while_a_state_of_it_is_written(shelf: Shelf):
    corrected = [film(1, tmdb_id=77), *(film(n) for n in (0, 2, 3, 4)), film(100, tmdb_id=1)]
    with ExitStack() as history:
        connection = history.enter_context(shelf.open())
        write_states(connection, "ann", [played("film-1", rating=5)], now=NOW, started_share=0.05)
        with waiting_for(shelf, lambda: shelf.films(*corrected)):
            history.close()
    for table in ("watch_state", "plays", "ratings"):
        assert shelf.value(f"SELECT work_id FROM {table}") == shelf.item("film-1")["work_id"]
