"""Third-party clients of Jellyfin and Emby work with the stand-ins. They do not share our mistakes.

They are imported by the tests: it takes a second, which only the worker that runs this file has to spend.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.habits import NOW, small_world

if TYPE_CHECKING:
    import emby_client


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(small_world()) as running:
        running.state.play(Play("ada", "movie:1", NOW))
        running.state.play(Play("ada", "movie:4", NOW, completion=0.5))
        running.state.play(Play("ada", "series:1", NOW, season=1, episode=1))
        yield running


def names(answer: dict[str, Any]) -> set[str]:
    return {item["Name"] for item in answer["Items"]}


@contextmanager
def jellyfin_client(simulator: RunningSimulator) -> Iterator[Any]:
    """Return the interface of a client that acts for the one user."""
    from jellyfin_apiclient_python import JellyfinClient

    state = simulator.state
    client = JellyfinClient()
    client.config.app("tests", "1", "here", "one")
    client.config.data["auth.ssl"] = False
    server = {
        "AccessToken": state.settings.jellyfin_key,
        "address": simulator.jellyfin_url,
        "UserId": state.user_named("ada").id,
    }
    client.authenticate({"Servers": [server]}, discover=False)
    try:
        yield client.jellyfin
    finally:
        client.stop()


def emby_connection(simulator: RunningSimulator) -> emby_client.ApiClient:
    import emby_client

    configuration = emby_client.Configuration()
    configuration.host = simulator.emby_url
    configuration.api_key["api_key"] = simulator.state.settings.emby_key
    return emby_client.ApiClient(configuration)


def test_jellyfin_apiclient_reads_and_marks(simulator: RunningSimulator):
    state = simulator.state
    with jellyfin_client(simulator) as api:
        assert [user["Name"] for user in api.get_users()] == ["ada"]
        assert api.get_user()["Policy"]["EnableAllFolders"] is True
        assert {folder["Name"] for folder in api.virtual_folders()} == {"Movies", "TV Shows", "Music", "Collections"}
        assert "Movies" in names(api.get_views())
        films = {"recursive": True, "includeItemTypes": "Movie", "isPlayed": True}
        assert names(api.user_items("", films)) == {"Alone"}
        assert names(api.search_media_items("part", media="Movie")) == {"Part One", "Part Two"}
        (following,) = api.get_next()["Items"]
        assert (following["ParentIndexNumber"], following["IndexNumber"]) == (1, 3)
        (film,) = state.item_ids("movie:3")
        assert api.item_played(film, True)["Played"] is True
        assert api.favorite(film, True)["IsFavorite"] is True
        assert api.get_userdata_for_item(film)["PlayCount"] == 1
        assert api.item_played(film, False)["Played"] is False


def test_embyclient_reads_and_marks(simulator: RunningSimulator):
    import emby_client

    with_key = emby_connection(simulator)
    users = emby_client.UserServiceApi(with_key).get_users_query()
    (user,) = users.items
    folders = emby_client.LibraryStructureServiceApi(with_key).get_library_virtualfolders_query()
    assert {folder.name for folder in folders.items} == {"Movies", "TV Shows", "Music", "Collections"}
    items = emby_client.ItemsServiceApi(with_key)
    query = {"recursive": True, "include_item_types": "Movie", "group_items_into_collections": False}
    films = items.get_items(fields="ProviderIds,Path", sort_by="SortName", **query)
    assert [film.name for film in films.items] == ["Alone", "Merged", "Part One", "Part Two", "Two Files"]
    assert films.items[0].provider_ids
    begun = items.get_users_by_userid_items(user.id, filters="IsResumable", **query)
    assert [film.name for film in begun.items] == ["Two Files"]
    states = emby_client.PlaystateServiceApi(with_key)
    assert states.post_users_by_userid_playeditems_by_id(user.id, films.items[1].id).played is True
    played = items.get_users_by_userid_items(user.id, is_played=True, fields="UserDataPlayCount", **query)
    assert {film.name: film.user_data.play_count for film in played.items} == {"Alone": 1, "Merged": 1}


def test_jellyfin_apiclient_writes_collections_and_playlists(simulator: RunningSimulator):
    films = [simulator.state.item_ids(f"movie:{number}")[0] for number in (1, 2, 3)]
    with jellyfin_client(simulator) as api:
        made = api.new_collection("Picks", films[:1], is_locked=True)["Id"]
        api.add_collection_items(made, films)
        api.remove_collection_items(made, films[:1])
        assert simulator.state.members_of(made) == ["movie:2", "movie:3"]
        assert names(api.get_collections()) == {"Parts Collection", "Picks"}
        mine = api.new_playlist("Mine", films[:2], is_public=False)["Id"]
        api.add_playlist_items(mine, films[2:])
        entries = api.get_playlist_items(mine)["Items"]
        assert [entry["Id"] for entry in entries] == films
        api.remove_playlist_items(mine, [entries[0]["PlaylistItemId"]])
        assert names(api.get_playlists()) == {"Mine"}
        assert simulator.state.members_of(mine) == ["movie:2", "movie:3"]
        for number in (made, mine):
            api.delete_item(number)
        assert simulator.state.names_of_lists("BoxSet") == ["Parts Collection"]


def test_embyclient_writes_users_collections_and_playlists(simulator: RunningSimulator):
    import emby_client

    with_key = emby_connection(simulator)
    users = emby_client.UserServiceApi(with_key)
    user = users.get_users_by_id(simulator.state.user_named("ada").id)
    users.post_users_by_id_policy(user.policy, user.id)
    users.post_users_by_id_configuration(user.configuration, user.id)
    assert users.get_users_by_id(user.id) == user
    items = emby_client.ItemsServiceApi(with_key)
    films = items.get_items(recursive=True, include_item_types="Movie", group_items_into_collections=False)
    first, second = (film.id for film in films.items[:2])
    collections = emby_client.CollectionServiceApi(with_key)
    made = collections.post_collections(name="Picks", ids=first)
    collections.post_collections_by_id_items(second, made.id)
    collections.delete_collections_by_id_items(first, made.id)
    assert [film.id for film in items.get_items(parent_id=made.id, recursive=True).items] == [second]
    playlists = emby_client.PlaylistServiceApi(with_key)
    mine = playlists.post_playlists(name="Mine", ids=f"{first},{second}", media_type="Video")
    assert (mine.name, mine.item_added_count) == ("Mine", 2)
    entries = playlists.get_playlists_by_id_items(mine.id).items
    playlists.post_playlists_by_id_items_by_itemid_move_by_newindex(entries[1].playlist_item_id, mine.id, 0)
    playlists.delete_playlists_by_id_items(mine.id, entries[0].playlist_item_id)
    assert [entry.id for entry in playlists.get_playlists_by_id_items(mine.id).items] == [second]
