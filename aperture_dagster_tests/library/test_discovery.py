"""Which lists are read and which details are requested, for one user and for many."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from aperture_dagster.library.discovery import (
    DEPTH,
    ENOUGH,
    LISTS_PER_DAY,
    KnownList,
    LikedTitle,
    ListQuery,
    Suggestion,
    Trait,
    UserPlan,
    Wanted,
    choose_seeds,
    distinctive_people,
    list_queries,
    next_requests,
    plan_details,
    scarce_types,
    wanted_titles,
)
from aperture_dagster.library.listed import DiscoverFilters, SuggestedTitle

NOW = datetime(2026, 5, 17, tzinfo=UTC)


def liked(number: int, weight: float, days_ago: float | None = None, media_type: str = "movie") -> LikedTitle:
    played = NOW - timedelta(days=days_ago) if days_ago is not None else None
    return LikedTitle(number, media_type, number, weight, played)


def query(number: int, seed: str = "genre:Drama") -> ListQuery:
    return ListQuery("movie", seed, filters=DiscoverFilters(genre_ids=(number,)))


def page(*numbers: int, more: bool = True, today: bool = True, **facts: Any) -> KnownList:
    return KnownList(tuple(SuggestedTitle(number, **facts) for number in numbers), more, today)


def ids(wanted: Iterable[Wanted]) -> list[int | None]:
    return [one.ids.tmdb_id for one in wanted]


def test_seeds_are_what_was_liked_most_and_what_was_liked_last_in_turns():
    titles = [liked(1, 2.0, 900), liked(2, 1.0, 1), liked(3, 1.5), liked(4, 0.5, 2), liked(5, -1.0, 0)]
    assert [one.work_id for one in choose_seeds([*titles, liked(6, 9.0, 0, "series")], "movie")] == [1, 2, 3, 4]
    assert len(choose_seeds(titles, "movie", most=2)) == 2


def test_people_set_a_taste_apart_if_several_liked_titles_share_them_more_often_than_the_library():
    seeds = [liked(1, 1.0), liked(2, 1.0), liked(3, 1.0)]
    people = {1: {"Rare": 7, "Common": 8, "Once": 9}, 2: {"Rare": 7, "Common": 8}, 3: {"Common": 8}}
    found = distinctive_people(seeds, people, {7: 2, 8: 100}, 100)
    assert found == [Trait("person", "Rare", 7)]
    people = {1: {"All": 7, "Two": 9, "Some": 5}, 2: {"All": 7, "Two": 9}, 3: {"All": 7, "Some": 5}}
    found = distinctive_people([*seeds[:2], liked(3, 0.5)], people, {}, 100)
    assert [one.name for one in found] == ["All", "Two", "Some"], "the most distinctive first"


def test_queries_follow_from_traits_and_only_films_are_looked_for_by_people():
    traits = [Trait("genre", "Drama", 18), Trait("genre", "Crime", 80), Trait("keyword", "heist", 5),
              Trait("person", "Mann", 7)]  # fmt: skip
    first = {1: list(range(20)), 2: list(range(19))}
    seeds = [liked(1, 1.0), liked(2, 2.0)]
    films = list_queries("movie", seeds, first, traits, ["de", "en"], minimum_votes=50)
    deep = [one for one in films if one.filters is None]
    assert [(one.seed, list(one.pages())) for one in deep] == [("1", [2])], "only lists with a full first page go on"
    assert {(one.source, one.filters is None) for one in films} == {("recommendations", True), ("discover", False)}
    by_seed = {one.seed: one.filters for one in films if one.filters is not None}
    assert by_seed["genre:Drama"] == DiscoverFilters(genre_ids=(18,), language="de", minimum_votes=10)
    both = by_seed["genre:Drama + genre:Crime"]
    assert both is not None and both.genre_ids == (18, 80)
    assert by_seed["person:Mann"] == DiscoverFilters(person_ids=(7,), minimum_votes=50)
    elsewhere = by_seed["genre:Drama (en)"]
    assert elsewhere is not None and (elsewhere.language, elsewhere.minimum_votes) == ("en", 50)
    recent = by_seed["genre:Drama (new)"]
    assert recent is not None and recent.within_days == 365
    assert all(one.minimum_votes > 0 for one in by_seed.values() if one is not None)
    series = list_queries("series", [liked(1, 1.0, media_type="series")], {}, traits, [], minimum_votes=50)
    assert not any(one.filters and one.filters.person_ids for one in series)


def test_the_same_list_is_read_once_for_all_users_and_a_page_a_day():
    plans = [UserPlan("ann", queries=[query(1), query(2)]), UserPlan("bob", queries=[query(2, "x"), query(3)])]
    assert [one.filters and one.filters.genre_ids[0] for one, _ in next_requests(plans, {})] == [1, 2, 3]
    known = {query(number).request(1): page(7) for number in (1, 2)}
    assert [(one.request(number)) for one, number in next_requests(plans, known)] == ["movie/discover?genres=3/1"]
    yesterday = {query(1).request(1): page(7, today=False), query(2).request(1): page(7, more=False, today=False)}
    assert [one.request(number) for one, number in next_requests(plans, yesterday)] == [
        "movie/discover?genres=3/1", "movie/discover?genres=1/2",
    ], "first pages come before later ones, and nothing comes after the last"  # fmt: skip


def test_a_list_goes_a_page_deeper_every_day_up_to_a_depth_and_on_days_with_few_titles_to_its_end():
    plans, known = [UserPlan("ann", queries=[query(1)])], {}
    for number in range(1, DEPTH + 1):
        ((one, place),) = next_requests(plans, known)
        assert place == number
        known[one.request(place)] = page(number)
        assert list(next_requests(plans, known)) == []
        known[one.request(place)] = page(number, today=False)
    assert list(next_requests(plans, known)) == []
    for number in range(DEPTH + 1, 9):
        ((one, place),) = next_requests(plans, known, again=True)
        assert place == number
        known[one.request(place)] = page(number, more=number < 8)
    assert list(next_requests(plans, known, again=True)) == []
    assert len(wanted_titles(plans[0], {}, known, {}, minimum_votes=0)) == 8


def test_a_missing_page_of_the_first_ones_does_not_hide_those_after_it():
    plan = UserPlan("ann", queries=[query(1)])
    known = {query(1).request(number): page(number) for number in (1, 3, 4, 6, 8)}
    assert set(ids(wanted_titles(plan, {}, known, {}, minimum_votes=0))) == {1, 3, 4, 6}


def test_no_page_is_requested_that_tmdb_refuses():
    plans = [UserPlan("ann", queries=[query(1)])]
    known = {query(1).request(number): page(number) for number in range(1, 500)}
    assert [number for _, number in next_requests(plans, known, again=True)] == [500]
    known[query(1).request(500)] = page(500)
    assert list(next_requests(plans, known, again=True)) == []


def test_what_is_well_known_is_read_only_while_there_are_few_titles_and_comes_last():
    (filler,) = list_queries("movie", [], {}, [], ["en"], minimum_votes=50)
    assert filler.filters == DiscoverFilters(language="en", minimum_votes=50)
    plan = UserPlan("ann", queries=[filler, query(1)])
    assert [one.seed for one, _ in next_requests([plan], {})] == ["genre:Drama"]
    assert len(list(next_requests([plan], {}, again=True))) == 2
    known = {filler.request(1): page(7, 8), query(1).request(1): page(9, 8)}
    assert ids(wanted_titles(plan, {}, known, {}, minimum_votes=0)) == [8, 9, 7]


def test_who_watches_films_alone_gets_well_known_series_too():
    (film,), (series,) = (list_queries(kind, [], {}, [], ["en"], minimum_votes=50) for kind in ("movie", "series"))
    plan = UserPlan("ann", seeds=[liked(1, 1.0)], queries=[film, series])
    titles = {"ann": wanted_titles(plan, {1: range(100, 700)}, {}, {}, minimum_votes=0)}
    assert scarce_types(titles) == {"series"}
    pages = list(next_requests([plan], {}, media_types=scarce_types(titles), again=True))
    assert [one.media_type for one, _ in pages] == ["series"]
    assert scarce_types({"ann": wanted(*range(ENOUGH - 1)), "bob": wanted(0)}) == {"movie", "series"}


def test_titles_on_several_lists_come_first_and_what_is_known_or_unsuitable_is_left_out():
    plan = UserPlan(
        "ann",
        seeds=[liked(1, 2.0), liked(2, 1.0)],
        queries=[query(5)],
        hidden={"movie": {14}},
        languages=frozenset({"en"}),
    )
    first = {1: [11, 12, 13, 14], 2: [12, 15, 11]}
    listed = page(16, 12, votes=900, language="en")
    foreign = KnownList((SuggestedTitle(17, votes=900, language="ko"), SuggestedTitle(18, votes=2)), True, True)
    known = {query(5).request(1): listed, query(5).request(2): foreign}
    found = wanted_titles(plan, first, known, {"movie": {13}}, minimum_votes=50)
    assert ids(found)[0] == 12 and set(ids(found)) == {11, 12, 15, 16}
    assert found[0].suggestions == [
        Suggestion("recommendations", "1", 2), Suggestion("recommendations", "2", 1),
        Suggestion("discover", "genre:Drama", 2),
    ]  # fmt: skip
    assert found[0].ids.votes == 900


def test_a_page_that_repeats_titles_counts_them_once():
    plan = UserPlan("ann", queries=[query(5)])
    known = {query(5).request(1): page(1, 2, 2), query(5).request(2): page(2, 3)}
    found = wanted_titles(plan, {}, known, {}, minimum_votes=0)
    assert {one.ids.tmdb_id: [each.rank for each in one.suggestions] for one in found} == {1: [1], 2: [2], 3: [5]}


def test_of_one_media_type_only_the_best_are_kept():
    plan = UserPlan("ann", seeds=[liked(1, 1.0), liked(2, 1.0, media_type="series")])
    first = {1: list(range(100, 140)), 2: list(range(100, 120))}
    found = wanted_titles(plan, first, {}, {}, minimum_votes=0, most=25)
    assert sum(one.media_type == "movie" for one in found) == 25
    assert sum(one.media_type == "series" for one in found) == 20
    assert ids([one for one in found if one.media_type == "movie"])[:3] == [100, 101, 102]


def wanted(*numbers: int) -> list[Wanted]:
    return [Wanted("movie", SuggestedTitle(number)) for number in numbers]


def test_details_are_requested_in_turns_each_once_and_within_the_budget():
    own = {"ann": wanted(1, 2, 3, 4), "bob": wanted(9, 1, 8), "cy": wanted(7)}
    plan = plan_details(own, {("movie", 2): False, ("movie", 8): True}, budget=4)
    assert ids(plan.request) == [1, 9, 7, 3], "not what is fresh in the pool"
    assert ids(plan.keep) == [2, 8] and plan.left_out == 1
    assert ids(plan_details(own, {}, budget=0).request) == []


def test_fifty_users_cost_less_than_three_times_what_one_costs():
    def plan_for(user: int) -> UserPlan:
        # Half of what somebody likes, others like, too.
        seeds = [liked(1000 * (user if number % 2 else 0) + number, 1.0) for number in range(1, 41)]
        queries = [query(100 * user + number) for number in range(12)]
        return UserPlan(f"user {user}", seeds=seeds, queries=[*queries, *(query(number) for number in range(8))])

    def cost(users: int) -> int:
        plans = [plan_for(user) for user in range(1, users + 1)]
        first = {one.work_id: [one.work_id * 50 + place for place in range(20)] for plan in plans for one in plan.seeds}
        known: dict[str, KnownList] = {}
        for again in (False, True):
            for one, number in next_requests(plans, known, again=again):
                if len(known) < LISTS_PER_DAY:
                    known[one.request(number)] = page(*range(10**6 + len(known) * 20, 10**6 + len(known) * 20 + 20))
        titles = {plan.user_id: wanted_titles(plan, first, known, {}, minimum_votes=0) for plan in plans}
        assert users > 1 or len({one.key for own in titles.values() for one in own}) >= ENOUGH
        return len(known) + len(plan_details(titles, {}, budget=1500).request)

    assert cost(50) < 3 * cost(1)
