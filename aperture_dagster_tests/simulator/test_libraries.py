"""Libraries that clients make on the stand-ins follow the rules of each version."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from aperture_dagster_tests.simulator.conftest import MakeServer, Serve
from aperture_dagster_tests.simulator.published import DEFAULT, JELLYFINS, ROOT, Server


@pytest.mark.parametrize("version", [*JELLYFINS, "emby"])
def test_a_new_library_has_an_id_at_once_except_on_old_versions(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    assert server.create().status_code == 204
    made = server.folders()["Lists"]
    assert made["Locations"] == [ROOT]
    if version in ("10.9.11", "10.10.7"):
        assert "ItemId" not in made and "LibraryOptions" not in made
        server.client.post("/Library/Refresh")
    made = server.folders()["Lists"]
    assert made["ItemId"] and made["CollectionType"] == "movies"


@pytest.mark.parametrize("version", ["10.9.11", "12.0.0"])
def test_creation_with_a_scan_gives_the_id_at_once_and_scans_everything(make: MakeServer, version: str) -> None:
    server = make(version, scan_seconds=30.0, create=False)
    server.create(refresh=True)
    assert server.folders()["Lists"]["ItemId"]
    (task,) = server.client.get("/ScheduledTasks").json()
    assert (task["Key"], task["State"]) == ("RefreshLibrary", "Running")


@pytest.mark.parametrize("version", [JELLYFINS[0], JELLYFINS[-1]])
def test_a_used_name_gets_a_number_and_invalid_characters_become_blanks(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    for folder in "abc":
        server.write(f"{folder}/keep")
        assert server.create("Bob: best", path=f"{ROOT}/{folder}").status_code == 204
    names = [name for name in server.folders() if name.startswith("Bob")]
    assert names == ["Bob  best", "Bob  best2", "Bob  best3"]


@pytest.mark.parametrize("version", [JELLYFINS[0], JELLYFINS[-1], "emby"])
def test_a_path_that_the_server_does_not_see_is_refused(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    for path in (f"{ROOT}/missing", str(server.here), "relative"):
        assert server.create(path=path).status_code == 400
    assert "Lists" not in server.folders()
    assert server.create(path="/media/movies").status_code == 204


@pytest.mark.parametrize("version", ["12.0.0", "emby"])
def test_the_server_says_which_paths_it_sees(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    link = server.film("A (2001) [x]")
    server.film("B (2001) [x]", target="/nowhere/b.mkv")

    def sees(path: str, is_file: bool | None) -> bool:
        answer = server.client.post("/Environment/ValidatePath", json={"Path": path, "IsFile": is_file})
        assert answer.status_code in (204, 404)
        return answer.status_code == 204

    original, linked = server.original(), f"{ROOT}/A (2001) [x]/{link.name}"
    assert sees(original, True) and not sees(original, False) and sees(original, None)
    assert sees(linked, True) and sees(ROOT, False) and not sees(ROOT, True)
    assert not sees(f"{ROOT}/B (2001) [x]/B (2001) [x].mkv", True) and not sees(str(server.here), None)
    server.state.unmount_library("Movies")
    assert not sees(original, True) and not sees(linked, True)


def test_a_name_in_the_body_an_unknown_type_or_a_wrong_value_is_refused(make: MakeServer) -> None:
    server = make(create=False)
    url = "/Library/VirtualFolders"
    assert server.client.post(url, json={"LibraryOptions": {}}).status_code == 400
    assert server.client.post(url, params={"name": "a", "collectionType": "films"}).status_code == 400
    assert server.create(EnableRealtimeMonitor="no").status_code == 400
    assert "Lists" not in server.folders()


@pytest.mark.requests_unmodelled
def test_an_option_that_no_version_knows_is_not_modelled(make: MakeServer) -> None:
    assert make(create=False).create(EnableFoo=True).status_code == 501


@pytest.mark.parametrize("version", ["10.9.11", "10.11.11", "12.0.0"])
def test_options_are_whole_objects_with_the_defaults_of_the_class(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    server.create(refresh=True, EnableAutomaticSeriesGrouping=True, SeasonZeroDisplayName="Extra")
    options = server.folders()["Lists"]["LibraryOptions"]
    assert options["Enabled"] and options["EnableAutomaticSeriesGrouping"]
    assert (options["SeasonZeroDisplayName"], options["MetadataSavers"]) == ("Extra", [])
    # Null means: whatever the server does by default.
    assert "LocalMetadataReaderOrder" not in options
    assert ("CustomTagDelimiters" in options) is (version != "10.9.11")
    assert options["TypeOptions"][0].get("SimilarItemProviders") == ([] if version == "12.0.0" else None)
    of_the_world = server.folders()["Movies"]["LibraryOptions"]
    assert of_the_world.keys() == {**options, "MetadataSavers": None}.keys() - {"MetadataSavers"}


@pytest.mark.parametrize("version", ["10.10.7", "12.0.0"])
def test_new_options_replace_all_and_null_paths_are_an_error(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    server.create(refresh=True)
    made = server.folders()["Lists"]
    url = "/Library/VirtualFolders/LibraryOptions"
    sent = {**made["LibraryOptions"], "EnablePhotos": False}
    assert server.client.post(url, json={"Id": made["ItemId"], "LibraryOptions": sent}).status_code == 204
    assert server.folders()["Lists"]["LibraryOptions"] == sent
    partial = {"PathInfos": [{"Path": ROOT}]}
    server.client.post(url, json={"Id": made["ItemId"], "LibraryOptions": partial})
    assert "MetadataSavers" not in server.folders()["Lists"]["LibraryOptions"]
    nulls = {**sent, "PathInfos": None}
    assert server.client.post(url, json={"Id": made["ItemId"], "LibraryOptions": nulls}).status_code == 500
    assert server.client.post(url, json={"Id": "0" * 32, "LibraryOptions": sent}).status_code == 404


@pytest.mark.parametrize("version", ["10.10.7", "12.0.0"])
def test_a_disabled_library_is_scanned_and_hidden_from_everybody(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    server.film("A (2001) [x]")
    server.create(refresh=True, Enabled=False)
    server.state.wait_for_scans()
    assert len(server.items()) == 1
    owner = server.state.user_named("plain").id
    before = [view["Name"] for view in server.client.get("/UserViews", params={"userId": owner}).json()["Items"]]
    assert "Lists" not in before and server.items(user="plain") == []
    assert ROOT not in str(server.items(None, user="plain"))
    made = server.folders()["Lists"]
    options = {**made["LibraryOptions"], "Enabled": True}
    server.client.post("/Library/VirtualFolders/LibraryOptions", json={"Id": made["ItemId"], "LibraryOptions": options})
    assert len(server.items(user="plain")) == 1 and ROOT in str(server.items(None, user="plain"))


def test_users_see_a_new_library_if_their_policy_allows(make: MakeServer) -> None:
    server = make(create=False)
    server.film("A (2001) [x]")
    server.create(refresh=True)
    server.state.wait_for_scans()
    server.state.allow_libraries("plain", ["Movies"])
    server.state.allow_libraries("Casey", ["Lists"])
    assert server.items(user="plain") == []
    assert len(server.items(user="Casey")) == len(server.items(user="casey")) == 1
    assert [item["Path"].startswith(ROOT) for item in server.items(None, user="Casey")] == [True]


@pytest.mark.parametrize("version", ["10.11.11", "12.0.0"])
def test_the_items_of_a_removed_library_stay_until_a_validation_removes_them(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    server.film("A (2001) [x]")
    server.create(refresh=True)
    server.state.wait_for_scans()
    url = "/Library/VirtualFolders"
    assert server.client.delete(url, params={"name": "Nobody"}).status_code == 404
    assert server.client.delete(url, params={"name": "Lists"}).status_code == 204
    assert "Lists" not in server.folders()
    assert ROOT in str(server.items(None)) and ROOT not in str(server.items(None, user="plain"))
    server.client.post("/Library/Refresh")
    server.state.wait_for_scans()
    assert (ROOT in str(server.items(None))) is (version != "12.0.0")
    server.create(refresh=True)
    server.state.wait_for_scans()
    server.client.delete(url, params={"name": "Lists", "refreshLibrary": "true"})
    assert ROOT not in str(server.items(None))
    assert (server.here / "A (2001) [x]" / "A (2001) [x].mkv").is_symlink()


def test_a_refresh_is_queued_seems_idle_and_runs(make: MakeServer) -> None:
    server = make(scan_seconds=30.0, scan_gap_seconds=5.0, create=False)
    server.film("A (2001) [x]")
    server.create()
    library = server.folders()["Lists"]["ItemId"]
    server.client.post(f"/Items/{library}/Refresh", params=DEFAULT)
    seen = []
    for seconds in (1, 5, 5, 15, 15):
        server.state.advance(seconds)
        now = server.folders()["Lists"]
        seen.append((now["RefreshStatus"], "RefreshProgress" in now, len(server.items())))
    assert seen == [
        ("Queued", False, 0), ("Idle", False, 0), ("Active", True, 0), ("Active", True, 0), ("Idle", False, 1)
    ]  # fmt: skip


def test_refreshes_are_done_one_after_the_other(make: MakeServer) -> None:
    server = make(scan_seconds=30.0, scan_gap_seconds=1.0, create=False)
    for name in "ab":
        server.write(f"{name}/keep")
        server.create(name, path=f"{ROOT}/{name}")
        server.client.post(f"/Items/{server.folders()[name]['ItemId']}/Refresh", params=DEFAULT)
    server.state.advance(10)
    assert [server.folders()[name]["RefreshStatus"] for name in "ab"] == ["Active", "Queued"]
    server.state.advance(30)
    assert [server.folders()[name]["RefreshStatus"] for name in "ab"] == ["Idle", "Active"]


def test_a_second_full_scan_cancels_the_first(make: MakeServer) -> None:
    server = make(scan_seconds=30.0, create=False)
    server.state.start_scan()
    server.state.advance(10)
    (task,) = server.client.get("/ScheduledTasks").json()
    assert task["State"] == "Running" and 30 < task["CurrentProgressPercentage"] < 40
    assert "LastExecutionResult" not in task
    server.client.post("/Library/Refresh")
    (task,) = server.client.get("/ScheduledTasks").json()
    assert (task["State"], task["LastExecutionResult"]["Status"]) == ("Running", "Cancelled")
    server.state.advance(31)
    (task,) = server.client.get("/ScheduledTasks").json()
    assert (task["State"], task["LastExecutionResult"]["Status"]) == ("Idle", "Completed")


@pytest.mark.parametrize("version", ["10.9.11", "12.0.0", "12.1.0"])
def test_a_path_that_contains_another_librarys_path_loses_its_items(make: MakeServer, version: str) -> None:
    server = make(version, create=False)
    server.film("media/movies/bob/A (2001) [x]")
    server.create(path=f"{ROOT}/media/movies/bob", refresh=True)
    server.state.wait_for_scans()
    assert len(server.items()) == (1 if version == "12.1.0" else 0)


def test_a_library_above_another_empties_that_one(make: MakeServer, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    server = Server(serve(volumes={"/media": tmp_path / "above"}), tmp_path / "above")
    before = len(server.items("Movies"))
    server.create(path="/media", refresh=True)
    server.state.wait_for_scans()
    assert before and server.items("Movies") == []


@pytest.mark.parametrize("version", ["10.10.7", "12.0.0"])
def test_plugins_and_the_grouping_into_collections_can_be_read(make: MakeServer, version: str) -> None:
    server = make(version, group_into_collections=True, plugins=("Merge Versions",), create=False)
    assert [plugin["Name"] for plugin in server.client.get("/Plugins").json()] == ["Merge Versions"]
    found = server.client.get("/System/Configuration").json()
    names = {name: value for name, value in found.items() if name.startswith("EnableGrouping")}
    old = {"EnableGroupingIntoCollections": True}
    new = {"EnableGroupingMoviesIntoCollections": True, "EnableGroupingShowsIntoCollections": True}
    assert names == (old if version == "10.10.7" else new)


# Emby


def test_emby_names_a_library_by_three_ids(make: MakeServer) -> None:
    server = make("emby", create=False)
    server.create()
    server.write("b/keep")
    server.create("Other", path=f"{ROOT}/b")
    listed = server.client.get("/Library/VirtualFolders/Query").json()
    assert listed["TotalRecordCount"] == len(listed["Items"])
    made, other = server.folders()["Lists"], server.folders()["Other"]
    assert len({made["ItemId"], made["Id"], made["Guid"]}) == 3
    url = "/Library/VirtualFolders/Delete"
    assert server.client.post(url, json={"Id": made["ItemId"]}).status_code == 404
    assert server.client.post(url, json={"Id": made["Id"]}).status_code == 204
    # The ids of the others do not move up.
    assert server.folders()["Other"] == other


@pytest.mark.parametrize(("version", "status"), [("4.8.11.0", 204), ("4.9.1.90", 500)])
def test_emby_takes_only_whole_options(make: MakeServer, version: str, status: int) -> None:
    server = make("emby", emby_version=version, create=False)
    server.create()
    made = server.folders()["Lists"]
    url, partial = "/Library/VirtualFolders/LibraryOptions", {"PathInfos": [{"Path": ROOT}]}
    assert server.client.post(url, json={"Id": made["Id"], "LibraryOptions": partial}).status_code == status
    assert ("CollectionType" in server.folders()["Lists"]) is (status == 500)
    whole = made["LibraryOptions"]
    assert server.client.post(url, json={"Id": made["Id"], "LibraryOptions": whole}).status_code == 204
    assert server.folders()["Lists"] == made


def test_emby_looks_into_a_library_only_if_asked_to(make: MakeServer) -> None:
    server = make("emby", create=False)
    server.film("A (2001) [x]")
    server.create()
    url = f"/Items/{server.folders()['Lists']['ItemId']}/Refresh"
    server.client.post(url, params=DEFAULT)
    server.state.wait_for_scans()
    assert server.items() == []
    server.scan()
    assert len(server.items()) == 1


@pytest.mark.requests_unmodelled
def test_libraries_can_be_changed_on_one_kind_of_server_only(make: MakeServer) -> None:
    server = make(create=False)
    settings = server.state.settings
    body = {"Name": "Lists", "Paths": [ROOT]}
    answer = httpx.post(
        f"{server.running.emby_url}/Library/VirtualFolders", json=body, headers={"X-Emby-Token": settings.emby_key}
    )
    assert answer.status_code == 501
