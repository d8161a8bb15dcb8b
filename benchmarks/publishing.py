"""Measure how long it takes to publish the lists of a large household, and to find out that nothing changed.

    python benchmarks/publishing.py [--users 50] [--titles 50] [--server jellyfin@10.11]

Publishes for each user a library of films and one of series, with posters, on a stand-in that scans them; then the same
again. Prints the seconds of both, and judges them by those of plain work in the same run: to copy the published files
(the second time, to look at them), and to send as many requests to the stand-in. The second time, no file may be
written, nothing may change on the server, and no scan may start. Exits with 1 if a limit was exceeded.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
from verdict import Verdict

from aperture_dagster.build import build_definitions
from aperture_dagster.catalogue.people import read_users
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.cli import demo
from aperture_dagster.cli.demo import StandIns
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.partitions import USERS, range_tags
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.publishing import reading
from aperture_dagster.publishing.publication import Publication, Published
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import read_items, replace_recommendations

# Ratios to plain work; the first time, posters are drawn, and the stand-in scans.
FIRST_LIMIT, SECOND_LIMIT = 10.0, 10.0
# Ten episodes a series, as in a household that collects seasons rather than soaps.
MOVIES, SERIES, EPISODES = 3_000, 400, 4_000


def main() -> int:
    """Run the benchmark, print the results, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--titles", type=int, default=50)
    parser.add_argument("--server", default="jellyfin@10.11")
    options = parser.parse_args()
    world = f"generated:movies={MOVIES},series={SERIES},episodes={EPISODES},users={options.users},plays=1000"
    with tempfile.TemporaryDirectory(prefix="aperture-publishing-", ignore_cleanup_errors=True) as folder:
        home, lists = Path(folder) / "home", Path(folder) / "lists"
        lists.mkdir()
        with StandIns(world, server=options.server).running(lists=lists) as (_, environment):
            settings = demo.point_at(environment, home, lists)
            reading.POLL_SECONDS = 0.2
            try:
                prepare(settings, options.titles)
                first = measure(settings)
                before = snapshot(lists)
                second = measure(settings)
                written = len(before.symmetric_difference(snapshot(lists)))
                address = f"{settings.media_server_url}/System/Info/Public"
                plain = [
                    copy_seconds(lists, Path(folder) / "copy") + request_seconds(address, first[1].requests),
                    look_seconds(lists) + request_seconds(address, second[1].requests),
                ]
            finally:
                release_embedded_server(home / "postgres")
    verdict = Verdict()
    measured = (("first", first, FIRST_LIMIT, plain[0]), ("second", second, SECOND_LIMIT, plain[1]))
    for name, (seconds, published), limit, reference in measured:
        print(
            f"{name:<7}{sum(one.entries for one in published.outcomes):,} entries in {len(published.outcomes)} "
            f"libraries, {sum(one.changes for one in published.outcomes):,} changed, "
            f"{sum(published.writes.values()):,} writes to the server, {published.refreshes} scans asked for, "
            f"{published.requests:,} requests"
        )
        what = f"the {name} time, {seconds:.1f} s, ratio to {reference:.1f} s of plain work"
        verdict.most(what, seconds / reference, limit)
    changed = sum(second[1].writes.values()) + second[1].refreshes + written
    print(f"{len(before):,} files; the second time {written} were written, and {changed - written} things changed")
    verdict.most("changes of the second time", changed, 0)
    return verdict.close()


def prepare(settings: Settings, titles: int) -> None:
    """Sync users and catalogue, and give each user a list of films and one of series."""
    definitions = build_definitions(settings, loggers={"console": silent()})
    with dg.DagsterInstance.ephemeral() as instance:
        for name in ("sync_users", "sync_movies", "sync_series"):
            users = instance.get_dynamic_partitions(USERS)
            result = definitions.resolve_job_def(name).execute_in_process(
                instance=instance,
                tags=range_tags(users[0], users[-1]) if users else None,
                run_config={"loggers": {"console": {}}},
            )
            if not result.success:
                raise OperatorError(f"{name} failed.")
    with Database(settings).transaction() as connection:
        items = read_items(connection)
        for user in read_users(connection):
            rows: list[dict[str, Any]] = []
            for media_type in ("movie", "series"):
                of_type = items[items["media_type"] == media_type]
                own = list(zip(of_type["work_id"].tolist(), of_type["item_id"].tolist(), strict=True))
                chosen = random.Random(f"{user.name} {media_type}").sample(own, min(titles, len(own)))
                rows += [
                    {
                        "user_id": user.user_id,
                        "media_type": media_type,
                        "rank": rank,
                        "work_id": work_id,
                        "item_id": item_id,
                        "score": 1 / rank,
                        "components": {},
                        "because": [],
                        "is_cold": False,
                    }
                    for rank, (work_id, item_id) in enumerate(chosen, start=1)
                ]
            replace_recommendations(connection, user.user_id, rows, today=date(2026, 5, 17))


def measure(settings: Settings) -> tuple[float, Published]:
    """Publish all recommendations; return the seconds that took, and what happened."""
    database = Database(settings)
    started = time.monotonic()
    with MediaServers(settings, database).open_writer() as writer:
        log = logging.getLogger("aperture.publishing")
        published = Publication(settings, database, writer, Clock(), log).publish(["recommendations"])
    failed = [one for one in published.outcomes if one.error is not None]
    if failed:
        raise OperatorError(f"{failed[0].name}: {failed[0].error}")
    return time.monotonic() - started, published


def copy_seconds(folder: Path, target: Path) -> float:
    """Copy a folder with its links; return the seconds."""
    started = time.monotonic()
    shutil.copytree(folder, target, symlinks=True)
    return time.monotonic() - started


def look_seconds(folder: Path) -> float:
    """Look at every file below a folder; return the seconds."""
    started = time.monotonic()
    snapshot(folder)
    return time.monotonic() - started


def request_seconds(address: str, count: int) -> float:
    """Send a request so many times, one after the other; return the seconds."""
    started = time.monotonic()
    with httpx.Client() as client:
        for _ in range(count):
            client.get(address).raise_for_status()
    return time.monotonic() - started


def snapshot(folder: Path) -> set[tuple[str, int, int]]:
    """Return every file below a folder with its inode and time of change."""
    found = set()
    for path in folder.rglob("*"):
        status = path.lstat()
        if not path.is_dir() or path.is_symlink():
            found.add((path.as_posix(), status.st_ino, status.st_mtime_ns))
    return found


def silent() -> dg.LoggerDefinition:
    """Return a logger without output, because standard output is for the figures."""

    def make(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.getLogger("aperture.publishing.jobs")
        logger.handlers, logger.propagate = [logging.NullHandler()], False
        return logger

    return dg.LoggerDefinition(make)


if __name__ == "__main__":
    sys.exit(main())
