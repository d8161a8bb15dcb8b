"""A program that runs one job. Job, assets, time and settings come as JSON on stdin.

It prints ``{"success": …, "failures": …}``.
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

from aperture_dagster.partitions import USERS
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.forks import Fork
from aperture_dagster_tests.household import Household, SetClock, failures

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = "from aperture_dagster_tests.e2e.one_run import main; main()"


def start(settings: Settings, job: str, *assets: str, now: datetime, users: Sequence[str] = ()) -> Fork:
    """Start a process that runs a job, or some of its assets, at a simulated time; ``users`` take part."""
    order = {"job": job, "assets": assets, "now": now.isoformat(), "settings": plain(settings)}
    order["users"] = list(users)
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
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(USERS, order["users"])
        home = Household(load_settings(**order["settings"]), instance, clock=clock)
        result = home.run(order["job"], assets=order["assets"])
    print(json.dumps({"success": result.success, "failures": failures(result)}))
