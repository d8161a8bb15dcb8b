"""The embedded PostgreSQL server: recovery, sharing and shutdown, with real processes that are killed."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster_tests.clusters import FOLDER
from aperture_dagster_tests.databases import as_superuser
from aperture_dagster_tests.holders import HOLD, Holder, kill_server, run
from aperture_dagster_tests.processes import all_gone
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.waiting import SECONDS


def starts_of(folder: Path) -> int:
    """Return how often a server was started on this data."""
    return (folder / "log").read_text().count("starting PostgreSQL")


def test_the_server_is_shared_and_stops_with_its_last_user(folder: Path, hold: Callable[..., Holder]):
    # All at once, on a folder that is not there yet, and with temporary folders of their own.
    temporary = [folder.parent / name for name in ("service", "shell", "cron")]
    for one in temporary:
        one.mkdir()
    holders = [hold(TMPDIR=str(one)) for one in temporary]
    assert len({holder.url() for holder in holders}) == 1
    url = start_embedded_server(folder)
    assert starts_of(folder) == 1
    for holder in holders:
        holder.end()
    assert run(url, "SELECT 1") == [(1,)]
    release_embedded_server(folder)
    assert all_gone(folder.parent)


@pytest.mark.parametrize(
    "statement",
    ["COPY (SELECT 1) TO PROGRAM 'true'", "SELECT pg_read_file('PG_VERSION')", "CREATE ROLE another", "LOAD 'plpgsql'"],
)
def test_the_program_works_as_a_role_that_reaches_nothing_but_its_databases(folder: Path, statement: str):
    url = start_embedded_server(folder)
    assert run(url, "SELECT current_user") == [("aperture",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(url, statement)


def test_the_folder_may_have_any_name_and_the_terminal_any_locale(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """PostgreSQL's clients read a comma in a socket path as a separator between hosts. There is no cluster to copy."""
    for name, value in (("LC_ALL", "tlh_QO.UTF-8"), ("TMDB_API_KEY", "hush"), (FOLDER, str(folder.parent))):
        monkeypatch.setenv(name, value)
    data = folder.with_name('it\'s, 100% "mine" $HOME; x') / "postgres"
    data.parent.mkdir()
    assert run(start_embedded_server(data), "SELECT lower('Ä'), datctype FROM pg_database LIMIT 1") == [("ä", "C")]
    assert "hush" not in Path(f"/proc/{(data / 'postmaster.pid').read_text().split()[0]}/environ").read_text()
    release_embedded_server(data)
    assert all_gone(folder.parent)


def test_the_logout_of_its_user_does_not_cut_the_server_off(folder: Path):
    """systemd deletes what they have in shared memory: nobody could connect any more, not even to stop the server."""
    url = as_superuser(start_embedded_server(folder))
    run(url, "DO $$BEGIN FOR i IN 1..600 LOOP EXECUTE format('CREATE TABLE t%s (n int UNIQUE)', i); END LOOP; END$$")
    mapped = "SELECT DISTINCT (regexp_matches(pg_read_file('/proc/self/maps'), '/dev/shm/PostgreSQL\\S+', 'g'))[1]"
    for (segment,) in run(url, mapped):
        Path(str(segment)).unlink()
    assert run(url, "SELECT 1") == [(1,)]


def test_a_killed_process_does_not_keep_the_server_running(folder: Path, hold: Callable[..., Holder]):
    first, second = hold(), hold()
    first.url(), second.url()
    first.kill()
    second.end()
    assert all_gone(folder.parent)


def test_a_killed_server_restarts_with_all_committed_data(folder: Path, hold: Callable[..., Holder]):
    holder = hold()
    url = as_superuser(holder.url())
    run(url, "CREATE TABLE kept (n int)")
    run(url, "INSERT INTO kept SELECT generate_series(1, 1000)")
    kill_server(folder)
    again = as_superuser(holder.start_again())
    assert run(again, "SELECT count(*) FROM kept") == [(1000,)]
    # Server and holder at once, as in a power cut.
    holder.kill()
    kill_server(folder)
    newcomer = hold()
    assert run(as_superuser(newcomer.url()), "SELECT count(*) FROM kept") == [(1000,)]
    newcomer.end()
    assert all_gone(folder.parent)


def test_stale_files_do_not_prevent_a_start(folder: Path, hold: Callable[..., Holder]):
    start_embedded_server(folder)
    release_embedded_server(folder)
    # The number of the old server belongs to another program of the same account now.
    other = subprocess.Popen(["sleep", "100"], user=folder.stat().st_uid)
    (folder / "postmaster.pid").write_text(f"{other.pid}\n{folder}\n1700000000\n5432\n/tmp\n\n1 2\nready\n")
    (folder / ".s.PGSQL.5432.lock").write_text(f"{other.pid}\n{folder}\n1700000000\n5432\n.\n")
    url = start_embedded_server(folder)
    assert run(url, "SELECT 1") == [(1,)]
    assert starts_of(folder) == 2, "at the first try"
    other.kill()
    other.wait(SECONDS)
    release_embedded_server(folder)
    assert all_gone(folder.parent)
    # And a socket to which nobody listens.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / ".s.PGSQL.5432"))
    (folder / "postmaster.pid").write_text(f"1\n{folder}\n1700000000\n5432\n{folder}\n\n1 2\nready\n")
    assert run(start_embedded_server(folder), "SELECT 1") == [(1,)]


def test_a_half_initialized_cluster_is_created_again(folder: Path):
    workshop = folder.with_name("postgres.new")
    (workshop / "base").mkdir(parents=True)
    (workshop / "PG_VERSION").write_text("18\n")
    folder.mkdir()
    assert run(start_embedded_server(folder), "SELECT 1") == [(1,)]
    assert not workshop.exists()


def one_sentence(folder: Path) -> str:
    with pytest.raises(DatabaseError) as raised:
        start_embedded_server(folder)
    message = str(raised.value)
    assert "\n" not in message
    assert str(folder.parent) in message
    return message


def test_a_read_only_folder_is_reported_in_one_sentence(folder: Path):
    folder.parent.joinpath("file").write_text("in the way")
    blocked = folder.parent / "file" / "home" / "postgres"
    assert "APERTURE_HOME" in one_sentence(blocked)


def test_a_full_disk_is_reported_at_every_attempt_and_harms_nothing(folder: Path):
    run(as_superuser(start_embedded_server(folder)), "CREATE TABLE kept (n int)")
    release_embedded_server(folder)
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from aperture_dagster.postgres.embedded import DatabaseError, start_embedded_server\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "for _ in range(2):\n"
        "    try:\n        start_embedded_server(Path(sys.argv[1]))\n"
        "    except DatabaseError as error:\n        print(error)\n"
    )
    done = run_program(code, folder)
    assert (done.returncode, done.stderr) == (0, "")
    for told in done.stdout.splitlines(keepends=True):
        assert "File too large" in told and "Make room" in told and "APERTURE_HOME" in told and str(folder) in told
    assert len(done.stdout.splitlines()) == 2
    # It runs, with that limit.
    kill_server(folder)
    assert run(as_superuser(start_embedded_server(folder)), "SELECT count(*) FROM kept") == [(0,)]


def test_a_folder_with_other_contents_is_not_touched(folder: Path):
    folder.mkdir()
    (folder / "letters.txt").write_text("keep me")
    assert "APERTURE_HOME" in one_sentence(folder)
    assert (folder / "letters.txt").read_text() == "keep me"


def test_a_cluster_of_another_version_is_not_touched(folder: Path):
    folder.mkdir()
    (folder / "PG_VERSION").write_text("15\n")
    assert "was created by PostgreSQL 15, but this program brings version 18. Nothing was changed" in (
        told := one_sentence(folder)
    )
    assert "`aperture backup create`" in told and "`aperture restore FILE`" in told
    assert (folder / "PG_VERSION").read_text() == "15\n"


def test_a_removed_folder_causes_no_error_at_exit(folder: Path):
    program = HOLD + "import shutil\nshutil.rmtree(Path(sys.argv[1]).parent)\n"
    done = run_program(program, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert not folder.parent.exists()
