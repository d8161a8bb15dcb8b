"""Real runs that fail: the operator hears it once, with the sentence that helps, and when it works again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.sensors import freshness_makers
from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.inbox import Inbox, open_inbox
from aperture_dagster_tests.watchman import Watchman

pytestmark = pytest.mark.e2e

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


def test_an_outage_is_reported_once_and_its_end_too(household: Any, inbox: Inbox):
    with household(small_world(movies=5), alert_urls=inbox.url, alert_ui_url="http://nas.example.org:3000") as (
        simulator,
        home,
    ):
        watchman = Watchman(home.settings, home.instance)
        home.must("sync_users")
        home.must("sync_movies")
        watchman.tick()
        assert inbox.take() == [], "nothing is wrong"

        simulator.state.add_fault(FaultRule("jellyfin", status=401))
        failed = home.run("sync_movies")
        watchman.tick()
        (message,) = inbox.take()
        assert message["title"] == "Aperture: movies failed"
        assert "refused (401)" in message["message"]
        assert "Check APERTURE_MEDIA_SERVER_API_KEY" in message["message"]
        assert f"http://nas.example.org:3000/operate/runs/{failed.run_id}" in message["message"]
        assert not home.run("sync_movies").success
        watchman.tick(after=MINUTE)
        assert inbox.take() == [], "repeats are not reported"

        # Another cause is another problem.
        simulator.state.clear_faults()
        simulator.state.add_fault(FaultRule("jellyfin", status=503))
        assert not home.run("sync_movies").success
        watchman.tick(after=MINUTE)
        assert inbox.titles == ["Aperture: movies failed"]

        simulator.state.clear_faults()
        home.must("sync_movies")
        watchman.tick(after=MINUTE)
        watchman.tick(after=2 * HOUR)
        (message,) = inbox.take()
        assert message["title"] == "Aperture: 2 problems are over"
        assert message["message"].count("Movies works again since ") == 2
        assert len([line for line in watchman.log() if "sync_movies" in line]) == 3
        secrets = [secret for secret in home.settings.secret_values() if secret not in ("127.0.0.1",)]
        for text in (str(message), *watchman.log()):
            assert not [secret for secret in secrets if secret in text]


def test_the_policies_of_all_assets_are_watched(household: Any):
    with household(small_world(movies=5)) as (_, home):
        graph = home.definitions.resolve_asset_graph()
        watched = {key for key in graph.materializable_asset_keys if graph.get(key).freshness_policy is not None}
        assert set(freshness_makers(home.settings, all_jobs(home.settings))) == watched
        assert dg.AssetKey("movies") in watched
