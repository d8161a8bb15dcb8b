"""Collections and playlists on the media server: ours are as the lists say, and nothing of anybody else is touched."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.media_server.changes import MediaServerChanges
from aperture_dagster.model.clock import Clock
from aperture_dagster.publishing.lists import ListPublisher
from aperture_dagster.publishing.publication import Publication
from aperture_dagster_tests.e2e.publishing import Publishing, at_night
from aperture_dagster_tests.e2e.test_publishing import film, shelf

pytestmark = pytest.mark.e2e

PICKS, ANNAS = "Top Picks - Movies", "anna's AI Picks - Movies"
SHOWS = "anna's AI Picks - TV Series"
# Where entries of a playlist can be removed, where it must be created again, and where entries have ids of their own.
THREE_SERVERS = ["jellyfin@10.10.7", "jellyfin@12.0.0", "emby"]
three_servers = pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.10.7", "emby")])
BOTH = ("top_picks_collections", "top_picks_playlists")
PLAYLISTS = ("recommendation_playlists",)


@contextmanager
def lists(household: Any, tmp_path: Path, *published: str, **how: Any) -> Iterator[Publishing]:
    """The household of `shelf`, without libraries."""
    with shelf(household, tmp_path, publish_lists=published, **how) as place:
        yield place


def keeps_order(server: str) -> bool:
    """Whether collections of the server are shown in rank order."""
    return server.startswith("jellyfin") and not server.endswith("10.9.11")


def found(place: Publishing, kind: str, owner: str | None = None) -> dict[str, Any]:
    """The lists on the server by name: collections, or the playlists of a user."""
    owner_id = place.state.user_named(owner).id if owner else None
    return {
        item.name: item
        for item in place.state.catalogue.items(kind)
        if owner_id is None or (item.ownership is not None and item.ownership.owner == owner_id)
    }


def titles(place: Publishing, kind: str, name: str, owner: str | None = None) -> list[str]:
    """What a list holds, in its own order."""
    return [one.item.name for one in place.state.lists.members_of(found(place, kind, owner)[name])]


def picks(place: Publishing) -> list[str]:
    return titles(place, "BoxSet", PICKS)


def publish(place: Publishing, *, dry_run: bool = False) -> Any:
    servers = MediaServers(place.home.settings, place.home.database)
    with servers.open_writer(dry_run=dry_run) as writer:
        log = logging.getLogger("test")
        return Publication(place.home.settings, place.home.database, writer, Clock(), log).publish_all()


@pytest.mark.parametrize(
    "server", ["jellyfin@12.0.0", *at_night("jellyfin@10.9.11", "jellyfin@10.10.7", "jellyfin@10.11.11", "emby")]
)
def test_top_picks_are_a_collection_and_a_playlist_for_each_user(household: Any, tmp_path: Path, server: str):
    with lists(household, tmp_path, *BOTH, server=server) as place:
        place.pick("Film 5", "Film 2", "Film 7", "Film 1")
        metadata = place.publish_top_picks()
        expected = ["Film 5", "Film 2", "Film 7", "Film 1"]
        assert picks(place) == expected
        with place.writer() as writer:
            (collection,) = writer.collections()
        assert collection.display_order == ("Default" if keeps_order(server) else collection.display_order)
        for user in ("anna", "ben"):
            assert titles(place, "Playlist", PICKS, user) == expected
            with place.writer() as writer:
                assert [one.name for one in writer.playlists(place.state.user_named(user).id)] == [PICKS]
        assert metadata["added"] == 12
        place.state.reset_counters()
        metadata = place.publish_top_picks()
        assert place.changes() == 0
        assert (metadata["added"], metadata["changed"], metadata["removed"]) == (0, 0, 0)
        place.pick("Film 7", "Film 5", "Film 8", "Film 1")
        metadata = place.publish_top_picks()
        expected = ["Film 7", "Film 5", "Film 8", "Film 1"]
        assert picks(place) == expected if keeps_order(server) else sorted(picks(place)) == sorted(expected)
        for user in ("anna", "ben"):
            assert titles(place, "Playlist", PICKS, user) == expected
        assert (metadata["added"], metadata["removed"]) == (3, 3)
        place.state.reset_counters()
        place.publish_top_picks()
        assert place.changes() == 0


@three_servers
def test_recommendations_are_playlists_that_only_their_owner_sees(household: Any, tmp_path: Path, server: str):
    with lists(household, tmp_path, *PLAYLISTS, server=server) as place:
        recorded = place.must_publish()
        assert titles(place, "Playlist", ANNAS, "anna") == ["Film 3", "Film 1", "Film 5", "Film 2", "Film 4"]
        assert set(found(place, "Playlist", "anna")) == {ANNAS, SHOWS}
        # All episodes of a series would flood the list.
        assert [one.item.kind for one in place.state.lists.members_of(found(place, "Playlist")[SHOWS])] == ["Episode"]
        assert sorted(one["added"] for one in recorded.values()) == [3, 6]
        with place.writer() as writer:
            ben = place.state.user_named("ben").id
            assert [one.name for one in writer.playlists(ben)] == ["ben's AI Picks - Movies"]
        place.state.reset_counters()
        place.must_publish()
        assert place.changes() == 0


@three_servers
def test_what_the_owner_of_a_playlist_added_stays_and_what_they_removed_returns(
    household: Any, tmp_path: Path, server: str
):
    with lists(household, tmp_path, *PLAYLISTS, server=server) as place:
        place.recommend("anna", "Film 1", "Film 2", "Film 3")
        place.must_publish()
        playlist = found(place, "Playlist", "anna")[ANNAS]
        place.state.set_members(playlist.id, ["movie:8", "movie:3", "movie:1", "movie:4"])
        place.state.rename_list(playlist.id, "Sunday")
        place.must_publish()
        expected = ["Film 1", "Film 2", "Film 3", "Film 8", "Film 4"]
        assert titles(place, "Playlist", "Sunday", "anna") == expected
        # Recommended later, and no longer: it is still what Anna added.
        place.recommend("anna", "Film 4", "Film 1")
        place.state.reset_counters()
        planned = publish(place, dry_run=True)
        assert not [one.error for one in planned.outcomes if one.error] and place.changes() == 0
        assert [(one.removed, one.changed) for one in planned.outcomes if one.changes] == [(2, 3)]
        assert titles(place, "Playlist", "Sunday", "anna") == expected
        place.must_publish()
        assert titles(place, "Playlist", "Sunday", "anna") == ["Film 4", "Film 1", "Film 8"]
        place.recommend("anna", "Film 1")
        place.must_publish()
        assert titles(place, "Playlist", "Sunday", "anna") == ["Film 1", "Film 4", "Film 8"]
        place.state.reset_counters()
        place.must_publish()
        assert place.changes() == 0
        assert set(found(place, "Playlist", "anna")) == {"Sunday", SHOWS}


def test_no_collection_where_it_would_hide_its_titles(household: Any, tmp_path: Path):
    with lists(household, tmp_path, *BOTH, stand_ins={"group_into_collections": True}) as place:
        place.pick("Film 1", "Film 2")
        metadata = place.publish_top_picks()
        assert found(place, "BoxSet") == {}
        assert "no collection is published" in metadata["warnings"]
        assert titles(place, "Playlist", PICKS, "ben") == ["Film 1", "Film 2"]


def test_each_list_of_the_server_is_read_once(household: Any, tmp_path: Path):
    with lists(household, tmp_path, *BOTH, *PLAYLISTS) as place:
        place.pick("Film 1", "Film 2")
        publish(place)
        before = len(place.state.arrivals("jellyfin", "ncludeItemTypes="))
        publish(place)
        read = [target for target, _ in place.state.arrivals("jellyfin", "ncludeItemTypes=")[before:]]
        assert len([one for one in read if "includeItemTypes=BoxSet" in one]) == 1
        assert len([one for one in read if "includeItemTypes=Playlist" in one]) == 2


def test_a_users_parental_limit_holds_for_their_playlist_and_further_runs_change_nothing(
    household: Any, tmp_path: Path
):
    """The server drops more than is known here, and says nothing."""
    ratings = {1: "PG", 2: "R", 3: "G", 4: "Unheard-of", 5: "NC-17", 6: "PG"}
    films = [film(number, official_rating=rating, tags=(f"tag {number}",)) for number, rating in ratings.items()]
    with shelf(household, tmp_path, *films, publish_lists=("top_picks_playlists",)) as place:
        place.state.change_user("ben", max_parental_rating=12)
        place.home.must("sync_users")
        place.pick("Film 5", "Film 3", "Film 2", "Film 1", "Film 4")
        # Since the users were read.
        place.state.user_named("ben").policy.blocked_tags = ("tag 3",)
        place.publish_top_picks()
        assert titles(place, "Playlist", PICKS, "anna") == ["Film 5", "Film 3", "Film 2", "Film 1", "Film 4"]
        assert titles(place, "Playlist", PICKS, "ben") == ["Film 1"]
        for _ in range(2):
            place.state.reset_counters()
            metadata = place.publish_top_picks()
            assert place.changes() == 0 and not any(metadata[one] for one in ("added", "changed", "removed"))
        # Of today's picks, nothing is for Ben.
        place.pick("Film 5", "Film 2")
        place.publish_top_picks()
        assert PICKS not in found(place, "Playlist", "ben")
        assert titles(place, "Playlist", PICKS, "anna") == ["Film 5", "Film 2"]


class Killed(BaseException):
    """The process is gone: nothing catches this."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Kill at the n-th write to server or manifest: before it on odd numbers, after it on even ones."""
    done: list[str] = []

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            done.append(str(args[1]))
            if len(done) * 2 - 1 == step:
                raise Killed
            result = original(*args, **kwargs)
            if len(done) * 2 == step:
                raise Killed
            return result

        return call

    with monkeypatch.context() as patched:
        patched.setattr(MediaServerChanges, "_write", guarded(MediaServerChanges._write))
        patched.setattr(ListPublisher, "_note", guarded(ListPublisher._note))
        yield done


@pytest.mark.nightly(
    reason="A whole household that publishes, for what a publisher alone shows.",
    instead="publishing/test_lists.py::test_a_run_that_ended_before_the_stamp_is_continued",
)
@pytest.mark.parametrize(
    ("begin", "server"), [(begin, server) for begin in ("new", "changed", "renamed") for server in THREE_SERVERS]
)
def test_a_killed_run_leaves_no_second_list_and_loses_nothing_of_anybody(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, begin: str
):
    with lists(household, tmp_path, *BOTH, server=server) as place:
        place.state.change_user("ben", is_disabled=True)
        place.home.must("sync_users")
        standard, names = place.home.settings, place.home.settings.publish_names
        # Every server is killed at other steps. ``make nightly`` kills each at every step.
        stride = int(os.environ.get("CRASH_STRIDE", "9"))
        for step in range(1 + 2 * THREE_SERVERS.index(server) % stride, 60, stride):
            expected = ["Film 4", "Film 1", "Film 3"]
            if begin != "new":
                place.pick("Film 1", "Film 2", "Film 3")
                publish(place)
                playlist, box_set = found(place, "Playlist")[PICKS], found(place, "BoxSet")[PICKS]
                for one in (playlist, box_set):
                    place.state.set_members(one.id, ["movie:1", "movie:2", "movie:3", "movie:8"])
                expected.append("Film 8")
            name = PICKS
            if begin == "renamed":
                name = "Best of - Movies"
                place.use(standard.model_copy(update={"publish_names": names | {"top_picks": "Best of - {type}"}}))
            place.pick("Film 4", "Film 1", "Film 3")
            with killed_at(step, monkeypatch) as done, suppress(Killed):
                publish(place)
            publish(place)
            where = f"killed at step {step}, {done[-1]}"
            assert list(found(place, "Playlist")) == list(found(place, "BoxSet")) == [name], where
            assert titles(place, "Playlist", name) == expected, where
            members = titles(place, "BoxSet", name)
            assert members == expected if keeps_order(server) else set(members) == set(expected), where
            if keeps_order(server):
                with place.writer() as writer:
                    assert [one.display_order for one in writer.collections()] == ["Default"], where
            place.state.reset_counters()
            publish(place)
            assert place.changes() == 0, where
            place.use(standard)
            with place.writer() as writer:
                log = logging.getLogger("test")
                Publication(place.home.settings, place.home.database, writer, Clock(), log).unpublish()
            assert not found(place, "Playlist") and not found(place, "BoxSet")
            if len(done) * 2 < step:
                return
