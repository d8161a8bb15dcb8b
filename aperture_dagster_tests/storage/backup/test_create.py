"""Backups under fault: a bad one is never kept or counted, and the last good one stays."""

from __future__ import annotations

import gzip
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

from aperture_dagster.open_folder import OpenFolder
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup import create, tools
from aperture_dagster.storage.backup.create import BackupReport
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.lock import backup_lock
from aperture_dagster.storage.backup.manifest import manifest_path, read_backups
from aperture_dagster.storage.backup.places import MARKER, backup_folder
from aperture_dagster.storage.backup.scratch import PREFIX, scratch_prefix, with_driver
from aperture_dagster.storage.backup.verify import verify_backup
from aperture_dagster.storage.cluster import embedded_tool
from aperture_dagster.storage.schema_lock import schema_lock
from aperture_dagster_tests.databases import database_copy, role_with_password, run_statements
from aperture_dagster_tests.forks import run_fork
from aperture_dagster_tests.household import SetClock

BackUp = Callable[..., BackupReport]
RIGHTS = 0o077


def files(settings: Settings) -> dict[str, bytes]:
    """Return the contents of all files in the folder."""
    folder = backup_folder(settings)
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def scratch_databases(postgres: str) -> list[str]:
    found = run_statements(postgres, f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'")
    return [str(name) for (name,) in found]


@contextmanager
def locked_table(url: str) -> Iterator[None]:
    """Hold a lock on a table that makes pg_dump wait."""
    engine = create_engine(with_driver(url))
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE works IN ACCESS EXCLUSIVE MODE"))
        yield
    engine.dispose()


def test_nights_of_backups(back_up: BackUp, settings: Settings, clock: SetClock, postgres: str):
    folder = backup_folder(settings)
    first = back_up()
    assert first.backup.path == folder / "aperture-backup-2026-05-17.sql.gz"
    assert first.backup.manifest.proven == "the same server"
    assert first.backup.manifest.fingerprint.tables["public.works"].count == 1000
    assert all(path.stat().st_mode & RIGHTS == 0 for path in folder.iterdir()), "readable by others"
    foreign = {"aperture-backup-2020-01-01.sql.gz": b"no manifest", "aperture-backup-x.sql.gz": b"", "notes.txt": b""}
    for name, content in foreign.items():
        (folder / name).write_bytes(content)
    # A second one on one day does not replace the first.
    clock.moment += timedelta(hours=5)
    second = back_up()
    assert second.backup.path.name == "aperture-backup-2026-05-17-060000.sql.gz"
    assert second.deleted == () and second.backup.manifest.number == 2
    # The clock goes back by a day: the newest is still the newest, and the name of the future is kept.
    clock.moment -= timedelta(days=1)
    third = back_up()
    assert third.backup.path.name == "aperture-backup-2026-05-16.sql.gz" and third.backup.manifest.number == 3
    assert third.deleted == ()
    assert any("Dated in the future" in note and "2026-05-17.sql.gz" in note for note in third.notes)
    # Two are kept, by number and not by date.
    clock.moment += timedelta(days=3)
    assert back_up().deleted == (first.backup.path.name, second.backup.path.name)
    assert [one.path.name for one in read_backups(folder).kept] == [
        "aperture-backup-2026-05-16.sql.gz",
        "aperture-backup-2026-05-19.sql.gz",
    ]
    assert not manifest_path(first.backup.path).exists()
    assert {name: files(settings)[name] for name in foreign} == foreign
    assert scratch_databases(postgres) == []


def test_a_failure_of_any_kind_leaves_the_last_backup_and_nothing_else(
    back_up: BackUp, settings: Settings, clock: SetClock, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    back_up()
    clock.moment += timedelta(days=1)
    before = files(settings)

    def refused(match: str) -> str:
        with pytest.raises(BackupError, match=match) as error:
            back_up()
        assert files(settings) == before
        assert str(error.value).startswith("No backup was made; existing ones are kept. ")
        return str(error.value)

    def kill() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for child in psutil.Process().children():
                if child.name() == "pg_dump" and "--format=plain" in child.cmdline():
                    return child.kill()
            time.sleep(0.01)

    with locked_table(database_url):
        killer = threading.Thread(target=kill)
        killer.start()
        refused(r"pg_dump was killed \(SIGKILL\)")
        killer.join()
        monkeypatch.setattr(create, "LOCK_WAIT_SECONDS", 1)
        refused("Another session has locked a table for more than 1 seconds")
    # Another backup, and a migration.
    with backup_lock(database_url):
        refused("is being made, verified or restored right now")
    engine = create_engine(with_driver(database_url))
    with engine.connect() as connection, schema_lock(connection):
        refused("schema has been changing")
    engine.dispose()
    # A row that the dump lost.
    write = create._write

    def lossy(file: Path, chunks: Iterator[bytes], *others: object) -> object:
        return write(file, iter([b"".join(chunks).replace(b"fact 500\t", b"fact 5OO\t")]), *others)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(create, "_write", lossy)
        refused(
            "The new dump was restored, but differs from the database that was dumped: table public.facts has other"
        )

    def damaged(file: Path, *others: object) -> object:
        written = write(file, *others)  # type: ignore[arg-type]
        with file.open("r+b") as output:
            output.seek(5000)
            output.write(b"\0\0\0")
        return written

    with monkeypatch.context() as patched:
        patched.setattr(create, "_write", damaged)
        refused("The new dump is damaged")
    # A server that is newer than all clients.
    with monkeypatch.context() as patched:
        patched.setattr(tools, "OLDEST", (99, 0))
        refused("install postgresql-client-18")
    clock.moment += timedelta(days=1)
    assert back_up().backup.manifest.number == 2


def test_a_wrong_password_is_refused_without_showing_it(
    back_up: BackUp, make_settings: Callable[..., Settings], database_url: str, postgres: str
):
    with role_with_password(postgres) as role:
        url = make_url(database_url)
        wrong = url.set(username=role, password="planted-wrong").render_as_string(hide_password=False)
        with pytest.raises(BackupError, match="password authentication failed") as error:
            back_up(settings=make_settings(database_url=wrong))
        assert "planted-wrong" not in str(error.value)
        right = url.set(username=role, password="right").render_as_string(hide_password=False)
        psql = embedded_tool("psql")
        assert tools.run_tool(psql, "-XAtc", "SELECT current_user", url=right) == f"{role}\n"
        # libpq reads the password of a client's key from no variable.
        right = make_url(right).update_query_dict({"sslpassword": "right-key"}).render_as_string(hide_password=False)
        with tools.running_tool(psql, "-Xq", url=right) as process:
            # Just after its start, a process shows no arguments yet.
            while not (words := psutil.Process(process.pid).cmdline()):
                time.sleep(0.01)
            assert "--dbname" in words and not any("right" in word for word in words)


def test_a_full_disk_is_reported_and_leaves_nothing(settings: Settings, back_up: BackUp, tmp_path: Path):
    back_up()
    before = files(settings)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
        "from aperture_dagster.cli.main import main; main(['backup', 'create'])"
    )
    assert settings.database_url is not None
    environment = {
        "APERTURE_DATABASE_URL": settings.database_url.get_secret_value(),
        "APERTURE_HOME": str(settings.home),
        "APERTURE_BACKUP_ACCEPT_UNMOUNTED": "true",
    }
    run = run_fork(code, environment=os.environ | environment)
    assert run.returncode == 1
    assert "existing ones are kept" in run.stderr and "cannot be written (File too large)" in run.stderr, run.stderr
    assert "Traceback" not in run.stderr
    assert files(settings) == before


def test_no_room_is_found_before_anything_is_written(
    back_up: BackUp, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    made = back_up()
    before = files(settings)
    usage = type("Usage", (), {"free": made.backup.bytes})()
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda folder: usage)
        with pytest.raises(BackupError, match="The next backup may need"):
            back_up()
    assert files(settings) == before


def test_rows_that_arrive_during_the_dump_are_no_difference(
    back_up: BackUp, database_url: str, monkeypatch: pytest.MonkeyPatch
):
    ((before,),) = run_statements(database_url, "SELECT count(*) FROM works")
    assert isinstance(before, int)

    def changing(name: str) -> Callable[..., Any]:
        """Change the database just before a step of the backup."""
        step = getattr(create, name)

        def call(*arguments: Any, **options: Any) -> Any:
            run_statements(
                database_url,
                "INSERT INTO works (media_type) VALUES ('series')",
                "UPDATE facts SET value = '1' WHERE name = 'fact 7'",
            )
            return step(*arguments, **options)

        return call

    for name in ("running_tool", "read_fingerprint"):
        monkeypatch.setattr(create, name, changing(name))
    manifest = back_up().backup.manifest
    assert manifest.proven is not None
    assert manifest.fingerprint.tables["public.works"].count == before
    last, _ = manifest.fingerprint.sequences["public.works_work_id_seq"]
    # Sequences belong to no snapshot.
    assert last > before


def test_what_an_interrupted_run_left_is_removed(back_up: BackUp, settings: Settings, postgres: str, database_url: str):
    back_up()
    names = (f".aperture-backup-{'0' * 32}.partial", ".aperture-backup-2026-05-17-060000.sql.gz.json-a_b1c2d3")
    partial = [backup_folder(settings) / name for name in (*names, f"{MARKER}-a_b1c2d3")]
    for path in partial:
        path.write_bytes(b"half")
    # Killed before it was dropped; others' databases stay.
    left = f"{scratch_prefix(database_url)}left"
    run_statements(postgres, f"CREATE DATABASE {left}", f"CREATE DATABASE {PREFIX}0_other")
    try:
        back_up()
        assert scratch_databases(postgres) == [f"{PREFIX}0_other"]
        assert not any(path.exists() for path in partial)
    finally:
        run_statements(postgres, f"DROP DATABASE {PREFIX}0_other")


def test_a_folder_that_is_not_ours_is_left_empty(
    back_up: BackUp, make_settings: Callable[..., Settings], tmp_path: Path
):
    share = tmp_path / "share"
    share.mkdir()
    settings = make_settings(backup_folder=share, backup_accept_unmounted=True)
    with pytest.raises(BackupError, match="accept it with `aperture backup create --accept-folder`"):
        back_up(settings=settings)
    assert list(share.iterdir()) == []
    back_up(settings=settings, accept_folder=True)
    back_up(settings=settings)
    # The share is not mounted.
    share.rename(tmp_path / "away")
    with pytest.raises(BackupError, match="is not there"):
        back_up(settings=settings)
    share.mkdir()
    with pytest.raises(BackupError, match="has no marker"):
        back_up(settings=settings)
    assert list(share.iterdir()) == []
    # Another installation's.
    (share / MARKER).write_text('{"owner": "another"}')
    with pytest.raises(BackupError, match="another installation"):
        back_up(settings=settings)
    # Mounted elsewhere.
    assert back_up(settings=make_settings(backup_folder=tmp_path / "away", backup_accept_unmounted=True))


def test_there_is_nothing_to_back_up_before_the_first_start(
    back_up: BackUp, make_settings: Callable[..., Settings], postgres: str
):
    with database_copy(postgres, "template0") as url:
        settings = make_settings(database_url=url)
        with pytest.raises(BackupError, match="holds no schema of this program yet"):
            back_up(settings=settings)
        assert files(settings) == {}


def test_what_another_user_made_is_left_alone(back_up: BackUp, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    first = back_up().backup
    unreadable = manifest_path(first.path)
    opened = Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path == unreadable:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)  # type: ignore[call-overload]

    # The tests may run as root, for whom nothing is unreadable.
    monkeypatch.setattr(Path, "open", refuse)
    assert back_up().backup.manifest.proven
    assert read_backups(backup_folder(settings)).foreign == (first.path.name,)
    monkeypatch.setattr(OpenFolder, "read", lambda folder, name: refuse(unreadable) if name == MARKER else None)
    with pytest.raises(BackupError, match="belongs to another user, and cannot be read"):
        back_up()


def test_vectors_can_be_left_out(back_up: BackUp, make_settings: Callable[..., Settings]):
    settings = make_settings(backup_vectors=False, backup_accept_unmounted=True)
    backup = back_up(settings=settings).backup
    assert backup.manifest.proven and backup.manifest.left_out == ("public.embeddings", "public.discovery_vectors")
    assert backup.manifest.fingerprint.tables["public.embeddings"].count == 0
    assert b"COPY public.works" in (dump := gzip.decompress(backup.path.read_bytes()))
    assert b"[1,2.5,-3]" not in dump
    assert verify_backup(settings, backup.path).place == "the same server"


def test_a_folder_that_does_not_last_is_no_place_for_a_proof(
    back_up: BackUp, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
):
    proven = [back_up(settings=make_settings(backup_accept_unmounted=True)).backup.path for _ in range(2)]
    monkeypatch.setattr(create, "why_not_lasting", lambda *_, **__: "It is inside the container.")
    report = back_up(settings=make_settings(backup_keep=1))
    assert report.backup.manifest.proven is None
    assert "inside the container" in (report.backup.manifest.unproven_because or "")
    assert report.deleted == () and all(path.exists() for path in proven), "deleted without a newer proven one"
