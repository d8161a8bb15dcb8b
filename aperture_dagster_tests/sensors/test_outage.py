"""After an outage, the operator hears what it meant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aperture_dagster.jobs import Job
from aperture_dagster.maintenance.status import recent_outage
from aperture_dagster.sensors.outage import describe_outage
from aperture_dagster.settings import Settings
from aperture_dagster_tests.inbox import open_inbox
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.watchman import Watchman

HOUR = timedelta(hours=1)


def test_after_an_outage_the_operator_hears_what_it_meant(make_settings: Callable[..., Settings]):
    with open_inbox() as inbox, instance_in_memory() as instance:
        watchman = Watchman(make_settings(alert_urls=inbox.url), instance)
        now = watchman.clock.now()
        assert watchman.tick(last=now - timedelta(hours=2)) == "Nothing new is wrong." and inbox.take() == []
        said = watchman.tick(last=now - timedelta(days=3))
        assert said.startswith("Nothing ran for 3 days, since ") and "each job now runs once." in said
        assert "Lists follow with generate_recommendations, one of them." in said
        (message,) = inbox.take()
        assert (message["title"], message["message"]) == ("Aperture: it runs again", said)
        assert watchman.log()[-1].endswith(said)
        with watchman.database.transaction() as connection:
            assert recent_outage(connection, now=now + HOUR) == said
            assert recent_outage(connection, now=now + 25 * HOUR) is None
        # One who does not take it delays nothing.
        inbox.status = 500
        assert "No message to json://" in watchman.tick(last=now - timedelta(days=99))


def test_missed_starts_are_counted_by_the_operators_clock(make_settings: Callable[..., Settings]):
    settings = make_settings(timezone="Europe/Berlin")
    jobs = [
        Job("nightly", "", (), cron="30 2 * * *"), Job("weekly", "", (), cron="0 9 * * 1"),
        Job("often", "", (), cron="0 */6 * * *"), Job("generate_recommendations", "", (), cron="0 3 * * *"),
        Job("off", "", (), cron="0 3 * * *", off_if=lambda settings: "off"), Job("never", "", ()),
    ]  # fmt: skip
    # 03:10 to 09:00 in Berlin, on a Monday.
    begin, end = datetime(2026, 5, 18, 1, 10, tzinfo=UTC), datetime(2026, 5, 18, 7, tzinfo=UTC)
    assert describe_outage(jobs, settings, since=begin, now=end) == (
        "Nothing ran for 6 h, since Mon 18 May 03:10. 2 runs of 2 jobs were missed; each job now runs once. "
        "Lists follow Tue 03:00."
    )
    said = describe_outage(jobs, settings, since=end, now=end + 4 * HOUR)
    assert said.endswith("1 run of 1 job was missed; each job now runs once. Lists follow Tue 03:00.")
    assert describe_outage(jobs[:1], settings, since=begin, now=end).endswith("No run was missed.")
    assert "More than 14 runs of 1 job" in describe_outage(
        jobs[:1], settings, since=begin - timedelta(days=90), now=end
    )
