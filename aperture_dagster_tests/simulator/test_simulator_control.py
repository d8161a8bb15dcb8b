"""Other processes can run the operations of a simulator over HTTP."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from aperture_dagster.simulator.counters import DailyQuota
from aperture_dagster.simulator.odd_world import LONG_NAME, ODD_USERS
from aperture_dagster.simulator.server import RunningSimulator, Simulator
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.simulator.conftest import Control

FILMS = {"recursive": "true", "includeItemTypes": "Movie"}


def names(jellyfin: httpx.Client) -> set[str]:
    return {user["Name"] for user in jellyfin.get("/Users").json()}


def listed(jellyfin: httpx.Client, **parameters: object) -> dict[str, str]:
    answer = jellyfin.get("/Items", params={**FILMS, **parameters}).json()
    return {item["Id"]: item["Name"] for item in answer["Items"]}


def test_counters_can_be_read_and_reset(jellyfin: httpx.Client, control: Control) -> None:
    jellyfin.get("/Users")
    assert control("requests", service="jellyfin") == 1
    control("reset_counters")
    assert control("requests", service="jellyfin") == 0


def test_faults_can_be_set_and_removed(jellyfin: httpx.Client, control: Control) -> None:
    rule = {"service": "jellyfin", "path_contains": "/Users", "kind": "status", "retry_after": 7}
    number = control("add_fault", **rule)
    answer = jellyfin.get("/Users")
    assert (answer.status_code, answer.headers["retry-after"]) == (500, "7")
    control("remove_fault", fault_id=number)
    assert jellyfin.get("/Users").status_code == 200
    control("add_fault", **rule)
    control("clear_faults")
    assert jellyfin.get("/Users").status_code == 200
    control("add_fault", 400, service="jellyfin", kind="meteor")
    control("add_fault", 400, nonsense=1)
    control("add_fault", service="omdb", kind="huge", megabytes=1)
    control("remove_fault", 404, fault_id=99)


def test_a_user_can_play_rate_and_mark_titles(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: Control
) -> None:
    owner = simulator.state.user_named("never played").id
    (film,) = simulator.state.item_ids("movie:900000006")

    def data() -> dict:
        return jellyfin.get(f"/UserItems/{film}/UserData", params={"userId": owner}).json()

    play = {"user": "never played", "title_key": "movie:900000006", "played_at": "2026-05-01T20:00:00Z", "rating": 8}
    control("play", **play)
    assert (data()["PlayCount"], data()["LastPlayedDate"], data()["Rating"]) == (1, "2026-05-01T20:00:00.0000000Z", 8)
    film_of_user = {"user": "never played", "key": "movie:900000006"}
    control("set_favorite", **film_of_user)
    control("rate", **film_of_user, rating=3)
    control("mark_unplayed", **film_of_user)
    assert (data()["IsFavorite"], data()["Rating"], data()["Played"]) == (True, 3, False)
    control("play", 400, **play | {"user": "nobody"})
    control("play", 400, **play | {"title_key": "movie:0"})
    control("rate", 400, **film_of_user, rating=3, nonsense=1)


def test_users_with_any_name_can_be_renamed_removed_and_added(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: Control
) -> None:
    for name in (*ODD_USERS, "hidden"):
        number = simulator.state.user_named(name).id
        control("rename_user", name=name, new_name="renamed")
        assert jellyfin.get(f"/Users/{number}").json()["Name"] == "renamed"
        control("rename_user", name="renamed", new_name=name)
        control("remove_user", name=name)
        assert name not in names(jellyfin)
        control("remove_user", 404, name=name)
        again = control("add_user", name=name)
        assert name in names(jellyfin)
        assert again != number


def test_a_name_that_is_taken_is_refused(control: Control) -> None:
    control("add_user", 400, name="plain")
    control("rename_user", 400, name="plain", new_name="casey")
    control("rename_user", 404, name=f"{LONG_NAME}x", new_name="b")


def test_a_user_can_be_disabled_and_lose_a_library(jellyfin: httpx.Client, control: Control) -> None:
    control("change_user", name="plain", is_disabled=True)
    control("allow_libraries", name="plain", libraries=["TV Shows"])
    user = next(user for user in jellyfin.get("/Users").json() if user["Name"] == "plain")
    assert user["Policy"]["EnableAllFolders"] is False
    assert listed(jellyfin, userId=user["Id"]) == {}
    control("allow_libraries", 404, name="plain", libraries=["No Such"])


def test_a_title_can_be_added_removed_and_brought_back_with_its_history(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: Control, tmdb: httpx.Client
) -> None:
    title = {
        "key": "movie:77",
        "media_type": "movie",
        "title": "Added",
        "tmdb_id": 77,
        "genres": ["Drama"],
        "cast": ["A"],
    }
    (number,) = control("add_title", **title)
    assert listed(jellyfin, sortBy="DateCreated", sortOrder="Descending", limit=1) == {number: "Added"}
    simulator.state.set_favorite("plain", "movie:77")
    control("remove_title", key="movie:77")
    assert number not in listed(jellyfin)
    assert tmdb.get("/movie/77").status_code == 200
    assert control("add_title", **title) == [number]
    favorites = listed(jellyfin, isFavorite="true", userId=simulator.state.user_named("plain").id)
    assert number in favorites
    control("remove_title", 404, key="movie:0")
    control("add_title", 400, nonsense=1)


@pytest.mark.parametrize("keep", [True, False])
def test_a_title_gets_new_ids_and_keeps_or_loses_its_user_data(
    simulator: RunningSimulator, jellyfin: httpx.Client, control: Control, keep: bool
) -> None:
    key, owner = "series:900000000", simulator.state.user_named("plain").id
    (old,) = control("item_ids", key=key)
    episodes = jellyfin.get(f"/Shows/{old}/Episodes", params={"userId": owner}).json()["Items"]
    path = jellyfin.get(f"/Items/{old}", params={"userId": owner}).json()["Path"]
    (new,) = control("reassign_item_ids", key=key, keep_user_data=keep)
    assert jellyfin.get(f"/Items/{old}", params={"userId": owner}).status_code == 404
    assert jellyfin.get(f"/Items/{new}", params={"userId": owner}).json()["Path"] == path
    renewed = jellyfin.get(f"/Shows/{new}/Episodes", params={"userId": owner}).json()["Items"]
    assert not {item["Id"] for item in episodes} & {item["Id"] for item in renewed}
    played = [item["UserData"]["Played"] for item in renewed]
    assert played == [item["UserData"]["Played"] if keep else False for item in episodes]
    left = jellyfin.get(f"/Items/{new}", params={"userId": owner}).json()["UserData"]["UnplayedItemCount"]
    assert left == played.count(False)


def test_a_series_can_gain_episodes_and_keeps_existing_ones(
    simulator: RunningSimulator, jellyfin: httpx.Client
) -> None:
    title = simulator.state.titles["series:900000000"]
    (number,) = simulator.state.item_ids(title.key)
    before = [item["Id"] for item in jellyfin.get(f"/Shows/{number}/Episodes").json()["Items"]]
    simulator.state.add_title(replace(title, title="Renamed", episodes_per_season=(3, 4, 1)))
    after = [item["Id"] for item in jellyfin.get(f"/Shows/{number}/Episodes").json()["Items"]]
    assert (len(before), len(after)) == (5, 8) and set(before) < set(after)
    assert jellyfin.get("/Items", params={"ids": number}).json()["Items"][0]["Name"] == "Renamed"
    with pytest.raises(ValueError, match="cannot lose"):
        simulator.state.add_title(title)


def test_a_film_can_gain_and_lose_a_copy(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    title = simulator.state.titles["movie:900000005"]
    first = simulator.state.item_ids(title.key)
    both = simulator.state.add_title(replace(title, copies=2))
    assert both[:1] == first and set(both) <= set(listed(jellyfin))
    simulator.state.add_title(title)
    assert simulator.state.item_ids(title.key) == first


def test_a_library_can_vanish_and_come_back(jellyfin: httpx.Client, control: Control) -> None:
    before = listed(jellyfin)
    control("hide_library", name="Movies")
    assert "Movies" not in [folder["Name"] for folder in jellyfin.get("/Library/VirtualFolders").json()]
    assert len(listed(jellyfin)) == 1
    control("show_library", name="Movies")
    assert listed(jellyfin) == before
    control("hide_library", 404, name="Nowhere")


def test_the_highest_rate_can_be_read(tmdb: httpx.Client, control: Control) -> None:
    for _ in range(4):
        tmdb.get("/movie/900000000")
    assert control("most_in_window", service="tmdb", seconds=60) == 4
    control("reset_counters")
    assert control("most_in_window", service="tmdb") == 0


def test_other_processes_can_read_the_subjects_and_change_the_quota(
    simulator: RunningSimulator, tmdb: httpx.Client, control: Control
) -> None:
    for path in ("/movie/900000000", "/movie/900000000?language=de", "/movie/1", "/configuration", "/find/tt1"):
        tmdb.get(path)
    asked = {"movie/900000000": 2, "movie/1": 1, "find/tt1": 1}
    assert control("asked", service="tmdb") == asked
    # "Not found" is an answer, an invalid request is not answered.
    assert control("answered", service="tmdb") == {"movie/900000000": 2, "movie/1": 1}
    control("asked", 400)
    quota = simulator.state.quotas["omdb"]
    control("use_quota", service="omdb", requests=1_000)
    assert quota.remaining == 0
    control("start_day")
    assert quota.remaining == 1_000
    control("use_quota", 404, service="tmdb", requests=1)
    control("reset_counters")
    assert control("asked", service="tmdb") == {}


def test_a_day_also_ends_by_the_clock() -> None:
    clock = [100.0 * 86_400 - 10]
    quota = DailyQuota(2, clock=lambda: clock[0])
    assert [quota.take(), quota.take(), quota.take()] == [True, True, False]
    assert (quota.seconds_left, quota.resets_at) == (10, 100 * 86_400)
    clock[0] += 10
    assert (quota.remaining, quota.seconds_left, quota.resets_at) == (2, 86_400, 101 * 86_400)
    quota.take()
    quota.start_day()
    assert (quota.remaining, quota.resets_at) == (2, 102 * 86_400)


def test_pages_in_a_browser_cannot_control_anything(simulator: RunningSimulator) -> None:
    url = f"{simulator.control_url}/reset_counters"
    assert httpx.post(url, headers={"Origin": "http://example.org"}).status_code == 403


@pytest.mark.anyio
async def test_control_is_refused_from_other_machines(now) -> None:
    transport = httpx.ASGITransport(app=Simulator(World("empty")).app, client=("192.0.2.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/_control/reset_counters")).status_code == 403


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_unknown_operations_and_mounts_are_404(simulator: RunningSimulator, control: Control) -> None:
    control("nonsense", 404)
    control("settings", 404)
    assert httpx.get(simulator.url + "/jellyfinx/Users").status_code == 404
