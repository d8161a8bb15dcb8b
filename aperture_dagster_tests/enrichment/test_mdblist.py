"""Reading MDBList: batches joined by id, bad entries, refusals, and lists."""

from __future__ import annotations

import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import ARRAY

from aperture_dagster.enrichment.listed import ListedTitle
from aperture_dagster.enrichment.mdblist.answers import (
    LETTERBOXD,
    SCALES,
    MdbListAnswer,
    parse_list,
    parse_title,
    parse_titles,
)
from aperture_dagster.enrichment.mdblist.client import BatchTooLarge, MdbList, NoSuchPath
from aperture_dagster.enrichment.tables import mdblist_scores
from aperture_dagster.http.errors import (
    BadAnswer,
    NotFound,
    QuotaSpent,
    Redirected,
    RequestRejected,
    ServicePaused,
    ServiceRefused,
)
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.worlds import odd_world
from aperture_dagster_tests.http.troubles import ANY_JSON, NO_JSON, PASSING, QUICK, Trouble, page, with_key
from aperture_dagster_tests.services import NOW, Answer, Asked, Scripted

KEY = "c0ffee42c0ffee42"
RATINGS: list[dict[str, Any]] = [
    {"source": "imdb", "value": 8.8, "score": 88, "votes": 2_300_000},
    {"source": "trakt", "value": 87, "votes": 50_000},
    {"source": "letterboxd", "value": "8.4", "score": 84},
    {"source": "tomatoes", "value": 87},
    {"source": "popcorn", "value": "91"},
    {"source": "metacritic", "value": 74},
    {"source": "rogerebert", "value": 4},
]
FILM: dict[str, Any] = {
    "title": "Inception", "score": 89, "type": "movie", "ratings": RATINGS,
    "ids": {"imdb": "tt1375666", "trakt": 16662, "tmdb": 27205, "tvdb": None, "mal": None, "mdblist": "x1"},
    "keywords": [{"id": 1, "name": "dream"}, {"id": 2, "name": " heist "}],
    "streams": [{"id": 8, "name": "Netflix"}], "certification": "PG-13",
}  # fmt: skip


class Reports(list[tuple[int, int]]):
    """An unlimited quota that collects what the service reports."""

    def spend(self) -> None: ...

    def report(self, limit: int, remaining: int) -> None:
        self.append((limit, remaining))


NOTHING = {
    name: [] if isinstance(column.type, ARRAY) else None
    for name, column in mdblist_scores.columns.items()
    if name not in ("work_id", "updated_at")
}


def entry(tmdb_id: Any, **more: Any) -> dict[str, Any]:
    return {"ids": {"tmdb": tmdb_id}, "ratings": [], **more}


def connected(url: str, key: str = KEY, **how: Any) -> closing[MdbList]:
    return closing(MdbList(url, key, **QUICK | how))


def test_a_batch_is_one_request_and_each_score_keeps_its_scale(scripted: Scripted):
    scripted.say(Answer([FILM]))
    with connected(scripted.url) as client:
        answer = client.titles("movie", "imdb", ["tt1375666", "tt1"])
        assert client.requests == 1
    assert answer == MdbListAnswer({
        "tt1375666": dict(
            score=89, imdb_rating=8.8, imdb_votes=2_300_000, trakt=87, letterboxd=4.2,
            rotten_tomatoes=87, rotten_tomatoes_audience=91, metacritic=74, keywords=["dream", "heist"],
            streams=["Netflix"], certification="PG-13",
        )
    })  # fmt: skip
    assert answer.found["tt1375666"].keys() == NOTHING.keys()
    (asked,) = scripted.asked
    assert (asked.method, asked.target) == ("POST", f"/imdb/movie?apikey={KEY}")
    assert asked.body == {"ids": ["tt1375666", "tt1"], "append_to_response": ["keyword"]}
    assert asked.headers["user-agent"].startswith("aperture-dagster")


def test_entries_are_joined_by_their_id_whatever_their_order_and_type(scripted: Scripted):
    ids = list(range(1, 31))

    def shuffled(asked: Asked) -> Answer:
        entries = [entry(one if one % 2 else str(one), score=one) for one in asked.body["ids"] if one % 3]
        random.Random(5).shuffle(entries)
        return Answer(entries)

    scripted.say(shuffled)
    with connected(scripted.url) as client:
        answer = client.titles("series", "tmdb", ids)
    assert scripted.asked[0].target.startswith("/tmdb/show?")
    assert {one: title["score"] for one, title in answer.found.items()} == {one: one for one in ids if one % 3}
    assert (answer.unreadable, answer.doubtful) == ({}, 0)


@pytest.mark.parametrize("bad", [None, {}, {"ids": [3]}, entry(None), entry(3.5)])
def test_an_entry_without_an_id_makes_missing_titles_doubtful(bad: Any):
    answer = parse_titles([entry(1, score=50), bad, entry(2, score=60)], "tmdb", {"1": 1, "2": 2, "3": 3})
    assert {one: title["score"] for one, title in answer.found.items()} == {1: 50, 2: 60}
    assert (answer.doubtful, answer.unreadable) == (1, {})


@pytest.mark.parametrize("name", ["ratings", "keywords", "streams"])
@pytest.mark.parametrize("value", [{}, 5])
def test_a_malformed_entry_is_unreadable_rather_than_unknown(name: str, value: Any):
    answer = parse_titles([entry(1, **{name: value}), entry(2)], "tmdb", {"1": 1, "2": 2, "3": 3})
    assert list(answer.found) == [2]
    assert answer.unreadable == {1: f"{name}: expected list, got {type(value).__name__}"}
    assert answer.doubtful == 0


@pytest.mark.parametrize("source", [source for source in SCALES if source != LETTERBOXD])
def test_a_score_beyond_its_scale_is_none(source: str):
    name, best = SCALES[source]

    def read(value: Any) -> float | None:
        return parse_title({"ratings": [{"source": source, "value": value}]})[name]

    assert read(best) == read(str(best)) == read(f" {best} ") == best
    assert read(best / 2) == best / 2
    nothing = (
        None, 0, "0", 0.0, -1, best + 0.1, best * 10, str(best + 1), True, "", "N/A", "1e0", "1_0", "٣", "nan", [], {},
        float("nan"), float("inf"), 10**400, "9" * 5000, 1e-300,
    )  # fmt: skip
    for value in nothing:
        assert read(value) is None, value


@pytest.mark.parametrize(("value", "score"), [(7.4, 74), ("3.7", "74"), (3.7, 74), (None, 74), ("8", 74)])
def test_letterboxds_rating_is_derived_from_its_score(value: Any, score: Any):
    assert parse_title({"ratings": [{"source": "letterboxd", "value": value, "score": score}]})["letterboxd"] == 3.7


@pytest.mark.parametrize("unknown", [None, 0, "", "0", -5, True, 10**400, {}, "absent"])
def test_every_form_of_unknown_is_none(unknown: Any):
    names = ("score", "certification")
    said = dict.fromkeys(names, unknown) if unknown != "absent" else {}
    if unknown == "0":
        said["certification"] = ""
    votes = [{"source": "imdb", "value": None, "votes": unknown}]
    assert parse_title({"ratings": votes, **said}) == parse_title({}) == NOTHING


ENTRIES = st.dictionaries(st.sampled_from([*FILM, "ids"]), ANY_JSON, max_size=2)
SCORES = st.fixed_dictionaries({"source": st.sampled_from(list(SCALES)), "value": ANY_JSON, "votes": ANY_JSON})


@given(ANY_JSON | st.lists(ENTRIES, max_size=1), st.lists(SCORES, max_size=2), ENTRIES)
def test_arbitrary_answers_are_parsed_within_their_scales_or_rejected(answer: Any, ratings: Any, other: Any):
    if isinstance(answer, list):
        read = parse_titles([*answer, other | {"ids": {"tmdb": 603}}], "tmdb", {"603": 603, "7.5": 75})
        assert 603 in {*read.found, *read.unreadable}
        assert len(read.found) + len(read.unreadable) + read.doubtful <= len(answer) + 1
    else:
        with pytest.raises(BadAnswer):
            parse_titles(answer, "tmdb", {})
    film = parse_title({"ratings": ratings})
    for name, best in SCALES.values():
        score = film[name]
        assert score is None or 0 < score <= best
    assert film["imdb_votes"] is None or 0 < film["imdb_votes"] < 2**31


# What is told of the day's requests


@pytest.mark.parametrize(
    ("limit", "remaining", "heard"),
    [
        ("1000", "998", [(1000, 998)]),
        (" 1000 ", "0", [(1000, 0)]),
        *((limit, remaining, []) for limit, remaining in [
            (None, "5"), ("1000", None), ("many", "5"), ("1000", "-1"), ("0", "0"), ("10", "11"), ("9" * 40, "5"),
        ]),
    ],
)  # fmt: skip
def test_plausible_quotas_are_reported(
    scripted: Scripted, limit: str | None, remaining: str | None, heard: list[tuple[int, int]]
):
    headers = {"x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining, "x-ratelimit-reset": "soon"}
    scripted.say(Answer([], headers={name: value for name, value in headers.items() if value is not None}))
    told = Reports()
    with connected(scripted.url, quota=told) as client:
        client.titles("movie", "tmdb", [1])
    assert told == heard


def test_a_refused_request_also_reports_the_quota(scripted: Scripted):
    headers = {"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0", "retry-after": "40000"}
    scripted.say(Answer({"error": "API limit"}, 429, headers))
    told = Reports()
    with connected(scripted.url, quota=told) as client, pytest.raises(QuotaSpent):
        client.titles("movie", "tmdb", [1])
    assert told == [(1000, 0)]


# What a refusal means

SPENT = {"x-ratelimit-remaining": "0", "retry-after": "40000"}
SPENT_IN_BODY = {"response": False, "error": "API Limit Reached!"}
NO: dict[str, tuple[int, Trouble]] = {
    "spent": (1, Trouble(Answer({"error": "KEY"}, 429, SPENT), QuotaSpent, "used up.*next day", 1)),
    "wrong key": (100, Trouble(Answer({"error": "Invalid key KEY"}, 401), ServiceRefused, "401.*MDBLIST_API_KEY", 1)),
    "wrong key, one id": (1, Trouble(Answer({"detail": "no KEY"}, 403), ServiceRefused, "403.*MDBLIST_API_KEY", 1)),
    "barred by a page": (1, Trouble(page(403), ServiceRefused, r"was refused \(403\)\. Check", 1)),
    "too many, or a wrong key": (11, Trouble(Answer({}, 403), BatchTooLarge, r"refuses 11 titles at once \(403\)", 1)),
    "too large": (2, Trouble(page(413), BatchTooLarge, r"refuses 2 titles at once \(413\)", 1)),
    "wrong id": (1, Trouble(Answer("bad id KEY", 400, {"content-type": "text/plain"}), RequestRejected, "bad id", 1)),
    "another server": (5, Trouble(page(404), NoSuchPath, "404.*APERTURE_MDBLIST_URL", 2)),
    "redirected": (5, Trouble(Answer("", 301, {"location": "/x?apikey=KEY"}), Redirected, "redirects to /x", 2)),
    "spent, as if well": (5, Trouble(Answer(SPENT_IN_BODY), QuotaSpent, "used up.*Limit Reached.*next day", 1)),
    "spent, as if well, in other words": (
        5,
        Trouble(Answer({"response": False, "error": "API Rate Limit Exceeded"}), QuotaSpent, "used up", 1),
    ),
    "an error as if well": (5, Trouble(Answer({"error": "Oops, KEY"}), BadAnswer, "with an error: Oops", 1)),
}
# A POST may be answered with nothing; a batch may not.
NO_JSON = NO_JSON | {"nothing": Trouble(Answer(""), BadAnswer, "expected list, got NoneType", 1)}
TROUBLES = {name: (3, trouble) for name, trouble in (PASSING | NO_JSON).items()} | NO


@pytest.mark.parametrize(("asked", "trouble"), [pytest.param(*one, id=name) for name, one in TROUBLES.items()])
def test_each_failure_is_reported_by_its_cause_and_without_the_key(scripted: Scripted, asked: int, trouble: Trouble):
    scripted.say(with_key(trouble.answer, KEY))
    with connected(scripted.url, timeout_seconds=trouble.patience) as client:
        with pytest.raises(trouble.error, match=trouble.words) as told:
            client.titles("movie", "tmdb", list(range(asked)))
        assert client.requests == trouble.requests
    assert type(told.value) is trouble.error
    assert KEY not in str(told.value) + repr(told.value)


WINDOW = {"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0"}


def test_a_429_of_a_short_window_is_retried(scripted: Scripted):
    scripted.say(Answer({"error": "slow down"}, 429, WINDOW | {"retry-after": "0"}), Answer([entry(1, score=50)]))
    told = Reports()
    with connected(scripted.url, quota=told) as client:
        assert client.titles("movie", "tmdb", [1]).found[1]["score"] == 50
    # The window's numbers are not the day's.
    assert told == []


def test_a_window_of_some_minutes_pauses_the_service_without_ending_the_day(scripted: Scripted):
    scripted.say(Answer({"error": "slow down"}, 429, WINDOW | {"retry-after": "280"}))
    before = datetime.now(UTC)
    with connected(scripted.url) as client, pytest.raises(ServicePaused) as paused:
        client.titles("movie", "tmdb", [1])
    assert timedelta(seconds=279) < paused.value.resumes_at - before < timedelta(seconds=300)


@pytest.mark.parametrize("form", ["any", "slash_by_redirect", "slash_only"])
def test_the_path_is_used_with_or_without_a_trailing_slash(form: Any):
    stand_ins = SimulatorSettings(mdblist_batch_path=form, mdblist_unknown_share=0.0)
    with running_simulator(odd_world(NOW), stand_ins) as running:
        ids = [title.tmdb_id for title in running.state.titles.values() if title.tmdb_id][:4]
        with connected(running.mdblist_url, "demo-mdblist-key") as client:
            for _ in range(3):
                assert client.titles("movie", "tmdb", ids).found
        # The second form was found once and remembered.
        assert client.requests == (3 if form == "any" else 4)


def test_a_404_with_item_not_found_is_an_empty_answer(scripted: Scripted):
    scripted.say(Answer({"error": "Item not found"}, 404))
    with connected(scripted.url) as client:
        assert client.titles("movie", "tmdb", [1]) == MdbListAnswer()


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
