"""Clients write users' policies and configurations, which replace the whole object."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aperture_dagster_tests.simulator.servers import JELLYFINS, Server, emby, jellyfin, lists_world, since

PROVIDERS = {"AuthenticationProviderId": "a", "PasswordResetProviderId": "b"}


def policy(server: Server, name: str) -> dict:
    return server.get(f"/Users/{server.user(name)}")["Policy"]


def set_policy(server: Server, name: str, content: dict) -> int:
    return server.send("POST", f"/Users/{server.user(name)}/Policy", content)


@pytest.mark.parametrize("version", [JELLYFINS[0], JELLYFINS[-1]])
def test_a_user_object_can_be_written_back_without_any_change(version: str):
    with jellyfin(version) as server:
        for name in ("ada", "kid", "guest"):
            before = server.get(f"/Users/{server.user(name)}")
            assert set_policy(server, name, before["Policy"]) == 204
            assert server.send("POST", "/Users/Configuration", before["Configuration"], userId=before["Id"]) == 204
            assert server.get(f"/Users/{server.user(name)}") == before
        assert len(before["Policy"]) > 35 and len(before["Configuration"]) > 12
        assert {"HidePlayedInLatest", "MyMediaExcludes", "LatestItemsExcludes", "OrderedViews"} <= set(
            before["Configuration"]
        )


@pytest.mark.parametrize("version", ["10.10.7", "10.11.11"])
def test_what_a_policy_leaves_out_gets_its_default(version: str):
    with jellyfin(version) as server:
        library = server.state.catalogue.libraries[0].item_id
        given = policy(server, "kid") | {
            "EnableAllFolders": False, "EnabledFolders": [library], "BlockedTags": ["x"], "MaxParentalSubRating": 3,
        }  # fmt: skip
        assert set_policy(server, "kid", given) == 204
        stored = policy(server, "kid")
        assert (stored["EnabledFolders"], stored["BlockedTags"]) == ([library], ["x"])
        assert stored.get("MaxParentalSubRating") == (3 if since(version, 10, 11) else None)
        assert set_policy(server, "kid", PROVIDERS) == 204
        stored = policy(server, "kid")
        assert stored["IsHidden"] is stored["EnableAllFolders"] is True
        assert stored["EnabledFolders"] == stored["BlockedTags"] == []
        assert not {"MaxParentalRating", "MaxParentalSubRating"} & set(stored)


def test_a_policy_is_refused_without_providers_or_for_the_last_administrator():
    with jellyfin() as server:
        before = policy(server, "ada")
        without = {name: value for name, value in before.items() if name != "AuthenticationProviderId"}
        assert set_policy(server, "ada", without) == 400
        assert set_policy(server, "ada", before | {"IsAdministrator": False}) == 403
        assert set_policy(server, "ada", before | {"IsDisabled": True}) == 403
        assert set_policy(server, "ada", before | {"EnabledFolders": ["no id"]}) == 400
        assert set_policy(server, "ada", before | {"IsHidden": "yes"}) == 400
        assert server.send("POST", f"/Users/{'0' * 32}/Policy", before) == 404
        assert policy(server, "ada") == before
        assert set_policy(server, "guest", policy(server, "guest") | {"IsAdministrator": True}) == 204
        assert set_policy(server, "ada", before | {"IsAdministrator": False}) == 204


def test_views_follow_policy_and_configuration():
    with jellyfin() as server:
        movies, shows, private = (library.item_id for library in server.state.catalogue.libraries)
        guest, before = server.user("guest"), server.get(f"/Users/{server.user('guest')}")["Configuration"]
        assert server.names("/UserViews", userId=guest) == ["Movies", "Private", "TV Shows"]
        changed = before | {"MyMediaExcludes": [private], "OrderedViews": [shows, movies]}
        assert server.send("POST", "/Users/Configuration", changed, userId=guest) == 204
        assert server.names("/UserViews", userId=guest) == ["TV Shows", "Movies"]
        assert server.names("/UserViews", userId=guest, includeHidden="true") == ["TV Shows", "Movies", "Private"]
        # Whatever is left out is reset.
        assert server.send("POST", "/Users/Configuration", {"HidePlayedInLatest": False}, userId=guest) == 204
        stored = server.get(f"/Users/{guest}")["Configuration"]
        assert stored == before | {"HidePlayedInLatest": False}
        assert server.send("POST", "/Users/Configuration", {}) == 400
        assert server.send("GET", "/UserViews") == 400
        assert server.send("POST", "/Users/Configuration", {"OrderedViews": ["3"]}, userId=guest) == 400


def test_libraries_appear_for_lists_that_the_user_sees():
    with jellyfin() as server:
        server.state.create_playlist("Mine", owner="ada", keys=["movie:1"])
        server.state.create_box_set("Set", keys=["movie:4"])
        assert server.names("/UserViews", userId=server.user("ada"))[0:1] == ["Collections"]
        assert "Playlists" in server.names("/UserViews", userId=server.user("ada"))
        assert "Playlists" not in server.names("/UserViews", userId=server.user("guest"))
        server.state.allow_libraries("guest", ["Movies", "Collections"])
        assert server.names("/UserViews", userId=server.user("guest")) == ["Movies"]


def test_a_disabled_library_is_hidden_from_everyone_and_still_maintained():
    world = lists_world()
    world.libraries = (*world.libraries[:2], replace(world.libraries[2], enabled=False))
    with jellyfin(world=world) as server:
        assert server.names("/UserViews", userId=server.user("ada")) == ["Movies", "TV Shows"]
        films = {"recursive": "true", "includeItemTypes": "Movie", "collapseBoxSetItems": "false"}
        assert "Private" not in server.names("/Items", userId=server.user("ada"), **films)
        assert "Private" in server.names("/Items", **films)


def test_emby_takes_guids_of_libraries_and_ignores_their_numbers():
    with emby() as server:
        folders = {folder["Name"]: folder for folder in server.get("/Library/VirtualFolders")}
        guest = server.user("guest")
        before = server.get(f"/Users/{guest}")
        assert set_policy(server, "guest", before["Policy"]) == 204
        assert server.send("POST", f"/Users/{guest}/Configuration", before["Configuration"]) == 204
        assert server.get(f"/Users/{guest}") == before
        for form, seen in (("Guid", ["Movies"]), ("ItemId", []), ("Id", [])):
            given = before["Policy"] | {"EnableAllFolders": False, "EnabledFolders": [folders["Movies"][form]]}
            assert set_policy(server, "guest", given) == 204
            assert policy(server, "guest")["EnabledFolders"] == [folders["Movies"][form]]
            assert server.names(f"/Users/{guest}/Views") == seen
        assert set_policy(server, "guest", {}) == 204
        assert policy(server, "guest")["IsHidden"] is policy(server, "guest")["EnableAllFolders"] is True
        assert set_policy(server, "ada", before["Policy"]) == 403


def test_emby_hides_views():
    with emby() as server:
        guest = server.user("guest")
        number = next(
            folder["ItemId"] for folder in server.get("/Library/VirtualFolders") if folder["Name"] == "Private"
        )
        whole = server.get(f"/Users/{guest}")["Configuration"]
        whole |= {"MyMediaExcludes": [number], "LatestItemsExcludes": [number]}
        assert server.send("POST", f"/Users/{guest}/Configuration", whole) == 204
        assert server.names(f"/Users/{guest}/Views") == ["Movies", "TV Shows"]
        assert "Private" not in {item["Name"] for item in server.get(f"/Users/{guest}/Items/Latest")}
