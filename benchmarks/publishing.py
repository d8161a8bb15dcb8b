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
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import httpx
from load.assets import silent
from verdict import Verdict

from aperture_dagster.build import build_definitions
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.cli import homes
from aperture_dagster.cli.stand_ins import StandIns
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.partitions import USERS, range_tags
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.postgres.queries import execute
from aperture_dagster.publishing.server import polling
from aperture_dagster.publishing.server.publication import Publication, PublishingResult
from aperture_dagster.settings import Settings

# Ratios to plain work; the first time, posters are drawn, and the stand-in scans.
FIRST_LIMIT, SECOND_LIMIT = 10.0, 10.0
# Ten episodes a series, as in a household that collects seasons rather than soaps.
MOVIES, SERIES, EPISODES = 3_000, 400, 4_000
LISTS = """
    INSERT INTO recommendations (user_id, media_type, rank, work_id, item_id, score, components, because, is_cold,
      listed_since)
    SELECT user_id, media_type, rank, work_id, item_id, 1.0 / rank, '{}', '{}', false, '2026-05-17' FROM (
      SELECT user_id, media_type, work_id, item_id,
        row_number() OVER (PARTITION BY user_id, media_type ORDER BY md5(user_id || work_id)) AS rank
      FROM users CROSS JOIN (SELECT DISTINCT ON (work_id) * FROM present_titles) t) l
    WHERE rank <= :titles"""


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
            settings = homes.point_at(environment, home, lists)
            polling.POLL_SECONDS = 0.2
            try:
                prepare(settings, options.titles)
                first = measure(settings)
                before = snapshot(lists)
                second = measure(settings)
                written = len(before.symmetric_difference(snapshot(lists)))
                address = f"{settings.media_server_url}/System/Info/Public"
                plain = [
                    seconds(lambda: shutil.copytree(lists, Path(folder) / "copy", symlinks=True))
                    + seconds(lambda: ask(address, first[1].requests)),
                    seconds(lambda: snapshot(lists)) + seconds(lambda: ask(address, second[1].requests)),
                ]
            finally:
                release_embedded_server(home / "postgres")
    verdict = Verdict()
    measured = (("first", first, FIRST_LIMIT, plain[0]), ("second", second, SECOND_LIMIT, plain[1]))
    for name, (took, published), limit, reference in measured:
        print(
            f"{name:<7}{sum(one.entries for one in published.outcomes):,} entries in {len(published.outcomes)} "
            f"libraries, {sum(one.changes for one in published.outcomes):,} changed, "
            f"{sum(published.writes.values()):,} writes to the server, {published.refreshes} scans asked for, "
            f"{published.requests:,} requests"
        )
        what = f"the {name} time, {took:.1f} s, ratio to {reference:.1f} s of plain work"
        verdict.most(what, took / reference, limit)
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
        execute(connection, LISTS, titles=titles)


def measure(settings: Settings) -> tuple[float, PublishingResult]:
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


def seconds(work: Callable[[], object]) -> float:
    """Do some work; return the seconds that it takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def ask(address: str, count: int) -> None:
    """Send a request so many times, one after the other."""
    with httpx.Client() as client:
        for _ in range(count):
            client.get(address).raise_for_status()


def snapshot(folder: Path) -> set[tuple[str, int, int]]:
    """Return every file below a folder with its inode and time of change."""
    found = set()
    for path in folder.rglob("*"):
        status = path.lstat()
        if not path.is_dir() or path.is_symlink():
            found.add((path.as_posix(), status.st_ino, status.st_mtime_ns))
    return found


if __name__ == "__main__":
    sys.exit(main())
