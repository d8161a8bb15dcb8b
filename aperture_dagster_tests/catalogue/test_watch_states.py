"""Watch states, and the log of plays derived from their changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.catalogue.history.marks import marked_items
from aperture_dagster.catalogue.history.plays import latest_plays, read_plays
from aperture_dagster.catalogue.history.progress import SyncMark, read_mark, stale_histories, write_mark
from aperture_dagster.catalogue.stored_users import write_users
from aperture_dagster.media_server.records import ServerEpisode
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
        assert read_plays(connection, ["ann"], since=NOW - DAY, until=NOW).empty, (
            "but they count for nobody's Top Picks"
        )
    assert set(histories(shelf).user_id) == {"bob"}
    shelf.users("ann", "bob")
    with shelf.open() as connection:
        assert len(read_plays(connection, ["ann"], since=NOW - DAY, until=NOW)) == 1
        assert read_plays(connection, ["bob"], since=NOW - DAY, until=NOW).empty, "who does not take part is left out"


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
        frame = read_plays(connection, ["ann"], since=NOW - 2 * DAY, until=NOW - DAY)
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


# Titles with several copies or versions


def test_a_viewing_reported_by_two_copies_counts_once(shelf: Shelf):
    """Emby, and Jellyfin up to 10.10, keep one state for all copies of a film."""
    both = ("film-1", "film-100")
    shelf.history("ann", *(played(one, last_played_at=NOW - DAY) for one in both))
    assert shelf.value("SELECT count(*) FROM plays") == 1
    shelf.history("ann", *(played(one, play_count=2) for one in both))
    assert shelf.rows("SELECT play_count FROM plays ORDER BY played_at") == [{"play_count": 1}, {"play_count": 1}]
    assert history_of(shelf, "film-1")["plays"] == 2


def test_an_episode_reported_by_two_copies_of_a_series_counts_once(shelf: Shelf):
    states = [played(f"{series}-1-{n}", is_episode=True) for series in ("show", "show-copy") for n in (1, 2)]
    shelf.history("ann", *states)
    assert shelf.value("SELECT count(*) FROM plays") == 2, "two episodes of one moment are two"


def test_starting_a_copy_again_adds_no_play(shelf: Shelf):
    shelf.history("ann", played("film-1", last_played_at=NOW - DAY))
    shelf.history("ann", played("film-100", played=False, play_count=1, position_share=0.4))
    assert history_of(shelf, "film-1")["plays"] == 1


def test_a_viewing_of_two_copies_counts_as_far_as_either_got(shelf: Shelf):
    states = [
        played(one, played=False, play_count=0, position_share=share)
        for one, share in (("film-1", 0.8), ("film-100", 0.3))
    ]
    shelf.history("ann", *states)
    assert shelf.rows("SELECT play_count, completion FROM plays") == [{"play_count": 0, "completion": 0.8}]
    shelf.history("ann", states[1]._replace(position_share=0.4))
    assert shelf.rows("SELECT play_count, completion FROM plays") == [{"play_count": 0, "completion": 0.8}]
    shelf.history("ann", states[0]._replace(position_share=0.9))
    assert shelf.rows("SELECT play_count, completion FROM plays") == [{"play_count": 0, "completion": 0.9}]


def test_an_item_is_read_once_although_its_copies_are_rated_and_others_rate_it(shelf: Shelf):
    states = [played(one, rating=8.0) for one in ("film-1", "film-100")]
    for user in ("ann", "bob"):
        shelf.history(user, *states)
    again = shelf.history("ann", *states)
    assert (again.states.written, again.unknown) == (0, 0)
    assert shelf.value("SELECT count(*) FROM rating_changes") == 4


def versions_of_film_1(shelf: Shelf) -> None:
    shelf.films(*(film(n) for n in range(5)), film(1, version_ids=("film-1-uhd",)))
    shelf.films(*(film(n) for n in (0, 2, 3, 4)), film(1, version_ids=("film-1-uhd",)))


def test_the_state_of_a_version_counts_for_its_film(shelf: Shelf):
    """The state of a half-watched version was lost, so its film could be recommended."""
    versions_of_film_1(shelf)
    started = played("film-1-uhd", played=False, play_count=0, position_share=0.5)
    assert shelf.history("ann", started).unknown == 0
    row = history_of(shelf, "film-1")
    assert (row["plays"], row["completion"], row["last_played_at"]) == (0, 0.5, NOW)
    assert shelf.value("SELECT item_id FROM plays") == shelf.item("film-1")["item_id"]
    with shelf.open() as connection:
        assert [*marked_items(connection, "ann")] == ["film-1-uhd"]
    mark(shelf, "ann")
    assert histories(shelf, "ann").empty, "and it can be taken back"


def test_a_play_without_a_length_counts_unless_it_is_of_a_published_copy(shelf: Shelf):
    """Servers mark a published copy that they never probed as played as soon as it is started."""
    versions_of_film_1(shelf)
    shelf.do("UPDATE item_versions SET is_published = true")
    published = shelf.history("ann", played("film-1-uhd", has_runtime=False))
    assert (published.states.written, published.plays, published.unknown) == (0, 0, 1)
    begun = shelf.history("ann", played("film-1-uhd", played=False, position_share=0.3, has_runtime=False))
    assert (begun.states.written, begun.plays) == (1, 1)
    own = shelf.history("ann", played("film-2", has_runtime=False))
    assert (own.states.written, own.plays, own.unknown) == (1, 1, 0)


def test_a_version_of_an_episode_counts_for_the_episode(shelf: Shelf):
    episode = ServerEpisode("show-1-1", "show", "E", season=1, number=1, version_ids=("show-1-1-uhd",))
    shelf.episodes(episode, complete=set())
    shelf.history("ann", played("show-1-1-uhd", is_episode=True), played("show-1-1", is_episode=True))
    row = history_of(shelf, "show")
    assert (row["plays"], row["episodes_played"]) == (1, 1)


def test_a_copy_that_becomes_a_version_keeps_its_marks_and_plays(shelf: Shelf):
    """Jellyfin 12 lists the primary version only of what 10.11 listed twice."""
    shelf.history("ann", played("film-100", last_played_at=NOW - DAY), played("film-1"))
    result = shelf.films(*(film(n) for n in (0, 2, 3, 4)), film(1, version_ids=("film-100",)))
    assert (result.removed, result.recognised, result.refusal) == (1, 0, None)
    shelf.history("ann", played("film-100", last_played_at=NOW - DAY), played("film-1"))
    assert shelf.value("SELECT count(*) FROM plays") == 2
    assert shelf.value("SELECT count(*) FROM watch_state") == 2
    assert history_of(shelf, "film-1")["plays"] == 2
    back = shelf.films(*(film(n) for n in range(5)), film(100, tmdb_id=1))
    assert (back.returned, back.counts.inserted) == (1, 0)


def test_a_version_that_becomes_the_primary_one_keeps_its_marks_its_plays_and_the_date_of_its_rating(shelf: Shelf):
    """Adding or deleting a file can change which one is listed."""
    versions_of_film_1(shelf)
    watched = played("film-1-uhd", rating=7.0, last_played_at=NOW - DAY)
    shelf.history("ann", watched)
    swapped = film(1, path="/films/1-uhd.mkv", version_ids=("film-1",))._replace(server_item_id="film-1-uhd")
    result = shelf.films(*(film(n) for n in (0, 2, 3, 4)), swapped)
    assert (result.listed, result.removed, result.refusal) == (5, 1, None)
    again = shelf.history("ann", watched, now=NOW + 9 * DAY)
    assert (again.states.written, again.plays) == (0, 0)
    assert shelf.value("SELECT rated_at FROM ratings") == NOW
    mark(shelf, "ann")
    assert histories(shelf, "ann").empty, "and its marks can be taken back"


def test_a_version_id_reassigned_to_another_film_does_not_move_marks(shelf: Shelf):
    versions_of_film_1(shelf)
    shelf.history("ann", played("film-1-uhd"))
    shelf.films(*(film(n) for n in range(5)), film(9)._replace(server_item_id="film-1-uhd"))
    assert shelf.value("SELECT item_id FROM watch_state") != shelf.item("film-1-uhd")["item_id"]
