"""The lock of a run in Dagster's database: who holds it works on the run, on whichever host, and may write.

It is an advisory lock of a session of its own, so PostgreSQL releases it when the process or its host dies at once, and
when the host is cut off after a minute, which is how long the server waits for an answer from the other side. Whoever
finds it free may end the run:

- The process of a run asks for the run's status every few seconds, over the session that holds the lock. If it has no
  answer for `END_AFTER_SECONDS`, it ends itself, well before the server gives the lock away. So nobody else uses an
  outside service at the same time.
- Each new connection of the process makes sure, on the server itself, that the lock is still held; and whoever ends a
  run ends all its connections first, while holding the lock. So a process that was suspended, and does not know how
  late it is, writes nothing.

Both databases are on one server, which knows all locks and sessions.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from aperture_dagster.postgres.errors import DatabaseError

if TYPE_CHECKING:
    import psycopg

# The first key of the advisory lock; the second is a hash of the run's id.
KEY = 0x0A9E2B
PING_SECONDS = 5.0
END_AFTER_SECONDS = 25.0
# How long a ping or a new session waits for the other side.
PATIENCE_SECONDS = 10
GRACE_SECONDS = 3 * PING_SECONDS
"""For so long a lock must be free: a process that lost only its connection takes it again."""
KEEPALIVE = {"tcp_keepalives_idle": 20, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 4}
"""When the server takes a session for lost: after a minute without an answer, instead of after two hours. That is later
than a process that is cut off has ended itself: 20 seconds may have passed since the last answer, and 40 are left."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")

_IS_LOCK = "locktype = 'advisory' AND granted AND classid::bigint = %(key)s AND objsubid = 2 AND objid::bigint"
# Locks are seen from any database of the server.
_HOLDS = f"""
    SELECT 1 FROM pg_locks
    WHERE {_IS_LOCK} = (hashtext(%(run)s)::bigint & 4294967295) AND pid = %(pid)s"""
_HELD = f"""
    SELECT run FROM unnest(%(runs)s::text[]) run
    JOIN pg_locks ON {_IS_LOCK} = (hashtext(run)::bigint & 4294967295)"""
_TAKE = "SELECT pg_try_advisory_lock(%(key)s, hashtext(%(run)s))"
_RELEASE = "SELECT pg_advisory_unlock(%(key)s, hashtext(%(run)s))"
_STATUS = "SELECT status FROM runs WHERE run_id = %(run)s"
_SESSIONS = "FROM pg_stat_activity WHERE application_name = %(name)s AND pid <> pg_backend_pid()"
_END_SESSIONS = f"SELECT count(*) FROM (SELECT pg_terminate_backend(pid, 5000) AS ended {_SESSIONS}) o WHERE NOT ended"
_END_SESSION = f"SELECT pg_terminate_backend(pid, 5000) {_SESSIONS} AND pid = %(pid)s"

_locks: dict[str, RunLock] = {}


def lock_run(run_id: str, url: str) -> None:
    """Hold the lock of a run that this process works on; the process ends if it loses it, or if another one holds it.

    Connections that are opened from now on carry the run's name, also those of programs that this process starts.

    Args:
        url: of Dagster's database, as ``postgresql://…``.
    """
    os.environ["PGAPPNAME"] = _name_of(run_id)
    _locks[run_id] = RunLock(run_id, url)
    _locks[run_id].hold()


def expect_end(run_id: str) -> None:
    """Say that this process itself is about to record the end of a run."""
    if run_id in _locks:
        _locks[run_id].is_ending = True


def unlock_run(run_id: str) -> None:
    """Release the lock of a run that ended, if this process holds it."""
    lock = _locks.pop(run_id, None)
    if lock is not None:
        lock.release()
        os.environ.pop("PGAPPNAME", None)


def require_locks(connection: Any) -> None:
    """Make sure that a new connection, of psycopg or psycopg2, is not that of a process whose run was ended.

    Raises:
        DatabaseError: its server does not know the lock, such as a replica.
    """
    for lock in list(_locks.values()):
        lock.require(connection)


def runs_without_lock(connection: psycopg.Connection, run_ids: Collection[str]) -> set[str]:
    """Return those of the runs on which no process works."""
    held = {run for (run,) in connection.execute(_HELD, {"runs": list(run_ids), "key": KEY})}
    return set(run_ids) - held


@contextlib.contextmanager
def taken_over(connection: psycopg.Connection, run_id: str) -> Iterator[bool]:
    """Hold the lock of a run whose process is gone, with none of its connections left; yield False if it is not so."""
    values = {"key": KEY, "run": run_id, "name": _name_of(run_id)}
    if connection.execute(_TAKE, values).fetchone() != (True,):
        yield False
        return
    try:
        yield connection.execute(_END_SESSIONS, values).fetchone() == (0,)
    finally:
        connection.execute(_RELEASE, values)


class RunLock:
    """The lock of a run that this process works on, and the session that holds it."""

    def __init__(self, run_id: str, url: str) -> None:
        self.is_ending = False
        self._run_id, self._url = run_id, url
        self._values: dict[str, Any] = {"key": KEY, "run": run_id, "name": _name_of(run_id), "pid": None}
        self._session: psycopg.Connection | None = None
        self._confirmed_at = time.monotonic()
        # Several threads may open connections.
        self._mutex = threading.Lock()
        self._stop = threading.Event()

    def hold(self) -> None:
        """Take the lock, and watch it until :meth:`release`."""
        self._confirm()
        threading.Thread(target=self._watch, name=f"lock of run {self._run_id[:8]}", daemon=True).start()

    def release(self) -> None:
        """Close the session, and with it the lock."""
        self._stop.set()
        with self._mutex:
            self._disconnect()

    def require(self, connection: Any) -> None:
        """Make sure on another connection that the lock is held; raises as :func:`require_locks`."""
        for _ in range(3):
            self._confirm()
            with connection.cursor() as cursor:
                # First, so that whoever ends the run from now on finds this session. The URL may have another name.
                cursor.execute("SELECT set_config('application_name', %(name)s, false)", self._values)
                cursor.execute(_HOLDS, self._values)
                holds = cursor.fetchone() is not None
            connection.commit()
            if holds or self._stop.is_set():
                return
        raise DatabaseError(
            "The server of APERTURE_DATABASE_URL does not know the lock of this run, which says whether it may go on: "
            "connections must always lead to the same server."
        )

    def _watch(self) -> None:
        canceling = 0
        while not self._stop.wait(PING_SECONDS):
            canceling = canceling + 1 if self._confirm() == "CANCELING" else 0
            # Not at once: whoever cancels the run may be interrupting this process by other means. And again after
            # half a minute, since it may be deaf between two steps.
            if canceling % 6 == 2:
                os.kill(os.getpid(), signal.SIGINT)

    def _confirm(self) -> str:
        """Make sure that the session holds the lock, or take it again; return the run's status.

        Tries for `END_AFTER_SECONDS` since the last success, and then ends the process.
        """
        import psycopg

        with self._mutex:
            while not self._stop.is_set():
                asked_at = time.monotonic()
                try:
                    if self._session is None:
                        self._session = self._connect()
                        self._values["pid"] = self._session.info.backend_pid
                    row = self._session.execute(_STATUS, self._values).fetchone()
                except psycopg.Error as error:
                    self._disconnect()
                    if asked_at - self._confirmed_at > END_AFTER_SECONDS:
                        reason = " ".join(str(error).split()).removesuffix(".")
                        self._end(f"it cannot hold the run's lock in Dagster's database ({reason})")
                    self._stop.wait(1.0)
                    continue
                if (row is None or row[0] in ENDED) and not self.is_ending:
                    self._end("another process has ended the run")
                self._confirmed_at = asked_at
                return row[0] if row else ""
        return ""

    def _connect(self) -> psycopg.Connection:
        """Open a session and take the lock. Raises psycopg.Error if that is not possible now."""
        import psycopg

        session = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=PATIENCE_SECONDS // 2,
            tcp_user_timeout=PATIENCE_SECONDS * 1000,
            application_name=self._values["name"],
        )
        try:
            for name, value in KEEPALIVE.items():
                session.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
            if self._values["pid"] is not None:
                # The session before, which the server may still take for alive.
                session.execute(_END_SESSION, self._values)
            if session.execute(_TAKE, self._values).fetchone() != (True,):
                raise psycopg.OperationalError("another process holds it")
        except BaseException:
            session.close()
            raise
        return session

    def _disconnect(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _end(self, reason: str) -> None:
        end_process(f"The process of run {self._run_id} ends now: {reason}.")


def end_process(reason: str) -> None:
    """End this process at once, so that nothing that it has begun goes on."""
    print(reason, file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _name_of(run_id: str) -> str:
    return f"aperture run {run_id}"
