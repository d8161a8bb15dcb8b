"""The unit of a bare host: accepted by systemd, without needless rights, and of the settings that the product knows."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import click
import pytest

from aperture_dagster.cli.main import main as aperture
from aperture_dagster.settings import known_variables
from aperture_dagster.up.plan import Limits
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.marks import why_missing
from aperture_dagster_tests.waiting import SECONDS

FOLDER = PROJECT / "deploy" / "systemd"
UNIT = FOLDER / "aperture.service"
PROGRAM = "/opt/aperture/bin/aperture"
MOST_EXPOSED = 2.0
"""Of ten, by ``systemd-analyze security``; below it is what systemd calls OK."""


def values(name: str) -> list[str]:
    """Return the values of a directive of the unit, in their order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.M)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A copy of the unit whose program exists here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip(why_missing("systemd-analyze", "systemd"))
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true"), encoding="utf-8")
    return path


def analyze(*words: str) -> str:
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_accepts_the_unit_without_a_word(unit: Path):
    assert analyze("verify", str(unit)) == ""
    # It does find a slip.
    unit.write_text(unit.read_text().replace("NoNewPrivileges", "NoNewPrivilege"))
    assert "NoNewPrivilege" in analyze("verify", str(unit))


def test_the_unit_exposes_little(unit: Path):
    found = re.search(
        r"Overall exposure level for aperture.service: ([\d.]+)", analyze("security", "--offline=true", str(unit))
    )
    assert found and float(found[1]) <= MOST_EXPOSED


def test_the_unit_runs_a_command_that_exists_as_its_own_account():
    (command,) = values("ExecStart")
    program, *words = shlex.split(command)
    assert program == PROGRAM and words[0] in aperture.list_commands(click.Context(aperture))
    (user,), (folder,) = values("User"), values("StateDirectory")
    account = (FOLDER / "aperture.sysusers").read_text(encoding="utf-8")
    assert re.search(rf'^u {user} - "[^"]+" /var/lib/{folder}$', account, re.M)
    given = dict(pair.split("=", 1) for line in values("Environment") for pair in shlex.split(line))
    assert given.keys() <= known_variables()
    assert given["APERTURE_HOME"] == f"/var/lib/{folder}"
    # The only folders that it may write to.
    assert values("ProtectSystem") == ["strict"] and values("ReadWritePaths") == []


def test_the_unit_gives_the_supervisor_time_to_stop_its_parts_in_order():
    # Otherwise systemd would signal all processes at once.
    assert values("KillMode") == ["mixed"]
    assert int(values("TimeoutStopSec")[0]) > 3 * Limits().stop_seconds


def test_administrators_use_the_program_as_the_unit_does():
    script = FOLDER / "aperture.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    text = script.read_text(encoding="utf-8")
    for pair in shlex.split(values("Environment")[0]):
        assert f" {pair} " in text
    assert f"runuser -u {values('User')[0]} -- " in text and f'{PROGRAM} "$@"' in text
    assert subprocess.run(["sh", "-n", str(script)], timeout=SECONDS).returncode == 0
