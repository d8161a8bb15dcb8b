"""Runs that publish at the same time: one waits for the other, but not for hours, and nothing comes in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster.publishing import publication, published
from aperture_dagster.publishing.lists import ListPublisher
from aperture_dagster_tests.e2e.test_publishing import ANNAS, shelf
from aperture_dagster_tests.household import materializations

pytestmark = pytest.mark.e2e


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
        assert refused == ["gather", "publish"]
        place.publish_top_picks()
        assert {ANNAS, "Top Picks - Movies"} <= set(place.views("anna"))
