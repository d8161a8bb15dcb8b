"""The processes of ``deploy/households`` in a folder: what the units start, with their commands."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.processes import running
from aperture_dagster_tests.waiting import wait_for

FILES = PROJECT / "deploy" / "households"


class Daemon:
    """Dagster's daemon for all households."""

    def __init__(self, process: Any, path: Path) -> None:
        self._process, self._path = process, path

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._process.poll() is None

    def log(self) -> str:
        """Return what it printed."""
        return self._path.read_text()


def command_of(unit: str, folder: Path, household: str = "") -> list[str]:
    """Return the command of a unit, for the programs of this environment and a folder instead of the system's."""
    text = (FILES / unit).read_text().replace("\\\n", " ")
    (command,) = re.findall("^ExecStart=(.*)$", text, re.MULTILINE)
    for path, here in {
        "/opt/aperture/bin": str(Path(sys.executable).parent),
        "/run/aperture-households": str(folder),
        "/etc/aperture/households": str(folder),
        "%i": household,
    }.items():
        command = command.replace(path, here)
    return shlex.split(command)


def variables_of(unit: str) -> dict[str, str]:
    """Return the variables of Dagster's that a unit sets."""
    return dict(re.findall(r"(DAGSTER_\w+|FRESHNESS_\w+)=(\S+)", (FILES / unit).read_text()))


@contextmanager
def deployment(
    households: Mapping[str, dict[str, str]] | Sequence[Any], dagster_url: str, folder: Path
) -> Iterator[Daemon]:
    """Run a code server for each household, and the daemon, until the block ends.

    ``households``: the environment of each, by name; or neighbours.
    """
    if not isinstance(households, Mapping):
        households = {one.name: one.variables for one in households}
    folder = folder / "d"
    folder.mkdir()
    (folder / "dagster.yaml").write_bytes((FILES / "dagster.yaml").read_bytes())
    servers = [{"grpc_server": {"socket": str(folder / f"{name}.sock"), "location_name": name}} for name in households]
    (folder / "workspace.yaml").write_text(yaml.safe_dump({"load_from": servers}))
    common = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    with ExitStack() as stack:
        for name, variables in households.items():
            command = command_of("aperture-household@.service", folder, name)
            environment = common | variables | {"DAGSTER_HOME": str(folder)}
            stack.enter_context(running(command, environment, folder / f"{name}.log"))
        for name in households:
            wait_for((folder / f"{name}.sock").exists, lambda name=name: (folder / f"{name}.log").read_text())
        environment = common | {
            **variables_of("aperture-daemon.service"),
            "DAGSTER_HOME": str(folder),
            "APERTURE_CONFIG": os.devnull,
            "APERTURE_HOME": str(folder / "home"),
            "APERTURE_DAGSTER_DATABASE_URL": dagster_url,
        }
        command = command_of("aperture-daemon.service", folder)
        process = stack.enter_context(running(command, environment, folder / "daemon.log"))
        yield Daemon(process, folder / "daemon.log")
