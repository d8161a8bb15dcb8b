"""Backups of servers of other versions than this program's: which pg_dump makes them, and where they can be restored.

Releases of PostgreSQL since November 2026 keep something in their catalogue that an older pg_dump takes for an option
of a column; the recorded dump is of such a server. Its catalogue can be imitated on the servers of this program.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.storage import cluster
from aperture_dagster.storage.backup import dump_file as module
from aperture_dagster.storage.backup import tools
from aperture_dagster.storage.backup.create import BackupReport
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.manifest import read_backups
from aperture_dagster.storage.backup.places import backup_folder
from aperture_dagster.storage.backup.restore_into import restore_into
from aperture_dagster.storage.backup.scratch import scratch_database
from aperture_dagster.storage.backup.tools import find_pg_dump
from aperture_dagster.storage.backup.verify import verify_backup
from aperture_dagster.storage.cluster import Cluster, embedded_tool
from aperture_dagster.storage.connection import close_engine, open_engine, product_database_url
from aperture_dagster.storage.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.storage.restore import examine_file, restore
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements

BackUp = Callable[..., BackupReport]
Write = Callable[[bytes], Path]
RECORDED = PROJECT / "aperture_dagster_tests" / "data" / "dumps" / "postgresql-17.12-by-pg_dump-18.4.sql"
# What a server since November 2026 has in its catalogue.
COLUMN_VERSIONS = (
    "SET allow_system_table_mods = on",
    "UPDATE pg_attribute SET attoptions = '{pg_attver=35775224}' WHERE attrelid IN "
    "(SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r')",
    "RESET allow_system_table_mods",
)
ROW_COUNT = 40
ROWS = (
    f"INSERT INTO works (media_type, tmdb_id) SELECT 'movie', n FROM generate_series(1, {ROW_COUNT}) n",
    "INSERT INTO embedding_models (model_key, dimensions, activated_at) VALUES ('m', 3, now())",
    "INSERT INTO embeddings (model_key, work_id, text_hash, vector) SELECT 'm', work_id, 'h', '[1,2.5,-3]' FROM works",
)
OLDEST_OWN_CLIENT = 17
# Where Debian's packages put servers; others can be named.
FOLDERS = [*Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.environ.get("TEST_SERVERS", "").split(":"))]


def installed_servers() -> list[Path]:
    """Return the folders of installed servers with pgvector 0.7 or newer, which the product needs."""
    extensions = "share/postgresql/{}/extension/vector--0.6.2--0.7.0.sql"
    return [
        folder
        for folder in FOLDERS
        if (folder / "initdb").exists() and (folder.parents[3] / extensions.format(folder.parent.name)).exists()
    ]


def client(folder: Path, shown: str, script: str = "") -> Path:
    """Write a stand-in for pg_dump that shows a version."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "pg_dump"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) {shown}" && exit\n{script}\n')
    program.chmod(0o755)
    return program


@contextmanager
def server_of(major: int, data: Path) -> Iterator[str]:
    """Run a server that this program brings; yield its URL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "VERSION", major)
        url = start_embedded_server(data)
    try:
        (data / "pg_hba.conf").write_text("local all postgres peer map=aperture\nlocal all all trust\n")
        run_statements(url, "SELECT pg_reload_conf()")
        yield url
    finally:
        release_embedded_server(data)


@contextmanager
def server_from(programs: Path) -> Iterator[str]:
    """Run a server that is installed on this machine; yield its URL."""
    with tempfile.TemporaryDirectory(prefix="aperture-tests-") as folder:
        data = Path(folder)
        account = Cluster(data).account
        as_user = {"user": account[0], "group": account[1], "extra_groups": []} if account else {}
        if account:
            os.chown(data, *account)

        def run(program: str, *arguments: str) -> None:
            command = [programs / program, "-D", data, *arguments]
            subprocess.run(command, check=True, cwd=data, stdin=subprocess.DEVNULL, capture_output=True, **as_user)

        run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        options = f"-c listen_addresses= -c unix_socket_directories={data} -c fsync=off"
        run("pg_ctl", "-w", "-l", str(data / "log"), "-o", options, "start")
        try:
            yield cluster.server_url(data)
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")


@contextmanager
def household_of_a_plain_role(server: str, make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    """Create the database of a role without any other right, and fill it; yield settings with it."""
    run_statements(server, "CREATE ROLE plain LOGIN", "CREATE DATABASE product OWNER plain")
    admin = make_url(server).set(drivername="postgresql", database="product")
    run_statements(admin.render_as_string(hide_password=False), "CREATE EXTENSION vector")
    url = admin.set(username="plain").render_as_string(hide_password=False)
    settings = make_settings(database_url=url, backup_accept_unmounted=True)
    try:
        open_engine(settings)
        run_statements(url, *ROWS)
        yield settings
    finally:
        close_engine(product_database_url(settings))


def restored_rows(backup: Path, home: Path) -> object:
    """Restore a backup into the embedded server of a home, and count the films in it."""
    settings = load_settings(home=home, backup_accept_unmounted=True)
    try:
        file = examine_file(backup, trust=False)
        restore(settings, file, now=datetime.now(UTC), refuse_runs=lambda: None)
        url = make_url(product_database_url(settings)).set(drivername="postgresql")
        return run_statements(url.render_as_string(hide_password=False), "SELECT count(*) FROM embeddings")[0][0]
    finally:
        close_engine(product_database_url(settings))
        release_embedded_server(home / "postgres")


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The pg_dump of this program, on a machine that has no other."""
    monkeypatch.setattr(tools, "SYSTEM_PROGRAMS", f"{tmp_path}/system/{{major}}/bin")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return embedded_tool("pg_dump")


def test_a_dump_is_made_by_the_servers_own_client_if_it_is_as_new_as_the_server(bundled: Path, tmp_path: Path):
    def chosen(major: int, minor: int) -> Path:
        found = find_pg_dump((major, minor))
        assert found.version >= (17, 6) and found.version[0] >= major
        return found.path

    assert chosen(17, 12) == chosen(13, 23) == chosen(18, 99) == bundled, "without any other client"
    system = client(tmp_path / "system" / "17" / "bin", "17.12 (Debian 17.12-0+deb13u1)")
    path = client(tmp_path / "path", "17.13")
    assert chosen(17, 12) == system
    assert chosen(17, 13) == path, "the system's is older than the server"
    assert chosen(17, 14) == chosen(18, 0) == chosen(16, 14) == bundled
    client(tmp_path / "path", "18.99 (Debian 18.99-1)")
    assert chosen(18, 99) == path and chosen(18, 0) == chosen(17, 14) == bundled
    # These do not protect a dump, or cannot leave out pgvector, or do not start.
    client(tmp_path / "system" / "17" / "bin", "17.5 (Debian 17.5-1)")
    client(tmp_path / "system" / "15" / "bin", "15.20 (Debian 15.20-0+deb12u1)")
    path.write_bytes(b"\x7fELF of another machine")
    assert chosen(17, 5) == chosen(15, 20) == chosen(18, 99) == bundled
    with pytest.raises(BackupError, match=r"runs on PostgreSQL 19,.*install postgresql-client-19"):
        chosen(19, 0)
    newer = client(tmp_path / "system" / "19" / "bin", "19beta1")
    assert chosen(19, 0) == newer


@pytest.mark.parametrize("chunk", [1 << 20, 61])
def test_a_recorded_dump_of_postgresql_17_12_is_restored_with_all_that_is_in_it(
    postgres: str, dump_file: Write, monkeypatch: pytest.MonkeyPatch, chunk: int
):
    text = RECORDED.read_bytes()
    assert b"(pg_attver=48340376);" in text and b"(pg_attver=48340376, n_distinct=-0.5);" in text
    monkeypatch.setattr(module, "CHUNK", chunk)
    with scratch_database(postgres.replace("+psycopg", "")) as url:
        restore_into(url, dump_file(text))
        # A row that looks like what is left out.
        row = "ALTER TABLE ONLY public.plays ALTER COLUMN film SET (pg_attver=1);"
        assert run_statements(url, "SELECT * FROM plays") == [(1, row)]
        options = "SELECT attname, attoptions FROM pg_attribute WHERE attrelid = 'plays'::regclass AND attnum > 0"
        assert run_statements(url, options) == [("film", None), ("who's", ["n_distinct=-0.5"])]
        assert run_statements(url, 'INSERT INTO plays (film) VALUES (2) RETURNING "who\'s"') == [("anna",)]


@pytest.mark.usefixtures("bundled")
@pytest.mark.parametrize("major", [16, 18])
def test_a_backup_of_a_newer_minor_release_is_proven_and_restored_into_the_embedded_database(
    back_up: BackUp, make_settings: Callable[..., Settings], tmp_path: Path, major: int
):
    with (
        server_of(major, tmp_path / "server" / "postgres") as server,
        household_of_a_plain_role(server, make_settings) as settings,
    ):
        admin = make_url(server).set(drivername="postgresql", database="product")
        run_statements(admin.render_as_string(hide_password=False), *COLUMN_VERSIONS)
        # The role may not create a database there.
        backup = back_up(settings=settings).backup
        assert (backup.manifest.server_major, backup.manifest.proven) == (major, "a temporary server")
        assert b"SET (pg_attver=35775224);" in b"".join(module.DumpFile(backup.path)), "as of real servers"
        assert verify_backup(settings, backup.path).place == "a temporary server"
        assert restored_rows(backup.path, tmp_path / "embedded") == ROW_COUNT


@pytest.mark.nightly(
    reason="Other programs, which most machines do not have: ten seconds each.",
    instead="storage/backup/test_versions.py::"
    "test_a_backup_of_a_newer_minor_release_is_proven_and_restored_into_the_embedded_database",
)
@pytest.mark.skipif(not installed_servers(), reason="needs a server in /usr/lib/postgresql, with pgvector 0.7 or newer")
@pytest.mark.parametrize("with_client", [True, False], ids=["its own client", "this program's client"])
@pytest.mark.parametrize("programs", installed_servers(), ids=lambda folder: folder.parent.name)
def test_a_backup_of_an_installed_server_is_proven_and_restored_into_the_embedded_database(
    back_up: BackUp,
    make_settings: Callable[..., Settings],
    bundled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: Path,
    with_client: bool,
):
    if with_client:
        monkeypatch.setattr(tools, "SYSTEM_PROGRAMS", str(programs))
    with (
        server_from(programs) as server,
        household_of_a_plain_role(server, make_settings) as settings,
    ):
        manifest = (made := back_up(settings=settings).backup).manifest
        assert manifest.proven == "a temporary server"
        own = with_client and manifest.server_major >= OLDEST_OWN_CLIENT
        assert manifest.client_major == (manifest.server_major if own else cluster.VERSION)
        # By a superuser, it is proven on the server itself.
        url = make_url(server).set(drivername="postgresql", database="product").render_as_string(hide_password=False)
        in_place = settings.model_copy(update={"database_url": SecretStr(url)})
        assert back_up(settings=in_place).backup.manifest.proven == "the same server"
        assert restored_rows(made.path, tmp_path / "embedded") == ROW_COUNT


def test_a_dump_that_cannot_be_restored_is_an_error_that_says_why_and_what_to_do(
    back_up: BackUp,
    make_settings: Callable[..., Settings],
    settings: Settings,
    postgres: str,
    database_url: str,
    bundled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    kept = back_up().backup
    folder = backup_folder(settings)
    before = sorted(path.name for path in folder.iterdir())
    # A server may store what the client has never heard of.
    script = f"{bundled} \"$@\" | /usr/bin/env sed 's/^SET row_security = off;/&\\nSET pg_future = 1;/'"
    strange = client(tmp_path / "strange", "18.0", script)
    monkeypatch.setattr(tools, "embedded_tool", lambda name: strange)
    monkeypatch.setenv("PATH", os.defpath)

    def refused(**options: Settings) -> str:
        with pytest.raises(BackupError, match="No backup was made; existing ones are kept") as error:
            back_up(**options)
        assert 'psql failed: unrecognized configuration parameter "pg_future".' in str(error.value)
        advice = r"made by pg_dump 18\.0 of a server of version 18\.\d+\. .*install postgresql-client-18"
        assert re.search(advice, str(error.value))
        assert sorted(path.name for path in folder.iterdir()) == before
        return str(error.value)

    assert "ALTER ROLE" not in refused()
    # Of a role that may not create databases: on a temporary server, and it says why there.
    role = f"plain_{make_url(database_url).database}"
    run_statements(database_url, f"CREATE ROLE {role} LOGIN", f"GRANT pg_read_all_data, pg_write_all_data TO {role}")
    try:
        url = make_url(database_url).set(username=role).render_as_string(hide_password=False)
        message = refused(settings=make_settings(database_url=url, backup_accept_unmounted=True, backup_keep=1))
        assert f'ALTER ROLE "{role}" CREATEDB' in message and "A temporary server of version 18 refused it" in message
    finally:
        run_statements(database_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert [one.path for one in read_backups(folder).kept] == [kept.path]
