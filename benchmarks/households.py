"""Measure what many households on one PostgreSQL and one daemon cost, and what sharing facts about titles would save.

    python benchmarks/households.py [--households 20] [--films 2000] [--users 5] [--overlap 0.6] [--minutes 3]
        [--part together|sharing] [--quick]

1. Starts a code server for each household and one daemon, with the files of ``deploy/households``, and waits until all
   jobs of a new installation have run in each. Then it watches while nothing happens. Memory is PSS (shared pages count
   by share), CPU that of a code server and its runs; the daemon and PostgreSQL are listed apart, and the stand-ins are
   not counted.
2. Looks up facts about the films of each household once more in new databases, first as it is, then with the prototype
   in ``many/facts.py``: answers of TMDb and OMDb, and vectors of texts, in one database that all of them share.

``--quick`` is three households of 100 films and two users, and half a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from many.facts import SharedEmbedder, SharedFacts, shared_answers
from many.worlds import SETTINGS, StandIns, stand_ins
from verdict import Verdict

PROJECT = Path(__file__).resolve().parents[1]
MB = 1024 * 1024
SETTLED_SECONDS = 75
SAMPLE_SECONDS = 5.0
# Documented in docs/scaling.md.
MOST_MB_IDLE, MOST_CPU_A_MINUTE, MOST_CPU_OF_THE_DAEMON = 160, 1.0, 1.5


@dataclass
class Watched:
    """Memory in MB at each sample, and CPU in seconds, of a process and its children."""

    memory: list[float] = field(default_factory=list)
    cpu: float = 0.0

    @property
    def mean(self) -> float:
        """Mean memory."""
        return sum(self.memory) / max(1, len(self.memory))


def main() -> int:
    """Run the benchmark, print what was measured, and return 0 if all limits were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--households", type=int, default=20)
    parser.add_argument("--films", type=int, default=2000, help="Films of each.")
    parser.add_argument("--users", type=int, default=5, help="Users of each.")
    parser.add_argument("--overlap", type=float, default=0.6, help="Share of a household's films that all own.")
    parser.add_argument("--minutes", type=float, default=3.0, help="How long to watch while nothing happens.")
    parser.add_argument("--part", choices=("together", "sharing"), help="Measure only this.")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.households, options.films, options.users, options.minutes = 3, 100, 2, 0.5
    print(f"{options.households} households of {options.films:,} films and {options.users} users")
    verdict = Verdict()
    sizes = {"films": options.films, "users": options.users, "overlap": options.overlap}
    with tempfile.TemporaryDirectory(prefix="aperture-households-", ignore_cleanup_errors=True) as made:
        if options.part != "sharing":
            with postgres(Path(made) / "postgres") as server, stand_ins(options.households, **sizes) as services:
                together(options, Path(made), server, services, verdict)
        if options.part != "together":
            with postgres(Path(made) / "again") as server:
                as_it_is = facts(options, Path(made) / "apart", server, sizes, shared=False)
                sharing = facts(options, Path(made) / "shared", server, sizes, shared=True)
            report_sharing(options, as_it_is, sharing, verdict)
    return verdict.close()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run an embedded server for all; yield its URL."""
    from aperture_dagster.storage.embedded import release_embedded_server, start_embedded_server

    url = start_embedded_server(folder)
    try:
        yield url
    finally:
        release_embedded_server(folder)


def new_database(server: str, name: str) -> str:
    """Create a database; return its URL."""
    from sqlalchemy import make_url

    with psycopg.connect(server, autocommit=True) as session:
        session.execute(f'CREATE DATABASE "{name}"'.encode())
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def settings_of(number: int, root: str, database: str, home: Path) -> dict[str, str]:
    """Return the environment of a household."""
    from aperture_dagster.simulator.environment import environment

    services = environment(root, settings=SETTINGS)
    services = {name: value for name, value in services.items() if "TRAKT" not in name and "SEERR" not in name}
    return services | {
        "APERTURE_HOUSEHOLD": f"household_{number}",
        "APERTURE_HOME": str(home),
        "APERTURE_DATABASE_URL": database,
        "APERTURE_TIMEZONE": "UTC",
        "APERTURE_CONFIG": os.devnull,
    }


def together(options: argparse.Namespace, folder: Path, server: str, services: StandIns, verdict: Verdict) -> None:
    """Let all households live on one daemon: their first cycle, then minutes without news."""
    sys.path.insert(0, str(PROJECT))
    from aperture_dagster_tests.households.deployment import deployment

    dagster_url = new_database(server, "dagster")
    environments = {}
    for number, root in enumerate(services.urls):
        database = new_database(server, f"household_{number}")
        variables = settings_of(number, root, database, folder / f"home_{number}")
        environments[f"household_{number}"] = variables | {"APERTURE_DAGSTER_DATABASE_URL": dagster_url}
    began = time.monotonic()
    with deployment(environments, dagster_url, folder) as daemon:
        ours = psutil.Process().children()
        households = {name: _process_with(ours, f"{name}.sock") for name in environments}
        others = {"daemon": _process_with(ours, "dagster-daemon"), "PostgreSQL": _server(folder / "postgres")}
        peak = wait_until_filled(options, list(environments.values()), dagster_url, households, daemon)
        seconds = time.monotonic() - began - SETTLED_SECONDS
        first = {name: cpu_of(process) for name, process in {**households, **others}.items()}
        runs = count_runs(dagster_url)
        idle = watch({**households, **others}, options.minutes * 60)
        connections, sizes = connections_and_sizes(server)
    asked = services.requests()
    count, minutes = options.households, options.minutes
    own_cpu = sum(first[name] for name in households) / count
    own_mb = sum(idle[name].mean for name in households) / count
    own_idle = sum(idle[name].cpu for name in households) / count / minutes
    tmdb = sum(one.get("tmdb", 0) for one in asked) / count
    print(f"first cycle of all: {seconds:.0f} s; memory of all code servers and runs at most {peak:,.0f} MB")
    print(f"  CPU: {own_cpu:.1f} s a household, daemon {first['daemon']:.1f} s, PostgreSQL {first['PostgreSQL']:.1f} s")
    print(f"  {runs / count:.1f} runs a household, {own_cpu * count / runs:.2f} CPU s a run")
    print(f"  requests a household: {sum(sum(one.values()) for one in asked) / count:,.0f}, TMDb {tmdb:,.0f}")
    print(f"idle: {own_mb:.0f} MB and {own_idle:.2f} CPU s a minute a household")
    print(f"  connections to PostgreSQL {connections}; databases {sizes}")
    for name in others:
        print(f"  {name}: {idle[name].mean:.0f} MB, {idle[name].cpu / minutes:.2f} CPU s a minute")
    verdict.most("idle memory of a household", own_mb, MOST_MB_IDLE, " MB")
    verdict.most("idle CPU of a household in a minute", own_idle, MOST_CPU_A_MINUTE, " s")
    daemon_share = idle["daemon"].cpu / minutes / count
    verdict.most("idle CPU of the daemon in a minute for each household", daemon_share, MOST_CPU_OF_THE_DAEMON, " s")
    counts = [one.get("tmdb", 0) for one in asked]
    verdict.most("requests to TMDb of the household that sent most, to the least", max(counts) / min(counts), 1.02)


def wait_until_filled(
    options: argparse.Namespace,
    environments: list[dict[str, str]],
    dagster_url: str,
    households: dict[str, psutil.Process],
    daemon: Any,
) -> float:
    """Wait until each household has its lists and nothing runs any more; return the most memory of all, in MB."""
    peak, quiet_since = 0.0, time.monotonic()
    while time.monotonic() - quiet_since < SETTLED_SECONDS:
        if not daemon.is_alive():
            raise SystemExit(daemon.log())
        peak = max(peak, sum(memory_of(process) for process in households.values()))
        if _is_busy(dagster_url) or not all(_has_lists(one, options.users) for one in environments):
            quiet_since = time.monotonic()
        time.sleep(SAMPLE_SECONDS)
    return peak


def count_runs(dagster_url: str) -> int:
    """Return how many runs there have been."""
    with psycopg.connect(dagster_url) as session:
        return (session.execute("SELECT count(*) FROM runs").fetchone() or (0,))[0]


def _is_busy(dagster_url: str) -> bool:
    with contextlib.suppress(psycopg.Error), psycopg.connect(dagster_url) as session:
        rows = session.execute("SELECT count(*) FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE', 'CANCELED')")
        return rows.fetchone() != (0,)
    return True


def _has_lists(variables: dict[str, str], users: int) -> bool:
    with contextlib.suppress(psycopg.Error), psycopg.connect(variables["APERTURE_DATABASE_URL"]) as session:
        return session.execute("SELECT count(DISTINCT user_id) FROM recommendations").fetchone() == (users,)
    return False


def _process_with(processes: list[psutil.Process], word: str) -> psutil.Process:
    (found,) = [one for one in processes if any(word in part for part in one.cmdline())]
    return found


def _server(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))


def memory_of(process: psutil.Process) -> float:
    """Return the PSS of a process and its children, in MB."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total / MB


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process, its children, and those that have ended."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def connections_and_sizes(server: str) -> tuple[str, str]:
    """Say how many connections there are to the databases, and how large these are."""
    with psycopg.connect(server) as session:
        open_now = session.execute(
            "SELECT count(*) FILTER (WHERE datname = 'dagster'), count(*) FILTER (WHERE datname LIKE 'household%') "
            "FROM pg_stat_activity"
        ).fetchone() or (0, 0)
        sizes = session.execute(
            "SELECT datname, pg_database_size(datname) / 1048576.0 FROM pg_database WHERE datname IN ('dagster', "
            "'household_0')"
        ).fetchall()
    said = ", ".join(f"{name} {size:.0f} MB" for name, size in sorted(sizes))
    return f"{open_now[0]} to Dagster's database, {open_now[1]} to those of households", said


def watch(processes: dict[str, psutil.Process], seconds: float) -> dict[str, Watched]:
    """Watch processes and their children for so long."""
    found = {name: Watched() for name in processes}
    before = {name: cpu_of(process) for name, process in processes.items()}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, process in processes.items():
            found[name].memory.append(memory_of(process))
        time.sleep(SAMPLE_SECONDS)
    for name, process in processes.items():
        found[name].cpu = cpu_of(process) - before[name]
    return found


@dataclass
class Facts:
    """What it took to look up the facts of all households."""

    tmdb: int
    omdb: int
    cpu: float
    seconds: float


def facts(options: argparse.Namespace, folder: Path, server: str, sizes: dict[str, Any], *, shared: bool) -> Facts:
    """Look up the facts about the films of each household, one after the other, in this process; then embed them."""
    sys.path.insert(0, str(PROJECT))
    import dagster as dg

    from aperture_dagster.resources.providers import Embedders
    from aperture_dagster.settings import load_settings
    from aperture_dagster.storage.connection import forget_connections
    from aperture_dagster_tests.household import Household

    store = SharedFacts(new_database(server, f"facts_{folder.name}")) if shared else None
    cpu = seconds = 0.0
    with stand_ins(options.households, **sizes) as services:
        for number, root in enumerate(services.urls):
            database = new_database(server, f"{folder.name}_{number}")
            variables = settings_of(number, root, database, folder / str(number))
            kept = {name: os.environ.get(name) for name in variables}
            os.environ.update(variables)
            settings = load_settings()
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
            parts = {"embedders": Embedders(settings, lambda one: SharedEmbedder(one, store))} if store else {}
            with contextlib.ExitStack() as stack:
                # What the runs log.
                stack.enter_context(contextlib.redirect_stderr(stack.enter_context(Path(os.devnull).open("w"))))
                instance = stack.enter_context(dg.DagsterInstance.ephemeral())
                home = Household(settings, instance, **parts)
                # Otherwise all households together would hold more connections than the server has.
                stack.callback(forget_connections)
                home.must("sync_users")
                home.must("sync_movies")
                if store is not None:
                    stack.enter_context(shared_answers(store))
                began, busy = time.monotonic(), time.process_time()
                for job in ("enrich_metadata", "generate_embeddings"):
                    home.must(job)
                cpu, seconds = cpu + time.process_time() - busy, seconds + time.monotonic() - began
        asked = services.requests()
    return Facts(sum(one.get("tmdb", 0) for one in asked), sum(one.get("omdb", 0) for one in asked), cpu, seconds)


def report_sharing(options: argparse.Namespace, as_it_is: Facts, sharing: Facts, verdict: Verdict) -> None:
    """Print what sharing saves, and judge whether it saves what the overlap lets expect."""
    count, overlap = options.households, options.overlap
    for name, one in (("as it is", as_it_is), ("with shared facts", sharing)):
        print(
            f"{name}: requests to TMDb {one.tmdb:,}, to OMDb {one.omdb:,}; {one.cpu / count:.2f} CPU s and "
            f"{one.seconds / count:.1f} s a household"
        )
    # Of the films that all own, one household asks.
    expected = 1 - overlap * (count - 1) / count
    verdict.most("requests to TMDb with shared facts, to those without", sharing.tmdb / as_it_is.tmdb, expected * 1.05)
    verdict.most("requests to OMDb with shared facts, to those without", sharing.omdb / as_it_is.omdb, expected * 1.1)


if __name__ == "__main__":
    sys.exit(main())
