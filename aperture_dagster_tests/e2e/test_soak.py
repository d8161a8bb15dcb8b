"""The soak in small: two days and a calm one; ``make soak`` lives through a month."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from aperture_dagster_tests.conftest import PROJECT

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


def test_days_with_kills_and_faults_end_like_the_same_days_without():
    command = [sys.executable, str(PROJECT / "benchmarks" / "soak.py"), "--quick", "--seed", "1"]
    done = subprocess.run(command, cwd=PROJECT, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
