"""The Jellyfin stand-in behaves like the real server."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import httpx
import pytest

from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import Play, WorldTitle
from aperture_dagster.simulator.worlds import WorldSize, generate_world

ALL = {"recursive": "true", "includeItemTypes": "Movie", "collapseBoxSetItems": "false"}
KEY = "demo-jellyfin-key"


def user_id(client: httpx.Client, name: str = "plain") -> str:
    return next(user["Id"] for user in client.get("/Users").json() if user["Name"] == name)


def items(client: httpx.Client, **parameters: object) -> list[dict]:
    answer = client.get("/Items", params={**ALL, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()["Items"]


def first_film(client: httpx.Client) -> str:
    return items(client, sortBy="DateCreated")[0]["Id"]


OLD_FORMS = [
    {"headers": {"X-Emby-Token": KEY}},
    {"headers": {"X-MediaBrowser-Token": KEY}},
    {"headers": {"X-Emby-Authorization": f'MediaBrowser Client="a", Token="{KEY}"'}},
    {"headers": {"Authorization": f'Emby Token="{KEY}"'}},
    {"params": {"api_key": KEY}},
]
NEW_FORMS = [
    {"headers": {"Authorization": f'MediaBrowser Token="{KEY}"'}},
    {"headers": {"Authorization": f'MediaBrowser Client="x, y", Device="d", DeviceId="1", Version="1", Token="{KEY}"'}},
    {"params": {"ApiKey": KEY}},
]


@pytest.mark.parametrize("form", OLD_FORMS)
def test_only_version_12_refuses_legacy_authentication(
    steady: RunningSimulator, steady_old: RunningSimulator, form: dict
) -> None:
    refused = httpx.get(steady.jellyfin_url + "/Users", **form)
    assert (refused.status_code, refused.content) == (401, b"")
    assert httpx.get(steady_old.jellyfin_url + "/Users", **form).status_code == 200


@pytest.mark.parametrize("form", NEW_FORMS)
def test_current_authentication_works_on_every_version(
    steady: RunningSimulator, steady_old: RunningSimulator, form: dict
) -> None:
    for server in (steady, steady_old):
        assert httpx.get(server.jellyfin_url + "/Users", **form).status_code == 200


def test_a_wrong_or_missing_key_is_refused_with_an_empty_body(steady: RunningSimulator) -> None:
    for headers in ({}, {"Authorization": 'MediaBrowser Token="wrong"'}, {"Authorization": "MediaBrowser"}):
        for path in ("/Users", "/Items", "/System/Info"):
            answer = httpx.get(steady.jellyfin_url + path, headers=headers)
            assert (answer.status_code, answer.content) == (401, b"")


def test_a_user_id_may_have_dashes_and_an_unknown_one_is_404(reader: httpx.Client) -> None:
    number = user_id(reader, "child")
    dashed = f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}"
    for form in (number, dashed):
        assert reader.get(f"/Users/{form}").json()["Policy"]["MaxParentalRating"] == 12
    assert reader.get(f"/Users/{'0' * 32}").status_code == 404
    assert reader.get("/Users/Me").status_code == 400


def test_pages_contain_every_item_once(reader: httpx.Client) -> None:
    whole = items(reader, includeItemTypes="Movie,Series,Episode", sortBy="DateCreated,SortName")
    paged: list[str] = []
    while True:
        answer = reader.get(
            "/Items",
            params={
                "recursive": "true", "includeItemTypes": ["Movie", "Series", "Episode"], "startIndex": len(paged),
                "limit": 7, "sortBy": "DateCreated,SortName", "collapseBoxSetItems": "false",
            },
        ).json()  # fmt: skip
        assert answer["StartIndex"] == len(paged)
        assert answer["TotalRecordCount"] == len(whole)
        if not answer["Items"]:
            break
        paged += [item["Id"] for item in answer["Items"]]
    assert paged == [item["Id"] for item in whole]
    assert len(set(paged)) == len(paged)


def test_optional_fields_are_only_sent_on_request(reader: httpx.Client) -> None:
    bare = items(reader, ids=first_film(reader))[0]
    for name in ("ProviderIds", "Overview", "Genres", "People", "DateCreated", "Path", "Studios", "SortName"):
        assert name not in bare
    for name in ("Name", "Id", "Type", "ProductionYear", "ImageTags"):
        assert name in bare
    full = items(reader, ids=bare["Id"], fields="ProviderIds,overview,Genres", FIELDS="People,DateCreated,Path")[0]
    assert {"ProviderIds", "Overview", "Genres", "People", "DateCreated", "Path"} <= set(full)
    assert full["People"][0] == {
        "Name": "Zoë O'Hara", "Id": full["People"][0]["Id"], "Type": "Actor", "Role": "Herself / Narrator",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", full["DateCreated"])


def test_keys_of_provider_ids_vary_and_values_may_be_empty(serve, now: datetime) -> None:
    world = generate_world(WorldSize(movies=200, series=0, episodes=0, users=1, plays=0), seed=1, now=now)
    answer = httpx.get(
        serve(world).jellyfin_url + "/Items", params={**ALL, "ApiKey": KEY, "fields": "ProviderIds"}
    ).json()
    found = [item["ProviderIds"] for item in answer["Items"]]
    assert {"Tmdb", "tmdb", "TMDB"} <= {key for ids in found for key in ids}
    assert any("" in ids.values() for ids in found)


def test_nulls_sort_last_descending_and_first_ascending(reader: httpx.Client) -> None:
    owner = user_id(reader)
    down = items(reader, userId=owner, sortBy="DatePlayed", sortOrder="Descending")
    dates = [item["UserData"].get("LastPlayedDate") for item in down]
    played = [date for date in dates if date]
    assert played == sorted(played, reverse=True) and dates == played + [None] * (len(dates) - len(played))
    years = [item.get("ProductionYear") for item in items(reader, sortBy="ProductionYear")]
    assert years[0] is None and years[-1] is not None


def test_an_unfinished_play_can_be_resumed_and_is_not_played(reader: httpx.Client) -> None:
    owner = user_id(reader)
    resumable = reader.get("/UserItems/Resume", params={"userId": owner}).json()["Items"]
    listed = {"filters": "IsResumable", "includeItemTypes": "Movie,Episode", "sortBy": "DatePlayed"}
    assert resumable == items(reader, userId=owner, sortOrder="Descending", **listed)
    begun = resumable[-1]
    data = begun["UserData"]
    assert (data["Played"], data["PlayCount"]) == (False, 1)
    assert data["PlaybackPositionTicks"] == 0.4 * begun["RunTimeTicks"]
    assert data["PlayedPercentage"] == pytest.approx(40)


def test_starting_again_marks_an_item_unplayed_until_it_is_finished(
    simulator: RunningSimulator, jellyfin: httpx.Client, now: datetime
) -> None:
    owner, key = user_id(jellyfin), "movie:900000006"
    (number,) = simulator.state.item_ids(key)
    states = []
    for days, completion in enumerate((1.0, 0.3, 1.0, 0.01)):
        simulator.state.play(Play("plain", key, now + timedelta(days=days), completion=completion))
        data = jellyfin.get(f"/UserItems/{number}/UserData", params={"userId": owner}).json()
        states.append((data["Played"], data["PlayCount"], data["PlaybackPositionTicks"] > 0))
    assert states == [(True, 1, False), (False, 2, True), (True, 3, False), (False, 4, False)]


def test_a_play_of_one_copy_leaves_the_other_unplayed(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    copies = ",".join(simulator.state.item_ids("movie:900000102"))
    states = [item["UserData"]["Played"] for item in items(jellyfin, ids=copies, userId=user_id(jellyfin))]
    assert states == [True, False]


def test_a_series_is_played_when_it_has_no_unplayed_episodes(
    simulator: RunningSimulator, jellyfin: httpx.Client
) -> None:
    owner = user_id(jellyfin, "never played")
    (series,) = simulator.state.item_ids("series:900000000")
    episodes = jellyfin.get(f"/Shows/{series}/Episodes", params={"userId": owner}).json()["Items"]
    assert [(item["ParentIndexNumber"], item["IndexNumber"]) for item in episodes] == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2),
    ]  # fmt: skip
    for left, episode in zip((4, 3, 2, 1, 0), episodes, strict=True):
        jellyfin.post(f"/UserPlayedItems/{episode['Id']}", params={"userId": owner}).raise_for_status()
        data = jellyfin.get(f"/Items/{series}", params={"userId": owner}).json()["UserData"]
        assert (data["UnplayedItemCount"], data["Played"]) == (left, left == 0)
    jellyfin.delete(f"/UserPlayedItems/{series}", params={"userId": owner}).raise_for_status()
    data = jellyfin.get(f"/UserItems/{episodes[0]['Id']}/UserData", params={"userId": owner}).json()
    assert (data["Played"], data["PlayCount"], "LastPlayedDate" in data) == (False, 0, False)


def test_a_rating_is_cleared_by_its_own_route_alone(jellyfin: httpx.Client) -> None:
    number, owner = first_film(jellyfin), {"userId": user_id(jellyfin, "never played")}

    def write(rating: float | None) -> int:
        return jellyfin.post(f"/UserItems/{number}/UserData", params=owner, json={"Rating": rating}).status_code

    def shown() -> float | None:
        return jellyfin.get(f"/UserItems/{number}/UserData", params=owner).json().get("Rating")

    assert [write(rating) for rating in (0, 10, -0.1, 10.1, 3)] == [200, 200, 400, 400, 200]
    assert (write(None), shown()) == (200, 3)
    assert jellyfin.delete(f"/UserItems/{number}/Rating", params=owner).status_code == 200 and shown() is None


def test_a_manual_mark_can_lack_count_and_date(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    simulator.state.mark_played("never played", "movie:900000005", bare=True)
    (item,) = items(jellyfin, userId=user_id(jellyfin, "never played"), isPlayed="true")
    assert (item["UserData"]["Played"], item["UserData"]["PlayCount"]) == (True, 0)
    assert "LastPlayedDate" not in item["UserData"]


def test_the_policy_restricts_libraries_and_ages(simulator: RunningSimulator, jellyfin: httpx.Client) -> None:
    child, (adult_film,) = user_id(jellyfin, "child"), simulator.state.item_ids("movie:900000105")
    assert adult_film in [item["Id"] for item in items(jellyfin)]
    assert adult_film not in [item["Id"] for item in items(jellyfin, userId=child)]
    assert jellyfin.get(f"/Items/{adult_film}", params={"userId": child}).status_code == 404
    user = jellyfin.get(f"/Users/{child}").json()
    shows = jellyfin.get("/Library/VirtualFolders").json()[1]["ItemId"]
    policy = {**user["Policy"], "EnableAllFolders": False, "EnabledFolders": [shows]}
    assert jellyfin.post(f"/Users/{child}/Policy", json=policy).status_code == 204
    assert items(jellyfin, userId=child) == []
    assert items(jellyfin, userId=child, includeItemTypes="Series")
    views = jellyfin.get("/UserViews", params={"userId": child}).json()["Items"]
    assert [view["Name"] for view in views] == ["TV Shows"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("startIndex", "x"), ("limit", "1.5"), ("limit", "99999999999"), ("isPlayed", "maybe"), ("userId", "plain"),
     ("parentId", "1"), ("minDateLastSaved", "yesterday")],
)  # fmt: skip
def test_a_parameter_that_cannot_be_bound_is_a_400_with_problem_details(
    reader: httpx.Client, name: str, value: str
) -> None:
    answer = reader.get("/Items", params={**ALL, name: value})
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert name in answer.json()["errors"]


def test_unknown_ids_are_404(reader: httpx.Client) -> None:
    nobody = "0" * 32
    refused = reader.get("/Items", params={**ALL, "userId": nobody})
    assert (refused.status_code, refused.text) == (404, "Error processing request.")
    assert reader.get(f"/Items/{nobody}", params={"userId": user_id(reader)}).status_code == 404
    # An API key has no user of its own.
    assert reader.get(f"/Items/{first_film(reader)}").status_code == 400
    assert reader.get(f"/Shows/{nobody}/Episodes").json() == "Series not found"


def test_the_per_user_date_filter_has_the_real_servers_bug(
    simulator: RunningSimulator, jellyfin: httpx.Client, now: datetime
) -> None:
    simulator.state.play(Play("plain", "movie:900000005", now))
    later = {"minDateLastSavedForUser": (now - timedelta(minutes=1)).isoformat()}
    assert items(jellyfin, userId=user_id(jellyfin), **later) == []
    simulator.state.add_title(WorldTitle("movie:999", "movie", "Brand New"))
    assert [item["Name"] for item in items(jellyfin, minDateLastSaved=now.isoformat())] == ["Brand New"]
