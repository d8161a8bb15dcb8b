"""Deletion of files of runs, of pictures, and of the beginning of the server's log."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from aperture_dagster.instance import run_files
from aperture_dagster.instance.run_files import bytes_below, purge_run_files, shorten_server_log
from aperture_dagster.maintenance import forget_pictures

NOW = datetime(2026, 5, 17, 1, 30, tzinfo=UTC)
BEFORE = NOW - timedelta(days=30)


def write(path: Path, *, days: int, text: str = "12345") -> Path:
    """Write a file of this age, in folders of the same age."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    moment = (NOW - timedelta(days=days)).timestamp()
    for one in (path, path.parent, path.parent.parent):
        os.utime(one, (moment, moment))
    return path


def run(number: int) -> str:
    return str(UUID(int=number))


def test_only_old_files_of_runs_that_ended_are_deleted(tmp_path: Path):
    old = write(tmp_path / "logs" / run(1) / "compute_logs" / "step.err", days=31)
    passed_on = write(tmp_path / "storage" / run(1) / "op" / "result", days=31)
    young = write(tmp_path / "logs" / run(2) / "compute_logs" / "step.err", days=29)
    working = write(tmp_path / "logs" / run(3) / "compute_logs" / "step.err", days=200)
    appended = write(tmp_path / "logs" / run(4) / "compute_logs" / "step.err", days=29)
    write(tmp_path / "logs" / run(4) / "compute_logs" / "step.out", days=40)
    value_of_asset = write(tmp_path / "storage" / "movies" / "all" / "result", days=400)
    notes = write(tmp_path / "logs" / "my notes" / "of" / "the year.txt", days=400)
    outside = write(tmp_path / "elsewhere" / "of" / "mine", days=400)
    (tmp_path / "logs" / run(5)).symlink_to(outside.parent)
    freed = purge_run_files(tmp_path, {run(3)}, before=BEFORE)
    assert (freed.rows, freed.bytes) == (2, 10)
    assert not old.parents[1].exists() and not passed_on.parents[1].exists()
    assert all(path.exists() for path in (young, working, appended, value_of_asset, notes, outside))
    assert purge_run_files(tmp_path, {run(3)}, before=BEFORE).rows == 0


def test_pictures_that_were_downloaded_long_ago_are_deleted(tmp_path: Path):
    old = write(tmp_path / "posters" / "a.picture", days=31)
    kept = [write(tmp_path / "posters" / "b.picture", days=29), write(tmp_path / "posters" / "mine.jpg", days=400)]
    freed = forget_pictures(tmp_path, before=BEFORE)
    assert (freed.rows, freed.bytes) == (1, 5)
    assert not old.exists() and all(path.exists() for path in kept)


def test_a_home_without_files_of_runs_is_fine(tmp_path: Path):
    assert purge_run_files(tmp_path / "dagster", set(), before=BEFORE).rows == 0
    assert shorten_server_log(tmp_path / "postgres").rows == 0
    assert forget_pictures(tmp_path, before=BEFORE).rows == 0
    assert bytes_below(tmp_path / "nothing") == 0


def test_the_servers_log_keeps_its_end_and_grows_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_files, "LONGEST_SERVER_LOG", 1_000)
    monkeypatch.setattr(run_files, "KEPT_OF_SERVER_LOG", 100)
    log = tmp_path / "log"
    with log.open("a") as server:
        server.write("".join(f"LOG: line {number}\n" for number in range(60)))
        server.flush()
        assert shorten_server_log(tmp_path).rows == 0, "not long yet"
        server.write("".join(f"LOG: line {number}\n" for number in range(60, 200)))
        server.flush()
        size = log.stat().st_size
        freed = shorten_server_log(tmp_path)
        assert (freed.rows, freed.bytes) == (1, size - log.stat().st_size)
        server.write("LOG: after\n")
    first, *_, last_before, last = log.read_text().splitlines()
    assert first.startswith("LOG: line 19") and (last_before, last) == ("LOG: line 199", "LOG: after")
    assert log.stat().st_size < 200
