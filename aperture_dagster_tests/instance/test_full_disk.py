"""A disk that is full when a command starts: one sentence, and once there is room again, nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import make_url

from aperture_dagster.postgres.embedded import full_disk_explained
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.migrations import HEAD_REVISION
from aperture_dagster.settings import Settings
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.users import needs_namespaces

BIN = Path(sys.executable).parent
FULL = (
    "CREATE FUNCTION no_room() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
    "'could not extend file \"base/5/16384\"\\: {}' USING ERRCODE = 'disk_full', HINT = 'Check free space.'; END $$",
    "CREATE EVENT TRIGGER no_room ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION no_room()",
)
ON_SMALL_DISK = """
mount -t tmpfs -o size="$2",mode=700 disk "$1"
"$3" migrate; echo "ended with $?"
mount -o remount,size=300m "$1"
"$3" migrate; echo "ended with $?"
umount "$1"
"""


@pytest.mark.parametrize("message", ["No space left on device", "wrote only 4096 of 8192 bytes at block 0"])
def test_a_disk_that_is_full_when_dagsters_tables_are_created_is_one_sentence(external: Settings, message: str):
    assert external.database_url is not None
    url = make_url(external.database_url.get_secret_value())
    of_dagster = url.set(database=f"{url.database}_dagster").render_as_string(hide_password=False)
    run_statements(url.render_as_string(hide_password=False), f"CREATE DATABASE {url.database}_dagster")
    run_statements(of_dagster, *(one.replace("{}", message) for one in FULL))
    with pytest.raises(DatabaseError) as error:
        dg.DagsterInstance.get()
    assert f'The disk of the database is full: could not extend file "base/5/16384": {message}.' in str(error.value)
    assert "Existing data is kept; free some space" in str(error.value) and "\n" not in str(error.value)
    run_statements(of_dagster, "DROP EVENT TRIGGER no_room")
    dg.DagsterInstance.get().dispose()


def test_a_server_that_stopped_for_lack_of_room_is_no_lost_connection(tmp_path: Path):
    log = tmp_path / "log"
    old = 'PANIC:  could not write to file "pg_wal/xlogtemp.1": No space left on device\n'
    recovery = "FATAL:  the database system is in recovery mode\n"
    lost = DatabaseError("The database cannot be reached: the database system is in recovery mode.")

    def told(logged: str) -> str:
        with pytest.raises(DatabaseError) as error, full_disk_explained(tmp_path):
            with log.open("a") as file:
                file.write(logged)
            raise lost
        return str(error.value)

    log.write_text(old)
    assert told(recovery) == str(lost), "the disk was full on another day"
    message = told(old.replace("xlogtemp.1", "xlogtemp.2") + recovery)
    assert f'The embedded database in {tmp_path} stopped: could not write to file "pg_wal/xlogtemp.2"' in message
    assert "What it holds is kept. Make room there" in message


@pytest.mark.nightly(
    reason="Four processes that load the whole product, and create a database cluster.",
    instead="instance/test_full_disk.py::test_a_disk_that_is_full_when_dagsters_tables_are_created_is_one_sentence",
)
# The cluster has room, but not its log; Dagster's database, but not its tables.
@pytest.mark.parametrize("size", ["50m", "61m"])
@needs_namespaces
def test_a_start_on_a_full_disk_is_one_sentence_and_succeeds_once_there_is_room(tmp_path: Path, size: str):
    disk = tmp_path / "disk"
    disk.mkdir()
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path),
        "DAGSTER_HOME": str(PROJECT),
        "APERTURE_HOME": str(disk / "home"),
    }
    script = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ON_SMALL_DISK, "sh"]
    command = [*script, disk, size, BIN / "aperture"]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    (message,) = done.stderr.splitlines()
    assert message.startswith("Error: ") and "No space left on device" in message and "kept" in message
    assert "elete" not in message
    said = ["ended with 1", f"The database has the schema {HEAD_REVISION}.", "ended with 0"]
    assert done.stdout.splitlines() == said
