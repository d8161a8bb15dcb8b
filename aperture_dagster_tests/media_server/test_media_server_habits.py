"""Every server yields the same library and plays, however its version treats collections, versions and tags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aperture_dagster.http.home_network import Route
from aperture_dagster.media_server.activity_log import parse_activity
from aperture_dagster.media_server.emby.reader import EmbyReader, parse_emby_user
from aperture_dagster.media_server.items import parse_user
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import Listing, ServerEpisode, ServerLibrary, ServerTitle
from aperture_dagster.simulator.catalogue import item_number
from aperture_dagster.simulator.jellyfin.items import SERIES_COUNTED
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import Play, WorldLibrary, WorldUser
from aperture_dagster_tests.clients import Client
from aperture_dagster_tests.habits import NOW, VERSIONS, small_world
from aperture_dagster_tests.services import Answer, Scripted

SERVERS = [*VERSIONS, "emby"]
FILMS = ServerLibrary("films", "Films", "movies")


@contextmanager
def served(server: str, **how: Any) -> Iterator[tuple[RunningSimulator, MediaServerReader]]:
    """Serve a small world with a version of Jellyfin or with Emby, and connect to it."""
    settings = SimulatorSettings() if server == "emby" else SimulatorSettings(jellyfin_version=server)
    quick: dict[str, Any] = {"attempts": 1} | how
    with running_simulator(small_world(), settings) as running:
        if server == "emby":
            client: MediaServerReader = EmbyReader(running.emby_url, settings.emby_key, **quick)
        else:
            client = JellyfinReader(running.jellyfin_url, settings.jellyfin_key, **quick)
        with closing(client):
            yield running, client


def named(client: Any, name: str) -> ServerLibrary:
    return next(library for library in client.libraries() if library.name == name)


def films_of(client: Any, library: ServerLibrary | None = None) -> tuple[list[ServerTitle], Listing]:
    listing = Listing()
    pages = client.titles(library or named(client, "Movies"), "movie", listing)
    return [title for page in pages for title in page], listing


def episodes_of(client: Any) -> tuple[list[ServerEpisode], Listing]:
    listing = Listing()
    pages = client.episodes(named(client, "TV Shows"), listing)
    return [episode for page in pages for episode in page], listing


def service(server: str) -> str:
    return "emby" if server == "emby" else "jellyfin"


@pytest.mark.parametrize("server", SERVERS)
def test_films_of_a_collection_are_listed_individually_and_cheaply_and_no_virtual_episode_is(server: str):
    with served(server, page_size=3) as (running, client):
        films, listing = films_of(client)
        assert listing.complete and not listing.problems
        assert {(film.title, film.tmdb_id) for film in films} == {
            ("Alone", 11), ("Part One", 12), ("Part Two", 13), ("Two Files", 14), ("Merged", 15),
        }  # fmt: skip
        episodes, listing = episodes_of(client)
        assert listing.complete
        numbers = sorted((episode.season, episode.number, episode.number_end) for episode in episodes)
        assert numbers == [(0, 1, None), (1, 1, 2), (1, 3, None)]
        user = client.users().records[0].user_id
        for pages in (client.changed_states(user, NOW, Listing()), client.all_states(user, Listing())):
            for _ in pages:
                pass
        running.state.counters.costly.get("jellyfin", {}).pop(SERIES_COUNTED, None)
        assert running.state.costly(service(server)) == 0
        # A library without an id is skipped.
        assert {library.name: bool(library.library_id) for library in client.libraries()} == {
            "Movies": True, "TV Shows": True, "Music": False, "Collections": True,
        }  # fmt: skip
        running.state.change_library("Movies", has_id=False)
        assert named(client, "Movies").library_id == ""
        assert len(episodes_of(client)[0]) == 3


@pytest.mark.parametrize("client_type", [JellyfinReader, EmbyReader])
def test_a_collection_in_place_of_a_film_is_rejected_and_no_film_counts_as_missing(
    scripted: Scripted, client_type: type[JellyfinReader] | type[EmbyReader]
):
    box_set = {"Id": "b" * 32, "Name": "Parts Collection", "Type": "BoxSet", "ProviderIds": {"Tmdb": "900"}}
    film = {"Id": "a" * 32, "Name": "Alone", "Type": "Movie"}
    scripted.say(Answer({"Items": [film, box_set], "TotalRecordCount": 2}))
    client = client_type(scripted.url, "key", attempts=1)
    films, listing = films_of(client, FILMS)
    assert [one.title for one in films] == ["Alone"]
    assert listing.unreadable_ids == ["b" * 32]
    assert "'Parts Collection'" in listing.problems[0] and "BoxSet" in listing.problems[0]
    assert not listing.complete
    client.close()


@pytest.mark.parametrize("server", VERSIONS)
def test_changes_are_read_without_counting_the_episodes_of_every_series(server: str):
    with served(server) as (running, client):
        state = running.state
        state.play(Play("ada", "movie:1", NOW - timedelta(hours=1), completion=0.5))
        state.play(Play("ada", "movie:2", NOW - timedelta(hours=2)))
        state.set_favorite("ada", "movie:3")
        user = state.user_named("ada").id
        pages = client.changed_states(user, NOW - timedelta(days=2), Listing())
        seen = {one.server_item_id: one for page in pages for one in page}
        assert set(seen) == {state.item_ids(key)[0] for key in ("movie:1", "movie:2", "movie:3")}
        assert state.costly("jellyfin") == 0
        state.set_favorite("ada", "series:1")
        pages = client.changed_states(user, NOW - timedelta(days=2), Listing())
        assert state.item_ids("series:1")[0] in {one.server_item_id for page in pages for one in page}


@pytest.mark.parametrize("server", VERSIONS)
def test_ratings_of_films_that_were_never_played_are_read_and_cost_one_request_where_nobody_rates(server: str):
    with served(server, page_size=2) as (running, client):
        state, user = running.state, running.state.user_named("ada").id

        def look() -> tuple[dict[str, float], int]:
            listing, before = Listing(), client.requests
            found = [one for page in client.all_states(user, listing) for one in page]
            assert listing.complete and all(one.has_content for one in found)
            return {one.name or "": one.rating for one in found if one.rating is not None}, client.requests - before

        nothing, requests = look()
        assert nothing == {} and requests == 5
        state.rate("ada", "movie:1", 9.0)
        state.rate("ada", "movie:2", 2.0)
        assert look()[0] == {"Alone": 9.0, "Part One": 2.0}
        state.rate("ada", "movie:1", None)
        assert look() == ({}, 5), "what is known is looked up by its id"


@pytest.mark.parametrize("client_type", [JellyfinReader, EmbyReader])
def test_pages_with_user_data_are_smaller(scripted: Scripted, client_type: type[JellyfinReader] | type[EmbyReader]):
    scripted.say(Answer({"Items": [], "TotalRecordCount": 0}))
    client = client_type(scripted.url, "key", attempts=1, page_size=1000)
    films_of(client, FILMS)
    assert not [page for page in client.all_states("u", Listing()) if page]
    sizes = []
    for asked in scripted.asked:
        query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(asked.target).query).items()}
        sizes.append((query["enableuserdata"], int(query["limit"])))
    assert sizes[0] == ("false", 1000)
    assert set(sizes[1:]) == {("true", 200)}
    client.close()


@pytest.mark.parametrize("server", SERVERS)
def test_the_state_of_another_version_can_be_matched_to_its_film(server: str):
    """A state has the listed item's id or one of its ``version_ids``."""
    with served(server) as (running, client):
        state = running.state
        for key in ("movie:4", "movie:5"):
            state.play(Play("ada", key, NOW - timedelta(hours=1), completion=0.5, version=1))
        films = {film.title: film for film in films_of(client)[0]}
        user = state.user_named("ada").id if server != "emby" else client.users().records[0].user_id
        ids = {name: {film.server_item_id, *film.version_ids} for name, film in films.items()}
        pages = [
            *client.all_states(user, Listing()),
            *client.states_of(user, [f.server_item_id for f in films.values()]),
        ]
        started = {one.server_item_id for page in pages for one in page if one.position_share >= 0.05}
        assert {name for name in ids if ids[name] & started} == {"Two Files", "Merged"}
        if server == "12.0.0":
            assert len(ids["Merged"]) == len(ids["Two Files"]) == 2
        assert ids["Alone"] == {films["Alone"].server_item_id}


def test_versions_are_requested_only_for_films_with_several():
    with served("12.0.0") as (running, client):
        library = named(client, "Movies")
        before = running.state.requests("jellyfin")
        films_of(client, library)
        assert running.state.requests("jellyfin") - before == 2
        asked = [target for target, _ in running.state.arrivals("jellyfin", "MediaSources") if "ids=" in target]
        (query,) = [parse_qs(urlsplit(target).query) for target in asked]
        assert sorted(query["ids"][0].split(",")) == sorted(
            item for key in ("movie:4", "movie:5") for item in running.state.item_ids(key)
        )


@pytest.mark.parametrize("server", SERVERS)
def test_a_users_tags_and_excluded_folders_are_read_also_behind_a_proxy_that_asks_for_authorization(server: str):
    route = Route(headers={"authorization": "Basic aG9tZTpzZWNyZXQ="})
    with served(server, route=route) as (running, client):
        running.state.add_user(WorldUser("bo", blocked_tags=("gore",), allowed_tags=("kids", "fun")))
        running.state.restrict(
            "bo", blocked_tags=["gore"], allowed_tags=["kids", "fun"], excluded_locations=["/media/movies"]
        )
        users = {user.name: user for user in client.users().records}
        assert (users["bo"].blocked_tags, users["bo"].allowed_tags) == (("gore",), ("kids", "fun"))
        assert users["bo"].excluded_folders == (("/media/movies",) if server == "emby" else ())
        assert users["ada"].blocked_tags == users["ada"].allowed_tags == users["ada"].excluded_folders == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_tags_of_a_library_apply_to_all_its_items(version: str):
    world = small_world()
    world.libraries = (
        WorldLibrary("Movies", "movies", ("/media/movies",), tags=("Kids",)),
        WorldLibrary("TV Shows", "tvshows", ("/media/tv",), tags=("gore",)),
    )
    world.users.append(WorldUser("child", allowed_tags=("kids",), blocked_tags=("Gore",)))
    with running_simulator(world, SimulatorSettings(jellyfin_version=version)) as running:
        client = JellyfinReader(running.jellyfin_url, "demo-jellyfin-key", attempts=1)
        ids = {library.name: library.library_id for library in client.libraries()}
        child = next(user for user in client.users().records if user.name == "child")
        assert child.open_library_ids == (ids["Movies"],)
        assert not child.all_libraries
        assert set(child.library_ids) == {ids["Movies"], ids["Collections"]}
        client.close()


def test_embys_older_list_of_tags_is_understood():
    """With ``IsTagBlockingModeInclusive`` the only list holds the allowed tags."""
    user: dict[str, Any] = {"Id": "1", "Name": "x"}
    told = parse_emby_user(user | {"Policy": {"BlockedTags": ["kids"], "IsTagBlockingModeInclusive": True}})
    assert (told.blocked_tags, told.allowed_tags) == ((), ("kids",))
    both = {"BlockedTags": ["gore"], "IncludeTags": ["kids"], "IsTagBlockingModeInclusive": True}
    told = parse_emby_user(user | {"Policy": both})
    assert (told.blocked_tags, told.allowed_tags) == (("gore",), ("kids",))
    assert parse_user(user | {"Policy": {"BlockedTags": None}}).blocked_tags == ()


def test_a_deleted_folder_excludes_nothing():
    with served("emby") as (running, client):
        running.state.restrict("ada", excluded_locations=["/media/movies"])
        rule = FaultRule("emby", "/SelectableMediaFolders", "empty_list")
        running.state.add_fault(rule)
        assert client.users().records[0].excluded_folders == ()


def test_the_key_in_the_query_appears_in_no_message(scripted: Scripted, caplog: pytest.LogCaptureFixture):
    caplog.set_level(0)
    scripted.say(Answer({"oops": "the-key"}, status=500))
    route = Route(headers={"Authorization": "Basic aG9tZTpzZWNyZXQ="})
    client = JellyfinReader(scripted.url, "the-key", attempts=1, route=route)
    with pytest.raises(Exception, match="Jellyfin") as told:
        client.identity()
    client.close()
    assert scripted.asked[0].headers["authorization"] == "Basic aG9tZTpzZWNyZXQ="
    assert "ApiKey=the-key" in scripted.asked[0].target
    assert "the-key" not in str(told.value) + caplog.text


@pytest.mark.parametrize("server", SERVERS)
def test_what_users_did_is_listed_and_which_of_it_is_the_end_of_a_play(server: str):
    now = datetime.now(UTC)
    with served(server) as (running, client):
        state = running.state
        (one, *_), film = state.users.values(), next(iter(state.titles))
        for hours in (3, 1):
            state.play(Play(one.name, film, now - timedelta(hours=hours)))
        state.mark_played(one.name, film)
        before = client.requests
        found = client.activities(now - timedelta(hours=2))
        assert client.requests - before == 1
        assert found is not None
        assert [(play.user_id, abs(play.at - now + timedelta(hours=1)) < timedelta(seconds=1)) for play in found] == [
            (one.id, True)
        ]
        assert len(client.activities(now - timedelta(hours=4)) or ()) == 2
        item = state.item_ids(film)[0]
        state.begin_play(one.name, item)
        state.end_play(one.name, 0.5)
        told = client.activities(now)
        assert told is not None and [play.is_end_of_play for play in told] == [True, False, False]
        state.add_fault(FaultRule("*", "/System/ActivityLog/Entries", status=404))
        assert client.activities(now) is None


@pytest.mark.parametrize("server", SERVERS)
def test_what_is_being_played_is_known_by_user_and_item(server: str):
    with served(server) as (running, client):
        state = running.state
        one = next(iter(state.users.values()))
        state.add_user(WorldUser("other"))
        other = state.user_named("other")
        film = next(item for item in state.catalogue.items("Movie") if item.present)
        number = item_number(film) if server == "emby" else film.id
        assert client.playing() == set()
        for user in (one, other):
            state.begin_play(user.name, film.id, 0.2)
        assert client.playing() == {(one.id, number), (other.id, number)}
        state.end_play(one.name, 0.5)
        assert client.playing() == {(other.id, number)}


@pytest.mark.parametrize("kind", ["VideoPlaybackStopped", "playback.stop"])
def test_an_entry_is_a_play_by_its_type(kind: str):
    entry = {"Id": 7, "Type": kind, "Date": "2026-01-02T03:04:05.1234567Z", "UserId": "A" * 32}
    found = parse_activity(entry)
    assert found is not None and found.is_end_of_play
    assert (found.entry, found.user_id, found.at.second) == ("7", "a" * 32, 5)
    other = parse_activity(entry | {"Type": "VideoPlayback"})
    assert other is not None and not other.is_end_of_play
    assert parse_activity({"Id": 8, "Type": "TaskCompleted"}) is None


@pytest.mark.parametrize("server", SERVERS)
def test_a_mark_is_in_no_log_and_is_found_by_the_request_it_came_with_and_by_counts(server: str):
    with served(server) as (running, client):
        state = running.state
        state.add_user(WorldUser("other"))
        user = state.user_named("other")
        app = Client(running, "other", server="emby" if server == "emby" else "jellyfin")
        film, series = (next(one for one in state.catalogue.items(kind) if one.present) for kind in ("Movie", "Series"))
        film_id, series_id = (item_number(one) if server == "emby" else one.id for one in (film, series))
        came, entries = client.last_requests()[user.id], client.activities(NOW)
        assert client.count_marks(user.id) == (0, 0)
        state.advance(200)
        app.favorite(series_id)
        app.like(film_id)
        assert client.activities(NOW) == entries
        assert client.last_requests()[user.id] - came > timedelta(minutes=3)
        before = client.requests
        assert client.count_marks(user.id) == (1, 1)
        assert client.requests - before == 2
        app.like(film_id, False)
        app.favorite(film_id)
        assert client.count_marks(user.id) == (2, 0)
        # Others are not counted for it, and a device of somebody who was deleted does not hide the others'.
        assert all(
            client.count_marks(one) == (0, 0) for one in state.users if one != user.id and not state.users[one].data
        )
        state.remove_user("other")
        assert user.id not in client.last_requests()
