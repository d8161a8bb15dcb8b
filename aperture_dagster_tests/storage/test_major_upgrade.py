"""The embedded database moves to the next major version of PostgreSQL: with all it holds, or not at all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aperture_dagster.storage import cluster as cluster_module
from aperture_dagster.storage import embedded, locks
from aperture_dagster.storage import major_upgrade as module
from aperture_dagster.storage.cluster import VERSION, Cluster
from aperture_dagster.storage.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.storage.errors import DatabaseError
from aperture_dagster_tests.forks import run_fork
from aperture_dagster_tests.holders import run, temporary_data_directory
from aperture_dagster_tests.processes import all_gone

OLD = 16
ROWS = "SELECT count(*), sum(length(words)), sum(vector_dims(meaning)) FROM kept"
FILLED = [(500, 10_885, 1_500)]
KILLED = """
import os, signal, sys
from pathlib import Path
from aperture_dagster.storage import major_upgrade as module
from aperture_dagster.storage.embedded import start_embedded_server

point, folder = sys.argv[1:]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if point == "during the copy":
    module.differences = die
else:
    renames, rename = [], Path.rename
    def counting(path, target):
        renames.append(rename(path, target))
        if len(renames) == 1 + int(point):
            die()
    put = module._put_in_place
    def putting(old, new):
        Path.rename = counting
        return put(old, new)
    module._put_in_place = putting
start_embedded_server(Path(folder))
"""


@pytest.fixture(scope="module")
def old_data() -> Iterator[Path]:
    """A stopped cluster of the older version, with vectors, an index, a sequence and a second database."""
    with temporary_data_directory() as data, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_module, "VERSION", OLD)
        url = start_embedded_server(data)
        run(url, "CREATE DATABASE aperture")
        run(url, "CREATE DATABASE aperture_dagster")
        aperture = url.replace("/postgres?", "/aperture?")
        run(aperture, "CREATE EXTENSION vector")
        run(aperture, "CREATE TABLE kept (id serial PRIMARY KEY, words text, meaning halfvec(3))")
        run(
            aperture,
            "INSERT INTO kept (words, meaning) SELECT 'word ' || sqrt(n), '[1,2,3]' FROM generate_series(1, 500) n",
        )
        run(aperture, "CREATE INDEX near ON kept USING hnsw (meaning halfvec_cosine_ops)")
        run(url.replace("/postgres?", "/aperture_dagster?"), "CREATE TABLE runs AS SELECT generate_series(1, 9) AS n")
        release_embedded_server(data)
        patch.undo()
        yield data


@pytest.fixture
def old(old_data: Path, folder: Path) -> Path:
    """A copy of that cluster for one test."""
    folder.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", old_data, folder], check=True)
    return folder


def contents(data: Path) -> list[tuple[object, ...]]:
    url = start_embedded_server(data)
    assert run(url, "SELECT current_setting('server_version_num')::int / 10000") == [(VERSION,)]
    assert run(url.replace("/postgres?", "/aperture_dagster?"), "SELECT sum(n) FROM runs") == [(45,)]
    return run(url.replace("/postgres?", "/aperture?"), ROWS)


def beside(data: Path) -> list[str]:
    return sorted(path.name for path in data.parent.iterdir() if path.is_dir() and path != data)


def test_the_data_of_an_older_version_is_moved_at_the_first_start_and_kept(old: Path):
    assert contents(old) == FILLED
    aperture = start_embedded_server(old).replace("/postgres?", "/aperture?")
    assert run(aperture, "INSERT INTO kept (words) VALUES ('new') RETURNING id") == [(501,)], "the sequence went on"
    assert run(aperture, "SELECT indexdef FROM pg_indexes WHERE indexname = 'near'")
    release_embedded_server(old)
    assert beside(old) == [f"postgres.version-{OLD}"]
    assert (old.with_name(f"postgres.version-{OLD}") / "PG_VERSION").read_text() == f"{OLD}\n"
    assert sorted(path.name for path in old.parent.glob(".postgres.*")) == [
        ".postgres.lock",
        ".postgres.server",
        ".postgres.users",
    ]
    assert all_gone(old.parent)


@pytest.mark.parametrize("point", ["during the copy", "0", "1"])
def test_an_upgrade_that_was_killed_is_finished_or_begun_again(old: Path, point: str):
    # Of an earlier upgrade.
    earlier = old.with_name(f"postgres.version-{OLD - 1}")
    earlier.mkdir()
    killed = run_fork(KILLED, point, old)
    assert killed.returncode == -9, killed.stderr
    assert contents(old) == FILLED
    release_embedded_server(old)
    assert beside(old) == [earlier.name, f"postgres.version-{OLD}"]
    assert all_gone(old.parent)


def test_a_copy_that_differs_is_not_used(old: Path, monkeypatch: pytest.MonkeyPatch):
    copy = module.run_tool

    def lossy(program: Path, *arguments: str, url: str, **more: object) -> str:
        done = copy(program, *arguments, url=url, **more)  # pyright: ignore[reportArgumentType]
        if program.name == "pg_restore" and "/aperture_dagster?" not in url:
            run(url.replace("/postgres?", "/aperture?"), "DELETE FROM kept WHERE id = 7")
        return done

    monkeypatch.setattr(module, "run_tool", lossy)
    with pytest.raises(DatabaseError, match=r"kept has 499 rows instead of 500.*It is as it was"):
        start_embedded_server(old)
    assert (old / "PG_VERSION").read_text() == f"{OLD}\n"
    assert not beside(old)
    monkeypatch.undo()
    assert contents(old) == FILLED


def test_the_folder_of_a_server_that_does_not_end_is_not_moved(old: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        shut_down = embedded._shut_down
        patch.setattr(embedded, "_shut_down", lambda url, running: ".upgrade" in url and shut_down(url, running))
        with pytest.raises(DatabaseError, match=r"still running\. It is as it was"):
            start_embedded_server(old)
    assert (old / "PG_VERSION").read_text() == f"{OLD}\n"
    assert not beside(old)
    assert contents(old) == FILLED


def test_a_database_that_an_older_program_uses_is_not_moved(old: Path):
    # The lock of every process that uses the server.
    used = locks.acquire(Cluster(old).users, shared=True)
    assert used is not None
    with pytest.raises(DatabaseError, match="older version of this program is using it: stop that first"):
        start_embedded_server(old)
    locks.release(used)
    assert not beside(old)


def test_without_room_for_a_copy_nothing_begins(old: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DatabaseError, match=r"are free: make room there\. It is as it was"):
        start_embedded_server(old)
    assert not beside(old)


def test_a_database_that_was_created_during_an_interrupted_upgrade_is_not_overwritten(folder: Path):
    for name in ("postgres", "postgres.upgraded", f"postgres.version-{OLD}"):
        folder.with_name(name).mkdir(parents=True)
        (folder.with_name(name) / "PG_VERSION").write_text(f"{OLD}\n")
    with pytest.raises(DatabaseError, match="move one of the two away"):
        start_embedded_server(folder)
    assert len(beside(folder)) == 2
