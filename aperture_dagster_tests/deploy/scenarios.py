"""What the services of Compose live through: a first start, and upgrades."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aperture_dagster.instance.terminal import WAITING as CODE_SERVER_GONE
from aperture_dagster_tests.deploy.services import SERVICES, Services, backups_in, stopwatch

WAITING = "No code server answers at code:4000; waiting."
TROUBLE = re.compile(r"Traceback|Error\b|ERROR|CRITICAL|failed")


def trouble(log: str) -> list[str]:
    """Return the lines of a log that say that something went wrong."""
    return [line for line in log.splitlines() if TROUBLE.search(line)]


def first_start(services: Services) -> Iterator[str]:
    """Start all services at once on empty volumes, let a run go through, and stop them; yield what was seen."""
    began = stopwatch()
    services.start(*SERVICES)
    services.wait_until_healthy(*SERVICES)
    yield f"{', '.join(SERVICES)} were healthy after {stopwatch() - began:.0f} s"
    for name in ("webserver", "daemon"):
        assert services.log(name).startswith(WAITING), services.log(name)
    run = services.launch("sync_users")
    services.wait_for_run(run, "SUCCESS")
    users = services.sql("SELECT count(*) FROM users")
    assert users == "[(3,)]", users
    yield f"a run read {users} users, {stopwatch() - began:.0f} s after the start"
    status = services.execute("code", "aperture", "status", "--json")
    assert '"name": "daemon", "state": "ok"' in " ".join(status.stdout.split()), status
    backup = services.execute("code", "aperture", "backup", "create")
    assert backup.returncode == 0, backup.stdout + backup.stderr
    assert len(backups_in(services.volumes["backups"])) == 1
    yield "a backup was made and proven"
    took = services.stop("daemon", "webserver", "code")
    for name in SERVICES:
        assert not trouble(services.log(name)), services.log(name)
    yield f"they ended after {', '.join(f'{name} {seconds:.0f} s' for name, seconds in took.items())}"


def replacement_of_all(services: Services) -> Iterator[str]:
    """Stop all services and start new ones, with a run in the queue; yield what was seen."""
    services.start(*SERVICES)
    services.wait_until_healthy(*SERVICES)
    services.wait_for_run(services.launch("sync_users"), "SUCCESS")
    services.stop("daemon")
    queued = services.launch("sync_movies")
    assert services.status(queued) == "QUEUED"
    services.stop("webserver", "code")
    before = {name: len(services.log(name)) for name in SERVICES}
    began = stopwatch()
    services.start(*SERVICES)
    services.wait_until_healthy(*SERVICES)
    services.wait_for_run(queued, "SUCCESS")
    yield f"the run that was queued went through {stopwatch() - began:.0f} s after the start"
    said = {name: services.log(name)[before[name] :] for name in SERVICES}
    require_quiet(said)


def replacement_of_one(services: Services) -> Iterator[str]:
    """Replace the code server while the webserver and the daemon of the version before run on; yield what was seen.

    That is what ``docker compose up`` does first. Several runs are queued, and one of them is in progress.
    """
    runs = [services.launch("sync_series") for _ in range(3)]
    services.wait_for_run(runs[0], "STARTED", "SUCCESS")
    before = {name: len(services.log(name)) for name in SERVICES}
    took = services.stop("code")
    services.start("code")
    services.wait_until_healthy("code")
    for run in runs:
        services.wait_for_run(run, "SUCCESS")
    said = {name: services.log(name)[before[name] :] for name in SERVICES}
    yield f"the code server ended after {took['code']:.0f} s, and all {len(runs)} runs went through"
    require_quiet(said)
    yield "webserver and daemon said one line at most: that they wait for the code server"


def require_quiet(said: dict[str, str]) -> None:
    """Check that nothing was wrong, and that who waits for the code server said so once at most."""
    assert not trouble(said["code"]), said["code"]
    for name in ("webserver", "daemon"):
        lines = [line for line in said[name].splitlines() if line.strip()]
        assert len(lines) <= 1 and all(WAITING in line or CODE_SERVER_GONE in line for line in lines), said[name]
