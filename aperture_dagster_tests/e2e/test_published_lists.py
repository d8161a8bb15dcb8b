"""Collections and playlists on the media server, and runs that publish at the same time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.publishing import manifest as published
from aperture_dagster.publishing.server import publication
from aperture_dagster.publishing.server.playlists import ListPublisher
from aperture_dagster_tests.e2e.publishing import Publishing
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, shelf
from aperture_dagster_tests.household import materializations
from aperture_dagster_tests.marks import at_night

pytestmark = pytest.mark.e2e

PICKS = "Top Picks - Movies"
three_servers = pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.10.7", "emby")])
BOTH = ("top_picks_collections", "top_picks_playlists")
PLAYLISTS = ("recommendation_playlists",)


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
    with shelf(household, tmp_path, publish_lists=BOTH, server=server) as place:
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
    with shelf(household, tmp_path, publish_lists=PLAYLISTS, server=server) as place:
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
    with shelf(household, tmp_path, publish_lists=BOTH, stand_ins={"group_into_collections": True}) as place:
        place.pick("Film 1", "Film 2")
        metadata = place.publish_top_picks()
        assert found(place, "BoxSet") == {}
        assert "no collection is published" in metadata["warnings"]
        assert titles(place, "Playlist", PICKS, "ben") == ["Film 1", "Film 2"]


# At once: one waits for the other, but not for hours, and nothing comes in between


@pytest.mark.nightly(
    reason="Runs that wait for one another.",
    instead="worklist/test_services.py",
)
def test_while_another_run_publishes_for_hours_a_run_ends_without_a_failure_and_the_next_one_publishes(
    household: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "test")
    monkeypatch.setattr(published, "PATIENCE", "50ms")
    also = ["top_picks_libraries", "recommendation_playlists"]
    day = datetime.now(UTC).date().isoformat()
    with shelf(household, tmp_path, also=also) as place, place.publication() as other:
        place.pick("Film 1")
        home, tables = place.home, place.home.snapshot()
        place.state.reset_counters()
        with other.manifest.exclusively():
            for result in (
                place.publish(),
                home.must("refresh_top_picks", partition=day, assets=["top_picks_libraries"]),
            ):
                assert result.success and not list(materializations(result))
            with place.publication() as mine, pytest.raises(published.AlreadyPublishing, match="try again"):
                mine.unpublish()
            assert "Another run is publishing: waiting for it" in caplog.text, "nobody should wonder"
            assert place.changes() == 0 and place.files() == {}
            changed = {name for name, rows in home.snapshot().items() if rows != tables[name]}
            assert not {name for name in changed if name.startswith(("published", "recommendations"))}
            # A plan needs no lock.
            with place.publication(dry_run=True) as planned:
                outcomes = planned.publish(["recommendations"]).outcomes
            assert {one.kind: one.added for one in outcomes if one.name == ANNAS} == {"library": 5, "playlist": 5}
        # What waited would publish what it read earlier, over what another run read later.
        refused: list[str] = []

        def watched(owner: Any, name: str) -> None:
            do: Callable[..., Any] = getattr(owner, name)

            def call(*arguments: Any, **options: Any) -> Any:
                with pytest.raises(published.AlreadyPublishing), other.manifest.exclusively():
                    pass
                refused.append(name)
                return do(*arguments, **options)

            monkeypatch.setattr(owner, name, call)

        watched(publication, "gather")
        watched(ListPublisher, "publish")
        place.must_publish()
        assert sorted(refused) == ["gather", "publish", "publish"], "recommendations, and what was put aside"
        place.publish_top_picks()
        assert {ANNAS, "Top Picks - Movies"} <= set(place.views("anna"))
