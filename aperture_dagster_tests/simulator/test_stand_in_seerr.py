"""The Seerr stand-in behaves like the real program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from aperture_dagster.simulator.seerr_book import Permission
from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import World, WorldTitle, WorldUser

NEW = WorldTitle("movie:1", "movie", "New", 2001, tmdb_id=101, imdb_id="tt0000101", copies=0)
OTHER = WorldTitle("movie:2", "movie", "Other", 2002, tmdb_id=102, copies=0)
OWNED = WorldTitle("movie:3", "movie", "Owned", 2003, tmdb_id=103)
SHOW = WorldTitle(
    "series:1", "series", "Show", 2010, tmdb_id=101, tvdb_id=77, episodes_per_season=(2, 3, 4), specials=1, copies=0
)
USERS = [WorldUser("ada", is_administrator=True), WorldUser("bob")]
Start = Callable[..., RunningSimulator]
Call = Callable[..., httpx.Response]
ANY_SEASON = {"mediaType": "tv", "mediaId": 101, "is4k": False}


@pytest.fixture
def start(serve) -> Start:
    return lambda **settings: serve(World("films", [NEW, OTHER, OWNED, SHOW], USERS), **settings)


@pytest.fixture
def simulator(start: Start) -> RunningSimulator:
    return start()


@pytest.fixture
def call(simulator: RunningSimulator) -> Call:
    return caller_of(simulator)


def caller_of(simulator: RunningSimulator) -> Call:
    """Return a function that calls Seerr as a user by name; None: with the key alone."""

    def run(method: str, path: str, body: object = None, *, user: str | None = "ada", **headers: str) -> httpx.Response:
        given = {"X-Api-Key": "demo-seerr-key"}
        if user is not None:
            given["X-API-User"] = str(simulator.state.seerr_user(user))
        url = f"{simulator.seerr_url}/api/v1{path}"
        return httpx.request(method, url, json=body, headers=given | headers)

    return run


def film(number: int = 101, **more: object) -> dict[str, Any]:
    return {"mediaType": "movie", "mediaId": number, "is4k": False, **more}


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["message"]


# Access


def test_the_status_is_public_and_everything_else_needs_the_key(simulator: RunningSimulator, call: Call) -> None:
    assert httpx.get(f"{simulator.seerr_url}/api/v1/status").json()["version"] == "3.1.0"
    assert refusal(httpx.get(f"{simulator.seerr_url}/api/v1/user")) == (401, "cookie 'connect.sid' required")
    not_allowed = {"status": 403, "error": "You do not have permission to access this endpoint"}
    for headers in ({"X-Api-Key": "other"}, {"X-API-User": "99"}, {"X-API-User": "ada"}):
        answer = call("GET", "/user", user=None, **headers)
        assert (answer.status_code, answer.json()) == (403, not_allowed)


def test_users_come_in_pages_with_their_ids_on_the_media_server(start: Start) -> None:
    simulator = start(seerr_without=("bob",))
    for number in range(12):
        simulator.state.add_user(WorldUser(f"guest {number}"))
        simulator.state.seerr_import(f"guest {number}")
    call = caller_of(simulator)
    first, second = (call("GET", f"/user?skip={skip}", user=None).json() for skip in (0, 10))
    assert first["pageInfo"] == {"pages": 2, "pageSize": 10, "results": 14, "page": 1}
    assert [user["id"] for user in first["results"] + second["results"]] == list(range(1, 15))
    names = [user["displayName"] for user in first["results"][:3]]
    assert names == ["owner", "ada", "guest 0"]
    assert first["results"][0]["jellyfinUserId"] is None
    assert first["results"][1]["jellyfinUserId"] == simulator.state.user_named("ada").id
    assert len(call("GET", "/user?take=50", user=None).json()["results"]) == 14
    assert "email" in first["results"][1] and "email" not in call("GET", "/user").json()["results"][2]
    assert call("GET", "/auth/me").json()["permissions"] == Permission.REQUEST
    assert call("GET", "/auth/me", user=None).json()["displayName"] == "owner"
    assert call("GET", "/user?take=many").status_code == 400


# Requests


def test_a_request_acts_as_the_user_in_the_header_or_else_as_the_owner(simulator: RunningSimulator, call: Call) -> None:
    theirs = call("POST", "/request", film())
    assert theirs.status_code == 201
    content = theirs.json()
    assert (content["status"], content["type"], content["is4k"], content["media"]["status"]) == (1, "movie", False, 2)
    assert (content["requestedBy"]["displayName"], content.get("modifiedBy")) == ("ada", None)
    owners = call("POST", "/request", film(102), user=None).json()
    assert (owners["status"], owners["requestedBy"]["displayName"], owners["modifiedBy"]["id"]) == (2, "owner", 1)
    assert call("GET", "/movie/102").json()["mediaInfo"]["status"] == 3
    assert [(one["key"], one["user"], one["status"]) for one in simulator.state.seerr_requests()] == [
        ("movie:1", "ada", "pending"), ("movie:2", "owner", "approved"),
    ]  # fmt: skip


def test_refusals_are_told_apart_by_their_messages(simulator: RunningSimulator, call: Call) -> None:
    state = simulator.state
    state.seerr_user("bob", permissions=Permission.REQUEST_TV)
    assert refusal(call("POST", "/request", film(), user="bob")) == (
        403, "You do not have permission to make movie requests.",
    )  # fmt: skip
    state.seerr_mark("movie:2", "blocklisted")
    assert refusal(call("POST", "/request", film(102))) == (403, "This media is blocklisted.")
    assert call("GET", "/movie/102").json()["mediaInfo"]["status"] == 6
    status, text = refusal(call("POST", "/request", film(999)))
    assert status == 500 and "404" in text
    assert simulator.state.seerr_requests() == []
    assert call("POST", "/request", film()).status_code == 201
    assert refusal(call("POST", "/request", film(), user=None)) == (409, "Request for this media already exists.")


@pytest.mark.parametrize(
    "body",
    [
        [], {"mediaType": "movie"}, {"mediaType": "film", "mediaId": 1}, film("101"),
        ANY_SEASON | {"seasons": "1"}, ANY_SEASON | {"seasons": [-1]}, ANY_SEASON | {"seasons": None},
    ],
)  # fmt: skip
def test_a_body_against_the_specification_is_400(call: Call, body: object) -> None:
    assert call("POST", "/request", body).status_code == 400


def test_seasons_are_all_but_the_specials_or_those_that_are_left(simulator: RunningSimulator, call: Call) -> None:
    def ask(**more: object) -> httpx.Response:
        return call("POST", "/request", ANY_SEASON | more)

    assert refusal(ask())[0] == 500
    assert [one["seasonNumber"] for one in ask(seasons=[2]).json()["seasons"]] == [2]
    assert [one["seasonNumber"] for one in ask(seasons="all").json()["seasons"]] == [1, 3]
    assert refusal(ask(seasons="all")) == (202, "No seasons available to request")
    assert ask(seasons=[0]).status_code == 202
    assert len(simulator.state.seerr_requests()) == 2


def test_quotas_count_films_and_seasons_for_some_days(start: Start) -> None:
    simulator = start()
    simulator.state.seerr_user("ada", movie_quota=(1, 7), tv_quota=(2, 7))
    call = caller_of(simulator)
    assert call("POST", "/request", film()).status_code == 201
    assert refusal(call("POST", "/request", film(102))) == (403, "Movie Quota exceeded.")
    assert refusal(call("POST", "/request", ANY_SEASON | {"seasons": "all"})) == (403, "Series Quota exceeded.")
    assert call("POST", "/request", ANY_SEASON | {"seasons": [1, 3]}).status_code == 201
    assert call("GET", "/user/2/quota").json() == {
        "movie": {"days": 7, "limit": 1, "used": 1, "remaining": 0, "restricted": True},
        "tv": {"days": 7, "limit": 2, "used": 2, "remaining": 0, "restricted": True},
    }
    assert call("GET", "/user/3/quota", user="bob").json()["tv"] == {"used": 0, "restricted": False}
    assert call("GET", "/user/1/quota", user=None).json()["movie"]["limit"] == 0
    assert refusal(call("GET", "/user/3/quota")) == (
        403, "You do not have permission to view this user's request limits.",
    )  # fmt: skip
    simulator.state.seerr_decide(1, "declined")
    assert call("GET", "/user/2/quota").json()["movie"]["used"] == 0
    assert call("POST", "/request", film(102)).status_code == 201
    simulator.state.advance(8 * 86_400)
    assert call("GET", "/user/2/quota").json()["movie"]["remaining"] == 1


def test_a_request_is_approved_declined_or_completed(simulator: RunningSimulator, call: Call) -> None:
    def states(path: str = "/movie/101") -> tuple[int, int]:
        media = call("GET", path).json()["mediaInfo"]
        return media["status"], media["requests"][-1]["status"]

    assert "mediaInfo" not in call("GET", "/movie/101").json()
    call("POST", "/request", film())
    assert states() == (2, 1)
    simulator.state.seerr_decide(1, "declined")
    assert states() == (1, 3)
    assert call("POST", "/request", film()).status_code == 201
    simulator.state.seerr_decide(2, "approved")
    assert states() == (3, 2)
    simulator.state.seerr_make_available("movie:1")
    assert states() == (5, 5)
    assert call("POST", "/request", film()).status_code == 201, "what is available can be requested again"
    call("POST", "/request", ANY_SEASON | {"seasons": [1, 2]})
    simulator.state.seerr_decide(4, "approved")
    simulator.state.seerr_make_available("series:1", [1])
    assert states("/tv/101") == (4, 2)
    media = call("GET", "/tv/101").json()["mediaInfo"]
    assert [(one["seasonNumber"], one["status"]) for one in media["seasons"]] == [(1, 5)]
    assert call("POST", "/request", ANY_SEASON | {"seasons": [1]}).status_code == 202
    simulator.state.seerr_make_available("series:1")
    assert states("/tv/101") == (5, 5)


def test_titles_of_the_media_server_are_available(simulator: RunningSimulator, call: Call) -> None:
    assert call("GET", "/movie/103").json()["mediaInfo"]["status"] == 5
    assert call("POST", "/request", film(103)).status_code == 201, "an available film is not refused"
    call("POST", "/request", film(), user=None)
    simulator.state.add_title(WorldTitle("movie:1", "movie", "New", 2001, tmdb_id=101))
    assert call("GET", "/request/2", user=None).json()["status"] == 5
    assert refusal(call("GET", "/movie/999")) == (500, "Unable to retrieve movie.")
    shown = call("GET", "/tv/101").json()
    assert [one["seasonNumber"] for one in shown["seasons"]] == [0, 1, 2, 3]


def test_a_request_is_shown_to_those_who_may_see_it(simulator: RunningSimulator, call: Call) -> None:
    call("POST", "/request", film(), user="bob")
    assert call("GET", "/request/1", user=None).json()["id"] == call("GET", "/request/1", user="bob").json()["id"] == 1
    assert refusal(call("GET", "/request/1")) == (403, "You do not have permission to view this request.")
    assert refusal(call("GET", "/request/99")) == (404, "Request not found.")


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/user?sort=updated", None),
        ("GET", "/movie/101?language=de", None),
        ("GET", "/search?query=new", None),
        ("GET", "/request", None),
        ("POST", "/request", {"mediaType": "movie", "mediaId": 101, "serverId": 1}),
        ("POST", "/request", film(is4k=True)),
        ("POST", "/request/1/approve", {}),
    ],
)
def test_other_requests_are_refused(call: Call, method: str, path: str, body: object) -> None:
    assert call(method, path, body).status_code == 501
