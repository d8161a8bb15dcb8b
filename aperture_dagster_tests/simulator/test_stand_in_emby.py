"""The Emby stand-in keeps to the real server's contract."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from aperture_dagster.simulator.server import RunningSimulator
from aperture_dagster.simulator.world import Play, WorldTitle

ALL = {"Recursive": "true", "IncludeItemTypes": "Movie", "GroupItemsIntoCollections": "false"}
KEY = "demo-emby-key"
PLAYS = "UserDataPlayCount,UserDataLastPlayedDate"


@pytest.fixture
def reader(steady: RunningSimulator) -> Iterator[httpx.Client]:
    """A client of the shared server, for reading only."""
    with httpx.Client(base_url=steady.emby_url, headers={"X-Emby-Token": KEY}) as client:
        yield client


@pytest.fixture
def emby(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulator.emby_url, headers={"X-Emby-Token": KEY}) as client:
        yield client


def users(client: httpx.Client) -> dict[str, dict]:
    return {user["Name"]: user for user in client.get("/Users/Query").json()["Items"]}


def items(client: httpx.Client, path: str = "/Items", **parameters: object) -> list[dict]:
    answer = client.get(path, params={**ALL, **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()["Items"]


def items_of(client: httpx.Client, name: str) -> str:
    return f"/Users/{users(client)[name]['Id']}/Items"


@pytest.mark.parametrize("headers", [{}, {"X-Emby-Token": "wrong"}, {"Authorization": f'MediaBrowser Token="{KEY}"'}])
@pytest.mark.parametrize("path", ["/Users/Query", "/Items", "/System/Info"])
def test_a_wrong_or_missing_key_is_refused_in_plain_text(steady: RunningSimulator, headers: dict, path: str) -> None:
    answer = httpx.get(steady.emby_url + path, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/plain; charset=utf-8")
    assert answer.text


def test_only_two_users_have_a_linked_connect_account(reader: httpx.Client) -> None:
    linked = {name: user["ConnectUserName"] for name, user in users(reader).items() if "ConnectUserName" in user}
    assert sorted("@" in name for name in linked.values()) == [False, True]


def test_null_fields_are_left_out(reader: httpx.Client) -> None:
    assert b":null" not in reader.get("/Users/Query").content
    fields = "ProviderIds,Overview,ProductionYear,Status,EndDate,OriginalTitle,Taglines,OfficialRating," + PLAYS
    path = items_of(reader, "plain")
    assert b":null" not in reader.get(path, params={**ALL, "Fields": fields}).content


def test_a_library_has_three_ids_for_listings_changes_and_policies(
    simulator: RunningSimulator, emby: httpx.Client
) -> None:
    folders = emby.get("/Library/VirtualFolders/Query").json()["Items"]
    assert folders == emby.get("/Library/VirtualFolders").json()
    with_ids = [folder for folder in folders if "ItemId" in folder]
    assert all(len({folder["ItemId"], folder["Id"], folder["Guid"]}) == 3 for folder in with_ids)
    films, shows, others, _ = with_ids
    assert items(emby, ParentId=films["ItemId"]) + items(emby, ParentId=others["ItemId"]) == items(emby)
    assert items(emby, ParentId=films["Guid"]) == items(emby, ParentId=films["Id"]) == []
    simulator.state.allow_libraries("plain", ["TV Shows"])
    assert users(emby)["plain"]["Policy"]["EnabledFolders"] == [shows["Guid"]]
    assert items(emby, items_of(emby, "plain")) == []
    views = emby.get(items_of(emby, "plain").replace("/Items", "/Views")).json()["Items"]
    assert [view["Id"] for view in views] == [shows["ItemId"]]


def test_fields_are_only_sent_on_request(reader: httpx.Client) -> None:
    optional = {
        "ProviderIds", "Overview", "Genres", "Studios", "DateCreated", "Path", "SortName", "ProductionYear",
        "CommunityRating",
    }  # fmt: skip
    assert not optional & set().union(*items(reader))
    requested = set().union(*items(reader, Fields=",".join((*optional, "Tags"))))
    assert optional | {"TagItems", "GenreItems"} <= requested
    assert "Tags" not in requested


def test_play_count_and_date_are_only_sent_on_request(reader: httpx.Client) -> None:
    path = items_of(reader, "plain")
    for item in items(reader, path, Filters="IsPlayed"):
        assert item["UserData"]["Played"] is True
        assert item["UserData"]["PlayCount"] == 0
        assert not {"LastPlayedDate", "Likes"} & set(item["UserData"])
    for item in items(reader, path, Filters="IsPlayed", Fields=PLAYS):
        assert {"PlayCount", "LastPlayedDate"} <= set(item["UserData"])


def test_a_listing_has_a_total_and_no_start_index(reader: httpx.Client) -> None:
    whole = items(reader, SortBy="SortName")
    answer = reader.get("/Items", params={**ALL, "SortBy": "SortName", "StartIndex": 3, "Limit": 4}).json()
    assert answer == {"Items": whole[3:7], "TotalRecordCount": len(whole)}


def test_a_listing_can_be_limited_to_recently_saved_user_data(
    simulator: RunningSimulator, emby: httpx.Client, now: datetime
) -> None:
    path = items_of(emby, "plain")
    later = {"MinDateLastSavedForUser": f"{datetime.now(UTC) - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"}
    assert items(emby, path, **later) == []
    # A title that is new or changed is nothing that the user did.
    simulator.state.add_title(WorldTitle("movie:999", "movie", "Brand New"))
    assert items(emby, path, **later) == []
    # A play that is reported late is new all the same.
    simulator.state.play(Play("plain", "movie:900000005", now - timedelta(days=400)))
    simulator.state.mark_unplayed("plain", "movie:900000102")
    changed = {item["Name"]: item["UserData"]["Played"] for item in items(emby, path, **later)}
    assert list(changed.values()) == [True, False]
    assert items(emby, items_of(emby, "casey"), **later) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [("/Items?StartIndex=x&Recursive=true", 400), ("/Users/" + "0" * 32, 404)],
)
def test_errors_are_plain_text(reader: httpx.Client, path: str, status: int) -> None:
    answer = reader.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
