"""Backups under fault: a bad one is never kept or counted, and the last good one stays."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import create_engine, make_url, text

from aperture_dagster.postgres import cluster, databases
from aperture_dagster.postgres.backup import create, dump, programs
from aperture_dagster.postgres.backup.create import BackupReport
from aperture_dagster.postgres.backup.errors import BackupError
from aperture_dagster.postgres.backup.folder import MARKER, backup_folder, read_backups
from aperture_dagster.postgres.cluster import ROLE, embedded_tool
from aperture_dagster.postgres.databases import PREFIX, exclusive_maintenance, scratch_prefix
from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster.settings import Settings
from aperture_dagster_tests.databases import database_copy, role_with_password, run_statements
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.waiting import SECONDS

BackUp = Callable[..., BackupReport]
RIGHTS = 0o077


def files(settings: Settings) -> dict[str, bytes]:
    """Return the contents of all files in the folder."""
    folder = backup_folder(settings)
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def scratch_databases(postgres: str) -> list[str]:
    rows = run_statements(postgres, f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'")
    return [str(name) for (name,) in rows]


@contextmanager
def locked_table(url: str) -> Iterator[None]:
    """Hold a lock on a table that makes pg_dump wait."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE works IN ACCESS EXCLUSIVE MODE"))
        yield
    engine.dispose()


def test_nights_of_backups(back_up: BackUp, settings: Settings, clock: SetClock, postgres: str):
    folder = backup_folder(settings)
    first = back_up()
    assert first.path == folder / "aperture-backup-2026-05-17.sql.gz" and first.rows > 3000
    assert first.unproven_because is None and first.bytes == first.path.stat().st_size
    assert all(path.stat().st_mode & RIGHTS == 0 for path in folder.iterdir()), "readable by others"
    foreign = {"aperture-backup-x.sql.gz": b"", "notes.txt": b""}
    for name, content in foreign.items():
        (folder / name).write_bytes(content)
    # What a killed process left goes; other databases stay.
    partial = folder / ".aperture-backup-2026-05-16.sql.gz.partial"
    partial.write_bytes(b"half")
    left = f"{scratch_prefix(str(make_url(settings.database_url.get_secret_value()).database))}left"  # type: ignore[union-attr]
    run_statements(postgres, f"CREATE DATABASE {left} OWNER {ROLE}", f"CREATE DATABASE {PREFIX}0_other")
    try:
        clock.moment += timedelta(days=1)
        second = back_up(settings=settings.model_copy(update={"backup_keep": 1}))
        assert second.deleted == (first.path.name,) and not partial.exists()
        assert scratch_databases(postgres) == [f"{PREFIX}0_other"]
    finally:
        run_statements(postgres, f"DROP DATABASE {PREFIX}0_other")
    assert [one.path for one in read_backups(folder)] == [second.path]
    assert {name: files(settings)[name] for name in foreign} == foreign


def test_a_failure_of_any_kind_leaves_the_last_backup_and_nothing_else(
    back_up: BackUp, settings: Settings, clock: SetClock, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    back_up()
    clock.moment += timedelta(days=1)
    before = files(settings)

    def refused(match: str) -> None:
        with pytest.raises(BackupError, match=match) as error:
            back_up()
        assert files(settings) == before
        assert str(error.value).startswith("No backup was made; existing ones are kept. ")

    def kill() -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            for child in psutil.Process().children():
                if child.name() == "pg_dump" and "--format=plain" in child.cmdline():
                    return child.kill()
            time.sleep(0.01)

    with locked_table(database_url):
        killer = threading.Thread(target=kill)
        killer.start()
        refused(r"pg_dump was killed \(SIGKILL\)")
        killer.join(SECONDS)
        monkeypatch.setattr(create, "LOCK_WAIT_SECONDS", 0.05)
        refused("pg_dump failed: .*timeout")
    # Another backup or a restore.
    with exclusive_maintenance(database_url, print), monkeypatch.context() as patched:
        patched.setattr(databases, "PATIENCE_SECONDS", 0)
        refused("Another process is backing this database up or restoring it")

    dump_portable, damages = dump.portable, {b"fact 500\t": b""}

    def damaged(line: bytes) -> bytes:
        line = dump_portable(line)
        return next((into for start, into in damages.items() if line.startswith(start)), line)

    with monkeypatch.context() as patched:
        patched.setattr(dump, "portable", damaged)
        rows = "table public.facts has 999 rows instead of 1,000"
        refused(f"The new dump was restored, but differs from the database that was dumped: {rows}")
        damages[HEAD_REVISION.encode() + b"\n"] = b"v1\n"
        refused(f"the schema is v1 instead of {HEAD_REVISION}; {rows}")
        damages[b"COPY public.facts"] = b"COPY public.fact (name) FROM stdin;\n"
        refused('psql failed: relation "public.fact" does not exist')
    # A server that is newer than all clients.
    with monkeypatch.context() as patched:
        patched.setattr(programs, "VERSION", cluster.VERSION - 1)
        patched.setattr(programs, "SYSTEM_PROGRAMS", "/nowhere/{major}")
        refused("install postgresql-client-18")
    # No room.
    usage = type("Usage", (), {"free": len(next(iter(before.values())))})()
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda folder: usage)
        refused("The next backup may need")
    assert back_up().unproven_because is None


def test_a_secret_is_neither_shown_nor_in_the_list_of_processes(
    back_up: BackUp, make_settings: Callable[..., Settings], database_url: str, postgres: str
):
    with role_with_password(postgres) as role:
        url = make_url(database_url)
        wrong = url.set(username=role, password="planted-wrong").render_as_string(hide_password=False)
        with pytest.raises(BackupError, match="password authentication failed") as error:
            back_up(settings=make_settings(database_url=wrong))
        assert "planted-wrong" not in str(error.value)
        right = url.set(username=role, password="right").update_query_dict({"sslpassword": "right-key"})
        psql = functools.partial(programs.running_tool, embedded_tool("psql"), url=right.render_as_string(False))
        with psql("-XAtc", "SELECT current_user") as process:
            assert process.communicate(timeout=SECONDS)[0] == f"{role}\n".encode()
        with psql("-Xq") as process:
            # Just after its start, a process shows no arguments yet.
            while not (words := psutil.Process(process.pid).cmdline()):
                time.sleep(0.01)
            assert "-Xq" in words and not any("right" in word for word in words)


def test_a_full_disk_is_reported_and_leaves_nothing(settings: Settings, back_up: BackUp, tmp_path: Path):
    back_up()
    before = files(settings)
    code = (
        # Compiled modules would be cut off, too.
        "import resource, sys; sys.dont_write_bytecode = True; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
        "from aperture_dagster.cli.main import main; main(['backup', 'create'])"
    )
    assert settings.database_url is not None
    environment = {
        "APERTURE_DATABASE_URL": settings.database_url.get_secret_value(),
        "APERTURE_HOME": str(settings.home),
    }
    run = run_program(code, environment=os.environ | environment)
    assert run.returncode == 1
    assert "existing ones are kept" in run.stderr and "cannot be written (File too large)" in run.stderr, run.stderr
    assert "Traceback" not in run.stderr
    assert files(settings) == before


def test_rows_that_arrive_during_the_dump_are_no_difference(
    back_up: BackUp, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    ((before,),) = run_statements(database_url, "SELECT count(*) FROM works")

    def changing(name: str) -> Callable[..., Any]:
        """Change the database just before a step of the backup."""
        step = getattr(create, name)

        def call(*arguments: Any, **options: Any) -> Any:
            run_statements(
                database_url,
                "INSERT INTO works (media_type) VALUES ('series')",
                "DELETE FROM facts WHERE name = 'fact 7'",
            )
            return step(*arguments, **options)

        return call

    for name in ("write_dump", "read_contents"):
        monkeypatch.setattr(create, name, changing(name))
    assert back_up().unproven_because is None
    assert run_statements(database_url, "SELECT count(*) FROM works") > [(before,)]


def test_a_folder_that_is_not_ours_is_left_empty(
    back_up: BackUp, make_settings: Callable[..., Settings], tmp_path: Path
):
    share = tmp_path / "share"
    share.mkdir()
    settings = make_settings(backup_folder=share)
    with pytest.raises(BackupError, match="accept it with `aperture backup create --accept-folder`"):
        back_up(settings=settings)
    assert list(share.iterdir()) == []
    back_up(settings=settings, accept_folder=True)
    # The share is not mounted.
    share.rename(tmp_path / "away")
    with pytest.raises(BackupError, match="is not there"):
        back_up(settings=settings)
    share.mkdir()
    with pytest.raises(BackupError, match="has no marker"):
        back_up(settings=settings)
    assert list(share.iterdir()) == []
    # Another installation's.
    (share / MARKER.name).write_text('{"owner": "another"}')
    with pytest.raises(BackupError, match="another installation"):
        back_up(settings=settings)


def test_there_is_nothing_to_back_up_before_the_first_start(
    back_up: BackUp, make_settings: Callable[..., Settings], postgres: str
):
    with database_copy(postgres, "template0") as url:
        settings = make_settings(database_url=url)
        with pytest.raises(BackupError, match="holds no schema of this program yet"):
            back_up(settings=settings)
        assert files(settings) == {}


# Killed


KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from aperture_dagster.postgres.backup import create
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.killing import die_at

name, when, url, home, now, keep = sys.argv[1:]
die_at(create, name, when)
settings = load_settings(home=home, database_url=url, backup_keep=int(keep))
create.create_backup(settings, datetime.fromisoformat(now))
"""


@pytest.mark.nightly(
    reason="A kill at each step.",
    instead="postgres/backup/test_create.py::test_a_failure_of_any_kind_leaves_the_last_backup_and_nothing_else",
)
def test_backups_that_are_killed_leave_the_others_and_the_next_one_is_whole(
    back_up: BackUp, settings: Settings, clock: SetClock, postgres: str
):
    first = back_up()
    assert settings.database_url is not None
    url, made = settings.database_url.get_secret_value(), 1
    for name, when, is_made in (("restore_dump", "after", False), ("_delete_expired", "before", True)):
        before = files(settings)
        clock.moment += timedelta(days=1)
        killed = run_program(KILLED, name, when, url, settings.home_path, clock.now().isoformat(), "2")
        assert killed.returncode == -9, killed.stderr
        lost = before.keys() - files(settings).keys()
        assert all(name.endswith(".partial") for name in lost), lost
        made += is_made
        assert len(read_backups(backup_folder(settings))) == made
    clock.moment += timedelta(days=1)
    last = back_up()
    # As if nothing had been killed: the same rows, as many files as the setting says, and nothing beside them.
    assert (last.rows, last.unproven_because) == (first.rows, None)
    names = {path.name for path in map(Path, files(settings)) if "backup-" in path.name}
    assert names == {one.path.name for one in read_backups(backup_folder(settings))} and len(names) == 2
    assert not scratch_databases(postgres)
