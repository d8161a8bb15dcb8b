"""Histories of titles with several copies or versions."""

from __future__ import annotations

import pytest

from aperture_dagster.catalogue.watch_states import marked_items
from aperture_dagster.media_server.records import ServerEpisode
from aperture_dagster_tests.catalogue.viewers import DAY, furnish, histories, history_of, mark
from aperture_dagster_tests.shelf import NOW, Shelf, film, played


@pytest.fixture(autouse=True)
def home(shelf: Shelf) -> None:
    furnish(shelf)


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
