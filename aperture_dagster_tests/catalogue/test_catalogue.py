"""The catalogue: identities of listed items, and removal of missing ones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.catalogue.queries import catalogue_size, titles_without_ids
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.media_server.records import ServerEpisode, ServerLibrary, ServerTitle
from aperture_dagster.worklist.fetches import due_items, write_fetches
from aperture_dagster_tests.shelf import ACCEPTED, FILMS, NOW, Shelf, film, played

TEN = [film(number) for number in range(10)]


def episode(number: int, season: int = 1, **facts: Any) -> ServerEpisode:
    usual: dict[str, Any] = {
        "server_item_id": f"episode-{season}-{number}",
        "series_item_id": "show",
        "title": f"Episode {number}",
        "season": season,
        "number": number,
        "path": f"/show/{season}/{number}.mkv",
    }
    return ServerEpisode(**usual | facts)


SHOW = ServerTitle("show", "The Show", tmdb_id=1)
UHD = ServerLibrary("uhd", "UHD", "movies")


def items(shelf: Shelf, *server_ids: str) -> list[int]:
    return [shelf.item(one)["item_id"] for one in server_ids]


def test_the_second_sync_writes_nothing(shelf: Shelf):
    assert shelf.films(*TEN).counts.inserted == 10
    before = shelf.rows("SELECT * FROM titles ORDER BY item_id")
    again = shelf.films(*TEN)
    assert (again.counts.written, again.removed, again.returned, again.recognised, again.listed) == (0, 0, 0, 0, 10)
    assert shelf.rows("SELECT * FROM titles ORDER BY item_id") == before
    assert shelf.value("SELECT last_value FROM item_id_seq") >= 10


def test_removing_more_than_a_fifth_is_refused_and_a_removed_title_returns_as_the_same_item(shelf: Shelf):
    many = [film(number) for number in range(100)]
    shelf.films(*many)
    result = shelf.films(*many[:79], film(200))
    assert result.refusal is not None
    assert "21 of 101 films of 'Films' (21%)" in str(result.refusal)
    assert (result.removed, result.counts.inserted) == (0, 1), "nothing is removed, what is new is written"
    assert shelf.value("SELECT count(*) FROM titles WHERE removed_at IS NULL") == 101
    before = shelf.item("film-90")
    assert shelf.films(*many[:81], film(200)).removed == 19
    assert shelf.item("film-90")["removed_at"] is not None
    result = shelf.films(*many, film(200))
    assert (result.returned, result.removed, shelf.item("film-90")) == (19, 0, before)
    assert shelf.films(rules=ACCEPTED).removed == 101


def test_a_refusal_for_one_library_prevents_removals_in_all(shelf: Shelf):
    other = ServerLibrary("other", "Other", "movies")
    theirs = [film(number) for number in range(100, 130)]
    shelf.listing("movie", {FILMS: TEN, other: theirs})
    result = shelf.listing("movie", {FILMS: TEN[:9], other: theirs[:2]})
    assert "Other" in str(result.refusal)
    assert "'Films'" not in str(result.refusal)
    assert result.removed == 0


def test_libraries_that_are_excluded_for_forty_days_come_back_as_they_were_with_their_history(shelf: Shelf):
    """Every title came back as a new one, and its plays were counted again."""
    shelf.users("ann")
    shelf.series(SHOW)
    watched = [played("film-1"), played("episode-1-1", is_episode=True)]

    def listed() -> tuple[int, int]:
        return shelf.films(*TEN).returned, shelf.episodes(episode(1), episode(2)).returned

    assert listed() == (0, 0)
    assert shelf.history("ann", *watched).plays == 2
    before = items(shelf, "film-1", "episode-1-1")
    for removed in ((10, 2), (0, 0)):
        gone = shelf.films(complete=set(), excluded={"films"}), shelf.episodes(complete=set(), excluded={"shows"})
        assert [one.refusal for one in gone] == [None, None] and tuple(one.removed for one in gone) == removed
        for table in ("titles", "episodes"):
            shelf.do(f"UPDATE {table} SET removed_at = removed_at - interval '40 days'")
    assert listed() == (10, 2)
    assert items(shelf, "film-1", "episode-1-1") == before
    again = shelf.history("ann", *watched, now=NOW + timedelta(days=80))
    assert (again.plays, again.states.written, again.unknown) == (0, 0, 0)


@pytest.mark.parametrize(
    "scope",
    [
        {"excluded": {"films"}, "complete": {"uhd"}, "listed": []},
        {"unreadable": ["film-3"], "listed": [one for one in TEN if one.server_item_id != "film-3"]},
        # Items of a library that was not read, or not to its end, are never missing.
        {"complete": {"uhd"}, "listed": []},
        {"complete": {"uhd"}, "listed": TEN[5:]},
    ],
    ids=["excluded", "unreadable", "not read at all", "cut short"],
)
def test_a_copy_does_not_replace_an_item_that_was_not_read(shelf: Shelf, scope: dict[str, Any]):
    """Watched marks moved to the copy, and plays were logged twice."""
    shelf.films(*TEN)
    before, copy = shelf.item("film-3"), film(30, tmdb_id=3)
    read = {name: value for name, value in scope.items() if name != "listed"}
    result = shelf.listing("movie", {UHD: [copy], FILMS: scope["listed"]}, **read)
    assert (result.recognised, result.counts.inserted, result.refusal) == (0, 1, None)
    assert shelf.item("film-30")["item_id"] != before["item_id"]
    assert shelf.item("film-30")["work_id"] == before["work_id"]
    assert (shelf.item("film-3")["removed_at"] is None) is ("excluded" not in scope)
    again = shelf.listing("movie", {UHD: [copy], FILMS: TEN})
    assert (again.counts.written, again.returned) == (0, 10 if "excluded" in scope else 0)
    assert shelf.item("film-3") == before


def test_a_title_with_a_new_server_id_keeps_its_item_its_work_and_its_history(shelf: Shelf):
    shelf.users("ann")
    shelf.films(*TEN)
    shelf.history("ann", played("film-3"))
    before = shelf.item("film-3")
    moved = [ServerTitle(f"new-{number}", f"Renamed {number}", tmdb_id=number) for number in range(10)]
    result = shelf.films(*moved)
    assert (result.recognised, result.removed, result.counts.inserted) == (10, 0, 0)
    assert shelf.item("new-3") == before
    assert shelf.value("SELECT item_id FROM watch_state") == before["item_id"]


def test_a_corrected_identification_moves_the_history_to_the_right_work(shelf: Shelf):
    shelf.users("ann")
    shelf.films(film(1), film(2))
    shelf.history("ann", played("film-1"))
    wrong = shelf.item("film-1")
    shelf.films(film(1, tmdb_id=77), film(2))
    right = shelf.item("film-1")
    assert right["item_id"] == wrong["item_id"]
    assert right["work_id"] != wrong["work_id"]
    for table in ("watch_state", "plays"):
        assert shelf.value(f"SELECT work_id FROM {table}") == right["work_id"]


def test_titles_whose_ids_changed_are_fetched_again(shelf: Shelf):
    shelf.films(film(1, tmdb_id=None), film(2))
    later = NOW + timedelta(days=30)
    attempt = {"outcome": "not_found", "attempts": 0, "fetched_at": None, "attempted_at": NOW, "detail": None}
    attempt |= {"kind": "movie", "found_id": None}
    with shelf.open() as connection:
        rows = [{**attempt, "item": shelf.item(f"film-{n}")["work_id"], "due_at": later} for n in (1, 2)]
        write_fetches(connection, TMDB, rows)
        connection.exec_driver_sql("UPDATE fetches SET due_at = now() + interval '30 days'")
    shelf.films(film(1, tmdb_id=77), film(2))
    with shelf.open() as connection:
        now = connection.exec_driver_sql("SELECT now() + interval '1 s'").scalar_one()
        assert [title.tmdb_id for title in due_items(connection, TMDB, now=now, limit=10)] == [77]


def test_a_title_listed_in_two_libraries_is_one_item(shelf: Shelf):
    other = ServerLibrary("other", "Other", "movies")
    result = shelf.listing("movie", {FILMS: [film(1), film(1)], other: [film(1)]})
    assert result.listed == 1
    assert shelf.value("SELECT library_id FROM titles") == "films"


def test_unusual_content_is_accepted(shelf: Shelf):
    odd = film(
        1, title="N\x00UL \ud800", genres=("a\x00", "{x"), tags=('"',), overview="\\.\n\\N\t", path="/\udcff.mkv"
    )
    assert shelf.films(odd).counts.inserted == 1
    assert shelf.films(odd).counts.written == 0
    row = shelf.rows("SELECT * FROM titles")[0]
    assert (row["title"], row["genres"], row["overview"], row["path"]) == ("NUL ", ["a", "{x"], "\\.\n\\N\t", "/.mkv")


# What may be taken for an item under a new id, and what not


def test_nothing_is_matched_while_an_unreadable_item_has_a_new_id(shelf: Shelf):
    """It may be the very item that is missing. A rebuilt server reassigns ids."""
    shelf.films(*TEN)
    before = shelf.item("film-3")
    others = [*TEN[:3], *TEN[5:], TEN[4]._replace(server_item_id="film-11")]
    result = shelf.listing("movie", {FILMS: others, UHD: [film(30, tmdb_id=3)]}, unreadable=["film-10"])
    assert (result.recognised, shelf.item("film-3")["item_id"]) == (1, before["item_id"])


def test_a_film_that_moved_to_another_library_is_recognised_in_the_same_sync(shelf: Shelf):
    shelf.listing("movie", {UHD: [], FILMS: TEN})
    before = shelf.item("film-3")
    result = shelf.listing("movie", {UHD: [film(30, tmdb_id=3)], FILMS: [*TEN[:3], *TEN[4:]]})
    assert (result.recognised, result.removed, result.counts.inserted) == (1, 0, 0)
    assert shelf.item("film-30") == before


def test_a_file_at_the_same_path_is_recognised_even_in_an_incomplete_listing(shelf: Shelf):
    """A reinstalled server assigns new ids, and its first listings are cut short by the scan."""
    shelf.films(*TEN)
    before = items(shelf, "film-3")
    renewed = [one._replace(server_item_id=f"new-{one.server_item_id}") for one in TEN[:5]]
    assert shelf.films(*renewed, complete=set()).recognised == 5
    assert items(shelf, "new-film-3") == before


def test_the_missing_copy_in_the_same_library_is_recognised_first(shelf: Shelf):
    shelf.listing("movie", {UHD: [film(30, tmdb_id=3)], FILMS: [film(3)]})
    in_uhd, in_films = items(shelf, "film-30", "film-3")
    renewed = {UHD: [film(31, tmdb_id=3)], FILMS: [film(32, tmdb_id=3)]}
    assert shelf.listing("movie", renewed).recognised == 2
    assert items(shelf, "film-31", "film-32") == [in_uhd, in_films]


def test_an_id_reassigned_to_another_film_creates_a_new_item(shelf: Shelf):
    """A rebuilt Emby database reassigns ids from 1, which moved history to other films."""
    shelf.users("ann")
    shelf.films(*TEN)
    shelf.history("ann", played("film-3"))
    before = shelf.item("film-3")
    other = film(3, title="Another", tmdb_id=77, path="/films/another.mkv")
    result = shelf.films(*TEN[:3], other, *TEN[4:])
    assert (result.counts.inserted, result.removed) == (1, 1)
    assert shelf.item("film-3")["work_id"] != before["work_id"]
    assert shelf.value("SELECT work_id FROM watch_state") == before["work_id"]
    old = "SELECT server_item_id, removed_at IS NOT NULL AS gone FROM titles WHERE item_id = :id"
    assert shelf.rows(old, id=before["item_id"]) == [{"server_item_id": None, "gone": True}]
    # And the first one is found again under whatever id it has now.
    again = shelf.films(*TEN[:3], other, *TEN[4:], TEN[3]._replace(server_item_id="elsewhere"))
    assert (again.recognised, shelf.item("elsewhere")["item_id"]) == (1, before["item_id"])


def test_reassigned_ids_do_not_move_history(shelf: Shelf):
    """Every id now belongs to the next film."""
    shelf.films(*TEN)
    before = {row["path"]: row["item_id"] for row in shelf.rows("SELECT path, item_id FROM titles")}
    dealt = [one._replace(server_item_id=TEN[(number + 1) % 10].server_item_id) for number, one in enumerate(TEN)]
    result = shelf.films(*dealt)
    assert (result.recognised, result.removed, result.returned, result.counts.inserted) == (10, 0, 0, 0)
    assert {row["path"]: row["item_id"] for row in shelf.rows("SELECT path, item_id FROM titles")} == before
    assert shelf.films(*dealt).counts.written == 0


def test_an_id_may_change_from_film_to_series_to_episode_and_back(shelf: Shelf):
    """This raised a unique violation."""
    shelf.films(film(1), film(2))
    film_1 = shelf.item("film-1")["item_id"]
    shelf.series(SHOW, ServerTitle("film-1", "A Series", tmdb_id=50, path="/series"))
    assert shelf.value("SELECT media_type FROM titles WHERE server_item_id = 'film-1'") == "series"
    shelf.episodes(episode(1, server_item_id="film-1"))
    assert shelf.value("SELECT count(*) FROM titles WHERE server_item_id = 'film-1'") == 0
    assert shelf.films(film(1), film(2)).recognised == 1
    assert items(shelf, "film-1") == [film_1]


# Episodes


def test_a_copy_does_not_replace_an_episode_that_was_not_read(shelf: Shelf):
    shelf.series(SHOW)
    shelf.episodes(episode(1), episode(2), episode(3))
    before = items(shelf, "episode-1-1", "episode-1-2")
    copies = [episode(n, server_item_id=f"copy-{n}", path=f"/uhd/{n}.mkv") for n in (1, 2)]
    assert shelf.episodes(episode(2), episode(3), copies[0], unreadable=["episode-1-1"]).recognised == 0
    assert shelf.episodes(episode(1), episode(3), *copies, complete=set()).recognised == 0
    assert items(shelf, "episode-1-1", "episode-1-2") == before


def test_an_id_reassigned_to_another_episode_creates_a_new_item(shelf: Shelf):
    shelf.users("ann")
    shelf.series(SHOW)
    shelf.episodes(episode(1), episode(2))
    shelf.history("ann", played("episode-1-1", is_episode=True))
    before = items(shelf, "episode-1-1", "episode-1-2")
    dealt = [
        episode(1, server_item_id="episode-1-2"),
        episode(2, server_item_id="new"),
        episode(9, server_item_id="episode-1-1"),
    ]
    result = shelf.episodes(*dealt)
    assert (result.recognised, result.counts.inserted, result.removed) == (2, 1, 0)
    assert items(shelf, "episode-1-2", "new") == before
    assert shelf.value("SELECT item_id FROM watch_state") == before[0]
    assert shelf.episodes(*dealt).counts.written == 0


def test_episodes_belong_to_their_series_and_orphans_are_counted_and_not_missing(shelf: Shelf):
    shelf.series(SHOW)
    result = shelf.episodes(episode(1), episode(2), episode(1, series_item_id="nowhere", server_item_id="orphan"))
    assert (result.counts.inserted, result.orphaned_episodes) == (2, 1)
    with shelf.open() as connection:
        assert catalogue_size(connection) == {"movies": 0, "series": 1, "episodes": 2}
    assert shelf.episodes(episode(1), episode(2)).counts.written == 0
    # The series got another id after the series were read.
    result = shelf.episodes(episode(1, series_item_id="renewed"), episode(2))
    assert (result.orphaned_episodes, result.removed, result.refusal) == (1, 0, None)


def test_all_episodes_of_a_removed_series_are_removed(shelf: Shelf):
    others = [ServerTitle(f"other-{number}", f"Other {number}", tmdb_id=10 + number) for number in range(30)]
    rest = [episode(1, series_item_id=other.server_item_id, server_item_id=f"of-{other.title}") for other in others]
    shelf.series(SHOW, *others)
    shelf.episodes(*(episode(number) for number in range(1, 9)), *rest)
    assert shelf.series(*others).removed == 1
    gone = shelf.episodes(*rest)
    assert (gone.refusal, gone.removed) == (None, 8)
    assert shelf.episodes(rest[0]).refusal is not None, "those of series that are there are still guarded"


def test_an_episode_without_a_number_is_recognised_by_its_path(shelf: Shelf):
    shelf.users("ann")
    shelf.series(SHOW)
    bare = [episode(number)._replace(number=None) for number in (1, 2, 3)]
    shelf.episodes(*bare)
    before = {row["path"]: row["item_id"] for row in shelf.rows("SELECT path, item_id FROM episodes")}
    shelf.history("ann", played("episode-1-1", is_episode=True))
    renewed = [one._replace(server_item_id=f"new-{one.server_item_id}") for one in bare]
    result = shelf.episodes(*renewed[:2], bare[2], episode(9)._replace(number=None))
    assert (result.recognised, result.counts.inserted, result.removed) == (2, 1, 0)
    after = {row["path"]: row["item_id"] for row in shelf.rows("SELECT path, item_id FROM episodes")}
    assert {path: after[path] for path in before} == before
    shelf.history("ann", played("new-episode-1-1", is_episode=True))
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_a_series_with_a_new_id_keeps_its_episodes_by_season_and_number_and_their_history(shelf: Shelf):
    shelf.users("ann")
    shelf.series(SHOW)
    shelf.episodes(episode(1), episode(2))
    shelf.history("ann", played("episode-1-1", is_episode=True))
    before = shelf.item("episode-1-1")
    shelf.series(ServerTitle("show-2", "The Show", tmdb_id=1))
    again = [episode(n, server_item_id=f"new-{n}", series_item_id="show-2", path=f"/moved/{n}.mkv") for n in (1, 2)]
    result = shelf.episodes(*again)
    assert (result.recognised, result.removed, result.counts.inserted) == (2, 0, 0)
    assert shelf.item("new-1") == before
    assert shelf.value("SELECT item_id FROM watch_state") == before["item_id"]


def test_a_corrected_series_moves_its_episodes(shelf: Shelf):
    shelf.series(SHOW)
    shelf.episodes(episode(1))
    shelf.series(ServerTitle("show", "The Show", tmdb_id=99))
    assert shelf.item("episode-1-1")["work_id"] == shelf.item("show")["work_id"]
    assert shelf.episodes(episode(1)).counts.written == 0


def test_titles_without_any_id_are_reported(shelf: Shelf):
    shelf.films(film(1), film(2, tmdb_id=None), film(3, tmdb_id=None, imdb_id="tt3"))
    with shelf.open() as connection:
        without, total, some = titles_without_ids(connection)
    assert (without, total) == (1, 3)
    assert some[0]["title"] == "Film 2"
