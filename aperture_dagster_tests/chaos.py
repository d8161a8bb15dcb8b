"""Run demos in a home of their own, kill them with ``kill -9``, and compare the results."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import psutil
import psycopg

from aperture_dagster.build import all_jobs
from aperture_dagster.settings import load_settings
from aperture_dagster.settings.places import project_root
from aperture_dagster.simulator.counters import UNMODELLED_LOG
from aperture_dagster_tests.processes import all_gone, processes_of

Kind = Literal["run", "database", "everything"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The killed processes: only the run, only the embedded database, or everything including the stand-ins."""
SECONDS = 600
# Columns and tables that differ between equal results: times, and the cost of the run.
VOLATILE_COLUMNS = {
    "updated_at", "created_at", "first_seen_at", "seen_at", "generated_at", "fetched_at", "attempted_at", "due_at",
    "synced_at", "full_synced_at", "activated_at", "rated_at", "noted_at", "change_id", "unused_since", "read_at",
    "changed", "listed_at", "wanted_at", "listed_since", "valid_from",
}  # fmt: skip
# Of these tables only: homes have other folders. Rows of ``facts`` that every home makes up for itself.
VOLATILE_ELSEWHERE = {("fetches", "added_at"), ("published_libraries", "root")}
VOLATILE_FACTS = "name NOT IN ('installation', 'owner')"
# Published folders and files are named after our ids of works, and dated.
VOLATILE_TABLES = {"services", "quota", "merges", "published_entries"}
VOLATILE_FILES = ("postgres", "dagster", "libraries", "log-of-plays.json")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an isolated environment for a program that works in ``home``, with temporary files beside it."""
    temporary = home.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home.parent),
        "TMPDIR": str(temporary),
        "APERTURE_CONFIG": os.devnull,
        "APERTURE_TIMEZONE": "UTC",
        "DAGSTER_HOME": str(project_root()),
        # Its stand-ins report unmodelled requests in the log of the tests.
        **{name: os.environ[name] for name in (UNMODELLED_LOG,) if name in os.environ},
        **more,
    }


def outcome_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a demo's summary without the cost of the run, and without what it changed on the media server."""
    published = {name: one | {"changed": None} for name, one in summary["published"].items()}
    kept = {key: value for key, value in summary.items() if key not in ("seconds", "requests", "rows_written")}
    return kept | {"published": published}


def demo_assets() -> set[str]:
    """Return the assets that a demo materializes."""
    return {asset for job in all_jobs(load_settings()) if job.scope != "newcomers" for asset in job.assets}


class RunFailed(AssertionError):
    """A run that was not killed failed; the message is its output."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run: its start in seconds after the run's, and its duration."""

    name: str
    begins: float
    seconds: float


@dataclass(slots=True)
class DemoHome:
    """A home in which demos run to their end or are killed.

    Args:
        home: its folder; temporary files of the runs go beside it.
        users: the number of users of the household.
    """

    home: Path
    users: int = 3
    kills: Counter[Kind] = field(default_factory=Counter)
    passed: int = 0
    """Number of runs that ended before their kill."""
    output: str = ""
    """Output of the last run."""

    def run(self) -> dict[str, Any]:
        """Run the demo to its end and return the summary.

        Raises:
            RunFailed: it failed.
        """
        summary = self.home.parent / f"{self.home.name}.json"
        process = self._start("--summary", str(summary))
        self._require_success(process)
        return json.loads(summary.read_text(encoding="utf-8"))

    def run_and_kill(self, kind: Kind, after: float, *, step: str | None = None) -> bool:
        """Kill the demo ``after`` seconds from its start or that of a step; return False if it ended before.

        Raises:
            RunFailed: it failed before the kill.
        """
        process = self._start()
        if step is not None:
            self._wait_for(step, process)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after)
        if process.poll() is None:
            self._kill(kind, process)
            self.kills[kind] += 1
            return True
        self._require_success(process)
        self.passed += 1
        return False

    def steps(self) -> list[Step]:
        """Return the steps of the home's latest runs in order, each step once."""
        with self.databases() as (_, dagster):
            rows = dagster.execute(
                "SELECT step_key, extract(epoch FROM timestamp)::float8, dagster_event_type FROM event_logs "
                "WHERE dagster_event_type IN ('STEP_START', 'STEP_SUCCESS') ORDER BY id"
            ).fetchall()
        begun = {name: moment for name, moment, event in rows if event == "STEP_START"}
        ended = {name: moment for name, moment, event in rows if event == "STEP_SUCCESS"}
        return [Step(name, moment - self._started, ended[name] - moment) for name, moment in begun.items()]

    def killed_steps(self) -> Counter[str]:
        """Count the steps that were running when a run was killed; also kills between steps and outside of runs."""
        killed: Counter[str] = Counter()
        with self.databases() as (_, dagster):
            rows = dagster.execute(
                "SELECT r.run_id, array_agg(e.step_key) FILTER (WHERE e.dagster_event_type = 'STEP_START'), "
                "array_agg(e.step_key) FILTER (WHERE e.dagster_event_type IN ('STEP_SUCCESS', 'STEP_SKIPPED')) "
                "FROM runs r LEFT JOIN event_logs e USING (run_id) WHERE r.status <> 'SUCCESS' GROUP BY r.run_id"
            ).fetchall()
        for _, begun, ended in rows:
            killed.update(set(begun or []) - set(ended or []) or {"between steps"})
        killed["outside of runs"] = max(self.kills.total() - len(rows), 0)
        return killed

    def content(self) -> dict[str, Any]:
        """Return the rows of all tables, with names instead of ids, and checksums of the home's files."""
        with self.databases() as (product, _):
            content: dict[str, Any] = tables(product)
        for path in sorted(self.home.rglob("*")):
            place = path.relative_to(self.home)
            if place.parts[0] not in VOLATILE_FILES and path.suffix != ".log":
                content[str(place)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        return content

    def left_behind(self) -> list[str]:
        """List what was not cleaned up: processes, temporary files, pool slots and unfinished runs."""
        with self.databases() as (_, dagster):
            held = dagster.execute(
                "SELECT 'a slot of the pool ' || concurrency_key FROM concurrency_slots "
                "WHERE run_id IS NOT NULL AND NOT deleted UNION ALL "
                "SELECT 'a step waiting for ' || concurrency_key FROM pending_steps UNION ALL "
                "SELECT 'an unfinished run of ' || pipeline_name || ': ' || status FROM runs "
                # A run that has not started yet may still be launched.
                "WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED', 'NOT_STARTED')"
            ).fetchall()
        left = [str(description) for (description,) in held]
        if not all_gone(self.home.parent):
            left += [f"process {process.pid}: {' '.join(process.cmdline())[:80]}" for process in self.processes()]
        return left + [str(path) for path in (self.home.parent / "temporary").iterdir()]

    def processes(self) -> list[psutil.Process]:
        """List the processes that work in the home."""
        return processes_of(self.home)

    @contextlib.contextmanager
    def databases(self) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
        """Connect to the product's database and to Dagster's; the server runs until the block ends."""
        from aperture_dagster.postgres.connection import DAGSTER_DATABASE, PRODUCT_DATABASE
        from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server

        folder = self.home / "postgres"
        url = start_embedded_server(folder)
        try:
            with (
                psycopg.connect(url, dbname=PRODUCT_DATABASE, autocommit=True) as product,
                psycopg.connect(url, dbname=DAGSTER_DATABASE, autocommit=True) as dagster,
            ):
                yield product, dagster
        finally:
            release_embedded_server(folder)

    _started: float = 0.0

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        self._started = time.time()
        command = [sys.executable, "-m", "aperture_dagster.cli.main", "demo", "--home", str(self.home)]
        return subprocess.Popen(
            [*command, "--users", str(self.users), *arguments],
            env=environment(self.home),
            cwd=project_root(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _require_success(self, process: subprocess.Popen[str]) -> None:
        self.output, _ = process.communicate(timeout=SECONDS)
        if process.returncode != 0:
            raise RunFailed(self.output)

    def _wait_for(self, step: str, process: subprocess.Popen[str]) -> None:
        """Wait until a step has started or the run has ended."""
        begun = "SELECT 1 FROM event_logs WHERE dagster_event_type = 'STEP_START' AND step_key = %s AND timestamp > %s"
        since = datetime.fromtimestamp(self._started, UTC).replace(tzinfo=None)
        while process.poll() is None:
            # The database and Dagster's tables do not exist at first.
            with (
                contextlib.suppress(psycopg.Error, OSError, IndexError),
                psycopg.connect(self._address(), autocommit=True) as connection,
            ):
                while process.poll() is None:
                    if connection.execute(begun, (step, since)).fetchone():
                        return
                    time.sleep(0.01)
            time.sleep(0.05)

    def _address(self) -> str:
        """Return connection parameters of Dagster's database, for a server that another process runs."""
        from aperture_dagster.postgres.connection import DAGSTER_DATABASE

        folder = self.home / "postgres"
        return f"host={folder} port=5432 user=postgres dbname={DAGSTER_DATABASE} connect_timeout=2"

    def _kill(self, kind: Kind, process: subprocess.Popen[str]) -> None:
        victims: list[psutil.Process] = []
        if kind != "run":
            victims = [one for one in self.processes() if kind == "everything" or "postgres" in _name_of(one)]
        if kind != "database":
            process.send_signal(signal.SIGKILL)
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        # A run whose database was killed may recover or fail; the other processes are gone.
        self.output, _ = process.communicate(timeout=SECONDS)
        psutil.wait_procs(victims, timeout=10)


def _name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        # The process has ended since it was listed.
        return ""


def tables(
    connection: psycopg.Connection,
    *,
    volatile: Collection[str] = frozenset(),
    leave_out: Collection[str] = frozenset(),
    where: Mapping[str, str] | None = None,
) -> dict[str, list[tuple[Any, ...]]]:
    """Return the sorted rows of all tables, with the media server's ids instead of the ids of works and items.

    Our own ids may differ after a kill. Works outside the library are named by TMDb's ids.

    Args:
        volatile: further columns that differ between equal results.
        leave_out: further tables.
        where: conditions by table, for rows of which only some are compared.
    """
    from aperture_dagster.schema import metadata

    work = (
        "coalesce((SELECT min(server_item_id) FROM titles named WHERE named.work_id = number), "
        "(SELECT media_type || ' ' || tmdb_id FROM works named WHERE named.work_id = number))"
    )
    item = "(SELECT server_item_id FROM all_items named WHERE named.item_id = number)"
    connection.execute(
        "CREATE TEMPORARY VIEW all_items AS SELECT item_id, server_item_id FROM titles UNION ALL "
        "SELECT item_id, server_item_id FROM episodes UNION ALL SELECT item_id, server_item_id FROM item_versions"
    )
    # "number" is replaced by the column.
    named = {
        "work_id": work,
        "item_id": item,
        "series_item_id": item,
        "primary_item_id": item,
        # The time of a removal may differ, the removal itself may not.
        "removed_at": "number IS NOT NULL",
        "because": f"(SELECT array_agg({work.replace('number', 'one')} ORDER BY place) "
        "FROM unnest(number) WITH ORDINALITY numbers(one, place))",
        "item": f"CASE WHEN kind IN ('movie', 'series') THEN {work} ELSE number::text END",
    }
    found = {}
    for table in metadata.sorted_tables:
        if table.name not in VOLATILE_TABLES and table.name not in leave_out:
            columns = [
                "(" + re.sub(r"\bnumber\b", f't."{column.name}"', named.get(column.name, "number")) + ")::text"
                for column in table.columns
                if column.name not in VOLATILE_COLUMNS
                and column.name not in volatile
                and (table.name, column.name) not in VOLATILE_ELSEWHERE
            ]
            compared = {"item_versions": "NOT is_published", "facts": VOLATILE_FACTS, **(where or {})}.get(
                table.name, "true"
            )
            statement = f"SELECT {', '.join(columns)} FROM {table.name} t WHERE {compared}"
            found[table.name] = sorted(connection.execute(statement.encode()).fetchall(), key=str)
    published = f"SELECT list_key, rank, state, {work.replace('number', 'e.work_id')} FROM published_entries e"
    found["published"] = sorted(connection.execute(published.encode()).fetchall(), key=str)
    return found


def differences(ended: dict[str, Any], undisturbed: dict[str, Any]) -> list[str]:
    """Describe the differences between the contents of two homes, with an example of each."""
    found = []
    for part in sorted(ended.keys() | undisturbed.keys()):
        one, other = ended.get(part), undisturbed.get(part)
        if one != other:
            if isinstance(one, list) and isinstance(other, list):
                more, less = set(one) - set(other), set(other) - set(one)
                found.append(
                    f"{part}: {len(one)} rows for {len(other)}; {str(next(iter(more), None))[:300]} "
                    f"for {str(next(iter(less), None))[:300]}"
                )
            else:
                found.append(f"{part}: {one} for {other}")
    return found


@contextlib.contextmanager
def demo_home_in(folder: Path) -> Iterator[DemoHome]:
    """Yield a new home; kill its processes and delete it afterwards."""
    folder.mkdir(parents=True)
    demo = DemoHome(folder / "home")
    try:
        yield demo
    finally:
        for process in processes_of(folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        all_gone(folder)
        shutil.rmtree(folder, ignore_errors=True)


def kill_in_each_step(
    demo: DemoHome,
    steps: list[Step],
    chance: random.Random,
    *,
    kinds: Sequence[Kind] = KINDS,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Kill a run in each of the steps, at a random time of the step and in a random way."""
    for step in steps:
        kind = chance.choice(kinds)
        after = chance.uniform(0, step.seconds)
        killed = demo.run_and_kill(kind, after, step=step.name)
        report(f"{kind:<10} {'killed' if killed else 'was over'} {after:5.2f} s into {step.name}")
