"""Plays on a published copy count, even if the id of the copy on the server was never recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.e2e.publishing import Publishing, at_night
from aperture_dagster_tests.e2e.test_publishing import ANNAS, SHOWS, shelf
from aperture_dagster_tests.household import metadata_of

pytestmark = pytest.mark.e2e

two_servers = pytest.mark.parametrize("server", ["jellyfin@12.0.0", *at_night("jellyfin@10.11.11", "emby")])
SEPARATE = {"publish_as": "symlink"}
"""Copies with a watch state of their own on each server."""
TOP_PICKS = "Top Picks - Movies"
MANIFEST = ("published_entries", "published_libraries", "published_lists", "published_access")
LOG = """
    SELECT coalesce(t.title, s.title || format(' S%sE%s', e.season, e.number)) AS title,
    round(p.completion::numeric, 1)::float8 AS completion FROM plays p JOIN users u USING (user_id)
    LEFT JOIN titles t USING (item_id) LEFT JOIN episodes e USING (item_id)
    LEFT JOIN titles s ON s.item_id = e.series_item_id
    WHERE u.name = 'anna' AND p.played_at > now() - interval '1 day' ORDER BY 1"""
WATCHED = [
    {"title": "Film 3", "completion": 0.5},
    {"title": "Film 5", "completion": 1.0},
    {"title": "Series 1 S1E2", "completion": 1.0},
]


def publish_without_ids(place: Publishing) -> None:
    """Publish, but as a run that ended before the server had read what it placed."""
    place.publish_now()
    # Without any play, every look would be a full one.
    place.state.play(Play("anna", "movie:8", datetime.now(UTC) - timedelta(days=2)))
    place.home.must("sync_watch_history", users=place.home.everyone())
    assert place.home.rows("DELETE FROM item_versions WHERE is_published RETURNING 1")


def watch(place: Publishing) -> None:
    """Anna finishes a film and an episode on their copies, and watches half of another film."""
    films = place.items(ANNAS)
    with place.writer() as writer:
        episodes = writer.library_items(place.libraries()[SHOWS], "Episode")
    (episode,) = (one for one in episodes if (one.season, one.number) == (1, 2))
    for item, completion in ((films["Film 5"], 1.0), (films["Film 3"], 0.5), (episode, 1.0)):
        place.state.play_item("anna", item.server_item_id, completion, datetime.now(UTC))


def read(place: Publishing) -> int:
    """Read what is new of the histories; return how many requests that took."""
    place.state.reset_counters()
    result = place.home.must("sync_watch_history", users=place.home.everyone())
    assert metadata_of(result, "watch_history", "anna")["compared_in_full"] is False
    return sum(sum(counts.values()) for counts in place.state.counters.requests.values())


@two_servers
def test_plays_on_copies_with_unknown_ids_count_for_the_originals(household: Any, tmp_path: Path, server: str):
    with shelf(household, tmp_path, server=server, share_watch_state=False, **SEPARATE) as place:
        publish_without_ids(place)
        watch(place)
        asked = read(place)
        assert place.home.rows(LOG) == WATCHED
        recorded = place.home.rows("SELECT server_item_id FROM item_versions WHERE is_published ORDER BY 1")
        assert len(recorded) == 3
        assert read(place) == asked, "it took no request to find out"
        assert place.home.rows(LOG) == WATCHED


def test_a_copy_is_recognised_without_what_the_manifest_knew(household: Any, tmp_path: Path):
    with shelf(household, tmp_path) as place:
        publish_without_ids(place)
        # As by the restore of a backup from before the publication.
        for table in MANIFEST:
            place.home.rows(f"DELETE FROM {table} RETURNING 1")
        watch(place)
        read(place)
        assert place.home.rows(LOG) == WATCHED


@two_servers
def test_plays_on_copies_with_unknown_ids_are_kept_when_the_copies_disappear(
    household: Any, tmp_path: Path, server: str
):
    """Nobody reads the histories in between."""
    with shelf(household, tmp_path, server=server, **SEPARATE) as place:
        place.recommend("anna", "Film 3", "Film 1", "Film 5")
        publish_without_ids(place)
        watch(place)
        with place.publication() as publication:
            published = publication.unpublish()
        assert not [one.error for one in published.outcomes if one.error is not None]
        assert ANNAS not in place.libraries() and place.home.rows(LOG) == WATCHED
        read(place)
        assert place.home.rows(LOG) == WATCHED


def test_a_user_who_was_deleted_on_the_server_costs_nobody_a_library_of_everybody(household: Any, tmp_path: Path):
    with shelf(household, tmp_path, also=["top_picks_libraries"], server="jellyfin@12.0.0", **SEPARATE) as place:
        place.pick("Film 3", "Film 1")
        place.publish_top_picks()
        film = place.items(TOP_PICKS)["Film 3"]
        place.state.play_item("anna", film.server_item_id, 1.0, datetime.now(UTC))
        place.state.advance(180)
        place.pick("Film 1")
        place.state.remove_user("ben")
        with place.publication() as publication:
            published = publication.publish(["top_picks"])
        assert [one.error for one in published.outcomes if one.error is not None] == []
        assert TOP_PICKS in place.libraries()
        assert [row["title"] for row in place.home.rows(LOG)] == ["Film 3"]
