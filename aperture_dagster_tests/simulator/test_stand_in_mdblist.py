"""The MDBList stand-in behaves like the real service."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from aperture_dagster.simulator.mdblist import list_id
from aperture_dagster.simulator.opinions import SCALES
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import World, WorldTitle

KEY = {"apikey": "demo-mdblist-key"}
AGENT = {"User-Agent": "Household/1.0"}
FILM = WorldTitle(
    "movie:1", "movie", "First", year=2001, tmdb_id=101, imdb_id="tt0000101", language="fr", countries=("US",),
    keywords=tuple(f"keyword {number}" for number in range(40)), runtime_minutes=100, release_date="2001-02-03",
    official_rating="R", vote_average=7.5, vote_count=1_000,
)  # fmt: skip
SHOW = WorldTitle(
    "series:1", "series", "Show", tmdb_id=101, imdb_id="tt0000201", tvdb_id=77, episodes_per_season=(2, 3),
    vote_average=8.0, vote_count=50,
)  # fmt: skip
MANY = [
    WorldTitle(
        f"movie:{number}", "movie", f"Title {number}", tmdb_id=number, imdb_id=f"tt{number:07d}",
        vote_average=2.0 + number % 8, vote_count=number,
    )
    for number in range(1_000, 1_200)
]  # fmt: skip


@pytest.fixture
def simulator(serve) -> RunningSimulator:
    return serve(World("films", [FILM, SHOW, *MANY]), mdblist_largest_batch=150)


@pytest.fixture
def mdblist(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.mdblist_url, params=KEY, headers=AGENT) as client:
        yield client


def batch(mdblist: httpx.Client, titles: list[WorldTitle], **more: object) -> httpx.Response:
    return mdblist.post("/imdb/movie", json={"ids": [title.imdb_id for title in titles], **more})


def test_a_title_can_be_found_by_each_of_its_ids(mdblist: httpx.Client) -> None:
    (film,) = batch(mdblist, [FILM]).json()
    assert film | {
        "title": "First", "year": 2001, "released": "2001-02-03", "runtime": 100, "type": "movie", "language": "fr",
        "certification": "R",
    } == film  # fmt: skip
    assert (film["ids"]["imdb"], film["ids"]["tmdb"], film["ids"]["tvdb"]) == ("tt0000101", 101, None)
    assert mdblist.post("/tmdb/movie", json={"ids": [101]}).json() == [film]
    (show,) = mdblist.post("/tmdb/show", json={"ids": [101]}).json()
    assert (show["type"], show["title"]) == ("show", "Show")
    assert batch(mdblist, [SHOW]).json() == []


def test_every_site_has_its_own_scale_and_several_forms_of_a_missing_rating(mdblist: httpx.Client) -> None:
    titles = batch(mdblist, MANY[:150]).json()
    seen = set()
    for title in titles:
        for rating in title["ratings"]:
            value, score, votes = rating["value"], rating["score"], rating["votes"]
            if not value:
                assert (score or None, votes) == (None, None)
                seen.add("null" if value is None else "zero")
                continue
            site = "popcorn" if rating["source"] in ("audience", "tomatoesaudience") else rating["source"]
            scale = 10 if site == "letterboxd" else SCALES[site]
            assert 0 < float(value) <= scale
            assert abs(score - 100 * float(value) / scale) <= 0.5
            assert votes > 0
            # A film that everyone has marked, marked alike.
            assert abs(score - 10 * (2.0 + title["ids"]["tmdb"] % 8)) <= 35
            seen.add(type(value).__name__)
    assert seen == {"null", "zero", "int", "float", "str"}
    sources = [{rating["source"] for rating in title["ratings"]} for title in titles]
    assert set.union(*sources) == {*SCALES, "audience", "tomatoesaudience"}
    assert not set.intersection(*sources) >= set(SCALES)


def test_keywords_are_sent_on_request_and_differ_from_tmdbs(mdblist: httpx.Client) -> None:
    assert "keywords" not in batch(mdblist, [FILM]).json()[0]
    (film,) = batch(mdblist, [FILM], append_to_response=["keyword"]).json()
    names = {one["name"] for one in film["keywords"]}
    tmdb = set(FILM.keywords)
    assert names & tmdb
    assert {name.lower() for name in names - tmdb} & tmdb
    assert tmdb - {name.lower() for name in names}


def test_a_batch_costs_one_unit_is_unordered_and_lacks_unknown_titles(mdblist: httpx.Client) -> None:
    answer = batch(mdblist, [*MANY[:100], WorldTitle("no", "movie", "No", imdb_id="tt0000999"), MANY[0]])
    requested = [title.imdb_id for title in MANY[:100]]
    found = [title["ids"]["imdb"] for title in answer.json()]
    assert set(found) < set(requested) and 85 <= len(found) == len(set(found)) < 100
    assert found != [number for number in requested if number in found]
    known = [title for title in MANY[:50] if title.imdb_id in found]
    pair = [title["ids"]["imdb"] for title in batch(mdblist, known[:2]).json()]
    assert pair == [known[1].imdb_id, known[0].imdb_id]
    numbers = mdblist.post("/tmdb/movie", json={"ids": [known[0].tmdb_id, str(known[1].tmdb_id)]})
    assert {title["ids"]["imdb"] for title in numbers.json()} == set(pair)
    assert [one.headers["x-ratelimit-remaining"] for one in (answer, numbers)] == ["999", "997"]


@pytest.mark.parametrize("status", [400, 403, 413])
def test_a_batch_that_is_too_large_is_refused_and_costs_a_unit(serve, status: int) -> None:
    simulator = serve(World("films", MANY), mdblist_largest_batch=10, mdblist_batch_refusal=status)
    with httpx.Client(base_url=simulator.mdblist_url, params=KEY, headers=AGENT) as client:
        refused, answered = batch(client, MANY[:11]), batch(client, MANY[:10])
    assert (refused.status_code, answered.status_code) == (status, 200)
    assert "error" in refused.json()
    assert answered.headers["x-ratelimit-remaining"] == "998"


def test_default_user_agents_and_wrong_keys_are_refused(simulator: RunningSimulator) -> None:
    url = simulator.mdblist_url + "/user"
    for agent in ("", "python-httpx/0.28.1", "python-requests/2.32"):
        answer = httpx.get(url, params=KEY, headers={"User-Agent": agent})
        assert (answer.status_code, answer.text[:15]) == (403, "<!DOCTYPE html>")
    forms = set()
    for key in (None, *map(str, range(20))):
        answer = httpx.get(url, params={"apikey": key} if key else None, headers=AGENT)
        forms.add((answer.status_code, *answer.json()))
    assert forms == {(401, "error"), (403, "detail"), (403, "response", "error")}


def test_a_spent_quota_is_429_until_the_next_day(serve) -> None:
    simulator = serve(World("films", [FILM]), mdblist_daily_limit=2, mdblist_unknown_share=0.0)
    with httpx.Client(base_url=simulator.mdblist_url, params=KEY, headers=AGENT) as client:
        answers = [batch(client, [FILM]) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        reset = int(answers[2].headers["x-ratelimit-reset"])
        assert reset % 86_400 == 0 and 0 < int(answers[2].headers["retry-after"]) <= 86_400
        user = client.get("/user").json()
        assert (user["rate_limit"], user["rate_limit_remaining"], user["rate_limit_reset"]) == (2, 0, reset)
        assert user["api_requests_count"] == 2
        simulator.state.start_day()
        answer = batch(client, [FILM])
        assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (200, "1")
        assert int(answer.headers["x-ratelimit-reset"]) >= reset + 86_400
        assert simulator.state.asked("mdblist") == {"tt0000101": 4}
        assert simulator.state.answered("mdblist") == {"tt0000101": 3}


@pytest.mark.parametrize(("form", "status"), [("slash_by_redirect", 301), ("slash_only", 404)])
def test_the_path_of_a_batch_can_require_a_trailing_slash(serve, form: str, status: int) -> None:
    simulator = serve(World("films", [FILM]), mdblist_batch_path=form, mdblist_unknown_share=0.0)
    with httpx.Client(base_url=simulator.mdblist_url, params=KEY, headers=AGENT) as client:
        refused = batch(client, [FILM])
        assert refused.status_code == status
        answer = client.post("/imdb/movie/", json={"ids": [FILM.imdb_id]})
        assert [title["title"] for title in answer.json()] == ["First"]
        if status == 301:
            assert refused.next_request is not None
            assert refused.next_request.url == answer.request.url


def test_a_list_has_pages_by_its_name_or_number(serve) -> None:
    keys = [f"movie:{number}" for number in range(1_199, 1_049, -1)] + ["series:1", "movie:1"]
    simulator = serve(World("films", [FILM, SHOW, *MANY]), mdblist_lists={"anna/best": keys}, mdblist_daily_limit=6)
    with httpx.Client(base_url=simulator.mdblist_url, params=KEY, headers=AGENT) as mdblist:
        page = mdblist.get("/lists/anna/best/items")
        first = page.json()
        assert [entry["id"] for entry in first["movies"]] == list(range(1_199, 1_099, -1))
        assert first["pagination"] == {"limit": 100, "offset": 0, "total": 152, "has_more": True}
        assert (page.headers["x-has-more"], page.headers["x-total-items"]) == ("true", "152")
        assert page.headers["x-ratelimit-remaining"] == "5", "a page costs a request"
        rest = mdblist.get(f"/lists/{list_id('anna/best')}/items/", params={"offset": 150, "limit": 1_000}).json()
        assert [entry["id"] for entry in rest["movies"]] == [entry["id"] for entry in rest["shows"]] == [101]
        assert rest["movies"][0] | {"rank": 152, "imdb_id": "tt0000101", "mediatype": "movie"} == rest["movies"][0]
        assert not rest["pagination"]["has_more"]
        order = {"sort": "tmdbpopular", "order": "asc", "limit": 2}
        assert mdblist.get("/lists/anna/best/items", params=order).status_code == 200
        titles = mdblist.get("/lists/anna/best/items", params={"sort": "title", "order": "desc", "limit": 2}).json()
        assert titles["movies"][0]["title"] == "Title 1199" and titles["movies"][0]["rank"] == 1
        assert mdblist.get("/lists/anna/worst/items").status_code == 404
        assert mdblist.get("/lists/anna/best/items", params={"limit": 1_001}).status_code == 400
        assert mdblist.get("/lists/anna/best/items").status_code == 429
