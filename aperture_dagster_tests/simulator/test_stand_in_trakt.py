"""The Trakt stand-in behaves like the real service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.trakt import app as trakt_api
from aperture_dagster.simulator.trakt.book import trakt_id
from aperture_dagster.simulator.world import World, WorldTitle

FILMS = [
    WorldTitle(f"movie:{number}", "movie", f"Film {number}", 2000, tmdb_id=number, imdb_id=f"tt{number:07d}")
    for number in range(1, 31)
]
SHOW = WorldTitle(
    "series:1", "series", "Show", 2010, tmdb_id=1, imdb_id="tt0000901", tvdb_id=77, episodes_per_season=(2, 3)
)
AGENT = {"User-Agent": "Household/1.0"}
APP = {"client_id": "demo-trakt-client-id", "client_secret": "demo-trakt-client-secret"}
OOB = "urn:ietf:wg:oauth:2.0:oob"
FAST = {"trakt_writes": (1000, 1.0), "trakt_unknown_share": 0.0, "trakt_missing_ids_share": 0.0}
Start = Callable[..., RunningSimulator]


@pytest.fixture
def start(serve) -> Start:
    return lambda **settings: serve(World("films", [*FILMS, SHOW]), **FAST | settings)


@pytest.fixture
def simulator(start: Start) -> RunningSimulator:
    return start()


@pytest.fixture
def auth(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.trakt_auth_url, headers=AGENT) as client:
        yield client


@pytest.fixture
def api(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with client_of(simulator) as client:
        yield client


def client_of(simulator: RunningSimulator, account: str = "ada") -> httpx.Client:
    token = simulator.state.trakt_connect(account)["access_token"]
    headers = AGENT | {"trakt-api-version": "2", "trakt-api-key": APP["client_id"], "Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=simulator.trakt_url, headers=headers)


def refresh(auth: httpx.Client, token: str, **more: str) -> httpx.Response:
    body = APP | {"refresh_token": token, "grant_type": "refresh_token", "redirect_uri": OOB} | more
    return auth.post("/oauth/token", json=body)


def rate(api: httpx.Client, *entries: dict[str, Any], **more: object) -> httpx.Response:
    return api.post("/sync/ratings", json={"movies": list(entries), **more})


def film(number: int, rating: object = 8, **more: object) -> dict[str, Any]:
    return {"rating": rating, "ids": {"tmdb": number}, **more}


# Signing in


def test_a_device_code_waits_for_its_user_and_is_exchanged_once(start: Start) -> None:
    simulator = start(trakt_device_interval=0)
    with httpx.Client(base_url=simulator.trakt_auth_url, headers=AGENT) as auth:
        code = auth.post("/oauth/device/code", json={"client_id": APP["client_id"]}).json()
        assert {"device_code", "user_code", "verification_url", "expires_in", "interval"} == code.keys()
        assert (code["expires_in"], len(code["user_code"])) == (600, 8)
        poll = {"code": code["device_code"], **APP}
        waiting = auth.post("/oauth/device/token", json=poll)
        assert (waiting.status_code, waiting.content) == (400, b"")
        assert simulator.state.trakt_codes() == [code["user_code"]]
        simulator.state.trakt_approve("ada", code["user_code"].lower())
        token = auth.post("/oauth/device/token", json=poll).json()
        assert (token["token_type"], token["scope"], token["expires_in"]) == ("bearer", "public", 604_800)
        assert auth.post("/oauth/device/token", json=poll).status_code == 409
        assert auth.post("/oauth/device/token", json=poll | {"code": "nonsense"}).status_code == 404
        wrong = auth.post("/oauth/device/token", json=poll | {"client_secret": "other"})
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
        headers = {"Authorization": f"Bearer {token['access_token']}", "trakt-api-version": "2"}
        user = auth.get(f"{simulator.trakt_url}/users/settings", headers=headers | {"trakt-api-key": APP["client_id"]})
        assert (user.json()["user"]["username"], user.json()["user"]["vip"]) == ("ada", False)


def test_a_code_can_be_denied_expire_or_be_polled_too_fast(simulator: RunningSimulator, auth: httpx.Client) -> None:
    def poll(code: dict[str, Any]) -> int:
        return auth.post("/oauth/device/token", json={"code": code["device_code"], **APP}).status_code

    first, second = (auth.post("/oauth/device/code", json={"client_id": APP["client_id"]}).json() for _ in range(2))
    assert [poll(first), poll(first)] == [400, 429]
    simulator.state.advance(5)
    assert poll(first) == 400
    simulator.state.trakt_deny(first["user_code"])
    assert poll(first) == 418
    simulator.state.advance(600)
    assert poll(second) == 410
    assert simulator.state.trakt_codes() == []
    with pytest.raises(KeyError):
        simulator.state.trakt_approve("ada")


def test_a_person_approves_a_code_on_its_page(simulator: RunningSimulator, auth: httpx.Client) -> None:
    code = auth.post("/oauth/device/code", json={"client_id": APP["client_id"]}).json()
    page = auth.get(f"{code['verification_url']}/{code['user_code']}")
    assert code["user_code"] in page.text
    answer = {"code": code["user_code"], "account": "bob", "answer": "yes"}
    assert auth.post(code["verification_url"], data=answer).status_code == 200
    assert auth.post(code["verification_url"], data=answer).status_code == 404
    token = auth.post("/oauth/device/token", json={"code": code["device_code"], **APP})
    assert token.status_code == 200
    assert list(simulator.state.trakt.accounts) == ["bob"]


def test_a_refresh_token_buys_one_pair_and_voids_the_old_one(simulator: RunningSimulator, auth: httpx.Client) -> None:
    with client_of(simulator) as api:
        old = simulator.state.trakt_connect("ada")
        api.headers["Authorization"] = f"Bearer {old['access_token']}"
        new = refresh(auth, old["refresh_token"]).json()
        assert not {new["access_token"], new["refresh_token"]} & {old["access_token"], old["refresh_token"]}
        again = refresh(auth, old["refresh_token"])
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert api.get("/users/settings").status_code == 401
        api.headers["Authorization"] = f"Bearer {new['access_token']}"
        assert api.get("/users/settings").status_code == 200
        assert refresh(auth, new["refresh_token"], redirect_uri="other").json()["error"] == "invalid_grant"
        lacking = APP | {"refresh_token": new["refresh_token"], "grant_type": "refresh_token"}
        assert auth.post("/oauth/token", json=lacking).json() == {
            "error": "invalid_request",
            "error_description": "redirect_uri is required",
        }
        simulator.state.advance(604_800)
        assert api.get("/users/settings").status_code == 401


def test_revoked_tokens_are_void_and_nonsense_is_revoked_with_200(
    simulator: RunningSimulator, auth: httpx.Client, api: httpx.Client
) -> None:
    pair = simulator.state.trakt_connect("ada")
    for token in ("nonsense", pair["access_token"]):
        assert auth.post("/oauth/revoke", json={"token": token, **APP}).status_code == 200
    api.headers["Authorization"] = f"Bearer {pair['access_token']}"
    assert api.get("/users/settings").status_code == rate(api, film(1)).status_code == 401
    assert refresh(auth, pair["refresh_token"]).status_code == 400
    fresh = simulator.state.trakt_connect("ada")
    simulator.state.trakt_invalidate("ada", access=False)
    assert refresh(auth, fresh["refresh_token"]).status_code == 400


# Refusals


def test_requests_need_an_agent_a_key_a_version_and_json(api: httpx.Client) -> None:
    assert api.get("/sync/last_activities").status_code == 200
    nameless = api.get("/sync/last_activities", headers={"User-Agent": ""})
    assert (nameless.status_code, nameless.text[:15]) == (403, "<!DOCTYPE html>")
    unknown = api.get("/sync/last_activities", headers={"trakt-api-key": "other"})
    assert (unknown.status_code, unknown.json()["error"]) == (403, "invalid_client")
    assert api.get("/sync/last_activities", headers={"trakt-api-version": "1"}).status_code == 412
    assert api.post("/sync/ratings", content=b"{}").status_code == 412
    assert api.post("/sync/ratings", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400


def test_reads_and_writes_have_their_own_limits_per_user(start: Start) -> None:
    simulator = start(trakt_writes=(1, 1.0))
    with client_of(simulator) as ada, client_of(simulator, "bob") as bob:
        for _ in range(500):
            simulator.state.trakt.account("ada").reads.admit()
        refused = ada.get("/sync/last_activities")
        assert 290 < int(refused.headers["retry-after"]) <= 300
        state = json.loads(refused.headers["x-ratelimit"])
        assert (state["name"], state["period"], state["limit"], state["remaining"]) == (
            "AUTHED_API_GET_LIMIT", 300, 500, 0,
        )  # fmt: skip
        assert bob.get("/sync/last_activities").status_code == 200
        assert [rate(ada, film(number)).status_code for number in (1, 2)] == [201, 429]
        assert rate(ada, film(3)).headers["retry-after"] == "1"
        simulator.state.advance(1)
        assert rate(ada, film(3)).status_code == 201
        assert simulator.state.trakt_ratings("ada").keys() == {"movie:1", "movie:3"}


def test_an_account_can_be_full_locked_or_in_need_of_an_upgrade(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = start()
    monkeypatch.setattr(trakt_api, "RATINGS_LIMITS", (2, 3))
    with client_of(simulator) as api:
        assert rate(api, film(1), film(2)).status_code == 201
        full = rate(api, film(2, 9), film(3))
        assert (full.status_code, full.headers["x-account-limit"], full.headers["x-vip-user"]) == (420, "2", "false")
        assert simulator.state.trakt_ratings("ada")["movie:2"]["rating"] == 8
        assert rate(api, film(2, 9)).status_code == 201
        simulator.state.trakt_account("ada", vip=True)
        assert rate(api, film(3)).status_code == 201
        assert api.get("/users/settings").json()["user"]["vip"] is True
        simulator.state.trakt_account("ada", trouble="locked")
        locked = api.get("/sync/last_activities")
        assert (locked.status_code, locked.headers["x-account-locked"]) == (423, "true")
        simulator.state.trakt_account("ada")
        simulator.state.add_fault(FaultRule("trakt", status=426, times=1))
        simulator.state.add_fault(FaultRule("trakt", status=401, times=1))
        statuses = [api.get("/users/settings").status_code for _ in range(3)]
        assert statuses == [426, 401, 200]
        with pytest.raises(ValueError, match="unknown trouble"):
            simulator.state.trakt_account("ada", trouble="nonsense")


# Reading


def test_ratings_come_at_once_or_in_pages(simulator: RunningSimulator, api: httpx.Client) -> None:
    for number in range(1, 26):
        day = f"2020-01-{number:02}T10:00:00Z"
        simulator.state.trakt_rate("ada", f"movie:{number}", 1 + number % 10, rated_at=day)
    rows = api.get("/sync/ratings/movies")
    assert "x-pagination-page" not in rows.headers
    assert [row["movie"]["ids"]["tmdb"] for row in rows.json()] == list(range(25, 0, -1))
    assert rows.json()[0] == {
        "rated_at": "2020-01-25T10:00:00.000Z",
        "rating": 6,
        "type": "movie",
        "movie": {
            "title": "Film 25",
            "year": 2000,
            "ids": {"trakt": trakt_id("movie:25"), "slug": "film-25-2000", "imdb": "tt0000025", "tmdb": 25},
        },
    }
    page = api.get("/sync/ratings/movies", params={"page": 3, "limit": 10})
    assert len(page.json()) == 5
    assert {name: value for name, value in page.headers.items() if name.startswith("x-pagination")} == {
        "x-pagination-page": "3", "x-pagination-limit": "10", "x-pagination-page-count": "3",
        "x-pagination-item-count": "25",
    }  # fmt: skip
    assert api.get("/sync/ratings/movies?limit=1000").headers["x-pagination-limit"] == "250"
    assert [row["rating"] for row in api.get("/sync/ratings/movies/6").json()] == [6, 6, 6]
    assert api.get("/sync/ratings/shows").json() == []


def test_the_last_activities_change_with_every_edit_whoever_makes_it(
    simulator: RunningSimulator, api: httpx.Client
) -> None:
    def rated() -> dict[str, str]:
        activities = api.get("/sync/last_activities").json()
        return {kind: activities[kind]["rated_at"] for kind in ("movies", "shows", "seasons", "episodes")}

    seen = [rated()]
    for change in (
        lambda: simulator.state.trakt_rate("ada", "movie:1", 8, rated_at="2019-05-01"),
        lambda: rate(api, film(2)),
        lambda: simulator.state.trakt_unrate("ada", "movie:1"),
        lambda: api.post("/sync/ratings/remove", json={"movies": [{"ids": {"tmdb": 2}}]}),
        lambda: simulator.state.trakt_rate("ada", "movie:1", 9),
    ):
        change()
        seen.append(rated())
    assert len({one["movies"] for one in seen}) == len(seen)
    assert len({one["shows"] for one in seen}) == 1
    simulator.state.trakt_rate("ada", "series:1", 7)
    simulator.state.trakt_unrate("ada", "series:1", at="2020-02-02T03:04:05Z")
    assert rated()["shows"] == "2020-02-02T03:04:05.000Z"


# Writing


def test_a_rating_is_added_or_replaced_with_its_date(simulator: RunningSimulator, api: httpx.Client) -> None:
    entry = film(1, 7, rated_at="2011-03-04T05:06:07.891Z")
    answer = rate(api, entry, film(2, 3), {"rating": 5, "ids": {"imdb": "tt0000404"}})
    assert answer.status_code == 201
    assert answer.json() == {
        "added": {"movies": 2, "shows": 0, "seasons": 0, "episodes": 0},
        "not_found": {
            "movies": [{"rating": 5, "ids": {"imdb": "tt0000404"}}], "shows": [], "seasons": [], "episodes": [],
        },
    }  # fmt: skip
    ratings = simulator.state.trakt_ratings("ada")
    assert ratings["movie:1"] == {"rating": 7, "rated_at": "2011-03-04T05:06:07.000Z"}
    assert ratings["movie:2"]["rated_at"] > "2026"
    assert rate(api, entry).json()["added"]["movies"] == 0
    assert rate(api, film(1, 9)).json()["added"]["movies"] == 1
    assert simulator.state.trakt_ratings("ada")["movie:1"]["rated_at"] > "2026", "without a date, it is today"
    assert [(one["key"], one["rating"], one["changed"]) for one in simulator.state.trakt_pushed("ada")] == [
        ("movie:1", 7, True), ("movie:2", 3, True), ("movie:1", 7, False), ("movie:1", 9, True),
    ]  # fmt: skip


@pytest.mark.parametrize("rating", [0, 11, 8.5, 8.0, "8", True, None])
def test_ratings_are_whole_numbers_from_1_to_10(simulator: RunningSimulator, api: httpx.Client, rating: object) -> None:
    assert rate(api, film(2, 8), film(1, rating)).status_code == 422
    assert simulator.state.trakt_ratings("ada") == {}


def test_ids_can_be_missing_wrong_or_replaced(simulator: RunningSimulator, api: httpx.Client) -> None:
    state = simulator.state
    state.trakt_rate("ada", "movie:1", 8)
    before = api.get("/sync/ratings/movies").json()[0]["movie"]["ids"]
    state.trakt_merge("movie:1")
    after = api.get("/sync/ratings/movies").json()[0]["movie"]["ids"]
    assert (after["tmdb"], after["trakt"] != before["trakt"], after["slug"]) == (1, True, "film-1-2000-2")
    assert rate(api, {"rating": 3, "ids": {"trakt": before["trakt"]}}).json()["not_found"]["movies"]
    state.trakt_change_ids("movie:1", {"imdb": None, "tmdb": 999})
    assert rate(api, film(1, 2)).json()["not_found"]["movies"] == [film(1, 2)]
    assert rate(api, film(999, 2)).json()["added"]["movies"] == 1
    state.trakt_change_ids("movie:1", None)
    assert api.get("/sync/ratings/movies").json() == []
    assert rate(api, {"rating": 2, "ids": {"trakt": after["trakt"]}}).json()["added"]["movies"] == 0


def test_some_titles_are_unknown_and_some_lack_ids(start: Start) -> None:
    simulator = start(trakt_unknown_share=0.2, trakt_missing_ids_share=0.3)
    known = list(simulator.state.trakt.titles.of_kind("movies"))
    assert 18 < len(known) < 30
    assert 0 < sum(one.ids["imdb"] is None for one in known) < len(known)


# Recommendations


def test_recommendations_have_no_pages_and_leave_out_what_was_rated(
    simulator: RunningSimulator, api: httpx.Client
) -> None:
    simulator.state.trakt_recommend("ada", ["movie:3", "series:1", "movie:2", "movie:1"])
    simulator.state.trakt_rate("ada", "movie:2", 8)

    def recommended(**parameters: object) -> list[int]:
        return [one["ids"]["tmdb"] for one in api.get("/recommendations/movies", params=parameters).json()]

    assert recommended(limit=100, ignore_watched="true") == [3, 1]
    assert recommended(limit=1) == [3]
    simulator.state.trakt_recommend("ada", None)
    assert len(recommended()) == 10 and len(recommended(limit=1_000)) == 29
    simulator.state.add_fault(FaultRule("trakt", "/recommendations", status=204, times=1))
    empty = api.get("/recommendations/movies")
    assert (empty.status_code, empty.content) == (204, b"")
    assert recommended(limit=2)


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sync/ratings/movies?extended=full", None),
        ("GET", "/recommendations/movies?page=2", None),
        ("GET", "/sync/history", None),
        ("GET", "/sync/ratings/seasons", None),
        ("POST", "/sync/ratings", {"seasons": [{"rating": 8, "ids": {"trakt": 1}}]}),
        ("POST", "/sync/ratings", {"movies": [{"rating": 8, "title": "Film 1"}]}),
        ("POST", "/sync/ratings", {"movies": [{"rating": 8, "ids": {"tvdb": 1}}]}),
        ("POST", "/sync/ratings/remove", {"movies": [{"rating": 8, "ids": {"tmdb": 1}}]}),
    ],
)
def test_other_requests_are_refused(api: httpx.Client, method: str, path: str, body: object) -> None:
    assert api.request(method, path, json=body).status_code == 501


def test_tokens_are_in_no_counter(simulator: RunningSimulator, auth: httpx.Client, api: httpx.Client, caplog) -> None:
    pair = simulator.state.trakt_connect("ada")
    refresh(auth, pair["refresh_token"])
    api.get("/users/settings")
    counters = simulator.state.counters
    seen = repr(
        [vars(counters), simulator.state.arrivals("trakt"), simulator.state.arrivals("trakt_auth"), caplog.text]
    )
    assert "/oauth/token" in seen
    assert not [
        secret for secret in (*pair.values(), APP["client_secret"]) if str(secret) in seen and secret != "bearer"
    ]
