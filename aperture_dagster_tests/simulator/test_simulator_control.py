"""Other processes can do to a running simulator what a test can do in its own."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import httpx
import pytest

from aperture_dagster.simulator.counters import DailyQuota
from aperture_dagster.simulator.odd_world import LONG_NAME, ODD_USERS
from aperture_dagster.simulator.server import RunningSimulator, Simulator
from aperture_dagster.simulator.world import World

FILMS = {"recursive": "true", "includeItemTypes": "Movie"}


def names(jellyfin: httpx.Client) -> set[str]:
    return {user["Name"] for user in jellyfin.get("/Users").json()}


def listed(jellyfin: httpx.Client, **parameters: object) -> dict[str, str]:
    answer = jellyfin.get("/Items", params={**FILMS, **parameters}).json()
    return {item["Id"]: item["Name"] for item in answer["Items"]}


def test_counters_can_be_read_and_reset(jellyfin: httpx.Client, control: httpx.Client) -> None:
    jellyfin.get("/Users")
    assert control.get("/counters").json()["jellyfin"]["requests"] == {"GET /Users": 1}
    assert control.post("/reset").json() == {"ok": True}
    assert "jellyfin" not in control.get("/counters").json()


def test_faults_can_be_set_listed_and_removed(jellyfin: httpx.Client, control: httpx.Client) -> None:
    rule = {"service": "jellyfin", "path_contains": "/Users", "kind": "status", "status": 503, "retry_after": 7}
    number = control.post("/faults", json=rule).json()["id"]
    answer = jellyfin.get("/Users")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert control.get("/faults").json()[str(number)]["status"] == 503
    control.delete(f"/faults/{number}").raise_for_status()
    assert jellyfin.get("/Users").status_code == 200
    control.post("/faults", json=rule)
    control.delete("/faults").raise_for_status()
    assert jellyfin.get("/Users").status_code == 200
    assert control.post("/faults", json={"service": "jellyfin", "kind": "meteor"}).status_code == 400
    assert control.post("/faults", json={"nonsense": 1}).status_code == 400
    assert control.post("/faults", json={"service": "omdb", "kind": "huge", "megabytes": 1}).status_code == 201
    assert control.delete("/faults/99").status_code == 404


def test_a_user_can_play_rate_and_mark(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: httpx.Client
) -> None:
    owner = simulator.state.user_named("never played").id
    (film,) = simulator.state.item_ids("movie:900000006")

    def data() -> dict:
        return jellyfin.get(f"/UserItems/{film}/UserData", params={"userId": owner}).json()

    play = {"user": "never played", "title_key": "movie:900000006", "played_at": "2026-05-01T20:00:00Z", "rating": 8}
    control.post("/play", json=play).raise_for_status()
    assert (data()["PlayCount"], data()["LastPlayedDate"], data()["Rating"]) == (1, "2026-05-01T20:00:00.0000000Z", 8)
    mark = {"user": "never played", "title_key": "movie:900000006", "favorite": True, "rating": 3, "played": False}
    control.post("/mark", json=mark).raise_for_status()
    assert (data()["IsFavorite"], data()["Rating"], data()["Played"]) == (True, 3, False)
    assert control.post("/play", json={**play, "user": "nobody"}).status_code == 400
    assert control.post("/play", json={**play, "title_key": "movie:0"}).status_code == 400
    assert control.post("/mark", json={**mark, "nonsense": 1}).status_code == 400


@pytest.mark.parametrize("name", [*ODD_USERS, "hidden"], ids=lambda name: name[:12].encode("unicode_escape").decode())
def test_users_of_any_name_can_be_renamed_removed_and_added(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: httpx.Client, name: str
) -> None:
    number = simulator.state.user_named(name).id
    path = f"/users/{quote(name, safe='')}"
    control.post(f"{path}/rename", json={"name": "renamed"}).raise_for_status()
    assert jellyfin.get(f"/Users/{number}").json()["Name"] == "renamed"
    control.post("/users/renamed/rename", json={"name": name}).raise_for_status()
    control.delete(path).raise_for_status()
    assert name not in names(jellyfin)
    assert control.delete(path).status_code == 404
    again = control.post("/users", json={"name": name}).json()["id"]
    assert name in names(jellyfin)
    assert again != number


def test_a_name_that_is_taken_is_refused(control: httpx.Client) -> None:
    assert control.post("/users", json={"name": "plain"}).status_code == 400
    assert control.post("/users/plain/rename", json={"name": "casey"}).status_code == 400
    assert control.post(f"/users/{LONG_NAME}x/rename", json={"name": "b"}).status_code == 404


def test_a_user_can_be_disabled_and_lose_a_library(jellyfin: httpx.Client, control: httpx.Client) -> None:
    control.post("/users/plain/change", json={"is_disabled": True, "libraries": ["TV Shows"]}).raise_for_status()
    user = next(user for user in jellyfin.get("/Users?isDisabled=true").json() if user["Name"] == "plain")
    assert user["Policy"]["EnableAllFolders"] is False
    assert listed(jellyfin, userId=user["Id"]) == {}
    assert control.post("/users/plain/change", json={"libraries": ["No Such"]}).status_code == 404


def test_a_title_can_be_added_removed_and_brought_back_with_its_history(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: httpx.Client, tmdb: httpx.Client
) -> None:
    title = {
        "key": "movie:77",
        "media_type": "movie",
        "title": "Added",
        "tmdb_id": 77,
        "genres": ["Drama"],
        "cast": ["A"],
    }
    (number,) = control.post("/titles/add", json=title).json()["ids"]
    assert listed(jellyfin, sortBy="DateCreated", sortOrder="Descending", limit=1) == {number: "Added"}
    simulator.state.set_favorite("plain", "movie:77")
    control.post("/titles/remove", json={"key": "movie:77"}).raise_for_status()
    assert number not in listed(jellyfin)
    assert tmdb.get("/movie/77").status_code == 200
    assert control.post("/titles/add", json=title).json()["ids"] == [number]
    favorites = listed(jellyfin, isFavorite="true", userId=simulator.state.user_named("plain").id)
    assert number in favorites
    assert control.post("/titles/remove", json={"key": "movie:0"}).status_code == 404
    assert control.post("/titles/add", json={"nonsense": 1}).status_code == 400


@pytest.mark.parametrize("keep", [True, False])
def test_a_title_gets_new_ids_and_keeps_or_loses_what_users_did(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: httpx.Client, keep: bool
) -> None:
    key, owner = "series:900000000", simulator.state.user_named("plain").id
    (old,) = control.get(f"/titles/{key}").json()["ids"]
    episodes = jellyfin.get(f"/Shows/{old}/Episodes", params={"userId": owner}).json()["Items"]
    path = jellyfin.get(f"/Items/{old}").json()["Path"]
    (new,) = control.post("/titles/reassign", json={"key": key, "keep_user_data": keep}).json()["ids"]
    assert jellyfin.get(f"/Items/{old}").status_code == 404
    assert jellyfin.get(f"/Items/{new}").json()["Path"] == path
    renewed = jellyfin.get(f"/Shows/{new}/Episodes", params={"userId": owner}).json()["Items"]
    assert not {item["Id"] for item in episodes} & {item["Id"] for item in renewed}
    played = [item["UserData"]["Played"] for item in renewed]
    assert played == [item["UserData"]["Played"] if keep else False for item in episodes]
    left = jellyfin.get(f"/Items/{new}", params={"userId": owner}).json()["UserData"]["UnplayedItemCount"]
    assert left == played.count(False)


def test_a_series_can_gain_episodes_and_keeps_those_it_had(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    title = simulator.state.titles["series:900000000"]
    (number,) = simulator.state.item_ids(title.key)
    before = [item["Id"] for item in jellyfin.get(f"/Shows/{number}/Episodes").json()["Items"]]
    simulator.state.add_title(replace(title, title="Renamed", episodes_per_season=(3, 4, 1)))
    after = [item["Id"] for item in jellyfin.get(f"/Shows/{number}/Episodes").json()["Items"]]
    assert (len(before), len(after)) == (5, 8) and set(before) < set(after)
    assert jellyfin.get(f"/Items/{number}").json()["Name"] == "Renamed"
    with pytest.raises(ValueError, match="cannot lose"):
        simulator.state.add_title(title)


def test_a_film_can_gain_and_lose_a_copy(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    title = simulator.state.titles["movie:900000005"]
    first = simulator.state.item_ids(title.key)
    both = simulator.state.add_title(replace(title, copies=2))
    assert both[:1] == first and set(both) <= set(listed(jellyfin))
    simulator.state.add_title(title)
    assert simulator.state.item_ids(title.key) == first


def test_a_library_can_vanish_and_come_back(jellyfin: httpx.Client, control: httpx.Client) -> None:
    before = listed(jellyfin)
    control.post("/libraries/hide", json={"name": "Movies"}).raise_for_status()
    assert "Movies" not in [folder["Name"] for folder in jellyfin.get("/Library/VirtualFolders").json()]
    assert len(listed(jellyfin)) == 1
    control.post("/libraries/show", json={"name": "Movies"}).raise_for_status()
    assert listed(jellyfin) == before
    assert control.post("/libraries/hide", json={"name": "Nowhere"}).status_code == 404


def test_the_highest_rate_can_be_asked_for(tmdb: httpx.Client, control: httpx.Client) -> None:
    for _ in range(4):
        tmdb.get("/movie/900000000")
    assert control.get("/rate?seconds=60").json() == {"seconds": 60.0, "most": 4, "arrivals": 4}
    control.post("/reset")
    assert control.get("/rate").json() == {"seconds": 1.0, "most": 0, "arrivals": 0}


def test_what_was_asked_and_a_days_quota_are_in_other_processes_reach(
    simulator: RunningSimulator, tmdb: httpx.Client, control: httpx.Client
) -> None:
    for path in ("/movie/900000000", "/movie/900000000?language=de", "/movie/1", "/configuration", "/find/tt1"):
        tmdb.get(path)
    asked = {"movie/900000000": 2, "movie/1": 1, "find/tt1": 1}
    assert control.get("/asked?service=tmdb").json() == asked
    # What is not known, is answered; what is asked for wrongly, is not.
    assert control.get("/answered?service=tmdb").json() == {"movie/900000000": 2, "movie/1": 1}
    assert control.get("/asked").status_code == 400
    quota = simulator.state.quotas["omdb"]
    control.post("/quota", json={"service": "omdb", "requests": 1_000}).raise_for_status()
    assert quota.remaining == 0
    control.post("/day").raise_for_status()
    assert quota.remaining == 1_000
    assert control.post("/quota", json={"service": "tmdb", "requests": 1}).status_code == 404
    control.post("/reset")
    assert control.get("/asked?service=tmdb").json() == {}


def test_a_day_ends_by_the_clock_too() -> None:
    clock = [100.0 * 86_400 - 10]
    quota = DailyQuota(2, clock=lambda: clock[0])
    assert [quota.take(), quota.take(), quota.take()] == [True, True, False]
    assert (quota.seconds_left, quota.resets_at) == (10, 100 * 86_400)
    clock[0] += 10
    assert (quota.remaining, quota.seconds_left, quota.resets_at) == (2, 86_400, 101 * 86_400)
    quota.take()
    quota.start_day()
    assert (quota.remaining, quota.resets_at) == (2, 102 * 86_400)


def test_pages_in_a_browser_cannot_control_anything(control: httpx.Client) -> None:
    assert control.post("/reset", headers={"Origin": "http://example.org"}).status_code == 403


@pytest.mark.anyio
async def test_control_is_refused_from_other_machines(now) -> None:
    transport = httpx.ASGITransport(app=Simulator(World("empty")).app, client=("192.0.2.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/_control/counters")).status_code == 403


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_unknown_operations_and_mounts_are_404(simulator: RunningSimulator, control: httpx.Client) -> None:
    assert control.get("/nonsense").status_code == 404
    assert httpx.get(simulator.url + "/jellyfinx/Users").status_code == 404
