"""Collections and playlists on the media server: only lists of ours are touched, and nothing else changes with them."""

from __future__ import annotations

from typing import Any

import pytest

from aperture_dagster.http.errors import BadAnswer, Conflict, NotFound, RequestRejected, ServiceUnavailable
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.media_server.listing import IDS_PER_QUERY
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.worlds import WorldSize, generate_world
from aperture_dagster_tests.media_server.writers import SERVERS, film_ids, service, user_id, writing
from aperture_dagster_tests.services import NOW, Answer, Scripted

ORDERED = ("10.10.7", "10.11.11", "12.0.0")
MARKER = "top-picks-movie"
every_server = pytest.mark.parametrize("server", SERVERS)


def whole(writer: MediaServerWriter, list_id: str) -> dict[str, Any]:
    item = writer._whole_item(list_id, None)
    assert item is not None
    return item


@every_server
def test_a_collection_is_created_and_changed_and_only_one_of_ours_is_deleted(server: str):
    with writing(server) as (running, writer):
        films = film_ids(writer)
        made = writer.create_collection("Top Picks - Movies", [films["Merged"], films["Alone"]])
        assert set(writer.collection_items(made)) == {films["Merged"], films["Alone"]}
        writer.add_to_collection(made, [films["Alone"], films["Part One"]])
        writer.remove_from_collection(made, [films["Merged"]])
        assert set(writer.collection_items(made)) == {films["Alone"], films["Part One"]}
        parts = next(one for one in writer.collections() if one.name == "Parts Collection").list_id
        for list_id, marker, why in (
            (films["Alone"], MARKER, "Movie"), (parts, MARKER, "not stamped"), (parts, None, "not stamped"),
        ):  # fmt: skip
            with pytest.raises(Conflict, match=why):
                writer.delete_list(list_id, expected_type="BoxSet", marker=marker)
        with pytest.raises(Conflict, match="BoxSet"):
            writer.delete_list(made, expected_type="Playlist", marker=MARKER)
        assert len(running.state.names_of_lists("BoxSet")) == 2 and film_ids(writer) == films
        writer.stamp(made, MARKER)
        writer.delete_list(made, expected_type="BoxSet", marker=MARKER)
        writer.delete_list(made, expected_type="BoxSet", marker=MARKER)
        assert running.state.names_of_lists("BoxSet") == ["Parts Collection"] and film_ids(writer) == films
        with pytest.raises(NotFound):
            writer.stamp(made, MARKER)
        with pytest.raises(Conflict):
            writer.stamp(films["Alone"], MARKER)


@every_server
def test_a_collection_of_someone_else_is_not_taken_over(server: str):
    with writing(server) as (_, writer):
        films = film_ids(writer)
        before = {one.list_id: writer.collection_items(one.list_id) for one in writer.collections()}
        for name in ("Parts Collection", "PARTS COLLECTION", "Parts?Collection"):
            with pytest.raises(Conflict, match="settings"):
                writer.create_collection(name, [films["Alone"]])
        assert {one.list_id: writer.collection_items(one.list_id) for one in writer.collections()} == before


@every_server
def test_stamping_and_ordering_a_collection_leaves_its_members_and_its_other_facts_alone(server: str):
    with writing(server) as (_, writer):
        films = film_ids(writer)
        made = writer.create_collection("Top Picks", [films["Merged"], films["Alone"]])
        library = next(one for one in writer.libraries() if one.name == "Movies")
        before = writer.library_items(library, "Movie")
        writes = writer.writes.copy()
        writer.stamp(made, MARKER)
        writer.stamp(made, MARKER)
        assert writer.writes - writes == {"stamped": 1}
        assert writer.library_items(library, "Movie") == before
        parts = next(one for one in writer.collections() if one.name == "Parts Collection")
        writer.stamp(parts.list_id, "other")
        assert {one.name: one.marker for one in writer.collections()} == {"Top Picks": MARKER, parts.name: "other"}
        assert [whole(writer, one)["LockData"] for one in (made, parts.list_id)] == [True, False]
        # Where the server keeps an order.
        writer.set_display_order(made, "Default")
        writer.set_display_order(made, "Default")
        assert writer.keeps_collection_order is (server in ORDERED)
        assert writer.writes["display_order"] == (server in ORDERED)
        if server in ORDERED:
            assert whole(writer, made)["DisplayOrder"] == "Default"
        assert set(writer.collection_items(made)) == {films["Merged"], films["Alone"]}


@every_server
def test_a_list_whose_creation_was_refused_or_not_answered_is_created_once(server: str):
    with writing(server) as (running, writer):
        films, bo = film_ids(writer), user_id(writer, "bo")
        if server != "emby":
            with pytest.raises(RequestRejected):
                writer.create_collection("Top Picks", [films["Alone"], "9" * 32])
            assert running.state.names_of_lists("BoxSet") == ["Parts Collection"], "its name is free"
        running.state.add_fault(FaultRule(service(server), "/Collections", "cut_off", times=1))
        made = writer.create_collection("Top Picks", [films["Alone"]])
        assert writer.collection_items(made) == [films["Alone"]]
        running.state.clear_faults()
        running.state.add_fault(FaultRule(service(server), "/Playlists", "cut_off", times=1))
        made = writer.create_playlist("Bo's Picks", bo, [films["Alone"]])
        assert [item for _, item in writer.playlist_entries(made, bo)] == [films["Alone"]]
        assert len(running.state.names_of_lists("BoxSet")) == 2
        assert running.state.names_of_lists("Playlist") == ["Bo's Picks"]
        running.state.clear_faults()
        running.state.add_fault(FaultRule(service(server), "/Collections", "status", status=503, times=1))
        with pytest.raises(ServiceUnavailable):
            writer.create_collection("Another", [films["Alone"]])


@pytest.mark.parametrize("server", [SERVERS[0], SERVERS[-2], "emby"])
def test_long_lists_are_written_in_batches_and_in_order(server: str):
    """Ids go into the query, and servers and proxies limit the length of a URL."""
    world = generate_world(WorldSize(movies=120, series=0, episodes=0, users=1, plays=0), seed=1, now=NOW)
    with writing(server, world=world) as (running, writer):
        films, (owner, *_) = list(film_ids(writer).values())[::-1], writer.user_objects()
        assert len(films) > 2 * IDS_PER_QUERY
        collection = writer.create_collection("Top Picks", films)
        assert set(writer.collection_items(collection)) == set(films)
        playlist = writer.create_playlist("Picks", owner, films)
        assert [item for _, item in writer.playlist_entries(playlist, owner)] == films
        assert all(len(target) < 4000 for target, _ in running.state.arrivals(service(server), ""))
        writer.remove_from_collection(collection, films[1:])
        assert writer.collection_items(collection) == films[:1]


@every_server
def test_a_playlist_belongs_to_its_user_alone_and_loses_entries_where_an_api_key_can_remove_them(server: str):
    with writing(server) as (_, writer):
        films, bo, cleo = film_ids(writer), user_id(writer, "bo"), user_id(writer, "cleo")
        made = writer.create_playlist("Bo's Picks", bo, [films["Merged"], films["Alone"]])
        writer.stamp(made, MARKER, user_id=bo)
        assert [(one.list_id, one.name, one.marker) for one in writer.playlists(bo)] == [(made, "Bo's Picks", MARKER)]
        assert writer.playlists(cleo) == []
        with pytest.raises(Conflict):
            writer.create_playlist("bo's picks", bo, [films["Alone"]])
        entries = [entry for entry, item in writer.playlist_entries(made, bo) if item == films["Merged"]]
        assert writer.can_remove_playlist_entries is (server in ("10.11.11", "12.0.0", "emby"))
        if writer.can_remove_playlist_entries:
            writer.remove_from_playlist(made, bo, entries)
            assert [item for _, item in writer.playlist_entries(made, bo)] == [films["Alone"]]
        else:
            with pytest.raises(RequestRejected):
                writer.remove_from_playlist(made, bo, entries)
        writer.delete_list(made, expected_type="Playlist", marker=MARKER, user_id=bo)
        assert writer.playlists(bo) == []


def test_a_list_is_not_updated_if_the_server_does_not_say_whether_it_is_locked(scripted: Scripted):
    info: dict[str, Any] = {"Id": "server", "Version": "12.0.0"}
    scripted.say(
        lambda asked: Answer(info if "/System/" in asked.target else {
            "Items": [{"Id": "a" * 32, "Type": "BoxSet", "Name": "Picks"}], "TotalRecordCount": 1,
        })
    )  # fmt: skip
    writer = JellyfinWriter(JellyfinReader(scripted.url, "key", attempts=1))
    with pytest.raises(BadAnswer, match="locked"):
        writer.stamp("a" * 32, MARKER)
    assert {asked.method for asked in scripted.asked} == {"GET"}
    writer.close()
