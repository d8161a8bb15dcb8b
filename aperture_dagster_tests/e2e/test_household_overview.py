"""The household on one page, and what the pages of its users show after a run of everybody."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.defs.users import VERSION_TAG
from aperture_dagster.simulator.world import Play
from aperture_dagster_tests.household import Household, metadata_of

pytestmark = pytest.mark.e2e

JOB = "refresh_household_overview"


def lines(metadata: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the rows of a table on a page."""
    return [dict(record.data) for record in metadata[name].records]


def latest(home: Household, asset: str) -> dg.AssetMaterialization:
    """Return the event that the page of an asset shows."""
    event = home.instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None and event.asset_materialization is not None
    return event.asset_materialization


def version_of(home: Household) -> str:
    return (latest(home, "household_overview").tags or {})[VERSION_TAG]


def without_year(title: str) -> str:
    return re.sub(r" \(\d{4}\)$", "", title)


def test_the_page_of_the_household_shows_everybodys_lists_and_is_new_only_if_something_changed(settled):
    with settled() as (simulator, home, world):
        first = home.must(JOB)
        page = metadata_of(first, "household_overview")
        assert list(page)[:2] == ["status", "watch_first"], "what a person wants to know first"
        everybody = len(home.everyone())
        assert f"{everybody} of {everybody} users have a list." in page["status"]
        assert "Since " in page["status"] and "lists changed" in page["status"]
        assert [(row["user"], without_year(row["film"])) for row in lines(page, "watch_first")] == [
            (user, home.titles_for(user)[0]) for user in home.everyone()
        ]
        assert page["dagster/row_count"] == len(home.everyone())
        assert sum(len(str(value)) for value in page.values()) < 20_000, "events are kept"
        version = version_of(home)
        home.must(JOB)
        assert version_of(home) == version
        user = home.everyone()[0]
        watched = next(one for one in world.titles if one.title == home.titles_for(user)[0])
        simulator.state.play(Play(user, watched.key, datetime.now(UTC)))
        for job in ("sync_watch_history", "generate_recommendations"):
            home.must(job, users=home.everyone())
        home.must(JOB)
        assert version_of(home) != version
        home.rows("DELETE FROM recommendations WHERE user_id = (SELECT min(user_id) FROM users) RETURNING 1")
        assert "; none has been made for " in metadata_of(home.must(JOB), "household_overview")["status"]
