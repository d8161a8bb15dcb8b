"""After a clock that was ahead, the operator hears of the next failure at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import dagster as dg
import pytest

from aperture_dagster.http.errors import ServiceRefused
from aperture_dagster.settings import Settings
from aperture_dagster_tests.inbox import open_inbox
from aperture_dagster_tests.sensors.test_failures import run
from aperture_dagster_tests.watchman import Watchman

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("ahead", [HOUR, timedelta(days=365)], ids=["hour", "year"])
def test_after_a_clock_that_was_ahead_the_next_failure_is_reported_at_once(
    make_settings: Callable[..., Settings], ahead: timedelta
):
    with dg.DagsterInstance.ephemeral() as instance, open_inbox() as inbox:
        watchman = Watchman(make_settings(alert_urls=inbox.url), instance)
        watchman.tick(after=ahead)
        run(watchman, ServiceRefused("Jellyfin refuses the key."))
        assert "Movies failed" in watchman.tick(after=-ahead)
        assert inbox.titles == ["Aperture: movies failed"]
        run(watchman)
        assert "Movies works again" in watchman.tick(after=2 * HOUR)
