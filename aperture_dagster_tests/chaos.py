"""Demos that are killed: runs on a home of their own, ``kill -9`` in the middle, and what is there afterwards."""

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import psutil
import psycopg

from aperture_dagster.build import all_jobs
from aperture_dagster.settings import load_settings, project_root
from aperture_dagster.simulator.counters import UNMODELLED_LOG
from aperture_dagster_tests.processes import all_gone, processes_of

Kind = Literal["run", "database", "everything"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""What a kill hits: the run's process alone, the embedded database alone, or both and the stand-ins at once."""
SECONDS = 180
# When something was written, and what it cost to get there.
OF_THE_WAY = {
    "updated_at", "created_at", "first_seen_at", "seen_at", "generated_at", "fetched_at", "attempted_at", "due_at",
    "synced_at", "full_synced_at", "activated_at", "rated_at", "noted_at", "change_id", "unused_since",
}  # fmt: skip
TABLES_OF_THE_WAY = {"services", "quota", "merges"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """For a program that works in ``home``: nothing of the developer's own, and its temporary files beside the home."""
    temporary = home.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home.parent),
        "TMPDIR": str(temporary),
        "APERTURE_CONFIG": os.devnull,
        "APERTURE_TIMEZONE": "UTC",
        "DAGSTER_HOME": str(project_root()),
        # What its stand-ins do not model is written where the tests look for it.
        **{name: os.environ[name] for name in (UNMODELLED_LOG,) if name in os.environ},
        **more,
    }


def what_came_of_it(summary: dict[str, Any]) -> dict[str, Any]:
    """A demo's summary without what the run cost."""
    return {key: value for key, value in summary.items() if key not in ("seconds", "requests", "rows_written")}


def assets_of_the_cycle() -> set[str]:
    """Every asset that a demo materializes."""
    return {asset for job in all_jobs(load_settings()) if job.scope != "newcomers" for asset in job.assets}


class RunFailed(AssertionError):
    """A run that was not killed did not complete; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run: seconds from the run's start to its own, and how long it took."""

    name: str
    begins: float
    seconds: float


@dataclass(slots=True)
class DemoHome:
    """A home in which demos run, complete or killed.

    Args:
        home: its folder; what the runs write elsewhere goes beside it.
        users: how many the household has.
    """

    home: Path
    users: int = 3
    kills: Counter[Kind] = field(default_factory=Counter)
    passed: int = 0
    """Runs that were to be killed, and were over before."""
    said: str = ""
    """By the last run, on its terminal."""

    def run(self) -> dict[str, Any]:
        """Run the demo to its end; returns the summary.

        Raises:
            RunFailed: it did not complete.
        """
        summary = self.home.parent / f"{self.home.name}.json"
        process = self._start("--summary", str(summary))
        self._must_complete(process)
        return json.loads(summary.read_text(encoding="utf-8"))

    def run_and_kill(self, kind: Kind, after: float, *, step: str | None = None) -> bool:
        """Run the demo, and kill so many seconds after its start, or after a step's; whether it came to that.

        Raises:
            RunFailed: it ended by itself before, and not well.
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
        self._must_complete(process)
        self.passed += 1
        return False

    def steps(self) -> list[Step]:
        """The steps of the home's newest runs, in their order, each step once; the server runs meanwhile."""
        with self.databases() as (_, dagster):
            rows = dagster.execute(
                "SELECT step_key, extract(epoch FROM timestamp)::float8, dagster_event_type FROM event_logs "
                "WHERE dagster_event_type IN ('STEP_START', 'STEP_SUCCESS') ORDER BY id"
            ).fetchall()
        begun = {name: moment for name, moment, event in rows if event == "STEP_START"}
        ended = {name: moment for name, moment, event in rows if event == "STEP_SUCCESS"}
        return [Step(name, moment - self._started, ended[name] - moment) for name, moment in begun.items()]

    def where_kills_fell(self) -> Counter[str]:
        """The steps that were open when a run ended without success; a run between two steps counts as such."""
        fell: Counter[str] = Counter()
        with self.databases() as (_, dagster):
            rows = dagster.execute(
                "SELECT r.run_id, array_agg(e.step_key) FILTER (WHERE e.dagster_event_type = 'STEP_START'), "
                "array_agg(e.step_key) FILTER (WHERE e.dagster_event_type IN ('STEP_SUCCESS', 'STEP_SKIPPED')) "
                "FROM runs r LEFT JOIN event_logs e USING (run_id) WHERE r.status <> 'SUCCESS' GROUP BY r.run_id"
            ).fetchall()
        for _, begun, ended in rows:
            fell.update(set(begun or []) - set(ended or []) or {"between steps"})
        fell["outside of runs"] = max(self.kills.total() - len(rows), 0)
        return fell

    def kept(self) -> dict[str, Any]:
        """All tables row by row, with names in place of numbers, and the home's files; equal when equal."""
        with self.databases() as (product, _):
            kept: dict[str, Any] = tables(product)
        for path in sorted(self.home.rglob("*")):
            place = path.relative_to(self.home)
            if place.parts[0] not in ("postgres", "dagster") and path.suffix != ".log":
                kept[str(place)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        return kept

    def left_behind(self) -> list[str]:
        """What kills left and nobody cleared away: processes, temporary files, places in pools, runs without end."""
        with self.databases() as (_, dagster):
            held = dagster.execute(
                "SELECT 'a place in the pool ' || concurrency_key FROM concurrency_slots "
                "WHERE run_id IS NOT NULL AND NOT deleted UNION ALL "
                "SELECT 'a step that waits for ' || concurrency_key FROM pending_steps UNION ALL "
                "SELECT 'a run of ' || pipeline_name || ' without end: ' || status FROM runs "
                # One that never began is given a minute to do so.
                "WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED', 'NOT_STARTED')"
            ).fetchall()
        left = [str(what) for (what,) in held]
        if not all_gone(self.home.parent):
            left += [f"process {process.pid}: {' '.join(process.cmdline())[:80]}" for process in self.processes()]
        return left + [str(path) for path in (self.home.parent / "temporary").iterdir()]

    def processes(self) -> list[psutil.Process]:
        """Everybody who works in the home."""
        return processes_of(self.home)

    @contextlib.contextmanager
    def databases(self) -> Iterator[tuple[psycopg.Connection, psycopg.Connection]]:
        """Connections to the product's database and to Dagster's; the server runs until the block ends."""
        from aperture_dagster.storage.connection import DAGSTER_DATABASE, PRODUCT_DATABASE
        from aperture_dagster.storage.embedded import release_embedded_server, start_embedded_server

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

    def _must_complete(self, process: subprocess.Popen[str]) -> None:
        self.said, _ = process.communicate(timeout=SECONDS)
        if process.returncode != 0:
            raise RunFailed(self.said)

    def _wait_for(self, step: str, process: subprocess.Popen[str]) -> None:
        """Wait until a step has begun, or the run is over."""
        begun = "SELECT 1 FROM event_logs WHERE dagster_event_type = 'STEP_START' AND step_key = %s AND timestamp > %s"
        since = datetime.fromtimestamp(self._started, UTC).replace(tzinfo=None)
        while process.poll() is None:
            # Until the run has made the database and Dagster's tables in it, there is nothing to ask.
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
        """Of Dagster's database while somebody else runs the server."""
        from aperture_dagster.storage.connection import DAGSTER_DATABASE

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
        # Without its database a run may mend itself or fail; the others are gone.
        self.said, _ = process.communicate(timeout=SECONDS)
        psutil.wait_procs(victims, timeout=10)


def _name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        # A backend that ended between the two looks.
        return ""


def tables(connection: psycopg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every table's rows, sorted, without the moments of writing; works and items by what the media server calls them.

    Numbers are given out anew to whoever comes again after a kill, so they say nothing.
    """
    from aperture_dagster.storage.tables import metadata

    work = "(SELECT min(server_item_id) FROM titles named WHERE named.work_id = number)"
    item = "(SELECT server_item_id FROM all_items named WHERE named.item_id = number)"
    connection.execute(
        "CREATE TEMPORARY VIEW all_items AS SELECT item_id, server_item_id FROM titles UNION ALL "
        "SELECT item_id, server_item_id FROM episodes UNION ALL SELECT item_id, server_item_id FROM item_versions"
    )
    # "number" stands for the column.
    named = {
        "work_id": work,
        "item_id": item,
        "series_item_id": item,
        "primary_item_id": item,
        "because": f"(SELECT array_agg({work.replace('number', 'one')} ORDER BY place) "
        "FROM unnest(number) WITH ORDINALITY numbers(one, place))",
        "item": f"CASE WHEN kind IN ('movie', 'series') THEN {work} ELSE number::text END",
    }
    found = {}
    for table in metadata.sorted_tables:
        if table.name not in TABLES_OF_THE_WAY:
            columns = [
                "(" + re.sub(r"\bnumber\b", f't."{column.name}"', named.get(column.name, "number")) + ")::text"
                for column in table.columns
                if column.name not in OF_THE_WAY
            ]
            statement = f"SELECT {', '.join(columns)} FROM {table.name} t"
            found[table.name] = sorted(connection.execute(statement.encode()).fetchall(), key=str)
    return found


def differences(ended: dict[str, Any], undisturbed: dict[str, Any]) -> list[str]:
    """In which parts of what is kept two homes differ, with an example of each."""
    told = []
    for part in sorted(ended.keys() | undisturbed.keys()):
        one, other = ended.get(part), undisturbed.get(part)
        if one != other:
            if isinstance(one, list) and isinstance(other, list):
                more, less = set(one) - set(other), set(other) - set(one)
                told.append(
                    f"{part}: {len(one)} rows for {len(other)}; {str(next(iter(more), None))[:300]} "
                    f"for {str(next(iter(less), None))[:300]}"
                )
            else:
                told.append(f"{part}: {one} for {other}")
    return told


@contextlib.contextmanager
def a_home_in(folder: Path) -> Iterator[DemoHome]:
    """A home for a while; whoever still works in it afterwards is ended, and it is removed."""
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


def kill_in_each(
    demo: DemoHome,
    steps: list[Step],
    chance: random.Random,
    *,
    kinds: Sequence[Kind] = KINDS,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Kill once in each of the steps, at a moment of it and in a way that chance chooses."""
    for step in steps:
        kind = chance.choice(kinds)
        after = chance.uniform(0, step.seconds)
        killed = demo.run_and_kill(kind, after, step=step.name)
        tell(f"{kind:<10} {'killed' if killed else 'was over'} {after:5.2f} s into {step.name}")
