"""Which lists are read and which titles the pool holds, for one user and for many."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster.discovery import plan
from aperture_dagster.discovery.plan import (
    DEPTH,
    ENOUGH,
    WELL_KNOWN,
    KnownList,
    Query,
    UserPlan,
    chosen_titles,
    next_requests,
    queries_for,
    scarce_types,
    wanted_titles,
)
from aperture_dagster.enrichment.listed import DiscoverFilters, SuggestedPage, SuggestedTitle


def query(number: int, media_type: Any = "movie") -> Query:
    return Query(media_type, DiscoverFilters(genre_ids=(number,)))


def page(*numbers: int, more: bool = True, **facts: Any) -> SuggestedPage:
    return SuggestedPage(tuple(SuggestedTitle(number, **facts) for number in numbers), more)


def recommended(*numbers: int, weight: float = 1.0, media_type: Any = "movie") -> KnownList:
    return KnownList(media_type, weight, [SuggestedTitle(number) for number in numbers])


def wanted(of: UserPlan, known: dict[str, SuggestedPage] | None = None, votes: int = 0) -> list[int]:
    return [number for (_, number), _ in wanted_titles(of, known or {}, votes)]


def test_queries_follow_from_traits_and_only_films_are_looked_for_by_people():
    traits = {"genres": [18, 80], "keywords": [5], "people": [7]}
    films = [one.filters for one in queries_for("movie", traits, ["de", "en"], minimum_votes=50)]
    assert films == [
        DiscoverFilters(genre_ids=(18,), language="de", minimum_votes=10),
        DiscoverFilters(keyword_ids=(5,), language="de", minimum_votes=10),
        DiscoverFilters(person_ids=(7,), minimum_votes=50),
        DiscoverFilters(genre_ids=(18,), language="de", minimum_votes=10, within_days=365),
        DiscoverFilters(language="de", minimum_votes=10),
        DiscoverFilters(genre_ids=(18, 80), language="de", minimum_votes=10),
        DiscoverFilters(genre_ids=(18,), language="en", minimum_votes=50),
        DiscoverFilters(genre_ids=(80,), language="de", minimum_votes=10),
    ]
    assert not any(one.filters.person_ids for one in queries_for("series", traits, [], minimum_votes=50))
    (unknown,) = queries_for("series", {}, [], minimum_votes=50)
    assert unknown.filters == DiscoverFilters(language="en", minimum_votes=50) and unknown.weight == WELL_KNOWN


def test_lists_are_read_once_for_all_users_first_pages_first_and_to_their_ends_while_there_are_few_titles():
    plans = [UserPlan(queries=[query(1), query(2)]), UserPlan(queries=[query(2), query(3)])]
    known: dict[str, SuggestedPage] = {}
    asked = []
    for one, number in next_requests(plans, known, 0):
        asked.append((one.filters.genre_ids[0], number))
        known[one.request(number)] = page(100 * one.filters.genre_ids[0] + number, more=number < 2 * DEPTH)
    assert asked == [(one, number) for number in range(1, 2 * DEPTH + 1) for one in (1, 2, 3)]
    assert list(next_requests(plans, known, 0)) == [], "nothing is read twice"


def test_with_enough_titles_of_a_type_its_lists_are_not_read_beyond_a_depth():
    films, series = query(1), query(1, "series")
    plans = [UserPlan(lists=[recommended(*range(1, ENOUGH + 1))], queries=[films, series])]
    known = {one.request(number): page(number) for one in (films, series) for number in range(1, DEPTH + 1)}
    (following, *_), *_ = [list(next_requests(plans, known, 0))]
    assert following == (series, DEPTH + 1)
    assert scarce_types(chosen_titles(plans, known, 0)) == {"series"}
    assert scarce_types([("movie", number) for number in range(ENOUGH - 1)]) == {"movie", "series"}


def test_no_page_is_requested_that_tmdb_refuses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan, "LAST_PAGE", 9)
    known = {query(1).request(number): page(number) for number in range(1, 9)}
    plans = [UserPlan(queries=[query(1)])]
    assert [number for _, number in next_requests(plans, known, 0)] == [9]
    known[query(1).request(9)] = page(9)
    assert list(next_requests(plans, known, 0)) == []


def test_a_missing_page_of_the_first_ones_does_not_hide_those_after_it():
    known = {query(1).request(number): page(number) for number in (1, 3, 4, 6, 8)}
    assert set(wanted(UserPlan(queries=[query(1)]), known)) == {1, 3, 4, 6}


def test_titles_on_several_lists_come_first_and_what_is_known_or_unsuitable_is_left_out():
    own = UserPlan(
        lists=[recommended(11, 12, 13, 14), recommended(12, 15, 11, weight=0.5)],
        queries=[query(5)],
        hidden={"movie": {13, 14}, "series": {12}},
        languages=["en"],
    )
    foreign = (SuggestedTitle(17, votes=900, language="ko"), SuggestedTitle(18, votes=2), SuggestedTitle(9, None))
    adult = SuggestedTitle(19, votes=900, is_adult=True)
    known = {
        query(5).request(1): page(16, 12, votes=900, language="en"),
        query(5).request(2): SuggestedPage((*foreign, adult, SuggestedTitle(None, "tt1")), True),
    }
    found = wanted_titles(own, known, 50)
    assert [number for (_, number), _ in found] == [12, 11, 16, 15, 9]
    assert dict(found)["movie", 12].votes == 900, "the list that says more is kept"


def test_a_page_that_repeats_titles_counts_them_once():
    known = {query(5).request(1): page(1, 2, 2), query(5).request(2): page(2, 3)}
    assert wanted(UserPlan(queries=[query(5)]), known) == [1, 2, 3]
    known[query(6).request(1)] = page(9, 3)
    assert wanted(UserPlan(queries=[query(5), query(6)]), known)[0] == 3, "two lists beat the first place on one"


def test_the_pool_holds_the_best_of_each_user_in_turns_and_of_each_type_only_so_many(monkeypatch: pytest.MonkeyPatch):
    ann = UserPlan(lists=[recommended(1, 2, 3, 4), recommended(7, media_type="series")])
    bob, cy = UserPlan(lists=[recommended(9, 1, 8)]), UserPlan()
    monkeypatch.setattr(plan, "POOL_SIZE", 5)
    assert list(chosen_titles([ann, bob, cy], {}, 0)) == [
        ("movie", 1), ("movie", 9), ("series", 7), ("movie", 2), ("movie", 8),
    ]  # fmt: skip
    monkeypatch.setattr(plan, "WANTED", 2)
    assert wanted(ann) == [1, 7, 2]
