"""The quarter in small: two days and two calm nights; ``make quarter`` lives through three months.

Faults alone are in e2e/test_listings.py. Kills alone are in publishing/test_crashes.py and postgres/test_restore.py;
both together, with wrong clocks, are only here.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from aperture_dagster_tests.conftest import PROJECT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly(
        reason="It lives through four days twice, with every job: six minutes of processor time.",
        instead="e2e/test_listings.py::test_titles_listed_before_a_failure_are_stored_and_nothing_is_removed",
    ),
]


def test_days_with_kills_and_faults_end_like_the_same_days_without():
    command = [sys.executable, str(PROJECT / "benchmarks" / "quarter.py"), "--quick", "--seed", "1"]
    done = subprocess.run(command, cwd=PROJECT, env=dict(os.environ), capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
