"""Works on a list from outside: found by their ids, in the list's order, with no more pages than needed."""

from __future__ import annotations

from collections.abc import Iterator

from aperture_dagster.enrichment.queries import ListedTitle, ListPage, WorkIds, works_listed

LIBRARY = [WorkIds(1, 101, "tt1"), WorkIds(2, 102, "tt2"), WorkIds(3, None, "tt3"), WorkIds(4, 104), WorkIds(5)]


def page(*titles: tuple[int | None, str | None], has_more: bool = False) -> ListPage:
    return ListPage(tuple(ListedTitle(*one) for one in titles), has_more)


def found(*titles: tuple[int | None, str | None], wanted: int = 10) -> list[int]:
    return works_listed([page(*titles)], LIBRARY, wanted=wanted)[0]


def test_works_are_found_by_tmdb_id_and_then_by_imdb_id() -> None:
    assert found((104, None), (None, "tt3"), (101, None)) == [4, 3, 1]
    assert found((101, "tt2")) == [1], "the TMDb id comes first"
    assert found((999, "tt2")) == [2], "an id that is not in the library does not hide the other"
    assert found((999, None), (None, None), (None, "tt9")) == []


def test_a_work_is_listed_once_where_it_came_first() -> None:
    assert found((102, None), (101, None), (None, "tt2")) == [2, 1]


def test_of_two_works_with_the_same_id_the_first_is_found() -> None:
    library = [WorkIds(9, 101), WorkIds(7, 101)]
    assert works_listed([page((101, None))], library, wanted=5)[0] == [7]


def test_no_more_pages_are_taken_than_needed() -> None:
    taken = []

    def pages() -> Iterator[ListPage]:
        for number, tmdb_id in enumerate((101, 999, 102, 104)):
            taken.append(number)
            yield page((tmdb_id, None), has_more=True)

    assert works_listed(pages(), LIBRARY, wanted=2) == ([1, 2], 3)
    assert taken == [0, 1, 2]


def test_the_last_page_ends_the_list() -> None:
    pages = iter([page((101, None)), page((102, None))])
    assert works_listed(pages, LIBRARY, wanted=5) == ([1], 1)
    assert works_listed([], LIBRARY, wanted=5) == ([], 0)
