"""The embedded PostgreSQL server: started by the first process that needs it, stopped by the last one that ends.

Processes coordinate through the lock files of :class:`Cluster`, never through process ids, which are meaningless across
containers.
"""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event

from aperture_dagster.files import locks
from aperture_dagster.files.private import FileError, describe_unwritable, prepare_home, write_file
from aperture_dagster.postgres.cluster import (
    MAKE_ROOM,
    PORT,
    PRODUCT_DATABASE,
    ROLE,
    SUPERUSER,
    Cluster,
    last_error,
    own_name,
    short_path,
)
from aperture_dagster.postgres.errors import DatabaseError, is_full_disk

if TYPE_CHECKING:
    import psycopg

START_ATTEMPTS = 4
PATIENCE_SECONDS = 60.0
RECOVERY_SECONDS = 900.0
# Executed by the server itself: its process id is only valid in its own process namespace.
SHUT_DOWN = """COPY (SELECT 1) TO PROGRAM 'read -r pid < postmaster.pid && kill -INT "$pid"'"""


def start_embedded_server(data_directory: Path, *, verify: bool = False) -> str:
    """Start the server on ``data_directory`` unless it is running, and keep it running until this process ends.

    Returns the URL of the maintenance database, without a driver. ``verify``: open a connection even if this process
    already uses the server; waits for a restart or a recovery.

    Raises:
        DatabaseError: the folder is not writable, belongs to another user, or the server does not start.
    """
    known = _known_cluster(data_directory)
    with _thread_lock:
        in_use = _used.get(known.data)
        if in_use is not None and not verify and locks.is_at(in_use, known.users) and locks.is_held(known.life):
            return known.url
        cluster = Cluster(data_directory)
        try:
            return _start(cluster)
        except (locks.LocksUnsupported, FileError) as error:
            raise DatabaseError(str(error)) from None
        except OSError as error:
            folder = cluster.data if cluster.data.is_dir() else cluster.data.parent
            raise DatabaseError(describe_unwritable(folder, error)) from error


def release_embedded_server(data_directory: Path) -> None:
    """Stop using the server now instead of at the end of the process; the last user shuts it down."""
    cluster = Cluster(data_directory)
    with _thread_lock:
        in_use = _used.pop(cluster.data, None)
        if in_use is None:
            return
        try:
            # The folder may have been deleted or replaced.
            if locks.is_at(in_use, cluster.users):
                with suppress(OSError), _administration(cluster):
                    # Other processes take their shared lock under the administration lock, so none can interfere.
                    if locks.upgrade(in_use):
                        _stop(cluster)
        finally:
            locks.release(in_use)


def stop_unused_server(data_directory: Path) -> None:
    """Stop the server if no process uses it, because its last user was killed and could not stop it.

    Raises:
        OSError: the lock files cannot be opened.
    """
    cluster = Cluster(data_directory)
    with _administration(cluster):
        # A process that uses the server, such as another command on this home, stops it when it ends.
        users = locks.acquire(cluster.users, wait=False)
        if users is None:
            return
        try:
            _stop(cluster)
        finally:
            locks.release(users)


def restart_on_connect(engine: Engine, data_directory: Path) -> None:
    """Make an engine restart the embedded server when a new connection fails, because the server was killed."""

    @event.listens_for(engine, "do_connect")
    def _connect(dialect, _record, arguments, options):  # pyright: ignore[reportUnusedFunction]
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            start_embedded_server(data_directory, verify=True)
            return dialect.connect(*arguments, **options)


# Every transaction asks for the server, and finding out where a path leads takes longer than its locks.
_known_cluster = functools.lru_cache(Cluster)
_used: dict[Path, int] = {}
_thread_lock = threading.RLock()


def _forget_after_fork() -> None:
    global _thread_lock
    _thread_lock = threading.RLock()
    _used.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


@contextmanager
def _administration(cluster: Cluster) -> Iterator[None]:
    """Hold the lock for creating, starting, stopping or repairing the server."""
    with locks.exclusive(cluster.admin):
        locks.require_working_locks(cluster.admin)
        yield


def _start(cluster: Cluster) -> str:
    prepare_home(cluster.data.parent)
    with _administration(cluster):
        in_use = _used.pop(cluster.data, None)
        if in_use is not None and not locks.is_at(in_use, cluster.users):
            locks.release(in_use)
            in_use = None
        if in_use is None:
            in_use = locks.acquire(cluster.users, shared=True)
            atexit.register(release_embedded_server, cluster.data)
        assert in_use is not None
        try:
            cluster.create()
            _ensure_running(cluster)
        except BaseException:
            locks.release(in_use)
            raise
        _used[cluster.data] = in_use
    return cluster.url


def _ensure_running(cluster: Cluster) -> None:
    """Start the server unless it is running, and wait until it accepts connections."""
    reason, log = "", cluster.data / "log"
    for attempt in range(START_ATTEMPTS):
        logged = log.stat().st_size if log.exists() else 0
        if not locks.is_held(cluster.life):
            _launch(cluster)
        if _wait_until_ready(cluster):
            return
        reason = _logged_error(log, logged) or reason
        if is_full_disk(reason):
            break
        time.sleep(0.5 * 2**attempt)
    remedy = f"Its log is {log}. APERTURE_HOME sets its folder, APERTURE_DATABASE_URL another server."
    raise DatabaseError(
        f"The embedded database in {cluster.data} does not start: {reason or 'it gave no reason'}. "
        f"{MAKE_ROOM if is_full_disk(reason) else remedy}"
    )


@contextmanager
def full_disk_explained(data_directory: Path) -> Iterator[None]:
    """Name a full disk in the error of the block, if that is why the server stopped meanwhile.

    Clients of the server only see that the connection is lost, or that the server recovers.

    Raises:
        DatabaseError: in place of the one that the block raised.
    """
    log = data_directory / "log"
    logged = log.stat().st_size if log.exists() else 0
    try:
        yield
    except DatabaseError as error:
        reason = next(filter(is_full_disk, _log_since(log, logged).splitlines()), "").partition(":  ")[2]
        if not reason or is_full_disk(str(error)):
            raise
        raise DatabaseError(
            f"The embedded database in {data_directory} stopped: {reason}. What it holds is kept. {MAKE_ROOM}"
        ) from None


def _logged_error(log: Path, since: int) -> str:
    """Return the last error in the server's log after its first ``since`` bytes; empty if there is none."""
    return last_error(_log_since(log, since)).rstrip(".")


def _log_since(log: Path, since: int) -> str:
    with suppress(OSError), log.open("rb") as file:
        file.seek(since)
        return file.read().decode("utf-8", "replace")
    return ""


def _launch(cluster: Cluster) -> None:
    """Start the server without waiting for it. The caller holds the lock, and no server of ours is running."""
    _refuse_unlocked_server(cluster)
    # Stale files with process ids, which may have been reused since, would keep the server from starting.
    for name in ("postmaster.pid", f".s.PGSQL.{PORT}.lock", f".s.PGSQL.{PORT}"):
        (cluster.data / name).unlink(missing_ok=True)
    name = own_name().replace('"', '""')
    # Peer authentication: the kernel identifies the user of the socket, so no password is needed.
    for file, line in (
        ("pg_hba.conf", "local all all peer map=aperture\n"),
        ("pg_ident.conf", "".join(f'aperture "{name}" {role}\n' for role in (ROLE, SUPERUSER))),
    ):
        write_file(cluster.data / file, line.encode(), owner=cluster.account)
    options = [
        "listen_addresses=",
        # Relative to the data directory, to stay below the length limit of socket paths.
        "unix_socket_directories=.",
        "unix_socket_permissions=0700",
        # Room for statistics, which would be in /dev/shm otherwise: systemd deletes what users have there when they log
        # out, and every new connection would fail.
        "min_dynamic_shared_memory=16MB",
        # Identifies the server in the list of processes.
        f"aperture.data_directory={cluster.data}",
    ]
    command = f"-p {PORT} " + " ".join(f"-c {shlex.quote(option)}" for option in options)
    # The server inherits its own copy of the lock.
    with locks.exclusive(cluster.life) as life:
        try:
            cluster.run("pg_ctl", "-W", "-l", "log", "-o", command, "start", folder=cluster.data, pass_fds=(life,))
        except subprocess.CalledProcessError as error:
            raise DatabaseError(
                f"The embedded database in {cluster.data} does not start: {last_error(error.stderr) or error}"
            ) from None


def _wait_until_ready(cluster: Cluster) -> bool:
    """Wait until the server accepts a connection; return False if it has exited, or has no room to accept one.

    Raises:
        DatabaseError: it is running but does not accept connections.
    """
    import psycopg

    began, pause = time.monotonic(), 0.02
    while True:
        try:
            with psycopg.connect(cluster.superuser_url, connect_timeout=10, autocommit=True) as connection:
                _make_role(connection, cluster)
            return True
        except psycopg.OperationalError as error:
            reason = last_error(str(error)) or str(error).strip().splitlines()[-1]
        if not locks.is_held(cluster.life) or is_full_disk(reason):
            return False
        busy = any(word in reason for word in ("starting up", "recovery", "not yet accepting", "shutting down"))
        if time.monotonic() - began > (RECOVERY_SECONDS if busy else PATIENCE_SECONDS):
            raise DatabaseError(
                f"The embedded database in {cluster.data} is running, perhaps on another machine that shares the "
                f"folder, but does not answer here: {reason}. Stop what uses it there, or set APERTURE_HOME to another "
                "folder."
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def _make_role(connection: psycopg.Connection[Any], cluster: Cluster) -> None:
    """Make the role that everything works as, unless it is there. The caller holds the lock of the administration.

    Raises:
        DatabaseError: there are databases from before there was such a role.
    """
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE]).rowcount:
        return
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [PRODUCT_DATABASE]).rowcount:
        raise DatabaseError(
            f"The database in {cluster.data} was made by a version of this program from before its first release, "
            "which this one cannot upgrade. Nothing was changed. Move that folder away, or set APERTURE_HOME to a new "
            "folder, and start again: the library and its histories are read from the media server."
        )
    connection.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB")


def _stop(cluster: Cluster) -> None:
    """Shut the server down, even if it runs in another container, and remove what was made for it."""
    requested, deadline = False, time.monotonic() + PATIENCE_SECONDS
    while locks.is_held(cluster.life):
        if time.monotonic() > deadline:
            return
        requested = requested or _request_shutdown(cluster.superuser_url)
        time.sleep(0.02)
    cluster.remove_copied_programs()
    link = short_path(cluster.data)
    if link != cluster.data:
        link.unlink(missing_ok=True)


def _request_shutdown(url: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
            connection.execute(SHUT_DOWN)
    except psycopg.OperationalError as error:
        return "terminating connection" in str(error)
    except psycopg.Error:
        return False
    return True


def _refuse_unlocked_server(cluster: Cluster) -> None:
    """Refuse a data directory that a server uses which holds no lock, since a person started it.

    If its socket accepts connections, it is running, even if in another container.
    """
    try:
        lines = (cluster.data / "postmaster.pid").read_text().splitlines()
        port, folder = int(lines[3]), lines[4]
    except (OSError, ValueError, IndexError):
        return
    where = Path(folder) if folder.startswith("/") else short_path(cluster.data)
    if folder and _listens(where / f".s.PGSQL.{port}"):
        raise DatabaseError(
            f"A PostgreSQL server that this program did not start uses {cluster.data}: stop it, then try again."
        )


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
