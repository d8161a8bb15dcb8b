"""The catalogue: what the server lists, and what may be taken as gone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aperture_dagster.resources.media_server import ServerEpisode, ServerLibrary, ServerTitle
from aperture_dagster.storage.catalogue import (
    CatalogueResult,
    EpisodeStage,
    RemovalRules,
    catalogue_size,
    titles_without_ids,
)
from aperture_dagster_tests.storage.conftest import ACCEPTED, NOW, RULES, SHOWS, Shelf, film, played

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


def test_the_second_sync_writes_nothing(shelf: Shelf):
    assert shelf.films(*TEN).counts.inserted == 10
    before = shelf.rows("SELECT * FROM titles ORDER BY item_id")
    again = shelf.films(*TEN)
    assert (again.counts.written, again.removed, again.returned, again.recognised, again.listed) == (0, 0, 0, 0, 10)
    assert shelf.rows("SELECT * FROM titles ORDER BY item_id") == before
    assert shelf.value("SELECT last_value FROM item_id_seq") >= 10


def test_only_what_changed_is_written(shelf: Shelf):
    shelf.films(*TEN)
    changed = [film(0, overview="New."), *TEN[1:], film(10)]
    result = shelf.films(*changed)
    assert (result.counts.updated, result.counts.inserted) == (1, 1)


def test_a_title_that_is_gone_gets_a_tombstone_and_comes_back_as_the_same(shelf: Shelf):
    shelf.films(*TEN)
    before = shelf.item("film-3")
    assert shelf.films(*TEN[:3], *TEN[4:]).removed == 1
    assert shelf.item("film-3")["removed_at"] is not None
    result = shelf.films(*TEN)
    assert (result.returned, result.removed) == (1, 0)
    assert shelf.item("film-3") == before


def test_a_fifth_may_go_at_once_and_more_is_refused(shelf: Shelf):
    shelf.films(*TEN)
    result = shelf.films(*TEN[:7], film(20))
    assert result.refusal is not None
    assert "3 of 11 films of 'Films' (27%)" in str(result.refusal)
    assert (result.removed, result.counts.inserted) == (0, 1), "nothing is removed, what is new is written"
    assert shelf.value("SELECT count(*) FROM titles WHERE removed_at IS NULL") == 11
    assert shelf.films(*TEN[:9], film(20)).removed == 1


@pytest.mark.parametrize("left", [0, 4])
def test_a_library_that_lost_most_of_its_titles_loses_none_until_that_is_accepted(shelf: Shelf, left: int):
    shelf.films(*TEN)
    result = shelf.films(*TEN[:left])
    assert result.refusal is not None
    assert result.removed == 0
    accepted = shelf.films(*TEN[:left], rules=ACCEPTED)
    assert (accepted.refusal, accepted.removed) == (None, 10 - left)


def test_a_library_that_was_not_read_whole_loses_nothing(shelf: Shelf):
    shelf.films(*TEN)
    result = shelf.films(*TEN[:9], complete=set(), incomplete=["Films"])
    assert (result.removed, result.refusal) == (0, None)
    assert result.incomplete_libraries == ["Films"]


def test_an_item_that_cannot_be_read_is_still_there(shelf: Shelf):
    shelf.films(*TEN)
    result = shelf.films(*TEN[:9], unreadable=["film-9"])
    assert (result.removed, shelf.item("film-9")["removed_at"]) == (0, None)


def test_the_refusal_of_one_library_removes_nothing_of_another_either(shelf: Shelf):
    from aperture_dagster.storage.catalogue import TitleStage, write_libraries

    other = ServerLibrary("other", "Other", "movies")

    def sync(films: list[ServerTitle], others: list[ServerTitle]) -> Any:
        with shelf.open() as connection:
            library = ServerLibrary("films", "Films", "movies")
            write_libraries(connection, [library, other])
            stage = TitleStage(connection, "movie")
            stage.add(library, films)
            stage.add(other, others)
            return stage.merge(complete={"films", "other"}, incomplete=[], unreadable=[], excluded=set(), rules=RULES)

    theirs = [film(number) for number in range(100, 110)]
    sync(TEN, theirs)
    result = sync(TEN[:9], theirs[:2])
    assert "Other" in str(result.refusal)
    assert "'Films'" not in str(result.refusal)
    assert result.removed == 0


def test_a_library_that_the_operator_left_out_goes_and_comes_back(shelf: Shelf):
    shelf.films(*TEN)
    before = shelf.item("film-1")
    result = shelf.films(complete=set(), excluded={"films"})
    assert (result.refusal, result.removed) == (None, 10)
    assert shelf.films(*TEN).returned == 10
    assert shelf.item("film-1") == before


def test_a_copy_elsewhere_does_not_take_the_place_of_one_in_a_library_that_is_left_out(shelf: Shelf):
    shelf.films(*TEN)
    before = shelf.item("film-3")
    uhd = ServerLibrary("uhd", "UHD", "movies")
    shelf.films(film(30, tmdb_id=3), library=uhd, excluded={"films"})
    assert shelf.item("film-30")["item_id"] != before["item_id"]
    assert shelf.item("film-30")["work_id"] == before["work_id"]
    assert shelf.films(*TEN).returned == 10
    assert shelf.item("film-3") == before


def test_a_tombstone_is_kept_for_its_days_and_the_work_with_its_history_for_ever(shelf: Shelf):
    shelf.users("ann")
    shelf.films(*TEN)
    shelf.history("ann", played("film-3"))
    work = shelf.item("film-3")["work_id"]
    shelf.films(*TEN[:3], *TEN[4:])
    shelf.do("UPDATE titles SET removed_at = now() - interval '29 days' WHERE server_item_id = 'film-3'")
    assert shelf.films(*TEN[:3], *TEN[4:]).purged == 0
    shelf.do("UPDATE titles SET removed_at = now() - interval '31 days' WHERE server_item_id = 'film-3'")
    assert shelf.films(*TEN[:3], *TEN[4:]).purged == 1
    assert shelf.value("SELECT work_id FROM plays") == work
    # It comes back years later under another id: the history counts again.
    shelf.films(*TEN[:3], *TEN[4:], ServerTitle("film-3-again", "Film 3", tmdb_id=3))
    assert shelf.item("film-3-again")["work_id"] == work


def test_no_days_at_all_still_keep_the_tombstone_until_the_next_sync(shelf: Shelf):
    at_once = RemovalRules(limit=0.2, accepted=False, tombstone_days=0)
    shelf.films(*TEN)
    assert shelf.films(*TEN[:9], rules=at_once).purged == 0
    assert shelf.films(*TEN[:9], rules=at_once).purged == 1


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


def test_two_films_of_one_name_and_year_stay_two(shelf: Shelf):
    shelf.films(
        ServerTitle("a", "Twins", year=2001, tmdb_id=1, path="/a"),
        ServerTitle("b", "Twins", year=2001, tmdb_id=2, path="/b"),
        ServerTitle("c", "Twins", year=2001, path="/c"),
    )
    assert shelf.value("SELECT count(DISTINCT work_id) FROM titles") == 3


def test_a_corrected_identification_takes_the_history_along_to_the_right_work(shelf: Shelf):
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


def test_what_was_asked_under_other_ids_is_asked_again(shelf: Shelf):
    from aperture_dagster.library.sources import TMDB
    from aperture_dagster.storage.work_list import due_items, write_fetches

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


def test_a_title_of_two_libraries_is_one(shelf: Shelf):
    from aperture_dagster.storage.catalogue import TitleStage

    with shelf.open() as connection:
        stage = TitleStage(connection, "movie")
        for name in ("films", "other"):
            stage.add(ServerLibrary(name, name, "movies"), [film(1), film(1)])
        result = stage.merge(complete={"films", "other"}, incomplete=[], unreadable=[], excluded=[], rules=RULES)
    assert result.listed == 1
    assert shelf.value("SELECT library_id FROM titles") == "films"


def test_odd_content_stops_nothing(shelf: Shelf):
    odd = film(
        1, title="N\x00UL \ud800", genres=("a\x00", "{x"), tags=('"',), overview="\\.\n\\N\t", path="/\udcff.mkv"
    )
    assert shelf.films(odd).counts.inserted == 1
    assert shelf.films(odd).counts.written == 0
    row = shelf.rows("SELECT * FROM titles")[0]
    assert (row["title"], row["genres"], row["overview"], row["path"]) == ("NUL ", ["a", "{x"], "\\.\n\\N\t", "/.mkv")


# Episodes


def test_episodes_lie_below_their_series_and_orphans_are_counted(shelf: Shelf):
    shelf.series(SHOW)
    result = shelf.episodes(episode(1), episode(2), episode(1, series_item_id="nowhere", server_item_id="orphan"))
    assert (result.counts.inserted, result.orphaned_episodes) == (2, 1)
    with shelf.open() as connection:
        assert catalogue_size(connection) == {"movies": 0, "series": 1, "episodes": 2}
    assert shelf.episodes(episode(1), episode(2)).counts.written == 0


def test_episodes_of_a_series_that_is_gone_go_with_it_however_many_they_are(shelf: Shelf):
    others = [ServerTitle(f"other-{number}", f"Other {number}", tmdb_id=10 + number) for number in range(4)]
    rest = [episode(1, series_item_id=other.server_item_id, server_item_id=f"of-{other.title}") for other in others]
    shelf.series(SHOW, *others)
    shelf.episodes(*(episode(number) for number in range(1, 9)), *rest)
    assert shelf.series(*others).removed == 1
    gone = shelf.episodes(*rest)
    assert (gone.refusal, gone.removed) == (None, 8)
    assert shelf.episodes(rest[0]).refusal is not None, "those of series that are there are still guarded"


def test_an_episode_whose_series_is_not_known_is_there_all_the_same(shelf: Shelf):
    shelf.series(SHOW)
    shelf.episodes(*(episode(number) for number in range(1, 11)))
    # The series got another id after the series were read.
    result = shelf.episodes(episode(1, series_item_id="renewed"), *(episode(number) for number in range(2, 11)))
    assert (result.orphaned_episodes, result.removed, result.refusal) == (1, 0, None)


def test_episodes_under_new_ids_are_known_again_by_season_and_number(shelf: Shelf):
    shelf.series(SHOW)
    shelf.episodes(*(episode(number) for number in range(1, 6)))
    before = shelf.item("episode-1-3")
    result = shelf.episodes(*(episode(number, server_item_id=f"new-{number}") for number in range(1, 6)))
    assert (result.recognised, result.removed, result.counts.inserted) == (5, 0, 0)
    assert shelf.item("new-3") == before


def test_two_copies_of_an_episode_under_new_ids_stay_two(shelf: Shelf):
    shelf.series(SHOW)
    shelf.episodes(episode(1, server_item_id="a"), episode(1, server_item_id="b", path="/b.mkv"))
    before = {name: shelf.item(name)["item_id"] for name in ("a", "b")}
    shelf.episodes(episode(1, server_item_id="c", path="/b.mkv"), episode(1, server_item_id="d"))
    after = {name: shelf.item(name)["item_id"] for name in ("c", "d")}
    assert len(set(after.values())) == 2
    assert set(after.values()) <= {*before.values(), *range(1, 100)}
    assert after["c"] == before["b"], "the path says which is which"


def test_a_copy_more_of_an_episode_is_an_item_more(shelf: Shelf):
    shelf.series(SHOW)
    shelf.episodes(episode(1))
    result = shelf.episodes(episode(1), episode(1, server_item_id="copy"))
    assert (result.counts.inserted, result.recognised) == (1, 0)


def test_episodes_without_numbers_are_kept_apart(shelf: Shelf):
    shelf.series(SHOW)
    nameless = [ServerEpisode(f"x{n}", "show", f"Extra {n}") for n in range(3)]
    assert shelf.episodes(*nameless).counts.inserted == 3
    assert shelf.episodes(*nameless).counts.written == 0


def test_an_episode_without_a_number_is_known_again_under_a_new_id_by_its_path(shelf: Shelf):
    shelf.users("ann")
    shelf.series(SHOW)
    bare = [replace(episode(number), number=None) for number in (1, 2, 3)]
    shelf.episodes(*bare)
    before = {row["path"]: row["item_id"] for row in shelf.rows("SELECT path, item_id FROM episodes")}
    shelf.history("ann", played("episode-1-1", is_episode=True))
    renewed = [replace(one, server_item_id=f"new-{one.server_item_id}") for one in bare]
    result = shelf.episodes(*renewed[:2], bare[2], replace(episode(9), number=None))
    assert (result.recognised, result.counts.inserted, result.removed) == (2, 1, 0)
    after = {row["path"]: row["item_id"] for row in shelf.rows("SELECT path, item_id FROM episodes")}
    assert {path: after[path] for path in before} == before
    shelf.history("ann", played("new-episode-1-1", is_episode=True))
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_two_who_find_the_same_new_episodes_both_have_them_once(shelf: Shelf):
    shelf.series(SHOW)
    found = [episode(number) for number in range(1, 30)]
    both_have_listed = threading.Barrier(2)

    def sync() -> CatalogueResult:
        with shelf.open() as connection:
            stage = EpisodeStage(connection)
            stage.add(SHOWS, found)
            both_have_listed.wait(20)
            return stage.merge(complete={"shows"}, incomplete=[], unreadable=[], excluded=set(), rules=RULES)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(sync) for _ in range(2)]
        inserted = sorted(run.result().counts.inserted for run in runs)
    assert inserted == [0, 29]
    assert shelf.value("SELECT count(*) FROM episodes") == 29


def test_a_series_under_a_new_id_keeps_its_episodes_and_what_was_watched_of_them(shelf: Shelf):
    shelf.users("ann")
    shelf.series(SHOW)
    shelf.episodes(episode(1), episode(2))
    shelf.history("ann", played("episode-1-1", is_episode=True))
    before = shelf.item("episode-1-1")
    shelf.series(ServerTitle("show-2", "The Show", tmdb_id=1))
    again = [episode(n, server_item_id=f"new-{n}", series_item_id="show-2") for n in (1, 2)]
    result = shelf.episodes(*again)
    assert (result.recognised, result.removed) == (2, 0)
    assert shelf.item("new-1") == before
    assert shelf.value("SELECT item_id FROM watch_state") == before["item_id"]


def test_a_corrected_series_takes_its_episodes_along(shelf: Shelf):
    shelf.series(SHOW)
    shelf.episodes(episode(1))
    shelf.series(ServerTitle("show", "The Show", tmdb_id=99))
    assert shelf.item("episode-1-1")["work_id"] == shelf.item("show")["work_id"]
    assert shelf.episodes(episode(1)).counts.written == 0


def test_a_purged_series_takes_its_episodes_along_and_the_plays_stay(shelf: Shelf):
    shelf.users("ann")
    shelf.series(SHOW)
    shelf.episodes(episode(1))
    shelf.history("ann", played("episode-1-1", is_episode=True))
    shelf.series(rules=ACCEPTED)
    shelf.do("UPDATE titles SET removed_at = now() - interval '40 days'")
    shelf.series()
    assert shelf.value("SELECT count(*) FROM episodes") == 0
    assert shelf.value("SELECT count(*) FROM plays") == 1


def test_titles_that_nobody_can_know_are_told(shelf: Shelf):
    shelf.films(film(1), film(2, tmdb_id=None), film(3, tmdb_id=None, imdb_id="tt3"))
    with shelf.open() as connection:
        without, total, some = titles_without_ids(connection)
    assert (without, total) == (1, 3)
    assert some[0]["title"] == "Film 2"
