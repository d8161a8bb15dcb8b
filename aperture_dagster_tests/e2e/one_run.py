"""A program that runs one job. Job, assets, time and settings come as JSON on stdin.

It prints ``{"success": …, "failures": …, "steps": …}``, unless the run is killed first.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import SecretStr
from sqlalchemy.engine.default import DefaultDialect

from aperture_dagster.files.open_folder import OpenFolder
from aperture_dagster.http.transport import Transport
from aperture_dagster.partitions import USERS
from aperture_dagster.publishing import reading
from aperture_dagster.ratings import client
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.forks import Fork
from aperture_dagster_tests.household import Household, SetClock, failures
from aperture_dagster_tests.killing import end_process, killed_at

PROJECT = Path(__file__).resolve().parents[2]
# Whatever can be seen from outside of the process, or by the next one.
STEPS = [
    (Transport, "_send_once"),
    (DefaultDialect, "do_commit"),
    *((OpenFolder, name) for name in ("make", "rename", "remove", "remove_folder")),
]
PROGRAM = "from aperture_dagster_tests.e2e.one_run import main; main()"


def start(
    settings: Settings, job: str, *assets: str, now: datetime, users: Sequence[str] = (), kill_at: int = 0
) -> Fork:
    """Start a process that runs a job, or some of its assets, at a simulated time, for the partitions of ``users``.

    ``kill_at``: the half step of ``STEPS`` at which it is killed, if it gets there; see :func:`killed_at`.
    """
    order = {"job": job, "assets": assets, "now": now.isoformat(), "settings": plain(settings)}
    order |= {"users": list(users), "kill_at": kill_at}
    # Temporary files of a killed process stay here, in the folder of the test.
    temporary = settings.home_path.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    process = Fork(PROGRAM, folder=PROJECT, environment=os.environ | {"TMPDIR": str(temporary)})
    process.tell(json.dumps(order))
    return process


def plain(settings: Settings) -> dict[str, Any]:
    """Return the settings that were given, in a form that JSON can hold, with secrets."""
    return {name: _plain(getattr(settings, name)) for name in settings.model_fields_set}


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


def main() -> None:
    """Run the job from stdin, and print the result."""
    order = json.load(sys.stdin)
    clock = SetClock(datetime.fromisoformat(order["now"]))
    # Stand-ins need no pauses.
    reading.POLL_SECONDS, client.WRITE_SECONDS, client.OUTAGE_WAIT_SECONDS = 0.02, 0.01, 0.02
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(USERS, order["users"])
        home = Household(load_settings(**order["settings"]), instance, clock=clock)
        with killed_at(STEPS, order["kill_at"], end_process) as done:
            result = home.run(order["job"], assets=order["assets"], users=order["users"] or None)
    print(json.dumps({"success": result.success, "failures": failures(result), "steps": 2 * len(done)}))
