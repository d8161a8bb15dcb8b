"""Access to the embedded server when a machine has several users."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aperture_dagster.cli.main import main
from aperture_dagster.postgres.cluster import embedded_tool
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster_tests.clusters import copy_clusters
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.holders import Holder, run
from aperture_dagster_tests.processes import all_gone, processes_of
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.users import ALICE, NOBODY, acting_as, contained, needs_namespaces, needs_root, snapshot
from aperture_dagster_tests.waiting import SECONDS


@pytest.fixture
def alices_home(clusters: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Create a home of an ordinary user in a folder that others may enter."""
    copy_clusters(monkeypatch, clusters)
    with tempfile.TemporaryDirectory(prefix="aperture-users-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        folder.chmod(0o755)
        home = folder / "alice" / "home"
        home.mkdir(parents=True)
        for path in (home.parent, home):
            os.chown(path, ALICE.pw_uid, ALICE.pw_gid)
        try:
            yield home
        finally:
            for process in processes_of(folder):
                process.kill()


TRY = """
import sys
from pathlib import Path
from aperture_dagster.postgres.embedded import DatabaseError, start_embedded_server
try:
    start_embedded_server(Path(sys.argv[1]))
except DatabaseError as error:
    print(error)
"""


def told(user: pwd.struct_passwd, data: Path, **environment: str) -> str:
    """Return the error that a user gets when starting a server."""
    done = subprocess.run(
        acting_as(user, [sys.executable, "-c", TRY, data]),
        capture_output=True, text=True, env=os.environ | environment, cwd=PROJECT, timeout=SECONDS,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def refused_as(user: pwd.struct_passwd, url: str) -> str:
    """Return the error that a user gets when connecting."""
    done = subprocess.run(
        [embedded_tool("psql"), url, "-c", "SELECT 1"],
        capture_output=True, text=True, user=user.pw_uid, group=user.pw_gid, extra_groups=[], timeout=SECONDS
    )  # fmt: skip
    assert done.returncode == 2, done.stdout
    return done.stderr


def is_private(url: str) -> None:
    """Only the server's own user, which is not the test's, can connect."""
    where = url.partition("host=")[2].partition("&")[0]
    sockets = list(Path(where).glob(".s.PGSQL.*[0-9]"))
    assert [stat.S_IMODE(one.stat().st_mode) for one in sockets] == [0o700]
    assert stat.S_IMODE(Path(where).stat().st_mode) == 0o700
    assert "Permission denied" in refused_as(NOBODY, url)


@needs_root
def test_only_the_owner_can_use_the_socket_and_a_link_of_another_user_is_not_followed(alices_home: Path):
    """With a path too long for a socket, any user could connect as superuser and run programs."""
    data, everybodys = alices_home / ("f" * 120) / "postgres", alices_home.parents[1] / "tmp"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    holder = Holder(data, inside=lambda command: acting_as(ALICE, command), TMPDIR=str(everybodys))
    try:
        url = holder.url()
        assert url
        is_private(url)
        with pytest.raises(psycopg.OperationalError, match=r"[Pp]eer authentication failed"):
            psycopg.connect(url)
        (link,) = everybodys.iterdir()
        assert link.is_symlink()
    finally:
        holder.end()
    assert list(everybodys.iterdir()) == []
    assert all_gone(alices_home)
    # The link that shortens the path is in a folder that all users can write to.
    elsewhere = alices_home.parents[1] / "elsewhere"
    elsewhere.mkdir()
    link.symlink_to(elsewhere)
    os.chown(link, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    again = Holder(data, inside=lambda command: acting_as(ALICE, command), TMPDIR=str(everybodys))
    url = again.url()
    assert url and str(link) not in url
    again.end()
    assert not list(elsewhere.iterdir())
    assert link.readlink() == elsewhere


@needs_root
def test_root_does_not_touch_another_users_home(
    alices_home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """`sudo aperture doctor` changed the owner of the data directory, and the running server panicked."""
    data = alices_home / "postgres"
    holder = Holder(data, inside=lambda command: acting_as(ALICE, command))
    url = holder.url()
    before = snapshot(alices_home)
    with pytest.raises(DatabaseError) as refused:
        start_embedded_server(data)
    assert f"belongs to user {ALICE.pw_name}" in str(refused.value)
    assert f"sudo -u {ALICE.pw_name}" in str(refused.value)
    given = {"APERTURE_HOME": str(alices_home), "APERTURE_MEDIA_SERVER_URL": "http://127.0.0.1:9", "COLUMNS": "500"}
    monkeypatch.setattr(os, "environ", os.environ | given)
    for command in (["doctor"], ["up", "--port", "0", "--home", str(alices_home)]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 1 and f"sudo -u {ALICE.pw_name}" in "".join(capfd.readouterr())
    now = snapshot(alices_home)
    changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
    # The server writes its own statistics and checkpoints meanwhile.
    assert not {path for path in changed if before.get(path, (None,))[0] != ALICE.pw_uid}
    assert {status[0] for status in now.values()} == {ALICE.pw_uid}
    assert not [path for path in changed if not path.startswith(str(data))]
    assert holder.start_again() == url
    holder.end()
    # Nor is a home touched whose server does not run.
    before = snapshot(alices_home)
    with pytest.raises(DatabaseError):
        start_embedded_server(data)
    assert snapshot(alices_home) == before


@needs_root
def test_roots_server_exposes_no_folder_and_accepts_only_root(folder: Path):
    """As root, all users could read the folders above the home, and write to the socket's."""
    home = folder.parent / "closed" / "home"
    home.mkdir(parents=True)
    for path in (home, home.parent, folder.parent):
        path.chmod(0o700)
    url = start_embedded_server(home / "postgres")
    try:
        assert run(url, "SELECT current_user") == [("aperture",)]
        for path in (home, home.parent, folder.parent):
            assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (0o700, 0)
        is_private(url)
        said = told(ALICE, home / "postgres")
        assert "cannot be written (Permission denied)" in said and "APERTURE_HOME" in said
        # Even one who could reach the socket.
        for path in (home, home.parent, folder.parent, home / "postgres"):
            path.chmod(0o755)
        (home / "postgres" / ".s.PGSQL.5432").chmod(0o777)
        assert "eer authentication failed" in refused_as(NOBODY, url)
    finally:
        release_embedded_server(home / "postgres")


@needs_root
@needs_namespaces
def test_root_can_use_programs_that_other_accounts_cannot_reach(folder: Path):
    """If the installation is in a private folder of root, the programs are copied instead of opening the folder."""
    closed = folder.parent / "closed"
    installed = embedded_tool("postgres").parents[1]
    closed.mkdir(mode=0o700)
    program = """
import subprocess, sys, tempfile
from pathlib import Path
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
data, closed, installed = map(Path, sys.argv[1:])
for part in list(installed.iterdir()):
    (closed / part.name).mkdir()
    subprocess.run(["mount", "--bind", part, closed / part.name], check=True)
subprocess.run(["mount", "--rbind", closed, installed], check=True)
# The system has deleted what it held.
data.with_name(f".{data.name}.programs").symlink_to(tempfile.mkdtemp(prefix="aperture-postgres-", dir="/tmp"))
print(start_embedded_server(data))
print(next(data.parent.glob(".*.programs")).readlink())
release_embedded_server(data)
"""
    done = run_program(program, folder, closed, installed, inside=contained)
    assert done.returncode == 0, done.stderr
    _, copy = done.stdout.splitlines()
    assert not Path(copy).exists()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
@needs_namespaces
def test_homes_that_begin_at_once_share_one_account_for_root(tmp_path: Path):
    """Otherwise, servers run under a number that has no account any more, and cannot be started again."""
    shutil.copytree("/etc", tmp_path / "etc", symlinks=True)
    program = """
import os, pwd, subprocess, sys
from aperture_dagster.postgres.cluster import _account_for_root
subprocess.run(["mount", "--bind", sys.argv[1], "/etc"], check=True, timeout=60)
for _ in range(5):
    # Although servers of other tests run under it; when there is none, it fails.
    subprocess.run(["userdel", "--force", "pgserver"], stderr=subprocess.DEVNULL, timeout=60)
    others, (begin, beginning) = [], os.pipe()
    for _ in range(4):
        if not (other := os.fork()):
            is_right = False
            try:
                os.close(beginning)
                os.read(begin, 1)
                is_right = _account_for_root() == pwd.getpwnam("pgserver")
            finally:
                os._exit(not is_right)
        others.append(other)
    os.close(begin)
    # All of them begin when the last one that could write has closed it.
    os.close(beginning)
    assert not any(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) for other in others)
    accounts = [line for line in open("/etc/passwd") if line.startswith("pgserver:")]
    assert len(accounts) == 1, accounts
"""
    done = run_program(program, tmp_path / "etc", inside=contained)
    assert done.returncode == 0, done.stderr


@needs_root
def test_a_user_without_a_name_is_told_so_and_nothing_is_left(alices_home: Path):
    nameless = pwd.struct_passwd(("", "", 43210, 43210, "", "", ""))
    os.chown(alices_home, nameless.pw_uid, nameless.pw_gid)
    assert told(nameless, alices_home / "postgres").startswith("User 43210 has no name on this machine, but the emb")
    assert not [path for path in alices_home.iterdir() if path.is_dir()]
    # After the system was reinstalled, the owner of a home may have no name, either.
    said = told(ALICE, alices_home / "postgres")
    assert "belongs to user #43210" in said and f"chown -R {ALICE.pw_uid} {alices_home}" in said
