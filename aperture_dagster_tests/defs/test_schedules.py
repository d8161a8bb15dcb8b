"""Schedules: one run for all users, today's Top Picks, and a sentence when there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from aperture_dagster import partitions
from aperture_dagster.build import build_definitions
from aperture_dagster.instance.runs import run_under_way
from aperture_dagster.jobs import Job
from aperture_dagster.model import in_words
from aperture_dagster.partitions import USERS, range_tags
from aperture_dagster_tests.defs.shared import checked, definitions_of, settings_of
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.sensors.runs import add_run

SERVER = {"media_server_url": "http://127.0.0.1:9", "media_server_api_key": "key"}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    """The instance of all ticks; each would open another one, which takes longer than the tick."""
    with dg.instance_for_test() as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "from_ref", lambda _: nullcontext(opened))
        yield opened


@pytest.fixture
def tick(instance: dg.DagsterInstance) -> Callable[..., dg.RunRequest | dg.SkipReason]:
    """What a job's schedule says at a moment, for a household of some users."""

    def ticking(
        job: str,
        users: tuple[str, ...] = (),
        at: datetime | None = None,
        sound: tuple[str, ...] = ("enriched_metadata", "embeddings"),
        **overrides: object,
    ) -> dg.RunRequest | dg.SkipReason:
        repository = definitions_of(**SERVER | overrides).get_repository_def()
        instance.wipe()
        instance.add_dynamic_partitions(USERS, list(users))
        for asset in ("enriched_metadata", "embeddings"):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset))
            checked(instance, asset, passed=asset in sound)
        moment = at or datetime.now(UTC)
        with dg.build_schedule_context(
            instance=instance, scheduled_execution_time=moment, repository_def=repository
        ) as context:
            data = repository.get_schedule_def(f"{job}_schedule").evaluate_tick(context)
        if not data.run_requests:
            return dg.SkipReason(data.skip_message)
        (request,) = data.run_requests
        return request

    return ticking


def test_one_run_serves_all_users(tick):
    request = tick("sync_watch_history", ("Alma", "Bruno", "Zoë Ünal", "Clara"))
    assert request.partition_key is None
    assert request.tags["dagster/asset_partition_range_start"] == "Alma"
    assert request.tags["dagster/asset_partition_range_end"] == "Clara"


def test_without_users_it_says_what_to_run_first(tick):
    skipped = tick("generate_recommendations")
    assert isinstance(skipped, dg.SkipReason)
    assert "sync_users" in skipped.skip_message


@pytest.mark.parametrize("job", ["sync_users", "generate_embeddings"])
def test_what_is_about_the_whole_needs_no_partition(tick, job: str):
    request = tick(job)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key is None


@pytest.mark.parametrize(
    ("timezone", "at", "day"),
    [
        ("UTC", datetime(2026, 3, 1, 5, tzinfo=UTC), "2026-03-01"),
        ("Pacific/Auckland", datetime(2026, 2, 28, 16, tzinfo=UTC), "2026-03-01"),
        # Late: the tick of a day belongs to that day in the operator's time zone, whatever day it is in Greenwich.
        ("America/Los_Angeles", datetime(2026, 3, 2, 1, tzinfo=UTC), "2026-03-01"),
    ],
)
def test_top_picks_are_those_of_the_day_where_the_operator_lives(
    tick, monkeypatch: pytest.MonkeyPatch, timezone: str, at: datetime, day: str
):
    monkeypatch.setattr(partitions, "HISTORY", timedelta(days=9000))
    assert tick("refresh_top_picks", at=at, timezone=timezone).partition_key == day


@pytest.mark.parametrize("job", ["sync_users", "refresh_top_picks"])
def test_without_a_media_server_nothing_starts_and_the_setting_is_named(tick, job: str):
    skipped = tick(job, ("Alma",), media_server_url=None)
    assert isinstance(skipped, dg.SkipReason)
    assert "APERTURE_MEDIA_SERVER_URL" in skipped.skip_message


def test_schedules_keep_the_operators_time_zone():
    repository = definitions_of(**SERVER, timezone="Pacific/Auckland").get_repository_def()
    assert {schedule.execution_timezone for schedule in repository.schedule_defs} == {"Pacific/Auckland"}


@pytest.mark.parametrize(
    ("job", "sound", "check"),
    [
        ("generate_recommendations", ("enriched_metadata",), "cover_the_library"),
        ("refresh_top_picks", (), "has_every_title"),
    ],
)
def test_a_failed_blocking_check_stops_the_schedules_of_what_follows_and_is_named(
    tick, job: str, sound: tuple[str, ...], check: str
):
    skipped = tick(job, ("Alma",), sound=sound)
    assert isinstance(skipped, dg.SkipReason)
    assert check in skipped.skip_message


def test_a_failed_blocking_check_does_not_stop_what_could_repair_it(tick):
    assert isinstance(tick("enrich_metadata", ("Alma",), sound=()), dg.RunRequest)


def test_in_quiet_hours_a_schedule_makes_only_what_is_not_written_to_the_media_server(tick):
    now = datetime.now(UTC)
    around = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    before = f"{now - timedelta(hours=2):%H:%M}-{now - timedelta(hours=1):%H:%M}"
    given = {"publish": True, "publish_root": "/nonexistent", "users": ("Alma",)}
    skipped = tick("sync_libraries", **given, quiet_hours=around)
    assert skipped.skip_message == f"Nothing is written to the media server in the quiet hours, {around}."
    assert isinstance(tick("sync_libraries", **given, quiet_hours=before), dg.RunRequest)
    assert tick("sync_watching_libraries", **given, quiet_hours=around).asset_selection == [
        dg.AssetKey("shows_you_watch")
    ]
    assert tick("sync_watching_libraries", **given, quiet_hours=before).asset_selection is None


@pytest.mark.parametrize(
    ("cron", "quiet", "starts"),
    [
        ("0 5 * * *", "04:00-07:30", "30 7 * * *"), ("0 5 * * *", "22:00-07:30", "30 7 * * *"),
        ("0 23 * * 6", "22:00-07:30", "30 7 * * 0"), ("0 23 * * 2,6", "22:00-07:30", "30 7 * * 0,3"),
        ("0 5 * * *", "05:30-07:30", "0 5 * * *"),
        ("0 5 * * *", "03:00-05:00", "0 5 * * *"), ("*/15 * * * *", "04:00-07:30", "*/15 * * * *"),
    ],
)  # fmt: skip
def test_a_job_that_would_publish_in_the_quiet_hours_starts_at_their_end(cron: str, quiet: str, starts: str):
    settings = settings_of(schedules={"refresh_something": cron}, quiet_hours=quiet)
    assert Job("refresh_something", "Refresh.", ("recommendation_libraries",)).timed(settings).cron == starts
    assert Job("refresh_something", "Refresh.", ("movies",)).timed(settings).cron == cron


@pytest.mark.parametrize(
    ("cron", "starts"),
    [
        ("30 12 * * *", "2026-05-17 12:30"),
        ("15 3 * * 1", "2026-05-18 03:15"),
        ("15 3 * * 0", "2026-05-24 03:15"),
        ("15 3 * * 0,5", "2026-05-22 03:15"),
        ("0 */5 * * *", "2026-05-17 15:00"),
    ],
)
def test_a_job_knows_when_the_clock_starts_it_next(cron: str, starts: str):
    # A Sunday, at noon in Berlin.
    now, settings = datetime(2026, 5, 17, 10, 0, 30, tzinfo=UTC), settings_of(**SERVER, timezone="Europe/Berlin")
    job = Job("refresh_something", "Refresh something.", ("something",), cron=cron)
    assert f"{job.next_start(now, settings):%Y-%m-%d %H:%M}" == starts
    assert job.next_start(now, settings_of(schedules={"refresh_something": "off"})) is None


@pytest.mark.parametrize(
    ("cron", "deadline", "days", "words"),
    [
        ("30 22 * * *", "30 1 * * *", 1, "22:30"),
        ("0 8 * * 0", "0 11 * * 0", 7, "Sunday 08:00"),
        ("30 22 * * 6", "30 1 * * 0", 7, "Saturday 22:30"),
        ("15 21 * * 3", "15 0 * * 4", 7, "Wednesday 21:15"),
        ("15 21 * * 1,3,6", "15 0 * * 0,2,4", 2, "Monday, Wednesday and Saturday 21:15"),
    ],
)
def test_what_is_made_daily_or_weekly_must_have_been_made_since_the_last_deadline(
    cron: str, deadline: str, days: int, words: str
):
    job = Job("refresh_something", "Refresh something.", ("something",), cron=cron, quiet=days > 1)
    assert job.freshness("UTC") == dg.FreshnessPolicy.cron(
        deadline, lower_bound_delta=timedelta(days=days), timezone="UTC"
    )
    assert in_words(cron) == words


def test_only_what_a_job_makes_can_become_too_old(make_settings):
    def watched(definitions: dg.Definitions) -> set[str]:
        graph = definitions.resolve_asset_graph()
        nodes = [graph.get(key) for key in graph.toposorted_asset_keys]
        return {node.key.to_user_string() for node in nodes if node.freshness_policy is not None}

    usual = watched(definitions_of())
    assert not {"trakt_ratings", "seerr_requests"} & usual
    on = {"ratings_to_server": True, "requests_per_week": 2, "seerr_url": "http://seerr.invalid"}
    assert watched(definitions_of(**on, seerr_api_key="key")) - usual == {"trakt_ratings", "seerr_requests"}
    off = build_definitions(make_settings(schedules={"sync_movies": "off"}))
    assert usual - watched(off) == {"movies"}
    jobs = {job.name for job in off.get_repository_def().get_sensor_def("first_sync_sensor").jobs}
    assert "sync_movies" not in jobs and "sync_series" in jobs, "the first sync does not start it either"


def test_a_job_with_nothing_to_do_runs_once_a_day_whatever_the_clock_said_at_its_last_run(instance: dg.DagsterInstance):
    settings, clock = settings_of(**SERVER), SetClock(datetime.now(UTC))
    job = Job("probe", "Probe.", ("probe",), skip_if=lambda settings, clock: "Nothing to do.")
    assert job.why_skip(instance, settings, clock) is None
    add_run(instance, "probe", "SUCCESS")
    assert job.why_skip(instance, settings, clock) == "Nothing to do."
    last = clock.moment
    for later in (timedelta(hours=24), -timedelta(hours=1), -timedelta(days=365)):
        clock.moment = last + later
        assert job.why_skip(instance, settings, clock) is None


@pytest.mark.parametrize(
    ("tags", "holds"),
    [
        (range_tags("Alma", "Bruno"), True),
        ({"dagster/partition": "Alma"}, False),
        (range_tags("Alma", "Alma"), False),
        # An older run of the schedule.
        ({"dagster/schedule_name": "sync_watch_history_schedule"} | range_tags("Alma", "Alma"), True),
    ],
)
def test_only_a_run_that_does_the_same_holds_a_schedule_up(
    instance: dg.DagsterInstance, tags: dict[str, str], holds: bool
):
    instance.wipe()
    add_run(instance, "sync_watch_history", "STARTED", **tags)
    request = dg.RunRequest(job_name="sync_watch_history", tags=range_tags("Alma", "Bruno"))
    assert (run_under_way(instance, request, ["Alma", "Bruno"]) is not None) == holds
