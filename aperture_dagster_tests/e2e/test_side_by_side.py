"""Concurrent runs of every job: none fails, readers see no partial data, and the result is that of one run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from aperture_dagster.build import all_jobs
from aperture_dagster.partitions import USERS
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.generated_world import WorldSize, generate_world
from aperture_dagster.simulator.server import running_simulator
from aperture_dagster.simulator.world import Play, World
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.household import Household, failures
from aperture_dagster_tests.processes import all_gone

pytestmark = pytest.mark.e2e

# States that no reader may ever see, as queries that find them.
PARTIAL_STATES = {
    "a list with gaps, from two runs or of the wrong length": (
        "SELECT user_id FROM recommendations GROUP BY user_id, media_type "
        "HAVING count(*) <> max(rank) OR min(rank) <> 1 OR count(DISTINCT generated_at) > 1"
    ),
    "picks with gaps or from two runs": (
        "SELECT day FROM top_picks GROUP BY day, media_type "
        "HAVING count(*) <> max(rank) OR min(rank) <> 1 OR count(DISTINCT generated_at) > 1"
    ),
    "a taste without its weights": (
        "SELECT p.user_id FROM taste_profiles p LEFT JOIN taste_weights w USING (user_id, media_type) "
        "GROUP BY p.user_id, p.media_type, p.titles HAVING count(w.work_id) <> p.titles"
    ),
    "a taste of films only, or of series only": (
        "SELECT user_id FROM taste_profiles GROUP BY user_id HAVING count(*) <> 2"
    ),
    "a merged view with only some of the titles": (
        "SELECT 1 FROM enriched_metadata HAVING count(*) NOT IN (0, :titles, :more_titles)"
    ),
    "a play with another work than its item": (
        "SELECT 1 FROM plays p JOIN titles t USING (item_id) WHERE t.work_id <> p.work_id"
    ),
}


def a_world() -> World:
    return generate_world(WorldSize(movies=24, series=4, episodes=40, users=3, plays=90), seed=4, now=datetime.now(UTC))


class Reader:
    """Runs the queries for partial states all the time, and records what they find."""

    def __init__(self, home: Household, **numbers: int) -> None:
        self.home, self.numbers = home, numbers
        self.rounds = 0
        self.seen: set[str] = set()

    def check(self) -> None:
        for name, statement in PARTIAL_STATES.items():
            if self.home.rows(statement, **{key: value for key, value in self.numbers.items() if key in statement}):
                self.seen.add(name)
        self.rounds += 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                self.check()

        with ThreadPoolExecutor(1) as pool:
            watcher = pool.submit(watch)
            try:
                yield
            finally:
                done.set()
            watcher.result()


def both(home: Household, job: str, about: str) -> None:
    """Run a job twice at the same time on one database; both must succeed."""
    users = home.everyone()
    ready = threading.Barrier(2)

    def once(_: int) -> dg.ExecuteInProcessResult:
        # One instance per thread, because an ephemeral one is not thread-safe.
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(USERS, users)
            other = Household(home.settings, instance)
            ready.wait(30)
            return other.run(job, **subject(users, about))

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(once, range(2)))
    for result in results:
        assert result.success, failures(result)


def scopes(home: Household) -> list[tuple[str, str]]:
    """Every job of the demo, with what a run of it is about."""
    return [(job.name, job.scope) for job in all_jobs(home.settings) if job.in_demo]


def subject(users: list[str], about: str) -> dict[str, Any]:
    """Return the partition arguments of a run: none, all users, one user, or the day."""
    return {
        "all": {},
        "users": {"users": users},
        "newcomers": {"partition": users[0] if users else None},
        "day": {"partition": datetime.now(UTC).date().isoformat()},
    }[about]


@pytest.mark.nightly(
    reason="A whole household and its runs, for what the part beneath shows alone.",
    instead="races/test_transactions.py::test_a_title_met_by_two_processes_becomes_one_work",
)
def test_two_concurrent_syncs_of_a_household_give_the_result_of_one_and_show_no_partial_data(settled: Any):
    with settled(page_size=9) as (simulator, home, world):
        state = simulator.state
        # Slow answers, so that the runs overlap.
        state.add_fault(FaultRule("jellyfin", path_contains="Items", kind="slow", delay_seconds=0.01))
        before = {name: len(rows) for name, rows in home.snapshot().items()}
        film = next(title for title in world.titles if title.media_type == "movie")
        state.reassign_item_ids(film.key)
        state.add_title(_as_new(film))
        unseen = next(title for title in world.titles if title.title == home.titles_for("ada0")[0])
        state.play(Play("ada0", unseen.key, datetime.now(UTC) - timedelta(hours=1)))
        reader = Reader(home, titles=len(world.titles), more_titles=len(world.titles) + 1)
        with reader.watching():
            for job, about in (("sync_movies", "all"), ("sync_watch_history", "users")):
                both(home, job, about)
        assert reader.rounds > 1 and reader.seen == set()
        once = home.snapshot()
        grown = {"titles": 1, "works": 1, "plays": 1, "watch_state": 1, "episodes": 0}
        assert {name: len(once[name]) - before[name] for name in grown} == grown
        for job, about in (("sync_movies", "all"), ("sync_watch_history", "users")):
            home.must(job, **subject(home.everyone(), about))
        assert home.snapshot() == once


@pytest.mark.nightly(
    reason="Every job six times, in two threads: a minute of processor time.",
    instead="races/test_processes.py::test_a_service_is_used_by_one_process_at_a_time",
)
def test_two_concurrent_runs_of_every_job_give_the_result_of_one_and_show_no_partial_data(household: Any):
    world = a_world()
    with household(world, page_size=9) as (simulator, home):
        state = simulator.state
        # Slow answers, so that the runs overlap.
        state.add_fault(FaultRule("jellyfin", path_contains="Items", kind="slow", delay_seconds=0.01))
        works = len(world.titles)
        reader = Reader(home, titles=works, more_titles=works + 1)
        for job, about in scopes(home):
            both(home, job, about)
            if job == "sync_users":
                home.must("sync_users")
            once = home.snapshot()
            home.must(job, **subject(home.everyone(), about))
            assert home.snapshot() == once, job
        dated = sum(one.last_played is not None for user in world.users
                    for one in state.user_named(user.name).data.values() if one.played or one.position)  # fmt: skip
        before = {name: len(rows) for name, rows in home.snapshot().items()}
        assert before["titles"] == sum(title.copies for title in world.titles)
        assert before["episodes"] == 40
        assert before["plays"] == dated

        # Again with changes: new ids, new plays (one with a wrong clock), a new title.
        for title in world.titles:
            state.reassign_item_ids(title.key)
        now = datetime.now(UTC)
        unseen = [title for title in world.titles if title.title in home.titles_for("ada0")][:2]
        state.play(Play("ada0", unseen[0].key, now - timedelta(hours=1)))
        state.play(Play("ada0", unseen[1].key, datetime(2099, 1, 1, tzinfo=UTC)))
        film = next(title for title in a_world().titles if title.media_type == "movie")
        state.add_title(_as_new(film))
        with reader.watching():
            for job, about in scopes(home):
                both(home, job, about)
        assert reader.rounds > 3 and reader.seen == set()
        after = {name: len(rows) for name, rows in home.snapshot().items()}
        grown = {"titles": 1, "works": 1, "plays": 2, "watch_state": 2, "enriched_metadata": 1, "embeddings": 1}
        assert {name: after[name] - before[name] for name in grown} == grown
        assert after["episodes"] == before["episodes"]
        once = home.snapshot()
        for job, about in scopes(home):
            home.must(job, **subject(home.everyone(), about))
        assert home.snapshot() == once


def _as_new(film: Any) -> Any:
    from dataclasses import replace

    return replace(film, key="movie:new", title="The Newcomer", tmdb_id=999_000_001, imdb_id="tt999000001", copies=1)


@pytest.mark.nightly(
    reason="Three processes that load the whole product.",
    instead="races/test_processes.py::test_of_two_containers_that_start_a_new_version_one_backs_up_and_migrates",
)
def test_two_processes_can_set_up_a_new_home_at_the_same_time(tmp_path: Path):
    world = a_world()
    home = tmp_path / "home"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with running_simulator(world) as simulator:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TMPDIR": str(temporary),
            "DAGSTER_HOME": str(PROJECT),
            "APERTURE_CONFIG": os.devnull,
            "APERTURE_TIMEZONE": "UTC",
            "APERTURE_HOME": str(home),
            "APERTURE_MEDIA_SERVER_URL": simulator.jellyfin_url,
            "APERTURE_MEDIA_SERVER_API_KEY": "demo-jellyfin-key",
        }

        def start(*arguments: str) -> subprocess.Popen[str]:
            command, pipe = [sys.executable, *arguments], subprocess.PIPE
            return subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=pipe, stderr=pipe, text=True)

        execute = ("-m", "dagster", "job", "execute", "-m", "aperture_dagster.definitions", "-j", "sync_series")
        for process in [start(*execute) for _ in range(2)]:
            out, errors = process.communicate(timeout=300)
            assert process.returncode == 0, out + errors
            assert "Done: " in out + errors
    counts = (
        "import json; from aperture_dagster.settings import load_settings; "
        "from aperture_dagster.postgres.database import Database; "
        "from aperture_dagster.catalogue.queries import catalogue_size\n"
        "with Database(load_settings()).transaction() as connection: print(json.dumps(catalogue_size(connection)))"
    )
    out, errors = start("-c", counts).communicate(timeout=300)
    assert out.strip() == '{"movies": 0, "series": 4, "episodes": 40}', errors
    assert all_gone(tmp_path)
