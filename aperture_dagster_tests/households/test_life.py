"""Households that share an instance live through the same night, and nothing of one is found with another."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from aperture_dagster.household import HOUSEHOLD_TAG
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.world import World, WorldUser
from aperture_dagster.storage.cluster import embedded_tool
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.households.conftest import Neighbour
from aperture_dagster_tests.households.deployment import FILES, deployment
from aperture_dagster_tests.inbox import Inbox, open_inbox
from aperture_dagster_tests.waiting import wait_for

pytestmark = pytest.mark.e2e

# Words of three households that nothing else contains.
WORDS = {"smiths": "Quillfeather", "joneses": "Zebracorn", "browns": "Wobblestone"}


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


def world_of(household: str, **sizes: int) -> World:
    """Return a small world in which the household's word is in all titles, names, genres and keywords."""
    word, world = WORDS[household], small_world(**sizes)
    titles = [
        dataclasses.replace(
            title, title=f"{title.title} {word}", overview=f"{title.overview} {word}",
            genres=(*title.genres, word), keywords=(*title.keywords, word),
        )
        for title in world.titles
    ]  # fmt: skip
    users = [dataclasses.replace(user, name=f"{user.name}{word}") for user in world.users]
    plays = [dataclasses.replace(play, user=f"{play.user}{word}") for play in world.plays]
    return dataclasses.replace(world, titles=titles, users=users, plays=plays)


def rows_with(database: str, word: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that contain a word, by table, of all tables of a database."""
    found: dict[str, list[dict[str, Any]]] = {}
    with psycopg.connect(database.replace("+psycopg", "")) as session:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for (table,) in session.execute(tables).fetchall():
            query = f'SELECT to_jsonb(t) FROM "{table}" t WHERE t::text ILIKE %s'.encode()
            rows = [row for (row,) in session.execute(query, [f"%{word}%"]).fetchall()]
            if rows:
                found[table] = rows
    return found


def files_with(folder: Path, word: str) -> list[str]:
    """Return the files below a folder that contain a word, or are named after it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(one) for one in files if word.lower().encode() in str(one).lower().encode() + one.read_bytes().lower()]


def mixed(dagster_database: str, household: str, others: list[str]) -> list[str]:
    """Return what Dagster's database says of a household where another is named, or where it is not clear whose it is.

    An event belongs to whoever its run and its asset belong to.
    """
    wrong = []
    runs = owners(dagster_database)
    for table, rows in rows_with(dagster_database, WORDS[household]).items():
        for row in rows:
            text = str(row)
            about = f"{table}: {text[:300]}"
            if any(WORDS[other] in text or f"'{other}/" in text or f'["{other}"' in text for other in others):
                wrong.append(about)
            if row.get("run_id") and runs.get(row["run_id"]) != household:
                wrong.append(f"a run of {runs.get(row['run_id'])} in {about}")
            if row.get("asset_key") and not row["asset_key"].startswith(f'["{household}", '):
                wrong.append(about)
            if table == "dynamic_partitions" and row["partitions_def_name"] != f"{household}/users":
                wrong.append(about)
    return wrong


def count_of(dagster_database: str, household: str) -> int:
    """Return how many events and runs a household has in Dagster's database."""
    prefix = f'["{household}", %'
    with psycopg.connect(dagster_database.replace("+psycopg", "")) as session:
        (count,) = session.execute(
            "SELECT (SELECT count(*) FROM event_logs WHERE asset_key LIKE %(prefix)s OR run_id IN (SELECT run_id "
            "FROM run_tags WHERE value = %(name)s)) + (SELECT count(*) FROM run_tags WHERE value = %(name)s)",
            {"prefix": prefix, "name": household},
        ).fetchone() or (0,)
    return count


def remove(dagster_database: str, household: str) -> None:
    """Remove a household from Dagster's database, as ``docs/many-households.md`` says."""
    url = dagster_database.replace("+psycopg", "")
    command = [embedded_tool("psql"), "--quiet", "--set", f"household={household}", "--file", FILES / "remove.sql", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def assert_removable(leaver: Neighbour, stayer: Neighbour, dagster_database: str) -> None:
    """Assert that a household that leaves is gone from Dagster's database, and takes nothing of another along."""
    before = count_of(dagster_database, stayer.name)
    assert before > 5 < count_of(dagster_database, leaver.name)
    remove(dagster_database, leaver.name)
    assert rows_with(dagster_database, WORDS[leaver.name]) == {}
    named = rows_with(dagster_database, f'"{leaver.name}') | rows_with(dagster_database, f"{leaver.name}/")
    assert named == {}, "neither its people nor its name is left"
    assert count_of(dagster_database, stayer.name) == before


def owners(dagster_database: str) -> dict[str, str]:
    """Return the household of each run."""
    with psycopg.connect(dagster_database.replace("+psycopg", "")) as session:
        rows = session.execute("SELECT run_id, value FROM run_tags WHERE key = %s", [HOUSEHOLD_TAG]).fetchall()
        (runs,) = session.execute("SELECT count(*) FROM runs").fetchone() or (0,)
    assert len(rows) == runs > 0, "each run has a household"
    return dict(rows)


def assert_apart(neighbours: list[Neighbour], dagster_database: str) -> None:
    """Assert that no household is found in the database, the home or the events of another."""
    names = [neighbour.name for neighbour in neighbours]
    for neighbour in neighbours:
        word = WORDS[neighbour.name]
        assert {"users", "titles"} <= rows_with(neighbour.database, word).keys(), "it would be found"
        events = rows_with(dagster_database, word)
        assert {"event_logs", "dynamic_partitions"} <= events.keys()
        assert mixed(dagster_database, neighbour.name, [name for name in names if name != neighbour.name]) == []
        for other in neighbours:
            if other is not neighbour:
                assert rows_with(other.database, word) == {}
                assert files_with(other.home, word) == []


def test_two_neighbours_are_apart(
    move_in: Callable[..., Neighbour], dagster_url: str, shared_instance: dg.DagsterInstance, inbox: Inbox
):
    """The first lives alone, then a second one moves in, whose films cannot be read."""
    smiths = move_in("smiths", world_of("smiths", movies=3, users=2, plays=4), APERTURE_ALERT_URLS=inbox.url)
    assert smiths.run("sync_users") and smiths.run("sync_movies")
    joneses = move_in("joneses", world_of("joneses", movies=3, users=2, plays=4), APERTURE_ALERT_URLS=inbox.url)
    assert joneses.run("sync_users")
    joneses.simulator.state.add_fault(FaultRule("jellyfin", status=401))
    assert not joneses.run("sync_movies")

    assert [len(one.everyone()) for one in (smiths, joneses)] == [2, 2]
    assert set(smiths.everyone()).isdisjoint(joneses.everyone())

    assert "failed" not in smiths.look("failures_sensor")
    assert inbox.take() == [], "it is not their failure"
    assert "failed" in joneses.look("failures_sensor")
    assert len(inbox.titles) == 1
    joneses.simulator.state.clear_faults()
    # It has users; its films failed, and are tried later.
    assert joneses.look("first_sync_sensor") == "started sync_series"
    said = joneses.look("first_sync_sensor")
    assert "sync_movies did not materialize everything" in said and "sync_users" not in said
    shown = {job["name"]: job["outcome"] for job in smiths.status()["jobs"]}
    assert shown["sync_movies"] == "success"
    assert joneses.purge()["events"] > 10
    assert_apart([smiths, joneses], dagster_url)
    assert smiths.status()["users"]["on_server"] == 2
    assert_removable(joneses, smiths, dagster_url)


@pytest.mark.nightly(
    reason="Three households with code servers, a daemon and some 60 runs, each a process: minutes of processor time.",
    instead="households/test_life.py::test_two_neighbours_are_apart",
)
def test_three_households_live_on_one_daemon(
    move_in: Callable[..., Neighbour], dagster_url: str, shared_instance: dg.DagsterInstance, inbox: Inbox,
    tmp_path: Path,
):  # fmt: skip
    """With the files of ``deploy/households``: a first sync, a failure, a new user, a night, and a farewell."""
    households = [
        move_in(name, world_of(name, movies=30, users=2, plays=60), APERTURE_ALERT_URLS=inbox.url) for name in WORDS
    ]
    smiths, joneses, browns = households
    browns.simulator.state.add_fault(FaultRule("tmdb", status=401))
    with deployment(households, dagster_url, tmp_path) as daemon:

        def ended(household: str, job: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS) -> bool:
            assert daemon.is_alive(), daemon.log()
            tags = {HOUSEHOLD_TAG: household}
            return bool(shared_instance.get_runs(dg.RunsFilter(job_name=job, tags=tags, statuses=[status]), limit=1))

        for name in ("smiths", "joneses"):
            for job in ("refresh_top_picks", "first_list"):
                wait_for(lambda name=name, job=job: ended(name, job), f"{job} of {name} did not end", seconds=900)
        failed = dg.DagsterRunStatus.FAILURE
        wait_for(lambda: ended("browns", "enrich_metadata", failed), "no run failed", seconds=300)
        wait_for(lambda: inbox.messages, "nobody heard of it", seconds=300)
        assert not shared_instance.get_runs(dg.RunsFilter(tags={HOUSEHOLD_TAG: "smiths"}, statuses=[failed]))
        # A user of the same name is another one.
        for neighbour in (smiths, joneses):
            neighbour.simulator.state.add_user(WorldUser(f"newcomer{WORDS[neighbour.name]}"))
        assert smiths.run("sync_users")
        tags = {HOUSEHOLD_TAG: "smiths"}
        wait_for(
            lambda: len(shared_instance.get_runs(dg.RunsFilter(job_name="first_list", tags=tags))) > 1,
            "the new user got no list", seconds=300,
        )  # fmt: skip
        for neighbour in households:
            for job in ("database_backup", "housekeeping", "run_daily_checks"):
                assert neighbour.run(job) or job == "run_daily_checks", (neighbour.name, job)
            assert neighbour.status()["users"]["on_server"] >= 2
    assert_apart(households, dagster_url)
    assert len(list((joneses.home / "backups").glob("*.sql.gz"))) == 1
    # Every name in an instance is one of a household.
    with psycopg.connect(dagster_url.replace("+psycopg", "")) as session:
        for table, column in (("asset_keys", "asset_key"), ("dynamic_partitions", "partitions_def_name")):
            names = [name for (name,) in session.execute(f"SELECT {column} FROM {table}".encode()).fetchall()]
            assert names and all(any(one in name for one in WORDS) for name in names)
    assert_removable(smiths, joneses, dagster_url)
