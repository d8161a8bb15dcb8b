"""A failed run is one line in the home's failures.log, without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from aperture_dagster.build import build_definitions
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.resources.errors import ServiceRefused
from aperture_dagster.settings import Settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


def failure_of(settings: Settings, instance: dg.DagsterInstance, error: Exception) -> list[str]:
    """Fail a run with an error, let the sensor see it, and return the lines that it wrote."""

    @dg.op
    def failing(context) -> None:
        with operator_errors(context, settings):
            raise error

    @dg.job
    def failing_job() -> None:
        failing()

    result = failing_job.execute_in_process(instance=instance, raise_on_error=False)
    repository = build_definitions(settings).get_repository_def()
    sensor = repository.get_sensor_def("run_failure_sensor")
    event = next(event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE)
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name, dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    ).for_run_failure()
    sensor(context)  # type: ignore[operator]
    return (settings.home_path / "failures.log").read_text(encoding="utf-8").splitlines()


def test_a_failed_run_is_one_line_with_what_failed_and_why(settings: Settings, instance: dg.DagsterInstance):
    (line,) = failure_of(settings, instance, ServiceRefused("TMDb refuses the key:\n set TMDB_API_KEY."))
    assert datetime.fromisoformat(line.split(" ")[0]) <= datetime.now(UTC)
    assert "failing_job" in line
    assert line.endswith("failed: failing: TMDb refuses the key: set TMDB_API_KEY.")


def test_an_unexpected_error_is_one_line_too(settings: Settings, instance: dg.DagsterInstance):
    (line,) = failure_of(settings, instance, ZeroDivisionError("what\nnow"))
    assert "ZeroDivisionError: what now" in line


def test_failures_are_appended(settings: Settings, instance: dg.DagsterInstance):
    failure_of(settings, instance, ServiceRefused("one"))
    assert len(failure_of(settings, instance, ServiceRefused("two"))) == 2


def test_no_secret_is_in_the_log(make_settings, instance: dg.DagsterInstance):
    settings = make_settings(media_server_api_key="s3cr3t-key", tmdb_api_key="t0p-s3cr3t")
    (line,) = failure_of(settings, instance, RuntimeError("GET /3/movie/1?api_key=t0p-s3cr3t with s3cr3t-key"))
    assert "s3cr3t" not in line


def test_a_long_log_loses_its_older_half(settings: Settings, instance: dg.DagsterInstance):
    settings.home_path.mkdir(parents=True)
    path = settings.home_path / "failures.log"
    path.write_text("".join(f"failure {number:,}\n" for number in range(90_000)))
    lines = failure_of(settings, instance, ServiceRefused("the last one"))
    assert path.stat().st_size < 600_000
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines[0].startswith("failure ") and lines[-2] == "failure 89,999" and lines[-1].endswith("the last one.")
