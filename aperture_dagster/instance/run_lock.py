"""The lock that a process holds in Dagster's database while it works on a run, on whichever machine.

PostgreSQL releases an advisory lock when the session that took it ends, also after ``kill -9`` or a power cut. So a
held lock proves that the run lives. A free lock doesn't prove the opposite: the server may have been restarted, or the
network may have been cut. Both sides therefore keep times: a run that cannot get its lock back within
:data:`STOP_SECONDS` stops, and nobody counts a run as dead before its lock was free at each look for longer than that
(:mod:`aperture_dagster.instance.dead_runs`). Neither side relies on a wall clock.
"""

from __future__ import annotations

import hashlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import ExecStatus
from sqlalchemy import Connection, make_url

from aperture_dagster.postgres.embedded import start_embedded_server
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.pool import NOTICE_LOSS, keepalives
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings

log = logging.getLogger(__name__)

TAG = "aperture/host"
"""Tag of a run whose process took the lock: the host, and the beginning of the run's id, since retries copy tags."""
BEAT_SECONDS = 2.0
STOP_SECONDS = 20.0
PAUSE_SECONDS = 0.5
STOPPED = 75
"""Exit code of a process that stops because it has lost its run: a temporary failure in ``sysexits.h``."""


def key_of(run_id: str) -> int:
    """Return the key of a run's advisory lock: 64 bits with a sign, of a hash of its id."""
    return int.from_bytes(hashlib.sha256(f"aperture run {run_id}".encode()).digest()[:8], signed=True)


def tag_of(run_id: str) -> str:
    """Return the value of :data:`TAG` for a run that this process works on."""
    return f"{socket.gethostname()} {run_id[:8]}"


def held_keys(connection: Connection) -> set[int]:
    """Return the keys of all advisory locks of 64 bits that any session holds in the database of a connection."""
    statement = """
        SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    return set(execute(connection, statement).scalars())


def try_lock(connection: Connection, run_id: str) -> bool:
    """Take the lock of a run for the session of a connection, unless another session holds it."""
    return bool(read_value(connection, "SELECT pg_try_advisory_lock(:key)", key=key_of(run_id)))


def unlock(connection: Connection, run_id: str) -> None:
    """Release a lock that :func:`try_lock` took."""
    execute(connection, "SELECT pg_advisory_unlock(:key)", key=key_of(run_id))


class RunLock:
    """The lock of a run, on a connection of its own, and the thread that watches the connection.

    When the connection is lost, the thread takes the lock again on another one. If that takes longer than
    :data:`STOP_SECONDS`, or the run was ended meanwhile, it ends this process, before another one may start the run
    again.
    """

    def __init__(self, run_id: str, url: str, settings: Settings, *, stop: Callable[[str], None] | None = None) -> None:
        self._run_id, self._settings = run_id, settings
        self._address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._stop = stop or end_process
        self._connection: psycopg.Connection[Any] | None = None
        self._backend = 0
        self._done = threading.Event()
        # The watching thread waits for this and for the server at once.
        self._woken, self._wake = os.pipe()
        self._watch = threading.Thread(target=self._watch_connection, name=f"lock of run {run_id[:8]}", daemon=True)

    def acquire(self) -> None:
        """Take the lock; ends this process if another one works on the run.

        Raises:
            DatabaseError: the database cannot be reached.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while not self._try():
            if time.monotonic() > deadline:
                self._stop("another process works on it")
                return
            time.sleep(PAUSE_SECONDS)
        self._watch.start()

    def release(self) -> None:
        """Release the lock."""
        self._done.set()
        os.write(self._wake, b".")
        if self._watch.ident is not None and self._watch is not threading.current_thread():
            self._watch.join()
        self._close()
        os.close(self._woken)
        os.close(self._wake)

    def leave_to_parent(self) -> None:
        """Let go of the connection in a forked child: the session must end with the parent, and not before."""
        self._done.set()
        if self._connection is not None:
            with suppress(psycopg.Error, OSError), Path(os.devnull).open("rb") as nothing:
                os.dup2(nothing.fileno(), self._connection.fileno(), inheritable=False)

    def _try(self) -> bool:
        try:
            connection = self._connect()
        except psycopg.OperationalError as error:
            raise DatabaseError(f"The lock of the run cannot be taken: {str(error).strip()}") from None
        try:
            connection.execute(NOTICE_LOSS)
            taken, self._backend = connection.execute(
                "SELECT pg_try_advisory_lock(%s), pg_backend_pid()", [key_of(self._run_id)]
            ).fetchone() or (False, 0)
        except psycopg.OperationalError as error:
            connection.close()
            raise DatabaseError(f"The lock of the run cannot be taken: {str(error).strip()}") from None
        if not taken:
            connection.close()
            return False
        self._connection = connection
        return True

    def _connect(self) -> psycopg.Connection[Any]:
        options = {**keepalives(STOP_SECONDS), "application_name": f"aperture run {self._run_id[:8]}"}
        try:
            return psycopg.connect(self._address, autocommit=True, connect_timeout=5, **options)
        except psycopg.OperationalError:
            if self._settings.database_url is not None:
                raise
            start_embedded_server(self._settings.home_path / "postgres", verify=True)
            return psycopg.connect(self._address, autocommit=True, connect_timeout=5, **options)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _watch_connection(self) -> None:
        held_at = _now()
        while not self._done.is_set():
            asked_at = _now()
            # Silence is not yet a loss; an answer proves that the lock was held all the time.
            is_held = self._beat(held_at + STOP_SECONDS)
            if self._done.is_set():
                return
            if is_held:
                held_at = asked_at
                self._wait_for_news()
            elif self._take_again(held_at + STOP_SECONDS):
                held_at = _now()
            else:
                return

    def _wait_for_news(self) -> None:
        assert self._connection is not None
        select.select([self._woken, self._connection], [], [], BEAT_SECONDS)

    def _beat(self, deadline: float) -> bool:
        """Ask whether the session lives. It is the same session as long as the server's process is the same."""
        connection = self._connection
        if connection is None:
            return False
        session = connection.pgconn
        try:
            session.send_query(b"SELECT pg_backend_pid()")
            session.flush()
            answers: list[Any] = []
            while not self._done.is_set():
                while not session.is_busy():
                    answer = session.get_result()
                    if answer is None:
                        return self._backend in answers
                    if answer.status == ExecStatus.TUPLES_OK:
                        answers.append(int(answer.get_value(0, 0) or b"0"))
                if not select.select([session.socket, self._woken], [], [], max(deadline - _now(), 0))[0]:
                    return False
                session.consume_input()
        except (psycopg.Error, OSError, ValueError):
            pass
        return False

    def _take_again(self, deadline: float) -> bool:
        """Take the lock on a new connection; False after this process was told to stop, or the run was released."""
        lost = f"the connection to the database was lost for {STOP_SECONDS:.0f} seconds"
        self._close()
        # Looking a name up, and connecting, may take longer than there is time.
        limit = threading.Timer(max(deadline - _now(), 0), self._give_up, [lost])
        limit.daemon = True
        # Without a network between, whoever could count the run as dead cannot reach the server either.
        if self._settings.database_url is not None:
            limit.start()
        try:
            while not self._done.is_set():
                with suppress(DatabaseError):
                    if self._try():
                        break
                self._done.wait(PAUSE_SECONDS)
            if self._done.is_set():
                return False
            if self._settings.database_url is not None and _now() > deadline:
                self._give_up(lost)
                return False
            if self._was_ended():
                self._give_up("it was counted as dead, and ended")
                return False
            return True
        finally:
            limit.cancel()

    def _give_up(self, reason: str) -> None:
        if not self._done.is_set():
            self._stop(reason)

    def _was_ended(self) -> bool:
        assert self._connection is not None
        ended = "SELECT status IN ('SUCCESS', 'FAILURE', 'CANCELED') FROM runs WHERE run_id = %s"
        try:
            row = self._connection.execute(ended, [self._run_id]).fetchone()
        except psycopg.Error:
            # Lost once more, which the next beat notices.
            return False
        return row is None or row[0]


def end_process(reason: str) -> None:
    """End this process at once, as a kill would, since it may no longer work on its run."""
    log.error(
        "This process stops working on its run: %s. What was stored is kept, and Dagster starts the run again.", reason
    )
    os._exit(STOPPED)


def _now() -> float:
    """Return seconds that go on while the machine sleeps, which would otherwise pass for a moment."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


_held: dict[str, RunLock] = {}


def lock_run(run_id: str, url: str, settings: Settings) -> None:
    """Lock a run that this process works on, until it ends.

    Raises:
        DatabaseError: the database cannot be reached.
    """
    if run_id not in _held:
        lock = RunLock(run_id, url, settings)
        lock.acquire()
        _held[run_id] = lock


def unlock_run(run_id: str) -> None:
    """Unlock a run that ended, if this process holds its lock."""
    lock = _held.pop(run_id, None)
    if lock is not None:
        lock.release()


def _forget_after_fork() -> None:
    for lock in _held.values():
        lock.leave_to_parent()
    _abandoned.extend(_held.values())
    _held.clear()


# Kept, so that no destructor of a child speaks to the server.
_abandoned: list[RunLock] = []
os.register_at_fork(after_in_child=_forget_after_fork)
