"""Measure how long a proven backup of a large household takes.

    python benchmarks/backup.py [--movies 10000] [--episodes 100000] [--users 50]

Fills an embedded database in a temporary folder with films, series, metadata, vectors, histories and lists, with texts
as long and as hard to compress as real ones; makes a backup and proves it. The limit is a ratio to the time that the
programs of PostgreSQL and gzip take in the same run to dump, compress and restore that database, without a check; the
exit code is 1 if it took longer, or the backup was not proven.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Connection
from verdict import Verdict

from aperture_dagster.model import Clock
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.backup.dump import COMPRESSION
from aperture_dagster.postgres.backup.folder import in_words
from aperture_dagster.postgres.backup.programs import running_tool
from aperture_dagster.postgres.cluster import embedded_tool
from aperture_dagster.postgres.connection import close_engine, open_engine, product_database_url
from aperture_dagster.postgres.databases import scratch_database, server_connection
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import load_settings

# It also compares all rows of both databases: 2.5 on two cores.
RATIO_LIMIT = 3.5
EPISODES_PER_SERIES = 50
PLAYS_PER_USER = 4000
FILL = Path(__file__).with_suffix(".sql")


def main() -> int:
    """Fill a database, back it up, and print the figures and the verdict."""
    parser = argparse.ArgumentParser(description="Measure how long a proven backup takes.")
    parser.add_argument("--movies", type=int, default=10_000)
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aperture-benchmark-") as folder:
        home = Path(folder) / "home"
        settings = load_settings(home=home, timezone="UTC")
        url = product_database_url(settings)
        try:
            started = time.monotonic()
            with open_engine(settings).begin() as connection:
                fill(connection, options.movies, options.episodes, options.users)
                size = read_value(connection, "SELECT pg_database_size(current_database())")
            print(f"Filled a database of {in_words(size)} in {time.monotonic() - started:.0f} s")
            made = create_backup(settings, Clock().now(), report=print)
            reference = plain_seconds(url, Path(folder) / "plain.gz")
        finally:
            close_engine(url)
            release_embedded_server(home / "postgres")
    print(f"{made.rows:,} rows; {in_words(made.bytes)}; {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f})")
    verdict = Verdict()
    verdict.holds(f"the backup is proven {made.unproven_because or ''}".strip(), made.unproven_because is None)
    print(f"{made.seconds:.1f} s; a plain dump and restore {reference:.1f} s")
    verdict.most("a proven backup, ratio to a plain dump and restore", made.seconds / reference, RATIO_LIMIT)
    return verdict.close()


def plain_seconds(url: str, file: Path) -> float:
    """Dump a database, compress the dump and restore it into another one, with no check; return the seconds."""
    started = time.monotonic()
    options = ["--format=plain", "--no-owner", "--no-privileges"]
    with running_tool(embedded_tool("pg_dump"), *options, url=url) as dump, file.open("wb") as output:
        subprocess.run(["gzip", f"-{COMPRESSION}"], stdin=dump.stdout, stdout=output, check=True)
    options = ["--no-psqlrc", "--quiet", "--single-transaction", "--output", os.devnull]
    with (
        server_connection(url) as server,
        scratch_database(server, url) as scratch,
        running_tool(embedded_tool("psql"), *options, url=scratch) as psql,
    ):
        subprocess.run(["gzip", "-dc", file], stdout=psql.stdin, check=True)
    return time.monotonic() - started


def fill(connection: Connection, movies: int, episodes: int, users: int) -> None:
    """Write a household into an empty database: users are called ``user1`` and so on."""
    series = max(episodes // EPISODES_PER_SERIES, 1)
    share = PLAYS_PER_USER / (movies + series + series * EPISODES_PER_SERIES)
    values = {
        "movies": movies, "series": series, "per_series": EPISODES_PER_SERIES, "users": users, "share": min(share, 1),
    }  # fmt: skip
    for statement in FILL.read_text(encoding="utf-8").split(";\n"):
        used = {name: value for name, value in values.items() if f":{name}" in statement}
        if statement.strip():
            execute(connection, statement, **used)


if __name__ == "__main__":
    sys.exit(main())
