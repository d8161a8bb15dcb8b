"""Reading lists of MDBList: pages, ids of entries, and lists that cannot be read."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from aperture_dagster.enrichment.mdblist import MdbList, parse_list
from aperture_dagster.enrichment.queries import ListedTitle
from aperture_dagster.http.errors import BadAnswer, NotFound, ServiceRefused
from aperture_dagster_tests.services import Answer, Scripted


def entries(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": number, "rank": place, "imdb_id": f"tt{number}"} for place, number in enumerate(numbers, start=1)]


def test_a_page_of_a_list_holds_the_titles_of_one_media_type_in_order() -> None:
    answer = {"movies": entries(5, 3), "shows": entries(9), "pagination": {"has_more": True}}
    listed = parse_list(answer, "movie", end=3)
    assert listed.titles == (ListedTitle(5, "tt5"), ListedTitle(3, "tt3")) and listed.has_more
    assert parse_list(answer, "series", end=3).titles == (ListedTitle(9, "tt9"),)


def test_the_ids_of_an_entry_may_be_in_an_object_or_missing() -> None:
    odd = [{"id": 1, "ids": {"tmdb": "603", "imdb": "tt0133093"}}, {"id": None, "imdb_id": "tt2"}, {"id": 0}, {}, "x"]
    listed = parse_list({"movies": odd, "shows": []}, "movie", end=5)
    assert listed.titles == (ListedTitle(603, "tt0133093"), ListedTitle(None, "tt2"))


@pytest.mark.parametrize(
    ("pagination", "has_more"),
    [({"total": 20}, True), ({"total": 10}, False), ({"has_more": False, "total": 20}, False), (None, False)],
)
def test_a_list_ends_where_its_pagination_says(pagination: Any, has_more: bool) -> None:
    answer = {"movies": entries(1), "shows": [], "pagination": pagination}
    assert parse_list(answer, "movie", end=10).has_more is has_more


@pytest.mark.parametrize("answer", [None, {}, {"movies": {}}])
def test_what_is_no_page_of_a_list_is_a_bad_answer(answer: Any) -> None:
    with pytest.raises(BadAnswer):
        parse_list(answer, "movie", end=10)


def test_an_unknown_list_and_a_private_one_are_told_apart(scripted: Scripted) -> None:
    name = "someone/films"
    with closing(MdbList(scripted.url, "c0ffee42c0ffee42", attempts=1)) as client:
        scripted.say(Answer({"error": "List not found"}, 404))
        with pytest.raises(NotFound, match=f"MDBList has no list {name}"):
            client.listed("movie", name)
        scripted.say(Answer({"detail": "This list is private"}, 403))
        with pytest.raises(ServiceRefused, match=r"list .* was refused \(403\): This list is private. Is it private"):
            client.listed("movie", name)
