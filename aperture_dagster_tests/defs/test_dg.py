"""In a checkout, `dg` finds the project, and what it lists is what the UI shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.defs.describe import describe, plain_definitions


def dg(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout, on a home of its own and without the settings of whoever runs the tests."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(PROJECT),
        "APERTURE_HOME": str(tmp_path / "home"),
    }
    command = [Path(sys.executable).with_name("dg"), *words]
    return subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300)


@pytest.mark.nightly(
    reason="Two programs that load Dagster and all definitions.",
    instead="defs/test_definitions.py::test_it_loads_with_no_environment_at_all_and_no_warning_of_ours",
)
def test_dg_checks_and_lists_the_definitions(tmp_path: Path):
    checked = dg(tmp_path, "check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "All definitions loaded successfully" in checked.stdout + checked.stderr

    listed = dg(tmp_path, "list", "defs", "--json")
    assert listed.returncode == 0, listed.stderr
    found, known = json.loads(listed.stdout), describe(plain_definitions())

    assert {asset["asset_key"] for asset in found["assets"]} == set(known["assets"])
    for part in ("jobs", "schedules", "sensors"):
        assert {one["name"] for one in found[part]} == set(known[part]), part
