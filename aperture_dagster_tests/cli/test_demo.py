"""What demos leave in a home, and for whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aperture_dagster.cli.demo import demo_home, point_at, stand_ins
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.users import contained, in_namespaces

KEEP = """
import sys
from pathlib import Path
from aperture_dagster.cli.demo import stand_ins
with stand_ins(Path(sys.argv[1]), "demo", 1):
    print("up", flush=True)
    sys.stdin.readline()
"""


def left_in(home: Path) -> set[str]:
    return {path.name for path in home.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("container", [False, pytest.param(True, marks=in_namespaces())])
def test_a_start_removes_what_killed_demos_left_and_nothing_of_one_that_runs(tmp_path: Path, container: bool):
    """Finding S1: whether another demo runs was asked of its process id, which means nothing across containers."""
    command: list[str | Path] = [sys.executable, "-c", KEEP, tmp_path]
    with subprocess.Popen(
        contained(command) if container else command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=PROJECT, env=os.environ | {"APERTURE_CONFIG": os.devnull},
    ) as other:  # fmt: skip
        assert other.stdout is not None and other.stdout.readline() == "up\n"
        (running,) = left_in(tmp_path)
        for name in ("stand-ins-of-one-that-was-killed", "logos"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "lock").touch()
        with stand_ins(tmp_path, "demo", 1):
            pass
        assert left_in(tmp_path) == {running, "logos"}
        other.send_signal(signal.SIGKILL)
        other.communicate()
    with stand_ins(tmp_path, "demo", 1):
        pass
    assert left_in(tmp_path) == {"logos"}


def test_a_demo_keeps_apart_from_the_operators_own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Finding S7: it would have written its titles into the database of the real library."""
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path))
    assert demo_home(None) == tmp_path / "demo"
    assert demo_home(None, "emby") == tmp_path / "demo-emby"
    assert demo_home(str(tmp_path / "named")) == tmp_path / "named"


@pytest.mark.parametrize("name", ["APERTURE_DATABASE_URL", "aperture_database_url", "Aperture_Database_Url"])
def test_a_demo_ignores_a_configured_database_however_its_name_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    """Finding S7: settings are read from variables in small letters as well."""
    for variable in ("APERTURE_HOME", "APERTURE_CONFIG", "DAGSTER_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv(name, "postgresql://ann@films.example/films")
    monkeypatch.setenv("APERTURE_EMBEDDER", "openai")
    settings = point_at({}, tmp_path / "demo")
    assert settings.database_url is None
    assert settings.embedder == "wordllama", "nobody pays for the vectors of a demo"
    assert settings.home_path == tmp_path / "demo"
