"""A disk that is full when a command starts: one sentence, and once there is room again, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import make_url

from aperture_dagster.postgres.embedded import full_disk_explained
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster_tests.databases import as_superuser, run_statements

FULL = (
    "CREATE FUNCTION no_room() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
    "'could not extend file \"base/5/16384\"\\: {}' USING ERRCODE = 'disk_full', HINT = 'Check free space.'; END $$",
    "CREATE EVENT TRIGGER no_room ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION no_room()",
)


def test_a_disk_that_is_full_when_dagsters_tables_are_created_is_one_sentence(external: Settings):
    message = "wrote only 4096 of 8192 bytes at block 0"
    assert external.database_url is not None
    url = make_url(external.database_url.get_secret_value())
    of_dagster = url.set(database=f"{url.database}_dagster").render_as_string(hide_password=False)
    run_statements(url.render_as_string(hide_password=False), f"CREATE DATABASE {url.database}_dagster")
    run_statements(as_superuser(of_dagster), *(one.replace("{}", message) for one in FULL))
    with pytest.raises(DatabaseError) as error:
        dg.DagsterInstance.get()
    assert f'The disk of the database is full: could not extend file "base/5/16384": {message}.' in str(error.value)
    assert "Existing data is kept; free some space" in str(error.value) and "\n" not in str(error.value)
    run_statements(as_superuser(of_dagster), "DROP EVENT TRIGGER no_room")
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
