"""Households that share an instance live through the same night, and nothing of one is found with another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from aperture_dagster.household import HOUSEHOLD_TAG
from aperture_dagster.simulator.faults import FaultRule
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.households.conftest import Neighbour
from aperture_dagster_tests.inbox import Inbox, open_inbox

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

    assert "failed" not in smiths.look("failures_sensor")
    assert inbox.take() == [], "it is not their failure"
    assert "failed" in joneses.look("failures_sensor")
    assert len(inbox.titles) == 1
    joneses.simulator.state.clear_faults()
    # It has users; its films failed, and are tried later.
    assert joneses.look("first_sync_sensor") == "started sync_series"
    shown = {job["name"]: job["outcome"] for job in smiths.status()["jobs"]}
    assert shown["sync_movies"] == "success"
    assert joneses.purge()["events"] > 10
    assert_apart([smiths, joneses], dagster_url)
    assert smiths.status()["users"]["on_server"] == 2
