"""What this product has placed on the media server: the manifest of :mod:`aperture_dagster.publishing`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from threading import get_ident
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import OperationalError

from aperture_dagster.catalogue.versions import record_published_copies
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import content_version, execute, read_rows
from aperture_dagster.publishing.placed import LibraryList, PlacedEntry, PlacedFile, PlacedLibrary, PlacedList
from aperture_dagster.publishing.tables import library_lists, published_entries, published_libraries, published_lists

if TYPE_CHECKING:
    from sqlalchemy import Connection

TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext('aperture publishing'))"
LOCK = "SELECT pg_advisory_lock(hashtext('aperture publishing'))"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('aperture publishing'))"
LOCK_POLICIES = "SELECT pg_advisory_lock(hashtext('aperture policies'))"
UNLOCK_POLICIES = "SELECT pg_advisory_unlock(hashtext('aperture policies'))"
PATIENCE = "15min"
# A slow server reads for hours; what a night did not finish should be known in the morning.
LONG_UNREAD = timedelta(hours=6)
# A run that places something is about to verify it.
SOON_READ = timedelta(minutes=1)


def note_shown(connection: Connection, folders: Mapping[str, str]) -> None:
    """Record that published libraries show copies, by their ids on the server: the folders of the libraries."""
    statement = """
        INSERT INTO published_copies AS old (server_item_id, list_key)
        SELECT id, l.list_key FROM unnest(CAST(:ids AS text[]), CAST(:folders AS text[])) AS copy (id, folder)
        JOIN published_libraries l USING (folder) ORDER BY id
        ON CONFLICT (server_item_id) DO UPDATE SET list_key = excluded.list_key
        WHERE old.list_key <> excluded.list_key"""
    if folders:
        execute(connection, statement, ids=list(folders), folders=list(folders.values()))


def published_version(connection: Connection, list_keys: Iterable[str]) -> str:
    """Return a hash of which titles libraries hold, in which order."""
    columns = ("entry_id", "work_id", "rank", "state")
    versions = [content_version(connection, "published_entries", columns=columns, list_key=key) for key in list_keys]
    return "-".join(versions) or "none"


def published_library_ids(connection: Connection) -> set[str]:
    """Read the ids of published libraries on the media server."""
    statement = "SELECT server_item_id FROM published_libraries WHERE server_item_id IS NOT NULL"
    return set(execute(connection, statement).scalars())


def published_roots(connection: Connection) -> set[str]:
    """Read below which folders, as the media server sees them, libraries were placed."""
    return set(execute(connection, "SELECT DISTINCT root_on_server FROM published_libraries").scalars())


def unfinished_libraries(connection: Connection, kind: str, *, now: datetime) -> list[dict[str, Any]]:
    """List libraries of a kind of list that are not shown as they should be.

    ``name``, ``unfinished`` (entries whose files were not completely placed or removed), ``missing``, and
    ``unread_since``: when something was placed that the server has not shown for long; else null.
    """
    statement = """
        SELECT * FROM (SELECT l.name,
          (SELECT count(*)::int FROM published_entries e WHERE e.list_key = l.list_key AND e.state <> 'placed')
          AS unfinished, l.missing,
          CASE WHEN l.unverified_since < :long_ago THEN l.unverified_since END AS unread_since
          FROM published_libraries l WHERE l.list_key LIKE :kind) one
        WHERE unfinished > 0 OR missing > 0 OR unread_since IS NOT NULL ORDER BY name"""
    return read_rows(connection, statement, kind=f"{kind}/%", long_ago=now - LONG_UNREAD)


def unread_libraries(connection: Connection, *, now: datetime) -> list[str]:
    """Return the names of the libraries that were placed long ago, and that the server has not shown since."""
    return [one["name"] for one in unfinished_libraries(connection, "%", now=now) if one["unread_since"] is not None]


def left_unread(connection: Connection, *, now: datetime) -> list[tuple[str, str]]:
    """List the libraries that the server had not shown a while after they were placed: list key, and since when."""
    statement = """
        SELECT list_key, unverified_since FROM published_libraries
        WHERE unverified_since < :recent ORDER BY list_key"""
    rows = execute(connection, statement, recent=now - SOON_READ)
    return [(key, since.isoformat()) for key, since in rows]


def shown_libraries(connection: Connection) -> list[dict[str, Any]]:
    """List the libraries that were placed: ``library``, ``titles``, how many are ``missing``, and ``being_read``."""
    statement = """
        SELECT name AS library, (SELECT count(*)::int FROM published_entries e WHERE e.list_key = l.list_key) AS titles,
        missing, unverified_since IS NOT NULL AS being_read FROM published_libraries l ORDER BY name, list_key"""
    return read_rows(connection, statement)


def listed_users(connection: Connection) -> list[dict[str, Any]]:
    """List who was given a list of libraries in place of all: ``user``, ``libraries`` (the operator's)."""
    statement = """
        SELECT coalesce(u.name, l.user_id) AS "user", cardinality(l.offered) AS libraries
        FROM library_lists l LEFT JOIN users u USING (user_id) ORDER BY 1"""
    return read_rows(connection, statement)


class AlreadyPublishing(OperatorError):
    """Another process publishes at the moment."""


class Manifest:
    """The database's memory of what was placed. Each method is one transaction.

    Args:
        transaction: opens a transaction.
        connection: opens a connection that is kept for the lock.
        dry_run: whether nothing is written, so that there is no need for the lock.
        waiting: called once before another process is waited for.
    """

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Connection]],
        connection: Callable[[], AbstractContextManager[Connection]],
        *,
        dry_run: bool = False,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self._transaction, self._connection = transaction, connection
        self._dry_run, self._waiting = dry_run, waiting
        self._holder: int | None = None

    @contextmanager
    def exclusively(self, *, patient: bool = True) -> Iterator[bool]:
        """Publish in no other process meanwhile. The lock ends with its connection, whatever happens to this process.

        A thread that has it may ask for it again. Yields whether it is held: without patience, it may not be.

        Raises:
            AlreadyPublishing: another process does, and has been waited for.
        """
        if self._dry_run or self._holder == get_ident():
            yield True
            return
        with self._connection() as connection:
            connection.exec_driver_sql(f"SET lock_timeout = '{PATIENCE}'")
            try:
                is_held = bool(connection.exec_driver_sql(TRY_LOCK).scalar())
                if not is_held and patient:
                    self._waiting()
                    connection.exec_driver_sql(LOCK)
                    is_held = True
            except OperationalError:
                raise AlreadyPublishing(
                    "Another run has been publishing on the media server for a quarter of an hour: try again when it "
                    "is done."
                ) from None
            connection.commit()
            if not is_held:
                yield False
                return
            self._holder = get_ident()
            try:
                yield True
            finally:
                self._holder = None
                connection.exec_driver_sql(UNLOCK)

    def unread(self) -> set[str]:
        """Read the list keys of the libraries that the server has not shown since something was placed."""
        rows = self._read("SELECT list_key FROM published_libraries WHERE unverified_since IS NOT NULL")
        return {row["list_key"] for row in rows}

    def libraries(self) -> dict[str, PlacedLibrary]:
        """Read the libraries by list key."""
        names = ", ".join(one.name for one in fields(PlacedLibrary))
        rows = self._read(f"SELECT {names} FROM published_libraries ORDER BY list_key")
        return {row["list_key"]: PlacedLibrary(**row) for row in rows}

    def entries(self, list_key: str) -> dict[str, PlacedEntry]:
        """Read the entries of a library by entry id."""
        names = ", ".join(one.name for one in fields(PlacedEntry))
        rows = self._read(f"SELECT {names} FROM published_entries WHERE list_key = :key ORDER BY rank", key=list_key)
        for row in rows:
            files = {path: PlacedFile(*values) for path, values in row["files"].items()}
            row |= {"files": files, "because": tuple(row["because"])}
        return {row["entry_id"]: PlacedEntry(**row) for row in rows}

    def write_library(self, library: PlacedLibrary) -> None:
        """Record a library."""
        with self._transaction() as connection:
            upsert(connection, published_libraries, [asdict(library)])

    def write_entries(self, list_key: str, entries: Iterable[PlacedEntry], *, removed: Iterable[str] = ()) -> int:
        """Record entries, and forget those whose files are gone; return the rows written."""
        rows = [
            {one.name: getattr(entry, one.name) for one in fields(PlacedEntry)}
            | {"list_key": list_key, "files": {path: file.as_list() for path, file in entry.files.items()}}
            | {"because": list(entry.because)}
            for entry in entries
        ]
        with self._transaction() as connection:
            counts = upsert(connection, published_entries, rows)
            statement = "DELETE FROM published_entries WHERE list_key = :key AND entry_id = ANY(:gone)"
            counts.deleted += execute(connection, statement, key=list_key, gone=list(removed)).rowcount
        return counts.written

    def forget_library(self, list_key: str) -> None:
        """Forget a library and its entries."""
        with self._transaction() as connection:
            execute(connection, "DELETE FROM published_entries WHERE list_key = :key", key=list_key)
            execute(connection, "DELETE FROM published_libraries WHERE list_key = :key", key=list_key)

    def write_copies(self, copies: Mapping[str, int], folder: str) -> int:
        """Record the server ids of the copies that a library shows, with their originals; return the rows written.

        ``folder`` is the library's; see also :func:`record_published_copies`.
        """
        with self._transaction() as connection:
            note_shown(connection, dict.fromkeys(copies, folder))
            return record_published_copies(connection, copies)

    def forget_other_copies(self, list_key: str, shown: Collection[str]) -> None:
        """Forget the other copies that a library showed."""
        statement = "DELETE FROM published_copies WHERE list_key = :key AND NOT server_item_id = ANY(:shown)"
        with self._transaction() as connection:
            execute(connection, statement, key=list_key, shown=list(shown))

    def known_copies(self, server_ids: Iterable[str]) -> set[str]:
        """Return which of these server ids belong to published copies."""
        statement = """
            SELECT server_item_id FROM item_versions JOIN published_copies USING (server_item_id)
            WHERE is_published AND server_item_id = ANY(:ids)"""
        return {row["server_item_id"] for row in self._read(statement, ids=list(server_ids))}

    def lists(self) -> list[PlacedList]:
        """Read the collections and playlists."""
        rows = self._read("SELECT * FROM published_lists ORDER BY list_key, kind, user_id")
        for row in rows:
            row |= {"items": tuple(row["items"]), "others": tuple(row["others"])}
        return [PlacedList(**row) for row in rows]

    def write_list(self, placed: PlacedList) -> None:
        """Record a collection or playlist."""
        with self._transaction() as connection:
            row = asdict(placed) | {"items": list(placed.items), "others": list(placed.others)}
            upsert(connection, published_lists, [row])

    def forget_list(self, placed: PlacedList) -> None:
        """Forget a collection or playlist."""
        statement = "DELETE FROM published_lists WHERE list_key = :key AND kind = :kind AND user_id = :user"
        with self._transaction() as connection:
            execute(connection, statement, key=placed.list_key, kind=placed.kind, user=placed.user_id)

    @contextmanager
    def policies(self) -> Iterator[None]:
        """Let no other process change users' policies meanwhile, since each reads them and writes them back."""
        if self._dry_run:
            yield
            return
        with self._connection() as connection:
            connection.exec_driver_sql(LOCK_POLICIES)
            connection.commit()
            try:
                yield
            finally:
                connection.exec_driver_sql(UNLOCK_POLICIES)

    def library_lists(self) -> dict[str, LibraryList]:
        """Read which users of the server were given a list of libraries in place of all, by user id."""
        gone = "SELECT user_id FROM users WHERE removed_at IS NOT NULL"
        rows = self._read(f"SELECT user_id, before, offered FROM library_lists WHERE user_id NOT IN ({gone})")
        return {
            row["user_id"]: LibraryList(row["user_id"], tuple(row["before"]), tuple(row["offered"])) for row in rows
        }

    def write_library_list(self, given: LibraryList) -> None:
        """Record the list of libraries that a user was given."""
        with self._transaction() as connection:
            row = {"user_id": given.user_id, "before": list(given.before), "offered": list(given.offered)}
            upsert(connection, library_lists, [row])

    def forget_library_list(self, user_id: str) -> None:
        """Forget that a user was given a list of libraries."""
        with self._transaction() as connection:
            execute(connection, "DELETE FROM library_lists WHERE user_id = :user", user=user_id)

    def settings_set(self) -> set[tuple[str, str, str]]:
        """Read what was set in users' settings: (user id, library id, kind)."""
        rows = self._read("SELECT user_id, server_item_id, kind FROM published_access")
        return {(row["user_id"], row["server_item_id"], row["kind"]) for row in rows}

    def note_settings(self, added: Iterable[tuple[str, str, str]], removed: Iterable[tuple[str, str, str]]) -> None:
        """Record what was set in users' settings, and what was taken back."""
        key = "(:user_id, :server_item_id, :kind)"
        columns = "(user_id, server_item_id, kind)"
        with self._transaction() as connection:
            for statement, settings in (
                (f"DELETE FROM published_access WHERE {columns} = {key}", removed),
                (f"INSERT INTO published_access {columns} VALUES {key} ON CONFLICT DO NOTHING", added),
            ):
                for user_id, item_id, kind in settings:
                    execute(connection, statement, user_id=user_id, server_item_id=item_id, kind=kind)

    def _read(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        with self._transaction() as connection:
            return read_rows(connection, statement, **values)
