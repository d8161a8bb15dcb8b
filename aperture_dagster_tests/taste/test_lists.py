"""Lists are replaced atomically, and equal lists are not written."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from aperture_dagster.discovery.suggestions import dismiss_title
from aperture_dagster.enrichment.answers import write_answers
from aperture_dagster.enrichment.tmdb.titles import parse_title
from aperture_dagster.media_server.records import ServerLibrary, ServerTitle
from aperture_dagster.popularity.stored_picks import course_of_ranks, replace_top_picks, top_picks_table
from aperture_dagster.taste import lists
from aperture_dagster.taste.lists import (
    profile_table,
    read_copies,
    read_edges,
    read_items,
    read_titles,
    read_traits,
    recommendation_table,
    replace_recommendations,
    replace_taste,
    trait_shares,
    users_with_taste,
    watched_recommendations,
)
from aperture_dagster_tests.interleaving import Side, stop_before_statement
from aperture_dagster_tests.shelf import FILMS, NOW, Shelf, film, list_rows, played
from aperture_dagster_tests.waiting import SECONDS

TODAY = date(2026, 5, 17)


@pytest.fixture
def ids(shelf: Shelf) -> list[tuple[int, int]]:
    """Create twenty films; return their work and item ids."""
    shelf.users("ann", "bob")
    shelf.films(*(film(number) for number in range(1, 21)))
    return [(one["work_id"], one["item_id"]) for one in (shelf.item(f"film-{n}") for n in range(1, 21))]


def a_list(ids: list[tuple[int, int]], **facts: Any) -> list[dict[str, Any]]:
    usual = {"components": {"taste": 0.1 + 1 / 3, "Ü": None}, "because": [ids[0][0]]}
    return list_rows("ann", ({"work_id": work, "item_id": item} for work, item in ids), **usual | facts)


def replace(shelf: Shelf, rows: list[dict[str, Any]], today: date = TODAY) -> Any:
    with shelf.open() as connection:
        return replace_recommendations(connection, "ann", rows, today=today)


def test_a_title_keeps_the_day_on_which_it_came_to_the_list_while_it_stays(shelf: Shelf, ids: list[tuple[int, int]]):
    def since() -> dict[int, date]:
        return {row["work_id"]: row["listed_since"] for row in shelf.rows("SELECT * FROM recommendations")}

    first, second, third = (date(2026, 5, day) for day in (1, 2, 3))
    (one, two, three) = (work for work, _ in ids[:3])
    replace(shelf, a_list(ids[:2]), today=first)
    replace(shelf, a_list(ids[1:3]), today=second)
    assert since() == {two: first, three: second}
    assert replace(shelf, a_list(ids[1:3]), today=third).written == 0
    replace(shelf, a_list(ids[:2][::-1]), today=third)
    assert since() == {two: first, one: third}, "what left the list comes anew"


def test_an_equal_list_is_not_written_and_any_difference_replaces_it(shelf: Shelf, ids: list[tuple[int, int]]):
    for new in (a_list([*ids[1:2], *ids[:1], *ids[2:10]]), a_list(ids[:11]), a_list(ids[:10], because=[ids[5][0]]), []):
        assert replace(shelf, a_list(ids[:10])).inserted == 10
        before = shelf.rows("SELECT * FROM recommendations ORDER BY rank")
        assert replace(shelf, a_list(ids[:10])).written == 0
        assert shelf.rows("SELECT * FROM recommendations ORDER BY rank") == before
        counts = replace(shelf, new)
        assert (counts.deleted, counts.inserted) == (10, len(new))
        assert shelf.value("SELECT count(*) FROM recommendations") == len(new)
        assert replace(shelf, new).written == 0


def test_a_list_is_shown_with_titles_and_reasons(shelf: Shelf, ids: list[tuple[int, int]]):
    replace(shelf, a_list(ids[:3], because=[ids[4][0], 999_999, ids[3][0]]))
    with shelf.open() as connection:
        shown = recommendation_table(connection, "ann")
        assert recommendation_table(connection, "nobody") == []
    assert [row["title"] for row in shown] == ["Film 1", "Film 2", "Film 3"]
    assert shown[0]["because"] == ["Film 5", "Film 4"]
    with shelf.open() as connection:
        dismiss_title(connection, "ann", ids[1][0], "Film 2", now=NOW)
        shown = recommendation_table(connection, "ann")
    assert [row["title"] for row in shown] == ["Film 1", "Film 3"], "until the list is made again"


def test_a_recommendation_that_was_watched_before_is_found_and_none_that_was_left_or_watched_later(
    shelf: Shelf, ids: list[tuple[int, int]]
):
    shelf.history("ann", played("film-2"), played("film-3", played=False, position_share=0.1))
    replace(shelf, a_list(ids[:3]))
    shelf.history("ann", played("film-1"))
    with shelf.open() as connection:
        assert watched_recommendations(connection, ["ann"]) == 1
        assert watched_recommendations(connection, ["bob"]) == 0


def picks(ids: list[tuple[int, int]], day: date) -> list[dict[str, Any]]:
    return [
        {
            "day": day,
            "media_type": "movie",
            "rank": rank,
            "work_id": work,
            "item_id": item,
            "viewers": 2,
            "plays": 3,
            "completion": 0.5,
            "score": 0.9,
            "relaxed": False,
            "source": "local",
        }
        for rank, (work, item) in enumerate(ids, start=1)
    ]


def test_picks_of_earlier_days_are_kept(shelf: Shelf, ids: list[tuple[int, int]]):
    yesterday, today = date(2026, 5, 16), TODAY
    with shelf.open() as connection:
        assert replace_top_picks(connection, yesterday, "movie", picks(ids[:3], yesterday)).inserted == 3
        assert replace_top_picks(connection, today, "movie", picks(ids[3:5], today)).inserted == 2
        with pytest.raises(ValueError, match="never replaced by an empty one"):
            replace_top_picks(connection, today, "movie", [])
        assert replace_top_picks(connection, today, "movie", picks(ids[3:5], today)).written == 0
        assert [row["title"] for row in top_picks_table(connection, yesterday)] == ["Film 1", "Film 2", "Film 3"]
        assert len(top_picks_table(connection, today)) == 2
        assert len(top_picks_table(connection, date(2026, 6, 1))) == 2, "the list in effect is the latest one"
        assert top_picks_table(connection, date(2026, 5, 1)) == []


def test_the_course_of_ranks_compares_with_the_day_before_and_a_week_before(shelf: Shelf, ids: list[tuple[int, int]]):
    today, yesterday, week_ago = date(2026, 5, 17), date(2026, 5, 16), date(2026, 5, 10)
    with shelf.open() as connection:
        for day, chosen in ((today, ids[:3]), (yesterday, [ids[2], ids[0]]), (week_ago, [ids[5], ids[6], ids[1]])):
            replace_top_picks(connection, day, "movie", picks(chosen, day))
        course = [(row["title"], row["yesterday"], row["week_ago"]) for row in course_of_ranks(connection, today)]
    assert course == [("Film 1", 2, None), ("Film 2", None, 3), ("Film 3", 1, None)]


PROFILE: dict[str, Any] = {
    "user_id": "ann", "media_type": "movie", "titles": 3, "liked": 2, "disliked": 1,
    "summary": {"sentence": "Likes 'quotes' and 🎬.", "odd": float("nan")},
}  # fmt: skip


def test_a_taste_is_replaced_and_an_equal_one_is_not_written(shelf: Shelf, ids: list[tuple[int, int]]):
    weights = weights_of(ids[:4])
    with shelf.open() as connection:
        assert replace_taste(connection, "ann", [PROFILE], weights).inserted == 5
        assert replace_taste(connection, "ann", [PROFILE], weights).written == 0
        counts = replace_taste(connection, "ann", [PROFILE], weights[:3])
        assert (counts.deleted, counts.inserted, counts.updated) == (1, 0, 0)
        assert users_with_taste(connection) == {"ann"}
        assert profile_table(connection, ["ann"])[0]["taste"] == "Likes 'quotes' and 🎬."
    assert shelf.value("SELECT count(*) FROM taste_weights") == 3


def test_a_name_has_the_share_of_the_titles_of_a_media_type_that_have_it(shelf: Shelf):
    shelf.films(film(1, genres=["War", "War"]), film(2, genres=["War", "Drama"]), film(3, genres=[]), film(4))
    works = [shelf.item(f"film-{number}")["work_id"] for number in (1, 2)]
    with shelf.open() as connection:
        shares, traits = trait_shares(connection), read_traits(connection, [*works, 999])
    assert shares["movie", "genres"]["War"] == 0.5 and shares["movie", "genres"]["Drama"] >= 0.25
    assert sorted(traits) == works and traits[works[1]] == ("movie", ["War", "Drama"], [])


def weights_of(ids: list[tuple[int, int]]) -> list[dict[str, Any]]:
    return [{"user_id": "ann", "work_id": work, "media_type": "movie", "weight": 0.25} for work, _ in ids]


@pytest.mark.parametrize("table", ["recommendations", "taste_weights", "top_picks"])
def test_a_concurrent_reader_never_sees_a_partial_list_or_taste(shelf: Shelf, ids: list[tuple[int, int]], table: str):
    old, new = ids[:10], ids[10:]

    def write(chosen: list[tuple[int, int]]) -> None:
        if table == "recommendations":
            replace(shelf, a_list(chosen))
            return
        with shelf.open() as connection:
            if table == "taste_weights":
                replace_taste(connection, "ann", [PROFILE], weights_of(chosen))
            else:
                replace_top_picks(connection, TODAY, "movie", picks(chosen, TODAY))

    def read() -> set[int]:
        return {row["work_id"] for row in shelf.rows(f"SELECT work_id FROM {table}")}

    write(old)
    # The old list has been deleted by then.
    with stop_before_statement(f"INSERT INTO {table}") as stop:
        writer = Side(lambda: write(new))
        stop.wait_for(writer)
        assert read() == {work for work, _ in old}
        stop.go_on()
        writer.result(SECONDS)
    assert read() == {work for work, _ in new}


def test_the_ranking_reads_one_row_per_work_and_all_copies(shelf: Shelf):
    uhd = ServerLibrary("uhd", "UHD", "movies")
    films = [film(1), film(2, official_rating=None, community_rating=None)]
    shelf.listing("movie", {FILMS: films, uhd: [film(30, tmdb_id=1, title="Copy")]})
    with shelf.open() as connection:
        items, copies = read_items(connection).set_index("tmdb_id"), read_copies(connection)
    assert len(items) == 2
    assert sorted(one.library_id for one in copies if one.work_id == items.loc[1].work_id) == ["films", "uhd"]
    assert items.loc[1].title == "Film 1"
    assert items.loc[2].official_rating is None
    assert np.isnan(items.loc[2].vote_average)


def test_titles_are_read_with_the_same_names_in_fewer_objects(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    """In more than one batch, and with a blank name, which is none."""
    monkeypatch.setattr(lists, "ITEM_BATCH", 3)
    shelf.films(
        film(1, genres=["Drama", "", "War"]), film(2, genres=[]), film(3, genres=["War"]), film(4, genres=["Drama"])
    )
    with shelf.open() as connection:
        items = read_items(connection)
        titles, names = read_titles(connection)
    assert items["genres"].tolist() == [["Drama", "War"], [], ["War"], ["Drama"]]
    assert set(titles.columns) | set(names) == set(items.columns)
    assert titles.equals(items[titles.columns])
    assert {column: list(packed.unpack()) for column, packed in names.items()} == {
        column: items[column].tolist() for column in names
    }


def test_tmdb_recommendations_lead_to_works_of_the_same_media_type(shelf: Shelf):
    shelf.films(film(1), film(2), film(3))
    shelf.series(ServerTitle("show", "Show", tmdb_id=4))
    first = shelf.item("film-1")["work_id"]
    answer = {"id": 1, "title": "x", "recommendations": {"results": [{"id": n} for n in (3, 4, 99, 1, 2)]}}
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [{"work_id": first} | parse_title(answer, "movie")])
        edges = read_edges(connection).sort_values("rank")
    third, second = (shelf.item(f"film-{n}")["work_id"] for n in (3, 2))
    here = edges[edges.recommended_work_id > 0]
    assert list(here.recommended_work_id) == [third, second] and list(here["rank"]) == [1, 5]
    outside = edges[edges.recommended_work_id < 0]
    assert list(outside.recommended_work_id) == [-8, -198] and list(outside["rank"]) == [2, 3]


def test_tmdbs_similar_titles_lead_nowhere_neither_in_the_library_nor_outside(shelf: Shelf):
    shelf.films(film(1), film(2), film(3))
    first = shelf.item("film-1")["work_id"]
    answer = {"id": 1, "title": "x", "recommendations": {"results": [{"id": 3}, {"id": 99}]}}
    read: list[list[list[int]]] = []
    for similar in ([], [2, 98, 3]):
        answer |= {"similar": {"results": [{"id": number} for number in similar]}}
        with shelf.open() as connection:
            write_answers(connection, "tmdb", [{"work_id": first} | parse_title(answer, "movie")])
            read.append(read_edges(connection).sort_values("rank").to_numpy().tolist())
    assert read[0] == read[1] and len(read[0]) == 2
    assert shelf.rows("SELECT similar_tmdb_ids FROM tmdb_metadata") == [{"similar_tmdb_ids": [2, 98, 3]}]


def test_what_a_large_library_lacks_is_not_read(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    shelf.films(film(1), film(2))
    answer = {"id": 1, "title": "x", "recommendations": {"results": [{"id": 2}, {"id": 99}]}}
    with shelf.open() as connection:
        write_answers(connection, "tmdb", [{"work_id": shelf.item("film-1")["work_id"]} | parse_title(answer, "movie")])
        monkeypatch.setattr(lists, "EDGES", lists.EDGES.replace(f"<= {lists.BRIDGED}", "<= 1"))
        assert list(read_edges(connection).recommended_work_id) == [shelf.item("film-2")["work_id"]]
