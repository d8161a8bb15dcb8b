"""What steps print is in the file of their run, and where it would have gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aperture_dagster.instance import step_output
from aperture_dagster.instance.step_output import mirrored
from aperture_dagster.instance.storage import ApertureComputeLogManager
from aperture_dagster_tests.waiting import SECONDS, wait_for


def test_what_a_step_prints_is_in_its_file_and_on_the_terminal_while_it_runs_without_a_process(tmp_path: Path):
    terminal, file = tmp_path / "terminal", tmp_path / "logs" / "run" / "step.err"
    threads = threading.active_count()
    with terminal.open("w") as stream:
        with mirrored(stream, str(file)):
            stream.write("from Python\n")
            os.write(stream.fileno(), b"from C\n")
            subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=stream, check=True, timeout=SECONDS)
            stream.flush()
            everything = "from C\nfrom a child\nfrom Python\n"
            wait_for(lambda: terminal.read_text() == everything, terminal.read_text, pause=0.05)
            stream.write("last\n")
        assert terminal.read_text() == file.read_text() == everything + "last\n"
        stream.write("after\n")
    with terminal.open("a") as stream, mirrored(stream, str(file)):
        stream.write("again\n")
    assert terminal.read_text() == everything + "last\nafter\nagain\n", "what was printed before is not repeated"
    assert file.read_text() == everything + "last\nagain\n"
    assert threading.active_count() == threads


def test_a_step_ends_when_nobody_reads_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(step_output, "PATIENCE_SECONDS", 0.1)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, mirrored(stream, str(tmp_path / "step.out")):
        # More than a pipe holds.
        stream.write("x" * 1_000_000)
    assert (tmp_path / "step.out").stat().st_size == 1_000_000
    os.close(reading)
    with mirrored(None, str(tmp_path / "none.out")):
        pass


def test_runs_use_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    manager = ApertureComputeLogManager(base_dir=str(tmp_path))
    before = set(threading.enumerate())
    with manager.capture_logs(["run", "compute_logs", "step"]):
        print("printed")
        started = [thread.name for thread in threading.enumerate() if thread not in before]
        assert started == ["output of a step"] * 2
    assert manager.is_capture_complete(["run", "compute_logs", "step"])
    assert (tmp_path / "run" / "compute_logs" / "step.out").read_text() == "printed\n"
    assert capfd.readouterr().out == "printed\n"
