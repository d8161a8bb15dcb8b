"""Clients write collections, playlists and items, by the rules of each version."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from aperture_dagster.simulator.opinions import png
from aperture_dagster.simulator.world import World, WorldLibrary, WorldTitle, WorldUser
from aperture_dagster_tests.simulator.conftest import MakeServer
from aperture_dagster_tests.simulator.servers import JELLYFINS, Server, emby, jellyfin, lists_world, since

FILMS = ("movie:1", "movie:2", "movie:3")
ALL = {"recursive": "true", "includeItemTypes": "Movie", "collapseBoxSetItems": "false"}


def create(server: Server, name: str, *keys: str) -> str:
    answer = server.client.post("/Collections", params={"name": name, "ids": server.ids(*keys), "isLocked": True})
    assert answer.status_code == 200, answer.text
    return answer.json()["Id"]


def playlist(server: Server, name: str, *keys: str, owner: str = "ada", **fields: object) -> str:
    body = {"Name": name, "Ids": server.ids(*keys).split(",") if keys else [], "UserId": server.user(owner)}
    answer = server.client.post("/Playlists", json=body | {"MediaType": "Video", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["Id"]


def full(server: Server, number: str, user: str = "ada") -> dict:
    return server.get(f"/Items/{number}", userId=server.user(user))


# Collections


def test_the_first_collection_makes_a_library_and_starts_a_scan():
    with jellyfin() as server:
        first = create(server, "Picks: best/worst", *FILMS)
        assert "Running" in {task["State"] for task in server.get("/ScheduledTasks")} or server.state.scans.last
        server.state.wait_for_scans()
        last = server.state.scans.last
        create(server, "Second", "movie:1")
        server.state.wait_for_scans()
        assert server.state.scans.last is last is not None
        assert [one["Name"] for one in server.get("/Library/VirtualFolders")][-1] == "Collections"
        (listed,) = server.get("/Items", ids=first, fields="Path,ChildCount,Settings,ProviderIds")["Items"]
        assert listed["Path"] == "/config/data/collections/Picks  best worst [boxset]"
        assert (listed["ChildCount"], listed["LockData"], listed["DisplayOrder"]) == (3, True, "PremiereDate")


def test_a_used_name_takes_over_the_collection_of_someone_else():
    with jellyfin() as server:
        foreign = server.state.create_box_set("Picks", keys=["movie:3"])
        assert create(server, "Picks", "movie:1") == foreign
        assert server.state.members_of(foreign) == ["movie:1"]
        assert server.names("/Items", recursive="true", includeItemTypes="BoxSet") == ["Picks"]


def test_one_unknown_id_adds_nothing_and_leaves_an_empty_collection():
    with jellyfin() as server:
        nobody, known = "0" * 32, server.item("movie:1")
        assert server.send("POST", "/Collections", name="Half", ids=f"{known},{nobody}", isLocked="true") == 400
        (left,) = server.get("/Items", recursive="true", includeItemTypes="BoxSet")["Items"]
        assert server.state.members_of(left["Id"]) == []
        path = f"/Collections/{left['Id']}/Items"
        assert server.send("POST", path, ids=f"{known},{nobody}") == 400
        assert server.send("POST", path, ids=known) == server.send("POST", path, ids=server.ids(*FILMS)) == 204
        assert server.state.members_of(left["Id"]) == list(FILMS)
        assert server.send("DELETE", path, ids=f"{nobody},{known}") == 204
        assert server.state.members_of(left["Id"]) == ["movie:2", "movie:3"]
        assert server.send("POST", path) == server.send("POST", f"/Collections/{nobody}/Items", ids=known) == 400


def test_ids_must_fit_into_the_request_line():
    with jellyfin() as server:
        number = create(server, "Picks", "movie:1")
        path = f"/Collections/{number}/Items"
        assert server.send("POST", path, ids=",".join([server.item("movie:2")] * 250)) == 414
        assert server.send("POST", path, ids=",".join([server.item("movie:2")] * 100)) == 204


@pytest.mark.parametrize(
    ("version", "order", "expected"),
    [
        ("10.9.11", "Default", ["Charlie", "Bravo", "Alpha"]),
        ("10.9.11", "SortName", ["Alpha", "Bravo", "Charlie"]),
        ("10.10.7", "Default", ["Alpha", "Charlie", "Bravo"]),
        ("10.11.4", "Default", ["Charlie", "Bravo", "Alpha"]),
        ("10.11.5", "Default", ["Alpha", "Charlie", "Bravo"]),
        ("12.0.0", "Default", ["Alpha", "Charlie", "Bravo"]),
        ("12.0.0", "SortName", ["Alpha", "Bravo", "Charlie"]),
        ("12.0.0", None, ["Charlie", "Bravo", "Alpha"]),
    ],
)
def test_members_are_in_the_display_order_that_the_version_supports(
    version: str, order: str | None, expected: list[str]
):
    with jellyfin(version) as server:
        number = create(server, "Picks", "movie:2", "movie:1", "movie:3")
        assert server.send("POST", f"/Items/{number}", full(server, number) | {"DisplayOrder": order}) == 204
        listed = {"parentId": number, "userId": server.user("ada")}
        assert server.names("/Items", **listed) == expected
        if not since(version, 12):
            assert server.names("/Items", parentId=number, recursive="true") == ["Alpha", "Charlie", "Bravo"]
        # A client's own order counts more.
        assert server.names("/Items", sortBy="SortName", sortOrder="Descending", **listed) == [
            "Charlie", "Bravo", "Alpha",
        ]  # fmt: skip


def test_members_are_complete_only_in_a_recursive_listing_without_a_user():
    with jellyfin() as server:
        server.state.allow_libraries("guest", ["Movies"])
        number = create(server, "Picks", "movie:1", "movie:4")
        assert server.names("/Items", parentId=number) == []
        assert server.names("/Items", parentId=number, recursive="true", sortBy="SortName") == [
            "Charlie",
            "Private",
        ]
        for recursive in ("true", "false"):
            assert server.names("/Items", parentId=number, recursive=recursive, userId=server.user("guest")) == [
                "Charlie"
            ]
        server.state.remove_title("movie:1")
        assert server.names("/Items", parentId=number, recursive="true") == ["Private"]


@pytest.mark.parametrize("version", JELLYFINS)
def test_a_member_that_left_and_returned_is_lost_in_version_12(version: str):
    with jellyfin(version) as server:
        number = create(server, "Picks", "movie:1", "movie:2")
        server.state.remove_title("movie:1")
        assert server.state.members_of(number) == ["movie:2"]
        server.state.add_title(server.state.titles["movie:1"])
        assert server.state.members_of(number) == ["movie:1"] * (not since(version, 12)) + ["movie:2"]


def test_whoever_sees_the_library_of_a_member_sees_the_collection():
    with jellyfin() as server:
        create(server, "Private picks", "movie:4")
        create(server, "Mixed picks", "movie:1", "movie:4")
        create(server, "Adult picks", "movie:2")
        server.state.allow_libraries("guest", ["Movies"])
        sets = {"recursive": "true", "includeItemTypes": "BoxSet", "sortBy": "SortName"}
        assert server.names("/Items", userId=server.user("guest"), **sets) == ["Adult picks", "Mixed picks"]
        assert server.names("/Items", userId=server.user("kid"), **sets) == ["Mixed picks", "Private picks"]
        assert len(server.names("/Items", **sets)) == 3


@pytest.mark.parametrize("version", JELLYFINS)
def test_our_collection_hides_its_members_from_a_listing_by_key_in_version_12(version: str):
    with jellyfin(version) as server:
        create(server, "Picks", "movie:1", "movie:2")
        names = server.names("/Items", recursive="true", includeItemTypes="Movie")
        assert ("Charlie" in names) is (not since(version, 12))
        assert ("Picks" in names) is since(version, 12)
        assert "Charlie" in server.names("/Items", **ALL)


# Playlists


def test_playlists_are_public_unless_they_are_made_private():
    with jellyfin() as server:
        playlist(server, "Open", "movie:1")
        playlist(server, "Mine", "movie:1", IsPublic=False)
        mine = {"recursive": "true", "includeItemTypes": "Playlist", "sortBy": "SortName"}
        assert server.names("/Items", userId=server.user("ada"), **mine) == ["Mine", "Open"]
        assert server.names("/Items", userId=server.user("guest"), **mine) == ["Open"]
        assert server.names("/Items", **mine) == ["Mine", "Open"]
        body = {"Name": "No owner", "MediaType": "Video"}
        assert server.send("POST", "/Playlists", body) == 400


def test_equal_names_share_a_directory():
    with jellyfin() as server:
        numbers = [playlist(server, "Picks", "movie:1", owner=name) for name in ("ada", "guest", "kid")]
        items = server.get("/Items", ids=",".join(numbers), fields="Path")["Items"]
        assert [item["Path"].rpartition("/")[2] for item in items] == ["Picks", "Picks1", "Picks11"]


def test_series_become_episodes_unknown_ids_are_skipped_and_limits_hold():
    with jellyfin() as server:
        number = playlist(server, "Kid's", "movie:2", "series:1", "movie:3", owner="kid")
        listed = server.get(f"/Playlists/{number}/Items", userId=server.user("kid"))["Items"]
        assert [item["Type"] for item in listed] == ["Episode"] * 4 + ["Movie"]
        ids = f"{'0' * 32},{server.item('movie:1')}"
        assert server.send("POST", f"/Playlists/{number}/Items", ids=ids, userId=server.user("kid")) == 204
        assert server.state.members_of(number)[-1] == "movie:1"


@pytest.mark.parametrize("version", JELLYFINS)
def test_an_api_key_can_do_with_playlists_what_the_version_lets_it(version: str):
    with jellyfin(version) as server:
        number, user = playlist(server, "Mine", *FILMS, IsPublic=False), server.user("ada")
        entries = server.get(f"/Playlists/{number}/Items", userId=user)["Items"]
        own = [entry["PlaylistItemId"] == entry["Id"] for entry in entries]
        assert own == [since(version, 10, 10)] * 3
        path = f"/Playlists/{number}/Items"
        assert server.send("GET", path) == 400
        # Those who do not see a playlist do not find it.
        assert server.client.get(path, params={"userId": server.user("guest")}).json() == "Playlist not found"
        removed = server.send("DELETE", path, entryIds=entries[0]["PlaylistItemId"])
        assert removed == (204 if since(version, 10, 11) else 400)
        assert server.state.members_of(number) == list(FILMS[removed == 204 :])
        assert server.send("DELETE", f"/Items/{number}") == 204
        assert server.names("/Items", recursive="true", includeItemTypes="Playlist") == []


@pytest.mark.parametrize(("version", "doubled"), [("10.10.7", False), ("10.11.11", False), ("12.0.0", True)])
def test_adding_an_item_again_doubles_it_in_version_12(version: str, doubled: bool):
    with jellyfin(version) as server:
        number = playlist(server, "Mine", "movie:1")
        path, user = f"/Playlists/{number}/Items", server.user("ada")
        assert server.send("POST", path, ids=server.ids("movie:1", "movie:2"), userId=user) == 204
        assert server.state.members_of(number) == ["movie:1"] + ["movie:1"] * doubled + ["movie:2"]
        if doubled:
            assert server.send("DELETE", path, entryIds=server.item("movie:1")) == 204
            assert server.state.members_of(number) == ["movie:2"]


def test_only_the_owner_changes_a_playlist():
    with jellyfin() as server:
        path = f"/Playlists/{playlist(server, 'Open', 'movie:1')}/Items"
        assert server.send("POST", path, ids=server.item("movie:2"), userId=server.user("guest")) == 403


# Items


@pytest.mark.parametrize("key", ["movie:1", "series:1", "a box set", "a playlist"])
def test_a_whole_item_can_be_written_back_without_any_change(key: str):
    with jellyfin() as server:
        lists = {"a box set": server.state.create_box_set("Set", keys=FILMS)}
        lists["a playlist"] = server.state.create_playlist("Mine", owner="ada", keys=FILMS)
        number = lists.get(key) or server.item(key)
        before = full(server, number)
        assert {"LockData", "LockedFields", "ProviderIds", "Genres", "Tags", "Studios", "SortName"} <= set(before)
        assert server.send("POST", f"/Items/{number}", before) == 204
        after = full(server, number)
        assert {**after, "Etag": ""} == {**before, "Etag": ""}


def test_what_an_update_leaves_out_is_cleared():
    with jellyfin() as server:
        number = server.item("movie:1")
        before = full(server, number)
        given = before | {"ForcedSortName": "0001 Charlie", "CustomRating": "X", "Tags": ["new"], "LockData": True}
        assert server.send("POST", f"/Items/{number}", given) == 204
        changed = full(server, number)
        assert (changed["ForcedSortName"], changed["SortName"]) == ("0001 Charlie", "0000000001 charlie")
        assert (changed["Tags"], changed["CustomRating"], changed["LockData"]) == (["new"], "X", True)
        assert server.send("POST", f"/Items/{number}", {"Name": "Charlie"}) == 204
        left = full(server, number)
        assert "Overview" not in left and left["LockData"] is False and left["SortName"] == "charlie"
        gone = {"ForcedSortName", "CustomRating", "ProductionYear", "PremiereDate", "OfficialRating", "CommunityRating"}
        assert not gone & set(left)
        # Lists and provider ids stay.
        assert (left["Tags"], left["Genres"], left["ProviderIds"]) == (["new"], ["Drama"], before["ProviderIds"])


def test_a_lock_that_differs_is_passed_on_to_the_members_of_a_collection():
    with jellyfin() as server:
        number = create(server, "Picks", "movie:1", "series:1")
        locks = {"recursive": "true", "fields": "Settings", "collapseBoxSetItems": "false"}

        def locked() -> set[str]:
            found = server.get("/Items", includeItemTypes="Movie,Series,Episode", **locks)["Items"]
            return {item["Type"] for item in found if item["LockData"]}

        whole = full(server, number)
        assert server.send("POST", f"/Items/{number}", whole) == 204
        assert locked() == set()
        assert server.send("POST", f"/Items/{number}", whole | {"LockData": False}) == 204
        assert locked() == set()
        assert server.send("POST", f"/Items/{number}", whole) == 204
        assert locked() == {"Movie", "Series", "Episode"}
        without = {name: value for name, value in whole.items() if name != "LockData"}
        assert server.send("POST", f"/Items/{number}", without) == 204
        assert locked() == set()


def test_lists_can_be_stamped_with_a_provider_id():
    with jellyfin() as server:
        numbers = [create(server, "Picks", "movie:1"), playlist(server, "Mine", "movie:1")]
        for number in numbers:
            stamped = full(server, number) | {"ProviderIds": {"Aperture": "stamp", "Empty": ""}}
            assert server.send("POST", f"/Items/{number}", stamped) == 204
        kinds = {"recursive": "true", "includeItemTypes": "BoxSet,Playlist", "fields": "ProviderIds"}
        found = {item["Name"]: item["ProviderIds"] for item in server.get("/Items", **kinds)["Items"]}
        assert found == {"Picks": {"Aperture": "stamp"}, "Mine": {"Aperture": "stamp"}}


def test_a_renamed_collection_keeps_its_id_and_its_folder():
    with jellyfin() as server:
        number = create(server, "Picks", "movie:1")
        assert server.send("POST", f"/Items/{number}", full(server, number) | {"Name": "Renamed"}) == 204
        assert full(server, number)["Name"] == "Renamed"
        assert create(server, "Picks", "movie:2") == number


def test_deleting_a_collection_spares_its_members_and_deleting_a_film_does_not():
    with jellyfin() as server:
        number = create(server, "Picks", *FILMS)
        assert server.send("DELETE", f"/Items/{number}") == 204
        assert server.state.deleted_paths == [] and len(server.names("/Items", **ALL)) == 4
        film = server.item("movie:1")
        path = full(server, film)["Path"]
        assert server.send("DELETE", f"/Items/{film}") == 204
        assert server.state.deleted_paths == [path]
        assert "Charlie" not in server.names("/Items", **ALL)
        assert server.send("DELETE", f"/Items/{film}") == 404


def test_deleting_an_item_of_a_real_folder_deletes_the_folder(make: MakeServer):
    server = make()
    entry = "Plain (2001) [ap-1]"
    link = server.film(entry, "<title>Plain</title>")
    server.film("Other (2002) [ap-2]", "<title>Other</title>")
    server.scan()
    number = next(item["Id"] for item in server.items() if item["Name"] == "Plain")
    assert server.client.delete(f"/Items/{number}").status_code == 204
    assert not link.parent.exists()
    server.scan()
    assert [item["Name"] for item in server.items()] == ["Other"]


def test_pictures_can_be_set_for_libraries_collections_and_playlists():
    with jellyfin() as server:
        library = server.state.catalogue.libraries[0].item_id
        content = base64.b64encode(png("cover"))
        for number in (library, create(server, "Picks", "movie:1"), playlist(server, "Mine", "movie:1")):
            path = f"/Items/{number}/Images/Primary"
            set_it = server.client.post(path, content=content, headers={"Content-Type": "image/png"})
            assert set_it.status_code == 204
            assert server.client.get(path).content == png("cover")
            (shown,) = server.get("/Items", ids=number)["Items"]
            tag = shown["ImageTags"]["Primary"]
            assert full(server, number)["ImageTags"]["Primary"] == tag
            assert server.send("DELETE", path) == 204
            assert full(server, number)["ImageTags"].get("Primary") != tag


# Files


def files_world() -> World:
    films = [
        WorldTitle("movie:1", "movie", "Parts", 2001, parts=3, runtime_minutes=90),
        WorldTitle("movie:2", "movie", "Disc", 2002, disc="bluray"),
        WorldTitle("movie:3", "movie", "Image", 2003, disc="iso"),
        WorldTitle("movie:4", "movie", "Two", 2004, versions=2, heights=(2160, 720), sidecars=(".de.srt", ".mka")),
    ]
    show = WorldTitle("series:1", "series", "Show", 2000, episodes_per_season=(1,), sidecars=(".en.forced.ass",))
    libraries = (WorldLibrary("Movies", "movies", ("/m",)), WorldLibrary("TV", "tvshows", ("/t",)))
    return World("files", [*films, show], [WorldUser("ada")], libraries=libraries)


def test_media_sources_tell_files_versions_parts_and_sidecars():
    with jellyfin(world=files_world()) as server:
        fields = "MediaSources,Path"
        kinds = {"recursive": "true", "includeItemTypes": "Movie,Episode", "fields": fields}
        found = {item["Name"]: item for item in server.get("/Items", **kinds)["Items"]}
        parts = found["Parts"]
        assert parts["PartCount"] == 3 and parts["Path"] == "/m/Parts (2001)/Parts (2001)-part1.mkv"
        more = server.get(f"/Videos/{parts['Id']}/AdditionalParts", userId=server.user("ada"))
        assert [part["Path"].rpartition("-")[2] for part in more["Items"]] == ["part2.mkv", "part3.mkv"]
        disc, image = found["Disc"], found["Image"]
        assert (disc["Path"], disc["VideoType"], disc.get("Container")) == ("/m/Disc (2002)", "BluRay", None)
        assert (image["Path"][-4:], image["VideoType"], image["IsoType"]) == (".iso", "Iso", "Dvd")
        assert "PartCount" not in disc
        one, two = found["Two"]["MediaSources"]
        assert [source["MediaStreams"][0]["Height"] for source in (one, two)] == [2160, 720]
        external = [stream for stream in one["MediaStreams"] if stream["IsExternal"]]
        assert [(stream["Type"], stream.get("Language")) for stream in external] == [
            ("Subtitle", "ger"), ("Audio", None),
        ]  # fmt: skip
        assert external[0]["Path"] == one["Path"].replace(".mkv", ".de.srt")
        (episode,) = [item for item in found.values() if item["Type"] == "Episode"]
        assert episode["MediaSources"][0]["MediaStreams"][-1]["Path"].endswith("S01E01.en.forced.ass")


# Emby


def test_emby_creates_and_changes_collections():
    with emby() as server:
        made = server.client.post("/Collections", params={"Name": "Picks", "Ids": server.ids(*FILMS)}).json()
        assert made["Name"] == "Picks"
        listed = {"ParentId": made["Id"], "UserId": server.user("ada")}
        assert server.names("/Items", **listed) == ["Charlie", "Bravo", "Alpha"]
        assert server.send("DELETE", f"/Collections/{made['Id']}/Items", Ids=server.item("movie:1")) == 204
        assert server.names("/Items", **listed) == ["Bravo", "Alpha"]
        again = server.client.post("/Collections", params={"Name": "Picks", "Ids": server.item("movie:1")}).json()
        assert again["Id"] == made["Id"]
        assert server.send("DELETE", f"/Items/{made['Id']}") == 204
        second = server.client.post("/Collections", params={"Name": "Picks", "Ids": server.item("movie:1")}).json()
        assert second["Id"] != made["Id"]
        empty = server.client.post("/Collections", params={"Name": "Empty"}).json()
        assert server.names("/Items", Ids=empty["Id"]) == []


def test_emby_creates_and_changes_playlists():
    with emby() as server:
        ada, guest = server.user("ada"), server.user("guest")
        query = {"Name": "Mine", "Ids": server.ids("movie:1", "series:1"), "MediaType": "Video", "UserId": ada}
        made = server.client.post("/Playlists", params=query).json()
        assert made["ItemAddedCount"] == 5
        path = f"/Playlists/{made['Id']}/Items"
        entries = server.get(path, UserId=ada)["Items"]
        removed = ",".join(entry["PlaylistItemId"] for entry in entries[1:])
        assert server.send("DELETE", path, EntryIds=removed) == 204
        assert server.names(path, UserId=ada) == ["Charlie"]
        assert server.client.post(path, params={"Ids": server.item("movie:1")}).json()["ItemAddedCount"] == 1
        lists = {"Recursive": "true", "IncludeItemTypes": "Playlist"}
        assert server.names("/Items", UserId=guest, **lists) == []
        assert server.send("GET", path, UserId=guest) == 404
        nobodys = server.client.post("/Playlists", params={"Name": "Nobody's"}).json()
        assert server.names("/Items", UserId=guest, **lists) == ["Nobody's"]
        assert server.send("DELETE", f"/Items/{nobodys['Id']}") == 204
        assert server.names("/Items", UserId=guest, **lists) == []


def test_emby_writes_whole_items():
    with emby() as server:
        made = server.client.post("/Collections", params={"Name": "Picks", "Ids": server.item("movie:1")}).json()
        path = f"/Users/{server.user('ada')}/Items/{made['Id']}"
        before = server.get(path)
        stamped = before | {"ProviderIds": {"Aperture": "1"}, "TagItems": [{"Name": "x"}]}
        assert server.send("POST", f"/Items/{made['Id']}", stamped) == 204
        after = server.get(path)
        assert after["ProviderIds"] == {"Aperture": "1"} and [tag["Name"] for tag in after["TagItems"]] == ["x"]
        assert after["Name"] == "Picks" and after["LockData"] is False


# What other people do


def test_others_can_change_lists_behind_our_back():
    with jellyfin(world=replace(lists_world())) as server:
        number = create(server, "Picks", *FILMS)
        mine = playlist(server, "Mine", "movie:1")
        server.state.set_members(mine, ["movie:3", "movie:2"])
        server.state.rename_list(number, "Theirs")
        assert server.names(f"/Playlists/{mine}/Items", userId=server.user("ada")) == ["Bravo", "Alpha"]
        assert full(server, number)["Name"] == "Theirs"
