"""How real media servers treat collections, versions, specials and restricted users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from aperture_dagster.simulator.jellyfin.listing import COLLAPSED, WHOLE_LIBRARY
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import Play, WorldTitle, WorldUser
from aperture_dagster_tests.habits import FILMS, NOW, VERSIONS, small_world


@contextmanager
def serving(
    version: str = "12.0.0", **settings: object
) -> Iterator[tuple[RunningSimulator, Callable[..., list[dict]]]]:
    """A server of some version, and its listings."""
    with running_simulator(small_world(), SimulatorSettings(jellyfin_version=version, **settings)) as running:  # type: ignore[arg-type]
        headers = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}
        with httpx.Client(base_url=running.jellyfin_url, headers=headers) as client:

            def listing(**parameters: object) -> list[dict]:
                answer = client.get("/Items", params=FILMS | parameters)
                assert answer.status_code == 200, answer.text
                return answer.json()["Items"]

            yield running, listing


def names(items: list[dict]) -> list[str]:
    return sorted(item["Name"] for item in items)


def ada(running: RunningSimulator) -> str:
    return running.state.user_named("ada").id


ALL_FILMS = ["Alone", "Merged", "Part One", "Part Two", "Two Files"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_listing_is_collapsed_by_default_from_12_on_and_expensive_before(version: str):
    with serving(version) as (running, listing):
        whole = listing()
        if version.startswith("12"):
            assert names(whole) == ["Alone", "Merged", "Parts Collection", "Two Files"]
            assert {item["Type"] for item in whole} == {"Movie", "BoxSet"}
            assert running.state.costly("jellyfin") == running.state.costly("jellyfin", COLLAPSED) == 1
        else:
            assert set(names(whole)) == set(ALL_FILMS)
            assert running.state.costly("jellyfin") == running.state.costly("jellyfin", WHOLE_LIBRARY) == 1
        # Users see their films unless the server is set to group them.
        assert set(names(listing(userId=ada(running)))) == set(ALL_FILMS)
        assert set(names(listing(collapseBoxSetItems="false"))) == set(ALL_FILMS)
        assert running.state.costly("jellyfin") == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_groups_films_hides_them_from_users_too(version: str):
    with serving(version, group_into_collections=True) as (running, listing):
        assert "Part One" not in names(listing(userId=ada(running)))
        assert names(listing(userId=ada(running), collapseBoxSetItems="false")) == ALL_FILMS
        assert "Part One" in names(listing(userId=ada(running), filters="IsUnplayed"))


def test_version_12_lists_primary_versions_and_resumes_merged_ones_separately():
    with serving() as (running, listing):
        state = running.state
        state.play(Play("ada", "movie:4", NOW, completion=0.5, version=1))
        state.play(Play("ada", "movie:5", NOW, completion=0.5, version=1))
        merged, files = (state.catalogue.top_items(key)[0] for key in ("movie:5", "movie:4"))
        resumable = listing(userId=ada(running), filters="IsResumable")
        assert [item["Id"] for item in resumable] == [merged.versions[0].id]
        of_primary = {item["Id"]: item for item in listing(userId=ada(running), fields="MediaSources,MediaSourceCount")}
        assert merged.versions[0].id not in of_primary
        for primary in (merged, files):
            item = of_primary[primary.id]
            assert [source["Id"] for source in item["MediaSources"]] == [primary.id, primary.versions[0].id]
            assert item["MediaSourceCount"] == 2
            assert item["UserData"]["PlaybackPositionTicks"] == item["UserData"]["PlayCount"] == 0
            assert "LastPlayedDate" in item["UserData"]
        state.play(Play("ada", "movie:5", NOW, version=1))
        assert names(listing(userId=ada(running), isPlayed="true")) == ["Merged"]


@pytest.mark.parametrize("version", VERSIONS[:3])
def test_older_versions_store_user_data_of_a_file_on_the_film(version: str):
    with serving(version) as (running, listing):
        running.state.play(Play("ada", "movie:4", NOW, completion=0.5, version=1))
        (resumable,) = listing(userId=ada(running), filters="IsResumable")
        assert resumable["Id"] == running.state.item_ids("movie:4")[0]
        assert names(listing(collapseBoxSetItems="false")).count("Merged") == 2
        assert names(listing(userId=ada(running))).count("Merged") == 1


def test_missing_episodes_are_listed_as_virtual_unless_excluded():
    with serving() as (_, listing):
        episodes = listing(includeItemTypes="Episode")
        numbers = [(item["ParentIndexNumber"], item["IndexNumber"], item.get("IndexNumberEnd")) for item in episodes]
        assert sorted(numbers) == [(0, 1, None), (1, 1, 2), (1, 3, None), (1, 4, None)]
        assert [item["IndexNumber"] for item in episodes if item["LocationType"] == "Virtual"] == [4]
        assert len(listing(includeItemTypes="Episode", excludeLocationTypes="Virtual")) == 3
        (show,) = listing(includeItemTypes="Series", userId=ada(_))
        assert show["UserData"]["UnplayedItemCount"] == 3


def test_a_library_without_a_folder_has_no_id():
    with serving() as (running, _):
        key = {"ApiKey": "demo-jellyfin-key"}
        folders = httpx.get(running.jellyfin_url + "/Library/VirtualFolders", params=key).json()
        assert [("ItemId" in folder, folder["Name"]) for folder in folders] == [
            (True, "Movies"), (True, "TV Shows"), (False, "Music"), (True, "Collections"),
        ]  # fmt: skip


def test_users_do_not_see_titles_with_a_blocked_tag_or_without_an_allowed_one(serve: Callable[..., RunningSimulator]):
    world = small_world()
    world.titles += [
        WorldTitle("movie:6", "movie", "Tagged", tags=("Gore", "kids")),
        WorldTitle("movie:7", "movie", "N"),
    ]
    running = serve(world)
    headers = {"X-Emby-Token": "demo-emby-key"}
    path = f"{running.emby_url}/Users/{ada(running)}/Items"
    films = {"Recursive": "true", "IncludeItemTypes": "Movie", "GroupItemsIntoCollections": "false"}
    for rule, seen in (({"blocked_tags": ["GORE"]}, False), ({"allowed_tags": ["Kids"]}, True)):
        running.state.restrict("ada", **rule)
        found = names(httpx.get(path, params=films, headers=headers).json()["Items"])
        assert ("Tagged" in found) is seen
        assert ("N" in found) is not seen


@pytest.mark.requests_unmodelled
@pytest.mark.parametrize(
    "target",
    ["/Items?recursive=true&is4K=true", "/Items?recursive=true&fields=Trickplay", "/Items?sortBy=Album",
     "/Items?recursive=true&filters=Likes", "/Items?recursive=true&includeItemTypes=Audio",
     "/Users/Public", "/Items/Filters", "/No/Such/Thing", "/Shows/NextUp?enableResumable=false"],
)  # fmt: skip
def test_unmodelled_requests_are_not_ignored(target: str):
    with serving() as (running, _):
        headers = {"Authorization": 'MediaBrowser Token="demo-jellyfin-key"'}
        assert httpx.get(running.jellyfin_url + target, headers=headers).status_code == 501


@pytest.mark.requests_unmodelled
def test_requests_of_who_signed_in_are_modelled_for_administrators_of_jellyfin():
    device = 'Client="tests", Device="here", DeviceId="one", Version="1"'

    def sign_in(url: str, name: str, password: str, given: str = device) -> httpx.Response:
        body, headers = {"Username": name, "Pw": password}, {"Authorization": f"MediaBrowser {given}"}
        return httpx.post(f"{url}/Users/AuthenticateByName", json=body, headers=headers)

    world = small_world()
    world.users.append(WorldUser("bob"))
    with running_simulator(world) as running:
        url = running.jellyfin_url
        answer = sign_in(url, "Ada", "demo-password").json()
        headers = {"Authorization": f'MediaBrowser {device}, Token="{answer["AccessToken"]}"'}
        me = httpx.get(f"{url}/Users/Me", headers=headers).json()
        assert me == answer["User"] and me["Name"] == "ada"
        # Requests are those of the user who signed in.
        assert httpx.get(f"{url}/UserItems/Resume", headers=headers).status_code == 200
        for name, password in (("ada", "wrong"), ("ada", ""), ("nobody", "demo-password")):
            refused = sign_in(url, name, password)
            assert (refused.status_code, refused.text) == (401, "Error processing request.")
        assert sign_in(url, "ada", "demo-password", 'Client="tests"').status_code == 400
        answer = sign_in(url, "bob", "demo-password").json()
        headers = {"Authorization": f'MediaBrowser {device}, Token="{answer["AccessToken"]}"'}
        assert httpx.get(f"{url}/Users/Me", headers=headers).status_code == 501
        assert httpx.post(f"{url}/Sessions/Logout", headers=headers).status_code == 204
        assert httpx.post(f"{url}/Sessions/Logout", headers=headers).status_code == 401
