"""Collections and playlists on the media server: ours are as the lists say, and nothing of anybody else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster_tests.e2e.publishing import Publishing, at_night
from aperture_dagster_tests.e2e.test_publishing import film, shelf

pytestmark = pytest.mark.e2e

PICKS, ANNAS = "Top Picks - Movies", "anna's AI Picks - Movies"
SHOWS = "anna's AI Picks - TV Series"
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
            whole = writer._whole_item(collection.list_id, None) or {}
        assert not keeps_order(server) or whole["DisplayOrder"] == "Default"
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


def test_no_collection_where_it_would_hide_its_titles(household: Any, tmp_path: Path):
    with lists(household, tmp_path, *BOTH, stand_ins={"group_into_collections": True}) as place:
        place.pick("Film 1", "Film 2")
        metadata = place.publish_top_picks()
        assert found(place, "BoxSet") == {}
        assert "no collection is published" in metadata["warnings"]
        assert titles(place, "Playlist", PICKS, "ben") == ["Film 1", "Film 2"]


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
