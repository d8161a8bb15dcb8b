"""The lists for clients of the media server: what they get, for whose token, and from pages of any website."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from aperture_dagster.front_door.app import FrontDoor, members_pages
from aperture_dagster.front_door.clients.any_origin import open_paths
from aperture_dagster.front_door.clients.tokens import REMEMBERED, RETRY
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.throttle import RATES
from aperture_dagster.members.for_later import put_aside
from aperture_dagster.model import Clock
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.world import CastMember, WorldTitle
from aperture_dagster_tests.front_door.door import PASSWORD, Door, operators_ui
from aperture_dagster_tests.front_door.home import Home
from aperture_dagster_tests.shelf import NOW

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "rows"
ELSEWHERE = "http://pelagica.example:8390"
RECOMMENDATIONS, PROMOTED = "/api/recommendations", "/api/watchlists/promoted"
SERVER = {"serverId": "1"}


@dataclass
class Household:
    """The front door with its guard, and clients of the media server."""

    door: Door
    app: Any
    now: list[datetime]
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return self.door.home

    @property
    def api_key(self) -> str:
        key = self.door.settings.media_server_api_key
        assert key is not None
        return key.get_secret_value()

    def token(self, name: str) -> str:
        """Return the token of a member's client."""
        if name not in self.tokens:
            client = f'MediaBrowser Client="TV", Device="TV", DeviceId="tv-{name}", Version="1"'
            answer = httpx.post(
                f"{self.door.simulator.jellyfin_url}/Users/AuthenticateByName",
                json={"Username": name, "Pw": PASSWORD},
                headers={"authorization": client},
            )
            self.tokens[name] = answer.json()["AccessToken"]
        return self.tokens[name]

    def client(self, address: str = "192.168.1.9", host: str = "localhost") -> TestClient:
        return TestClient(self.app, f"http://{host}", client=(address, 1), follow_redirects=False)

    def ask(
        self, token: str, path: str = RECOMMENDATIONS, query: dict[str, Any] | None = None, **how: Any
    ) -> httpx.Response:
        headers = {"authorization": f'MediaBrowser Token="{token}"', "origin": ELSEWHERE}
        query = SERVER if query is None else query
        answer = self.client(**how).get(path, params=query, headers=headers)
        assert answer.headers["access-control-allow-origin"] == "*" and not answer.is_redirect
        assert "access-control-allow-credentials" not in answer.headers and "set-cookie" not in answer.headers
        assert answer.headers["content-type"] == "application/json", answer.text
        assert answer.headers["cache-control"] == "private, no-store"
        return answer

    def entries(self, name: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.ask(self.token(name), query={**SERVER, **query})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def titles(self, name: str, **query: Any) -> list[str]:
        return [entry["item"]["name"] for entry in self.entries(name, **query)]

    def checks(self) -> int:
        """Count how often the media server was asked whose a token is."""
        return len(self.door.simulator.state.arrivals("jellyfin", "Users/Me"))


@pytest.fixture
def open_household(open_door: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def opened(**given: Any) -> Iterator[Household]:
        with open_door(**given) as door:
            now = [NOW]
            door.house.clock = Clock(lambda: now[0])
            door.remember_server()
            app = FrontDoor(operators_ui(), members_pages(door.house), door.house.gate)
            guarded = Guard(app, AllowedHosts("127.0.0.1"), "/operate/graphql", open_paths())
            yield Household(door, guarded, now)

    return opened


@pytest.fixture
def household(open_household: Callable[..., Any]) -> Iterator[Household]:
    with open_household() as household:
        yield household


def test_a_client_draws_a_row_from_the_full_format(household: Household):
    household.home.recommend("Anna", 2, 1, 3)
    household.home.shelf.do(
        "UPDATE titles SET picture_tag = 'f00', runtime_minutes = 90, genres = '{Crime}', community_rating = 7.2 "
        "WHERE server_item_id = 'film-2'"
    )
    household.home.shelf.do("UPDATE recommendations SET score = 1 WHERE rank = 1")
    anna = household.door.simulator.state.user_named("Anna").id
    answer = household.ask(household.token("Anna"), query={"serverUrl": "127.0.0.1", "limit": "2", "type": "Movie"})
    content = answer.json()
    assert content["server"] == {"id": 1, "name": "Stand-in"} and content["user"] == {"id": anna, "name": "Anna"}
    assert content["params"] == {
        "serverId": 1, "serverName": "Stand-in", "limit": 2, "type": "Movie", "range": "all", "start": None,
        "end": None, "includeBasedOn": True, "includeReasons": True, "targetUserId": None, "format": "full",
    }  # fmt: skip
    heat, alien = content["data"]
    assert heat["item"] == {
        "id": "film-2", "name": "Heat", "type": "Movie", "productionYear": 2000, "runtimeTicks": 54_000_000_000,
        "genres": ["Crime"], "communityRating": 7.2, "primaryImageTag": "f00", "primaryImageThumbTag": None,
        "primaryImageLogoTag": None, "backdropImageTags": [], "seriesId": None, "seriesPrimaryImageTag": None,
        "parentBackdropItemId": None, "parentBackdropImageTags": None, "parentThumbItemId": None,
        "parentThumbImageTag": None,
    }  # fmt: skip
    assert (heat["similarity"], alien["similarity"]) == (1.0, 0.5)
    assert heat["reason"] == "Because you liked Solaris"
    assert [(liked["id"], liked["name"], liked["type"]) for liked in heat["basedOn"]] == [
        ("film-4", "Solaris", "Movie")
    ]


def test_a_reason_names_what_was_seen_elsewhere_and_based_on_has_titles_of_the_library_alone(household: Household):
    household.home.recommend("Anna", 2)
    shelf, anna = household.home.shelf, household.door.simulator.state.user_named("Anna").id
    work = shelf.value("INSERT INTO works (media_type, tmdb_id) VALUES ('movie', 9001) RETURNING work_id")
    shelf.do(
        "INSERT INTO discovery_pool (work_id, media_type, tmdb_id, fetched_at, title) "
        "VALUES (:work, 'movie', 9001, now(), 'Stalker')",
        work=work,
    )
    shelf.do(
        "UPDATE recommendations SET because = ARRAY[CAST(:work AS bigint)] WHERE user_id = :user", work=work, user=anna
    )
    (entry,) = household.entries("Anna")
    assert (entry["reason"], entry["basedOn"]) == ("Because you liked Stalker", [])


def test_clients_of_emby_are_told_that_these_lists_are_for_jellyfin(open_household: Callable[..., Any]):
    with open_household(server="emby") as household:
        for path in (RECOMMENDATIONS, PROMOTED, "/api/watchlists/1", "/api/search"):
            answer = household.ask("some-token", path)
            assert answer.status_code == 501 and "made for Jellyfin" in answer.json()["message"]


def test_what_would_turn_the_page_of_a_client_white_is_in_no_answer(household: Household):
    """Measured with Pelagica: each of these, if it is missing or of another type, empties the whole home page."""
    household.home.recommend("Anna", 1, 2, 3)
    odd = "UPDATE titles SET community_rating = 'NaN', runtime_minutes = NULL, year = NULL WHERE server_item_id = :id"
    household.home.shelf.do(odd, id="film-1")
    household.home.shelf.do("UPDATE titles SET community_rating = NULL WHERE server_item_id = 'film-2'")
    household.home.shelf.do("UPDATE recommendations SET score = -2 WHERE rank = 1")
    household.home.shelf.do("UPDATE recommendations SET because = '{}' WHERE rank = 2")
    for query in ({}, {"includeBasedOn": "false"}, {"includeReasons": "false"}, {"format": ""}):
        entries = household.entries("Anna", **query)
        assert isinstance(entries, list) and len(entries) == 3
        for entry in entries:
            item, rating = entry["item"], entry["item"]["communityRating"]
            assert isinstance(entry["basedOn"], list) and all(isinstance(one["id"], str) for one in entry["basedOn"])
            assert rating is None or type(rating) in (int, float)
            assert type(entry["similarity"]) in (int, float) and 0 <= entry["similarity"] <= 1
            assert isinstance(item["id"], str) and item["name"] and item["type"] in ("Movie", "Series")
    assert all(entry["basedOn"] == [] for entry in household.entries("Anna", includeBasedOn="false"))
    assert all(entry["reason"] is None for entry in household.entries("Anna", includeReasons="false"))
    # Somebody without lists: nothing to draw, and no error that a client would repeat.
    assert household.entries("Ben") == []


def test_the_answers_have_the_form_of_the_recorded_ones(household: Household):
    if not RECORDINGS.exists():
        pytest.skip("needs the recordings of clients in ../shared/recordings/rows")
    household.home.recommend("Anna", 2, 1)
    household.home.pick(3)
    token, compared = household.token("Anna"), 0
    for path in ("pelagica.jsonl.gz", "expected-from-source.jsonl.gz"):
        for line in gzip.decompress((RECORDINGS / path).read_bytes()).splitlines():
            pair = json.loads(line)
            request, response = pair["request"], pair["response"]
            if request["path"] not in (
                RECOMMENDATIONS,
                PROMOTED,
                "/api/search",
                "/api/watchlists",
                "/api/watchlists/1",
            ):
                continue
            if "to" in request or request["method"] != "GET" or response["status"] != 200:
                continue
            if "never answer so" in pair["note"]:
                continue
            query = {**request["query"]}
            if "jellyfinServerId" in query:
                query["jellyfinServerId"] = httpx.get(
                    f"{household.door.simulator.jellyfin_url}/System/Info/Public"
                ).json()["Id"]
            if "serverUrl" in query:
                query["serverUrl"] = query["serverUrl"].replace("jelly.test", "127.0.0.1")
            target = query.pop("targetUserId", None)
            if target is not None:
                token_of, query["targetUserId"] = (
                    household.api_key,
                    household.door.simulator.state.user_named("Anna").id,
                )
            else:
                token_of = token
            answer = household.ask(token_of, request["path"], query)
            assert answer.status_code == 200, (pair["note"], answer.text)
            assert covers(answer.json(), response["body"]) == [], pair["note"]
            compared += 1
    assert compared >= 10


def covers(ours: Any, recorded: Any, at: str = "") -> list[str]:
    """Return what a recorded answer has and ours lacks, or has of another type. Null may stand for anything."""
    if ours is None or recorded is None:
        return []
    if isinstance(recorded, dict):
        if not isinstance(ours, dict):
            return [at]
        lacking = [f"{at}.{name}" for name in recorded if name not in ours]
        return lacking + [
            found for name in recorded if name in ours for found in covers(ours[name], recorded[name], f"{at}.{name}")
        ]
    if isinstance(recorded, list):
        if not isinstance(ours, list):
            return [at]
        return [found for one in ours if recorded for found in covers(one, recorded[0], f"{at}[]")]
    numbers = (int, float)
    same = isinstance(ours, numbers) if isinstance(recorded, numbers) else isinstance(ours, type(recorded))
    return [] if same else [f"{at}: {ours!r}"]


def test_ids_come_by_type_best_first_and_each_once(household: Household):
    household.home.recommend("Anna", 2, 1, 3)
    recommend_series(household.home)
    token = household.token("Anna")

    def ids(**query: Any) -> Any:
        return household.ask(token, query={**SERVER, "format": "ids", **query}).json()["data"]

    everything = {"movies": ["film-2", "film-1", "film-3"], "series": ["series-1"], "total": 4}
    assert ids() == ids(type="all") == everything
    assert ids(type="Series") == {"movies": [], "series": ["series-1"], "total": 1}
    assert ids(type="Movie", limit=2) == {"movies": ["film-2", "film-1"], "series": [], "total": 2}
    # Films and series in turn, so that neither waits for the end of the other.
    assert ids(limit=2) == {"movies": ["film-2"], "series": ["series-1"], "total": 2}


def recommend_series(home: Home) -> None:
    anna = home.shelf.value("SELECT user_id FROM users WHERE name = 'Anna'")
    home.shelf.do(
        "INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, "
        "is_cold, listed_since) VALUES (:user, 'series', 1, :work_id, :item_id, 0.5, '{}', '{}', false, now())",
        user=anna, **{name: home.shelf.item("series-1")[name] for name in ("work_id", "item_id")},
    )  # fmt: skip


def test_the_server_is_named_in_any_of_four_ways(household: Household):
    household.home.recommend("Anna", 1)
    token = household.token("Anna")
    server_id = httpx.get(f"{household.door.simulator.jellyfin_url}/System/Info/Public").json()["Id"]
    dashed = "-".join(server_id[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))).upper()
    for right in (
        {"serverId": "1"}, {"serverName": "stand-IN"}, {"jellyfinServerId": server_id}, {"jellyfinServerId": dashed},
        {"serverUrl": "127.0.0.1"}, {"serverUrl": "http://LOCALHOST:8096/jellyfin"}, {"serverUrl": "::1"},
        {"serverUrl": "localhost:8096"}, {"serverUrl": "localhost", "serverId": "1"},
    ):  # fmt: skip
        assert household.ask(token, query=right).status_code == 200, right
    for wrong in (
        {"serverId": "2"}, {"serverName": "Other"}, {"jellyfinServerId": "0" * 32}, {"serverUrl": "jelly.example"},
        {"serverUrl": "http://[:x"}, {"serverUrl": "localhost", "serverId": "2"},
    ):  # fmt: skip
        for path in (RECOMMENDATIONS, PROMOTED, "/api/watchlists/1"):
            answer = household.ask(token, path, wrong)
            assert (answer.status_code, answer.json()["error"]) == (404, "Not Found"), wrong
    for path in (RECOMMENDATIONS, PROMOTED):
        assert household.ask(token, path, {}).status_code == 400
    # By whichever name both are reached.
    assert household.ask(token, query={"serverUrl": "nas.lan"}, host="nas.lan:3000").status_code == 200


def test_parameters_are_clamped_or_refused(household: Household):
    household.home.recommend("Anna", 2, 1, 3)
    assert len(household.titles("Anna", limit="0")) == len(household.titles("Anna", limit="-5")) == 1
    assert len(household.titles("Anna", limit="1000")) == 3
    token = household.token("Anna")
    for wrong in ({"type": "Episode"}, {"format": "xml"}, {"limit": "x"}, {"limit": "9" * 5000}, {"range": "1d"}):
        answer = household.ask(token, query={**SERVER, **wrong})
        content = answer.json()
        assert (answer.status_code, content["error"]) == (400, "Bad Request") and next(iter(wrong)) in content[
            "message"
        ]
    params = household.ask(token, query={**SERVER, "range": "30d", "start": "2026-01-01"}).json()["params"]
    assert (params["range"], params["start"]) == ("30d", "2026-01-01")


def test_only_what_the_member_may_see_now_is_in_any_answer(household: Household):
    household.home.recommend("Ben", 2, 1, 3)
    household.home.pick(2, 3)
    assert household.titles("Ben") == ["Heat", "Alien & <Co>", "Up"]
    household.home.user("Ben", max_parental_rating=13)
    assert household.titles("Ben") == ["Up"]
    token = household.token("Ben")
    listed = household.ask(token, "/api/watchlists/1", {"format": "ids"}).json()["data"]
    assert listed == {"id": 1, "name": "Top Picks", "items": ["film-3"]}
    # A reason of a title that they may not see by now.
    household.home.shelf.do("UPDATE titles SET official_rating = 'R' WHERE server_item_id = 'film-4'")
    entries = household.entries("Ben")
    assert [(entry["basedOn"], "Solaris" in entry["reason"]) for entry in entries] == [([], False)]
    up = household.home.shelf.item("film-3")["work_id"]
    household.home.shelf.do(
        "INSERT INTO dismissals (user_id, work_id, media_type, title, dismissed_at) "
        "VALUES (:user, :work, 'movie', 'Up', now())",
        user=household.door.simulator.state.user_named("Ben").id, work=up,
    )  # fmt: skip
    assert household.titles("Ben") == []


def test_everybody_gets_their_own_lists_and_lists_for_all(household: Household):
    household.home.recommend("Anna", 1)
    household.home.recommend("Ben", 2)
    household.home.pick(3)
    household.home.watch("Ben")
    assert household.titles("Anna") == ["Alien & <Co>"] and household.titles("Ben") == ["Heat"]

    def promoted(name: str, **query: str) -> list[dict[str, Any]]:
        return household.ask(household.token(name), PROMOTED, {**SERVER, **query}).json()["data"]

    (picks,) = promoted("Anna")
    assert (picks["id"], picks["name"], picks["itemCount"], picks["isPromoted"]) == (1, "Top Picks", 1, True)
    preview = {"id": "film-3", "name": "Up", "type": "Movie", "primaryImageTag": None}
    assert picks["previewItems"] == [preview] and promoted("Anna", includePreview="false")[0]["previewItems"] == []
    assert [one["name"] for one in promoted("Ben")] == ["Top Picks", "Shows you watch"]
    assert len(promoted("Ben", limit="1")) == 1
    # A number means each member's own list.
    for name, items in (("Ben", ["series-1"]), ("Anna", [])):
        answer = household.ask(household.token(name), "/api/watchlists/2", {"format": "ids"})
        assert answer.json()["data"]["items"] == items
    full = household.ask(household.token("Ben"), "/api/watchlists/2", {}).json()["data"]
    assert [one["name"] for one in full["items"]] == ["Dark"] and full["itemCount"] == 1
    assert household.ask(household.token("Ben"), "/api/watchlists", {}).json() == {"data": []}
    for wrong in ("99", "x", "0", "1.0"):
        assert household.client().get(f"/api/watchlists/{wrong}").status_code == 401
        headers = {"authorization": f'MediaBrowser Token="{household.token("Ben")}"'}
        answer = household.client().get(f"/api/watchlists/{wrong}", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (404, "Not Found")


def test_without_a_right_token_nobody_gets_anything(household: Household):
    household.home.recommend("Anna", 1)
    token = household.token("Anna")
    right = household.client().get(RECOMMENDATIONS, params=SERVER, headers={
        "authorization": f'MediaBrowser Client="TV", DeviceId="1", Version="2", Token="{token}"'
    })  # fmt: skip
    assert right.status_code == 200
    for headers in (
        {}, {"authorization": token}, {"authorization": f"Bearer {token}"}, {"authorization": "MediaBrowser Token="},
        {"authorization": 'MediaBrowser Token=""'}, {"authorization": f'MediaBrowser Token="{token}x"'},
        {"authorization": 'MediaBrowser Token="a\u00e9"'.encode()},
        {"authorization": f'MediaBrowser Token="{"a" * 5000}"'},
        {"authorization": 'MediaBrowser Token="a&ApiKey=demo"'}, {"x-emby-token": token},
        {"cookie": f"aperture_session={token}"},
    ):  # fmt: skip
        for path in (RECOMMENDATIONS, PROMOTED, "/api/watchlists/1", "/api/watchlists", "/api/search"):
            answer = household.client(address="10.0.0.1").get(path, params={**SERVER, "ApiKey": token}, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized"), headers
            assert "Alien" not in answer.text
    # The session of a browser opens nothing here, and a token of the media server opens no page.
    browser = household.door.signed_in("Anna")
    assert with_cookies(household.client(), browser).get(RECOMMENDATIONS, params=SERVER).status_code == 401
    page = household.client().get("/", headers={"authorization": f'MediaBrowser Token="{token}"'})
    assert page.status_code == 303
    # No door for passwords.
    posted = household.client().post(RECOMMENDATIONS, json={"username": "Anna", "password": PASSWORD})
    assert posted.status_code == 405 and posted.headers["access-control-allow-origin"] == "*"


def with_cookies(client: TestClient, browser: TestClient) -> TestClient:
    client.cookies.update(browser.cookies)
    return client


def test_a_disabled_or_deleted_member_is_out(household: Household):
    household.home.recommend("Ben", 1)
    assert household.titles("Ben") == ["Alien & <Co>"]
    household.home.user("Ben", is_disabled=True)
    assert household.ask(household.token("Ben")).status_code == 401
    household.home.user("Ben", is_disabled=False, removed_at=NOW)
    assert household.ask(household.token("Ben")).status_code == 401
    household.home.user("Ben", removed_at=None)
    # Signed out on the media server: after some minutes at most.
    headers = {"authorization": f'MediaBrowser Token="{household.token("Ben")}"'}
    httpx.post(f"{household.door.simulator.jellyfin_url}/Sessions/Logout", headers=headers)
    household.now[0] += REMEMBERED
    assert household.ask(household.token("Ben")).status_code == 401


def test_a_token_of_another_server_is_refused(household: Household):
    household.home.recommend("Anna", 1)
    household.home.shelf.do(
        "UPDATE facts SET value = jsonb_set(value, '{server_id}', '\"other\"') WHERE name = 'media_server'"
    )
    assert household.ask(household.token("Anna")).status_code == 401


def test_an_api_key_reads_anybodys_lists_and_members_only_their_own(household: Household):
    household.home.recommend("Anna", 1)
    household.home.recommend("Ben", 2)
    state = household.door.simulator.state
    anna, ben = state.user_named("Anna").id, state.user_named("Ben").id

    def read(token: str, target: str | None) -> int | list[str]:
        query = {**SERVER, **({"targetUserId": target} if target else {}), "format": "ids"}
        answer = household.ask(token, query=query)
        return answer.json()["data"]["movies"] if answer.status_code == 200 else answer.status_code

    dashed = "-".join(ben[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))).upper()
    key = household.api_key
    assert read(key, ben) == read(key, dashed) == ["film-2"] and read(key, anna) == ["film-1"]
    assert read(key, None) == 400 and read(key, "f" * 32) == 404
    assert read(household.token("Anna"), ben) == ["film-2"]
    assert read(household.token("Ben"), ben) == ["film-2"] and read(household.token("Ben"), anna) == 403
    assert read("0" * 32, anna) == 401


def test_guesses_end_and_lock_out_no_right_token(household: Household):
    household.home.recommend("Anna", 1)
    late, free = household.token("Anna"), RATES["tokens"].free
    statuses = [household.ask(f"guess-{n}").status_code for n in range(free + 2)]
    assert statuses == [401] * free + [429] * 2
    refused = household.ask("another")
    assert refused.json()["error"] == "Too Many Requests" and int(refused.headers["retry-after"]) > 0
    assert household.ask(late).status_code == 200
    # A client that was signed out asks on with its old token, which guesses nothing.
    before = household.checks()
    for _ in range(2 * free):
        assert household.ask("old", address="192.168.1.77").status_code == 401
    assert household.checks() == before + 1


def test_televisions_that_ask_every_minute_cost_the_media_server_nothing(
    household: Household, caplog: pytest.LogCaptureFixture
):
    household.home.recommend("Anna", 1)
    token = household.token("Anna")
    with caplog.at_level(logging.DEBUG):
        first = household.ask(token)
        before = len(household.door.simulator.state.arrivals("jellyfin", ""))
        for _ in range(5):
            assert household.ask(token).content == first.content
            household.ask(token, PROMOTED)
        assert len(household.door.simulator.state.arrivals("jellyfin", "")) == before
        household.now[0] += REMEMBERED
        household.ask(token)
        assert household.checks() == 2
    assert token not in caplog.text
    # What changed is there at the next request.
    household.home.recommend("Anna", 2)
    assert household.titles("Anna") == ["Heat"]


def test_a_media_server_that_is_silent_makes_no_client_wait_twice(household: Household):
    household.home.recommend("Anna", 1)
    known, new = household.token("Anna"), household.token("Ben")
    assert household.ask(known).status_code == 200
    household.door.simulator.state.add_fault(FaultRule(service="jellyfin", status=503, times=1000))
    assert household.ask(known).status_code == 200, "a remembered token"
    for _ in range(3):
        answer = household.ask(new)
        assert (answer.status_code, answer.json()["error"]) == (503, "Service Unavailable")
        assert int(answer.headers["retry-after"]) > 0
    asked = len(household.door.simulator.state.arrivals("jellyfin", ""))
    household.ask(new)
    assert len(household.door.simulator.state.arrivals("jellyfin", "")) == asked
    household.door.simulator.state.clear_faults()
    household.now[0] += RETRY
    assert household.ask(new).status_code == 200


def test_whatever_goes_wrong_is_json_for_any_page(household: Household):
    household.home.recommend("Anna", 1)
    token = household.token("Anna")
    assert household.ask(token).status_code == 200
    household.home.shelf.do("ALTER TABLE recommendations RENAME TO gone")
    assert household.ask(token).status_code == 500
    household.home.shelf.do("UPDATE alembic_version SET version_num = 'other'")
    assert household.ask(token).json()["error"] == "Service Unavailable"
    assert household.ask(token, f"{RECOMMENDATIONS}/").status_code == 503


def test_pages_of_any_website_may_ask_these_paths_and_no_other(household: Household):
    household.home.recommend("Anna", 1)
    client = household.client(host="evil.example:3000")
    asks = {
        "origin": ELSEWHERE, "access-control-request-method": "GET", "sec-fetch-site": "cross-site",
        "access-control-request-headers": "authorization,content-type",
    }  # fmt: skip
    for path in (RECOMMENDATIONS, PROMOTED, "/api/watchlists", "/api/watchlists/1", "/api/search"):
        answer = client.options(path, headers=asks)
        assert answer.status_code == 204 and answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
        assert answer.headers["access-control-max-age"] == "600"
        assert "access-control-allow-credentials" not in answer.headers
    browser = household.door.signed_in("Anna")
    for path in (
        "/", "/taste", "/operate", "/operate/graphql", "/api", "/api/v1/openapi.json", "/health", "/settings",
        "/api/v1/users/Anna/recommendations", "/api/recommendations/x", "/api/watchlists/1/x", "/api/recommendationsx",
        "/x/api/recommendations", "/api//recommendations", "/api/recommendations%0a", "/API/recommendations",
    ):  # fmt: skip
        for method, headers in (("OPTIONS", asks), ("GET", {"origin": ELSEWHERE, "sec-fetch-site": "cross-site"})):
            answer = with_cookies(household.client(), browser).request(method, path, headers=headers)
            assert answer.status_code == 403, path
            assert not any(name.startswith("access-control") for name in answer.headers), path
        assert client.get(path).status_code == 421, path


def test_below_a_prefix_the_root_answers_as_well(open_household: Callable[..., Any]):
    with open_household() as household:
        household.home.recommend("Anna", 1)
        house = household.door.house
        house.prefix = "/aperture"
        pages = members_pages(house)
        household.app = Guard(pages, AllowedHosts("127.0.0.1"), open_to_all=open_paths("/aperture"))
        for path in (RECOMMENDATIONS, f"/aperture{RECOMMENDATIONS}"):
            answer = household.ask(household.token("Anna"), path, host="elsewhere.example")
            assert answer.status_code == 200 and len(answer.json()["data"]) == 1


def test_a_search_by_name_finds_titles_episodes_and_people(household: Household):
    shelf = household.home.shelf
    shelf.do("UPDATE titles SET title = 'Amélie: 100 % – l’amour', original_title = 'Le Fabuleux' WHERE title = 'Up'")
    cast = (CastMember("Björk Guðmundsdóttir"), CastMember("Al Pacino"))
    household.door.simulator.state.add_title(
        WorldTitle("movie:900", "movie", "Heat", 1995, cast=cast, directors=("Al Mann",))
    )
    token, state = household.token("Ben"), household.door.simulator.state

    def found(q: str, shown: str = token, **query: Any) -> dict[str, Any]:
        answer = household.ask(shown, "/api/search", {"q": q, "format": "ids", **query})
        assert answer.status_code == 200, answer.text
        content = answer.json()["data"]
        assert content.keys() >= {"movies", "series", "episodes", "seasons", "audio", "actors", "directors", "writers"}
        assert content["total"] == sum(len(ids) for name, ids in content.items() if name != "total")
        return {name: ids for name, ids in content.items() if ids and name != "total"}

    for asked in ("amelie", "AMÉLIE", "100 l'amour", "lamour", "amelie 100", "fabuleux", "  élie  "):
        assert found(asked, type="movies") == {"movies": ["film-3"]}, asked
    assert found("dark") == {"series": ["series-1"]} and found("dark", type="movies") == {}
    assert found("thre", type="episodes") == {"episodes": ["episode-3"]}
    al = found("al ", type="people")
    assert [*al] == ["actors", "directors"] and found("al p", type="actors") == {"actors": al["actors"]}
    assert found("björk", type="actors")["actors"] and found("al p", type="directors") == {}
    for nothing in ("", "%", "_", "\\", "'; --", "   ", "\x00", "x" * 150):
        assert found(nothing) == {}, nothing
    assert found("heat", type="unknown") == {} == found("heat", type="seasons")
    # The nearest name first.
    shelf.do("UPDATE titles SET title = 'Heater' WHERE server_item_id = 'film-1'")
    shelf.do("UPDATE titles SET title = 'Dead Heat' WHERE server_item_id = 'film-4'")
    assert found("heat", type="movies", limit=3) == {"movies": ["film-2", "film-1", "film-4"]}
    assert found("heat", type="movies", limit=1) == {"movies": ["film-2"]}
    # What the policies forbid is not there, and the episodes of it neither; what somebody hid is.
    household.home.user("Ben", max_parental_rating=13)
    assert found("heat", type="media") == found("dark") == found("three") == {}
    assert found("heat", household.token("Anna"), type="movies")["movies"] == ["film-2", "film-1", "film-4"]
    # A media server that is away finds nobody, and hides no title.
    state.add_fault(FaultRule(service="jellyfin", status=503, times=1000))
    assert found("amelie") == {"movies": ["film-3"]}
    full = household.ask(token, "/api/search", {"q": "amelie"}).json()["data"]
    assert [item["id"] for item in full["movies"]] == ["film-3"]


def test_a_mistyped_name_is_found_once_the_index_is_there(household: Household):
    household.home.shelf.do("UPDATE titles SET title = 'Solaris Station' WHERE server_item_id = 'film-4'")
    assert household.door.house.index.get(60.0) is not None

    def films(q: str, name: str = "Ben") -> list[str]:
        query = {"q": q, "format": "ids", "type": "movies"}
        return household.ask(household.token(name), "/api/search", query).json()["data"]["movies"]

    assert films("solarsi station") == ["film-4"] and films("solaris") == ["film-4"]
    household.home.user("Ben", max_parental_rating=13)
    assert films("solarsi station") == [] and films("solarsi station", "Anna") == ["film-4"]


def test_somebody_without_lists_can_search(open_household: Callable[..., Any]):
    with open_household(exclude_users=("Ben",)) as household:
        household.home.recommend("Ben", 2)
        household.home.pick(1)
        assert household.entries("Ben") == []
        token = household.token("Ben")
        assert household.ask(token, PROMOTED).json()["data"] == []
        found = household.ask(token, "/api/search", {"q": "heat", "format": "ids", "type": "media"}).json()["data"]
        assert found["movies"] == ["film-2"]


def test_what_members_put_aside_is_a_list_of_their_own(household: Household):
    state = household.door.simulator.state
    for name, number in (("Anna", 1), ("Ben", 2)):
        work = household.home.shelf.item(f"film-{number}")["work_id"]
        with household.home.shelf.open() as connection:
            put_aside(connection, state.user_named(name).id, work, "Title", now=NOW)
        answer = household.ask(household.token(name), "/api/watchlists/4", {"format": "ids"})
        assert answer.json()["data"] == {"id": 4, "name": "For later", "items": [f"film-{number}"]}
    household.home.user("Ben", max_parental_rating=13)
    assert household.ask(household.token("Ben"), "/api/watchlists/4", {"format": "ids"}).json()["data"]["items"] == []
