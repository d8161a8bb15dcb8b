"""Move the embedded database to the next major version of PostgreSQL, which cannot read the data of another one.

Every database is copied into a new data directory and compared with its original; only then is the new directory put
in the place of the old one, which is kept. The name of the new directory says how far a killed process came.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.errors import OperatorError
from aperture_dagster.storage import locks
from aperture_dagster.storage.backup.fingerprint import Fingerprint, differences, read_fingerprint
from aperture_dagster.storage.backup.places import in_words, sync_folder
from aperture_dagster.storage.backup.scratch import database_url, with_driver
from aperture_dagster.storage.backup.tools import run_tool
from aperture_dagster.storage.cluster import PRODUCT_DATABASE, VERSION, Cluster, embedded_tool
from aperture_dagster.storage.errors import DatabaseError, describe_reason
from aperture_dagster.storage.maintenance import maintenance
from aperture_dagster.storage.queries import read_rows

SPARE_BYTES = 1 << 30
SHOWN = 3
# Building an index in the default 64 MB takes much longer.
OPTIONS = {"maintenance_work_mem": "256MB", "max_parallel_maintenance_workers": "0", "statement_timeout": "0"}
RunningServer = Callable[[Cluster], AbstractContextManager[str]]
log = logging.getLogger(__name__)


def finish_upgrade(data: Path) -> None:
    """Finish or undo what a killed process began. The caller holds the lock for creating the cluster.

    Raises:
        DatabaseError: another data directory appeared meanwhile.
    """
    finished = _finished(data)
    if not finished.exists():
        return
    if not (data / "PG_VERSION").exists():
        finished.rename(data)
    elif _is_replaced(data, by=finished):
        raise DatabaseError(
            f"An upgrade of the embedded database was interrupted, and a new database was created in {data} since. "
            f"The upgraded one is in {finished}: move one of the two away."
        )
    else:
        # The old one is still in its place, and may have been used since.
        shutil.rmtree(finished)


def upgrade_cluster(old: Cluster, running: RunningServer) -> Path:
    """Copy the databases of a stopped cluster to this program's version of PostgreSQL; return where the old one is.

    The caller holds the locks of the cluster. ``running`` runs the server of a cluster during a block.

    Raises:
        DatabaseError: the upgrade failed, and the old cluster is as it was.
    """
    log.warning("The embedded database moves from PostgreSQL %d to %d; this can take minutes.", old.version, VERSION)
    new = Cluster(old.data.with_name(f"{old.data.name}.upgrade"))
    if locks.is_held(new.life):
        # That of a killed process.
        with suppress(DatabaseError), running(new):
            pass
    if locks.is_held(new.life):
        raise DatabaseError(
            f"A server that an interrupted upgrade of the embedded database started in {new.data} does not end: end "
            "it, and try again. Nothing was changed."
        )
    _remove(new)
    try:
        _require_space(old.data)
        new.create()
        with running(old) as source, running(new) as target:
            for name in _databases(source):
                _copy(source, target, name, new.data.with_name(f"{new.data.name}.dump"))
    except (OperatorError, SQLAlchemyError, OSError) as error:
        _remove(new)
        reason = describe_reason(error) if isinstance(error, SQLAlchemyError) else str(error).rstrip(".")
        raise DatabaseError(
            f"The embedded database in {old.data} could not be moved from PostgreSQL {old.version} to {VERSION}: "
            f"{reason}. It is as it was; the version of this program that was used before can still open it."
        ) from None
    except BaseException:
        _remove(new)
        raise
    kept = _put_in_place(old, new)
    log.warning(
        "The embedded database runs on PostgreSQL %d now, and every table is equal. The old data is kept in %s: delete "
        "that folder when you no longer need it.", VERSION, kept,
    )  # fmt: skip
    return kept


def _put_in_place(old: Cluster, new: Cluster) -> Path:
    """Switch the two directories; from the first rename on, the new one counts as complete."""
    finished, home = _finished(old.data), old.data.parent
    numbers = (f".{number}" if number else "" for number in range(100))
    kept = next(one for text in numbers if not (one := home / f"{_kept_prefix(old.data)}{old.version}{text}").exists())
    sync_folder(home)
    for source, target in ((new.data, finished), (old.data, kept), (finished, old.data)):
        source.rename(target)
        sync_folder(home)
    _remove(new)
    return kept


def _copy(source: str, target: str, name: str, dump: Path) -> None:
    """Copy a database between servers, and compare the two. Raises DatabaseError."""
    # The newer pg_dump, as PostgreSQL advises: it knows what has changed since.
    try:
        run_tool(
            embedded_tool("pg_dump"), "--format=custom", "--compress=gzip:1", "--create", "--no-owner",
            "--no-privileges", f"--file={dump}", url=database_url(source, name),
        )  # fmt: skip
        run_tool(
            embedded_tool("pg_restore"), "--exit-on-error", "--create", "--no-owner", "--no-privileges", str(dump),
            url=target, options=OPTIONS,
        )  # fmt: skip
    finally:
        dump.unlink(missing_ok=True)
    problems = differences(_fingerprint(source, name), _fingerprint(target, name))
    if problems:
        raise DatabaseError(f"The copy of the database {name!r} differs from it: {'; '.join(problems[:SHOWN])}.")


def _databases(source: str) -> list[str]:
    """List the databases to copy."""
    # A killed restore may have left it closed.
    with maintenance(with_driver(database_url(source, PRODUCT_DATABASE))):
        pass
    statement = """
        SELECT datname, datallowconn FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY 1"""
    engine = create_engine(with_driver(source), poolclass=NullPool)
    with engine.connect() as connection:
        rows = read_rows(connection, statement)
    for row in rows:
        if not row["datallowconn"]:
            raise DatabaseError(f"the database {row['datname']!r} accepts no connections")
    return [row["datname"] for row in rows]


def _fingerprint(server: str, name: str) -> Fingerprint:
    engine = create_engine(with_driver(database_url(server, name)), poolclass=NullPool)
    with engine.connect() as connection:
        return read_fingerprint(connection)


def _require_space(data: Path) -> None:
    size = sum(path.lstat().st_size for path in data.rglob("*") if path.is_file())
    free, needed = shutil.disk_usage(data).free, 2 * size + SPARE_BYTES
    if free < needed:
        raise DatabaseError(f"it needs {in_words(needed)} on that disk, but {in_words(free)} are free: make room there")


def _remove(cluster: Cluster) -> None:
    """Remove a cluster with its files, unless its server is still running: the next upgrade ends that first."""
    if locks.is_held(cluster.life):
        return
    shutil.rmtree(cluster.data, ignore_errors=True)
    for path in (cluster.users, cluster.life, cluster.admin):
        path.unlink(missing_ok=True)


def _finished(data: Path) -> Path:
    return data.with_name(f"{data.name}.upgraded")


def _kept_prefix(data: Path) -> str:
    return f"{data.name}.version-"


def _is_replaced(data: Path, *, by: Path) -> bool:
    """Return whether a data directory was made after the old one was moved away, for another one to take its place.

    One of a lower version is the old one itself, unless one of its version was kept; earlier upgrades keep others.
    """
    version = (data / "PG_VERSION").read_text().strip()
    is_lower = int(version) < int((by / "PG_VERSION").read_text())
    kept = [path.name for path in data.parent.iterdir() if path.name.startswith(_kept_prefix(data))]
    if is_lower:
        return any(name.removeprefix(_kept_prefix(data)).partition(".")[0] == version for name in kept)
    return bool(kept)
