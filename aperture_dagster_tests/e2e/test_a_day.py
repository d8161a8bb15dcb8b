"""A quiet day, and one on which the media server is down for three hours, by a simulated clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aperture_dagster_tests.conftest import PROJECT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly(
        reason="Every minute of two days is simulated: 40 seconds.",
        instead="defs/test_schedules_by_the_clock.py::test_what_was_missed_is_started_once",
    ),
]


def test_a_day_of_schedules_runs_in_order_and_once_and_heals_after_an_outage():
    """The script judges; its clock is that of a whole process."""
    command = [sys.executable, str(PROJECT / "benchmarks" / "simulated_day.py")]
    command += ["--users", "2", "--movies", "30", "--series", "4"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-4000:]
    judged = [line for line in run.stdout.splitlines() if line.endswith((": PASS", ": FAIL"))]
    assert len(judged) == 15 and all(line.endswith(": PASS") for line in judged)
