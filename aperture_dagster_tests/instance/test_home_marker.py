"""A run that cannot reach the files of the installation says so, and does nothing."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from aperture_dagster.cli.main import main as aperture
from aperture_dagster.instance.executor import executor
from aperture_dagster.instance.home_marker import MARKER
from aperture_dagster.settings import Settings

WORKED: list[str] = []


@dg.op
def working() -> None:
    WORKED.append("worked")


@dg.job(executor_def=executor)
def work() -> None:
    working()


def run(instance: dg.DagsterInstance) -> str | None:
    """Run the job, and return why it failed; None if it did not."""
    with dg.execute_job(dg.reconstructable(work), instance=instance) as done:
        if done.success:
            return None
        (failure,) = [event for event in done.all_events if event.is_run_failure]
        return failure.job_failure_data.error.to_string() if failure.job_failure_data.error else failure.message


@pytest.fixture(autouse=True)
def nothing_worked() -> None:
    WORKED.clear()


def test_a_run_in_another_home_fails_with_a_sentence_and_does_nothing(
    instance: dg.DagsterInstance, external: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Such as a container without the volume, in whose layer a backup would seem to succeed."""
    assert run(instance) is None
    elsewhere = tmp_path / "layer"
    monkeypatch.setenv("APERTURE_HOME", str(elsewhere))
    assert f"in {elsewhere}, which is not the home of this installation" in (run(instance) or "")
    assert WORKED == ["worked"]
    (failed,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    assert failed.tags["dagster/max_retries"] == "0", "another attempt would not reach it either"


def test_a_home_with_the_marker_of_another_installation_is_another_home(
    instance: dg.DagsterInstance, external: Settings, tmp_path: Path
):
    assert run(instance) is None
    (tmp_path / "home" / MARKER.name).write_bytes(MARKER.content("another one"))
    assert "not the home of this installation" in (run(instance) or "")


def test_a_home_that_was_moved_is_accepted_by_a_command_there(
    instance: dg.DagsterInstance, external: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert run(instance) is None
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "moved"))
    done = CliRunner().invoke(aperture, ["migrate"])
    assert done.exit_code == 0, done.output
    assert run(instance) is None
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path / "home"))
    assert run(instance) is None, "the folder before is no other installation's"
