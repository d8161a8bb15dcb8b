"""Changes on the media server: libraries, users, items. Each leaves everything else there as it was."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.http.errors import BadAnswer, RequestRejected, UnknownServerVersion
from aperture_dagster.media_server.emby.reader import EmbyReader
from aperture_dagster.media_server.emby.writer import EmbyWriter
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.jellyfin.writer import JellyfinWriter
from aperture_dagster.simulator.opinions import png
from aperture_dagster_tests.media_server.writers import ROOT, SERVERS, film_ids, service, user_id, views_of, writing
from aperture_dagster_tests.services import Answer, Scripted

every_server = pytest.mark.parametrize("server", SERVERS)


# Versions, dry runs


@every_server
def test_what_the_server_is_and_what_could_disturb_publishing_is_seen(server: str):
    with writing(server, plugins=("TMDb", "Merge Versions"), group_into_collections=True) as (running, writer):
        found = writer.server()
        assert found.product == service(server)
        assert str(found).startswith("Jellyfin 1" if server != "emby" else "Emby 4.8.11")
        assert (
            found.version[:2] == tuple(map(int, running.state.settings.emby_version.split(".")))[:2] or server != "emby"
        )
        assert found.clock is not None and abs(found.clock - datetime.now(UTC)) < timedelta(minutes=1)
        assert "Merge Versions" in writer.plugins()
        assert writer.grouping_enabled() is (server != "emby")
    with writing(server) as (_, writer):
        assert not writer.grouping_enabled()


@pytest.mark.parametrize(
    ("reader_type", "writer_type", "version", "known"),
    [
        (JellyfinReader, JellyfinWriter, "10.8.13", False),
        (JellyfinReader, JellyfinWriter, "10.9.0", True),
        (JellyfinReader, JellyfinWriter, "10.12.0", False),
        (JellyfinReader, JellyfinWriter, "12.1.0-rc2", True),
        (JellyfinReader, JellyfinWriter, "13.0.0", False),
        (JellyfinReader, JellyfinWriter, "", False),
        (EmbyReader, EmbyWriter, "4.7.14.0", False),
        (EmbyReader, EmbyWriter, "4.9.0.41-beta", True),
        (EmbyReader, EmbyWriter, "5.0.0.0", False),
    ],
)
def test_nothing_is_written_to_a_server_of_an_unknown_version(
    scripted: Scripted, reader_type: Any, writer_type: Any, version: str, known: bool
):
    scripted.say(Answer({"Id": "server", "Version": version}))
    with closing(writer_type(reader_type(scripted.url, "key", attempts=1))) as writer:
        if known:
            writer.start_scan()
            return
        for write in (writer.start_scan, writer.server, lambda: writer.set_picture("1", b"", "image/png")):
            with pytest.raises(UnknownServerVersion, match=version or "unknown"):
                write()
        assert {asked.method for asked in scripted.asked} == {"GET"}


@every_server
def test_a_dry_run_counts_and_changes_nothing(server: str, tmp_path: Path):
    with writing(server, tmp_path, dry_run=True) as (running, writer):
        films, users = film_ids(writer), writer.user_objects()
        bo = next(iter(users))
        libraries = writer.libraries()
        movies = next(one for one in libraries if one.name == "Movies")
        writer.create_library("Picks", "movie", ROOT, enabled=False, scan=False)
        writer.set_library_options(movies, movies.options | {"SaveLocalMetadata": True})
        writer.delete_library(movies, scan=True)
        writer.refresh_library(movies)
        writer.start_scan()
        writer.set_policy(bo, users[bo]["Policy"] | {"EnableAllFolders": False})
        writer.set_configuration(bo, users[bo]["Configuration"] | {"HidePlayedInLatest": False})
        is_jellyfin = writer.product == "jellyfin"
        if is_jellyfin:
            writer.set_user_data(bo, films["Alone"], {"Played": True})
            writer.forget_play(bo, films["Alone"])
        made = writer.create_collection("Top Picks", list(films.values()))
        writer.stamp(made, "top-picks")
        writer.add_to_collection(made, [films["Alone"]])
        writer.set_picture(films["Alone"], png("x"), "image/png")
        assert writer.writes == Counter(
            ["library_created", "library_options", "library_deleted", "library_refreshed", "scan", "policy",
             "configuration", "collection_created", "stamped", "collection_items_added", "picture"]
            + ["user_data"] * 2 * is_jellyfin
        )  # fmt: skip
        assert writer.libraries() == libraries and writer.user_objects() == users
        assert running.state.names_of_lists("BoxSet") == ["Parts Collection"]


# Ratings


@pytest.mark.parametrize("server", [one for one in SERVERS if one != "emby"])
def test_a_rating_is_set_and_removed_for_one_user(server: str):
    with writing(server) as (_, writer):
        film, bo = film_ids(writer)["Alone"], user_id(writer, "bo")

        def shown(name: str) -> float | None:
            (states,) = writer.reader.states_of(user_id(writer, name), [film])
            return states[0].rating

        assert writer.keeps_ratings
        for rating in (7, 10, None, None):
            writer.set_rating(bo, film, rating)
            assert (shown("bo"), shown("cleo")) == (rating, None)
        assert writer.writes["rating"] == 4


def test_a_rating_that_landed_elsewhere_is_noticed(scripted: Scripted):
    """The server may write to the owner of a token in place of the user."""
    scripted.say(Answer({"Id": "server", "Version": "10.11.0"}), Answer({"Rating": 7}), Answer({"Played": False}))
    writer = JellyfinWriter(JellyfinReader(scripted.url, "key", attempts=1))
    with closing(writer), pytest.raises(BadAnswer, match="API key of the dashboard"):
        writer.set_rating("bo", "film", 7)


def test_neither_ratings_nor_user_data_are_written_to_emby():
    with writing("emby") as (running, writer):
        running.state.reset_counters()
        assert not writer.keeps_ratings
        with pytest.raises(RequestRejected):
            writer.set_rating("1", "2", 7)
        with pytest.raises(RequestRejected):
            writer.set_user_data("1", "2", {"Played": True})
        with pytest.raises(RequestRejected):
            writer.forget_play("1", "2")
        assert running.state.requests("emby") == 0


# Users


@every_server
def test_a_policy_is_written_with_everything_that_it_had_and_logged_without_a_secret(
    server: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    with writing(server) as (running, writer):
        running.state.set_policy_fields("bo", NewSwitch=True)
        bo, before = user_id(writer, "bo"), writer.user_objects()
        movies = next(one for one in writer.libraries() if one.name == "Movies").policy_id
        policy = before[bo]["Policy"]
        writer.set_policy(bo, policy | {"EnableAllFolders": False, "EnabledFolders": [movies]})
        after = writer.user_objects()
        assert after[bo]["Policy"] == policy | {"EnableAllFolders": False, "EnabledFolders": [movies]}
        assert {one: user for one, user in after.items() if one != bo} == {
            one: user for one, user in before.items() if one != bo
        }
        assert [name for _, name in views_of(writer, bo, hidden=True) if name != "Collections"] == ["Movies"]
        for part in ({"EnableAllFolders": True}, {}, {"IsAdministrator": False, "EnabledFolders": []}):
            with pytest.raises(RequestRejected, match="incomplete"):
                writer.set_policy(bo, part)
        assert writer.user_objects() == after
        settings = running.state.settings
        assert f"change the policy of user {bo}" in caplog.text
        assert settings.jellyfin_key not in caplog.text and settings.emby_key not in caplog.text


@every_server
def test_a_library_is_hidden_in_the_views_of_one_user(server: str):
    with writing(server) as (_, writer):
        bo, cleo = user_id(writer, "bo"), user_id(writer, "cleo")
        before = writer.user_objects()[bo]["Configuration"]
        movies = next(view for view, name in views_of(writer, bo, hidden=False) if name == "Movies")
        writer.set_configuration(bo, before | {"MyMediaExcludes": [movies], "LatestItemsExcludes": [movies]})
        assert "Movies" not in [name for _, name in views_of(writer, bo, hidden=False)]
        assert "Movies" in [name for _, name in views_of(writer, bo, hidden=True)]
        assert "Movies" in [name for _, name in views_of(writer, cleo, hidden=False)]
        after = writer.user_objects()[bo]["Configuration"]
        assert after == before | {"MyMediaExcludes": [movies], "LatestItemsExcludes": [movies]}
        with pytest.raises(RequestRejected, match="empty"):
            writer.set_configuration(bo, {})


@pytest.mark.parametrize("server", ["12.0.0", "10.11.11"])
def test_user_data_is_written_field_by_field_and_nobody_is_active_through_it(server: str):
    with writing(server) as (running, writer):
        film, bo = film_ids(writer)["Alone"], user_id(writer, "bo")
        active = running.state.user_named("bo").last_activity
        at = datetime(2026, 5, 1, 20, 15, tzinfo=UTC)
        for data in (
            {"PlaybackPositionTicks": 6_000_000_000, "LastPlayedDate": "2026-05-01T20:15:00.000000Z"},
            {"IsFavorite": True},
        ):
            writer.set_user_data(bo, film, data)
        (state,) = [one for page in writer.reader.states_of(bo, [film]) for one in page]
        assert (state.played, state.position_ticks, state.favorite) == (False, 6_000_000_000, True)
        assert state.last_played_at == at
        assert running.state.user_named("bo").last_activity == active
        writer.forget_play(bo, film)
        (state,) = [one for page in writer.reader.states_of(bo, [film]) for one in page]
        assert (state.played, state.play_count, state.position_ticks, state.last_played_at) == (False, 0, 0, None)
        assert state.favorite, "that is no play"


# Items and libraries


@every_server
def test_all_files_of_a_film_are_found(server: str):
    with writing(server) as (_, writer):
        films = film_ids(writer)
        files = writer.original_files([films["Alone"], films["Two Files"], films["Two Parts"]])
        sources = {item_id: of.sources for item_id, of in files.items()}
        (single,) = sources[films["Alone"]]
        assert single.path is not None and single.path.startswith("/media/movies/") and single.parts == ()
        assert len({source.path for source in sources[films["Two Files"]]}) == 2
        (parted,) = sources[films["Two Parts"]]
        assert len({parted.path, *parted.parts}) == 2
        assert sorted(car[car.index(".") :] for car in parted.side_cars) == [".de.forced.srt", ".en.mka"]
