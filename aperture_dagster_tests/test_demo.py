"""What demos leave in a home, and for whom."""

from __future__ import annotations

import os
from pathlib import Path

from aperture_dagster.demo import stand_ins


def test_a_start_removes_what_killed_demos_left_and_nothing_of_one_that_runs(tmp_path: Path):
    nobody = 2**22 + 1
    for name in (f"stand-ins-{nobody}-a", "stand-ins-without-a-number", f"stand-ins-{os.getpid()}-b", "logos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").touch()
    with stand_ins(tmp_path, "demo", 1):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {f"stand-ins-{os.getpid()}-b", "logos"}
