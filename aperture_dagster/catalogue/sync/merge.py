"""Write the server's listing into the catalogue.

A sync stages a listing page by page, each in its own transaction, so that none is open during network requests and
memory stays constant. The merge is one transaction without network access: it identifies every item, writes the rows
that differ, and marks items that a complete listing lacks as removed, unless there are too many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

from sqlalchemy import Connection, Table

from aperture_dagster.catalogue.removals import REMOVAL_LIMIT, LibraryLoss, RemovalRefused, check_removals
from aperture_dagster.catalogue.sync.moved_items import move_history
from aperture_dagster.catalogue.tables import libraries
from aperture_dagster.media_server.records import ServerLibrary
from aperture_dagster.postgres.bulk import WriteCounts, as_copied, copy_rows, merge, upsert
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_value
from aperture_dagster.postgres.tables import written_columns

# Condition on a row ``t`` that is not listed: it is certainly missing. Needs a join with ``seen_ids``.
MISSING = "(t.library_id = ANY(:complete) AND seen_ids.id IS NULL)"


# Select the row that a version ``v`` has because it used to be an item.
FORMER_ITEM = "SELECT 1 FROM {table} o WHERE o.item_id = v.item_id OR o.server_item_id = v.server_item_id"


@dataclass(slots=True)
class CatalogueResult:
    """The result of a catalogue sync."""

    listed: int = 0
    counts: WriteCounts = field(default_factory=WriteCounts)
    recognised: int = 0
    returned: int = 0
    removed: int = 0
    orphaned_episodes: int = 0
    incomplete_libraries: list[str] = field(default_factory=list)
    refusal: RemovalRefused | None = None


@dataclass(frozen=True, slots=True)
class RemovalRules:
    """Whether the operator accepted a loss that is larger than the share of a library that may be removed at once."""

    accepted: bool
    limit: float = REMOVAL_LIMIT


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the server a listing covered. Only items of completely listed libraries can be missing.

    ``complete``: ids of libraries that were listed completely, or that the server no longer has. ``incomplete``: names
    of the others. ``unreadable``: server ids that were listed but could not be read. ``excluded``: ids of libraries
    that the operator excluded; their items are removed without the removal guard.
    """

    complete: Collection[str] = ()
    incomplete: Collection[str] = ()
    unreadable: Collection[str] = ()
    excluded: Collection[str] = ()

    def certain_libraries(self) -> list[str]:
        """Return the ids of libraries whose unlisted items are certainly missing.

        None if an item could not be read, since it may be any of the missing ones: a server reassigns ids when its
        database is rebuilt.
        """
        return [] if self.unreadable else list(self.complete)


def write_libraries(connection: Connection, listed: Iterable[ServerLibrary]) -> WriteCounts:
    """Write the server's libraries. Libraries that disappeared are kept, because their titles are."""
    return upsert(connection, libraries, map(asdict, listed))


class CatalogueSync:
    """A sync of one type of item: ``add`` each page, then ``merge`` once.

    Needs its own connection outside any transaction (:meth:`Database.connection`), since PostgreSQL drops the staging
    tables when the connection ends, even if the process is killed.
    """

    TABLE: ClassVar[Table]
    # Columns that the merge fills in, and columns that are staged for the merge only, with their types.
    ASSIGNED: ClassVar[tuple[str, ...]]
    STAGED_ONLY: ClassVar[dict[str, str]] = {"version_ids": "text[]"}
    # Attributes of a record that have another name than their column.
    ATTRIBUTES: ClassVar[dict[str, str]] = {}
    # Condition on missing rows ``t`` that the removal guard does not apply to.
    FOLLOWS: ClassVar[str] = "FALSE"

    def __init__(
        self, connection: Connection, noun: str, scope: str = "TRUE", *, same_for_all: Mapping[str, Any] | None = None
    ) -> None:
        """Create the staging table.

        ``noun`` names the items in messages, ``scope`` is a condition on their rows, and ``same_for_all`` has the
        columns that have the same value in all of them.
        """
        self._connection = connection
        self._noun = noun
        self._scope = scope
        self._written = [name for name in written_columns(self.TABLE) if name != "removed_at"]
        columns = [name for name in self._written if name not in self.ASSIGNED]
        self._same_for_all = dict(same_for_all or {})
        of_records = [name for name in (*columns, *self.STAGED_ONLY) if name not in {*self._same_for_all, "library_id"}]
        self._staged = [*of_records, "library_id", *self._same_for_all]
        self._values_of = attrgetter(*(self.ATTRIBUTES.get(name, name) for name in of_records))
        staged_only = [f"NULL::{sql_type} AS {name}" for name, sql_type in self.STAGED_ONLY.items()]
        with connection.begin():
            connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE incoming_items AS SELECT {', '.join(columns + staged_only)} "
                f"FROM {self.TABLE.name} WITH NO DATA"
            )

    def add(self, library: ServerLibrary, page: Iterable[Any]) -> None:
        """Stage a page of a library."""
        constants = [library.library_id, *self._same_for_all.values()]
        values = self._values_of
        with self._connection.begin():
            rows = ([*map(as_copied, values(record)), *constants] for record in page)
            copy_rows(self._connection, "incoming_items", self._staged, rows)

    def merge(self, coverage: Coverage, rules: RemovalRules) -> CatalogueResult:
        """Write the staged items, and mark the missing ones as removed."""
        connection, table = self._connection, self.TABLE.name
        with connection.begin():
            # One merge at a time: concurrent merges would both insert the same new items.
            lock_until_commit(connection, "catalogue")
            # An item listed by two libraries belongs to the first.
            connection.exec_driver_sql(
                "DELETE FROM incoming_items a USING incoming_items b "
                "WHERE b.server_item_id = a.server_item_id AND b.ctid < a.ctid"
            )
            connection.exec_driver_sql(f"ANALYZE incoming_items, {table}")
            _create_seen_ids(connection, coverage)
            result = CatalogueResult(
                recognised=self._identify(coverage), incomplete_libraries=sorted(coverage.incomplete)
            )
            connection.exec_driver_sql("CREATE UNIQUE INDEX ON staged_items (item_id)")
            connection.exec_driver_sql("ANALYZE staged_items")
            known = f"staged_items s JOIN {table} t USING (item_id)"
            result.listed = read_value(connection, "SELECT count(*) FROM staged_items")
            result.returned = read_value(connection, f"SELECT count(*) FROM {known} WHERE t.removed_at IS NOT NULL")
            result.orphaned_episodes = read_value(connection, "SELECT count(*) FROM incoming_items") - result.listed
            result.removed = _release_ids(connection)
            connection.exec_driver_sql(
                "CREATE TEMPORARY TABLE moved ON COMMIT DROP AS "
                f"SELECT item_id, s.work_id, t.work_id AS left_work_id FROM {known} WHERE t.work_id <> s.work_id"
            )
            result.counts = merge(connection, self.TABLE, "staged_items", self._written)
            connection.exec_driver_sql(
                f"UPDATE {table} t SET removed_at = NULL, updated_at = now() FROM staged_items s "
                "WHERE s.item_id = t.item_id AND t.removed_at IS NOT NULL"
            )
            _write_versions(connection)
            move_history(connection)
            self._remove_missing(coverage, rules, result)
        return result

    def _identify(self, coverage: Coverage) -> int:
        """Create ``staged_items``: the staged rows with the ``ASSIGNED`` columns. Return how many were recognised."""
        raise NotImplementedError

    def _remove_missing(self, coverage: Coverage, rules: RemovalRules, result: CatalogueResult) -> None:
        """Mark missing items as removed; a refusal is stored in the result."""
        connection, table = self._connection, self.TABLE.name
        connection.exec_driver_sql(f"ANALYZE {table}")
        statement = f"""
            CREATE TEMPORARY TABLE missing_items ON COMMIT DROP AS SELECT t.item_id, t.library_id,
            ({self.FOLLOWS}) OR EXISTS (SELECT 1 FROM seen_ids v WHERE v.id = t.server_item_id) AS follows
            FROM {table} t WHERE {self._scope} AND t.removed_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM incoming_items i WHERE i.server_item_id = t.server_item_id)
            AND NOT EXISTS (SELECT 1 FROM seen_ids u WHERE u.id = t.server_item_id AND NOT u.is_version)"""
        execute(connection, statement)
        connection.exec_driver_sql("ANALYZE missing_items")
        statement = f"""
            SELECT t.library_id, max(l.name) AS name, count(m.item_id) AS missing, count(*) AS present
            FROM {table} t LEFT JOIN missing_items m USING (item_id)
            LEFT JOIN libraries l ON l.library_id = t.library_id
            WHERE {self._scope} AND t.removed_at IS NULL AND m.follows IS NOT TRUE GROUP BY t.library_id"""
        guarded = {
            row.library_id: LibraryLoss(row.name or row.library_id, row.missing, row.present)
            for row in execute(connection, statement)
            if row.missing and row.library_id in coverage.complete
        }
        removable = {*guarded, *coverage.excluded}
        try:
            check_removals(guarded, limit=rules.limit, accepted=rules.accepted, what=self._noun)
        except RemovalRefused as refusal:
            result.refusal = refusal
            removable = set(coverage.excluded)
        statement = f"""
            UPDATE {table} t SET removed_at = now(), updated_at = now() FROM missing_items m
            WHERE m.item_id = t.item_id AND (m.library_id = ANY(:libraries) OR m.follows)"""
        result.removed += execute(connection, statement, libraries=list(removable)).rowcount


def _create_seen_ids(connection: Connection, coverage: Coverage) -> None:
    """Create the table ``seen_ids``: ids of unreadable items and of alternate versions, which are not missing."""
    connection.exec_driver_sql("CREATE TEMPORARY TABLE seen_ids (id text, is_version boolean) ON COMMIT DROP")
    copy_rows(connection, "seen_ids", ("id", "is_version"), ((item_id, False) for item_id in coverage.unreadable))
    connection.exec_driver_sql("INSERT INTO seen_ids SELECT unnest(version_ids), true FROM incoming_items")
    connection.exec_driver_sql("DELETE FROM seen_ids USING incoming_items i WHERE i.server_item_id = seen_ids.id")
    connection.exec_driver_sql("ANALYZE seen_ids")


def _release_ids(connection: Connection) -> int:
    """Clear server ids that the server has given to another item; return how many rows became removed.

    A row without a server id counts as removed until it is recognised again.
    """
    statement = """
        WITH released AS (
          UPDATE {table} t SET server_item_id = NULL, updated_at = now(), removed_at = coalesce(t.removed_at, now())
          FROM staged_items s WHERE s.server_item_id = t.server_item_id AND s.item_id <> t.item_id
          RETURNING t.item_id, t.removed_at)
        SELECT count(*) FROM released r WHERE r.removed_at = now()
        AND NOT EXISTS (SELECT 1 FROM staged_items s WHERE s.item_id = r.item_id)"""
    return sum(read_value(connection, statement.format(table=table)) for table in ("titles", "episodes"))


def _write_versions(connection: Connection) -> None:
    """Record which items the alternate versions belong to.

    A version that was an item of the same work keeps its item id, and with it its watch states. If its id now belongs
    to a different item, the server has reused the id.
    """
    for name in ("item_id", "server_item_id"):
        connection.exec_driver_sql(f"DELETE FROM item_versions v USING staged_items s WHERE s.{name} = v.{name}")
    statement = """
        WITH listed AS (
          SELECT DISTINCT ON (id) id, s.item_id, s.work_id FROM staged_items s, unnest(s.version_ids) AS id
          WHERE NOT EXISTS (SELECT 1 FROM incoming_items i WHERE i.server_item_id = id) ORDER BY id, s.item_id)
        INSERT INTO item_versions AS old (server_item_id, item_id, primary_item_id)
        SELECT DISTINCT ON (l.id) l.id, coalesce(i.item_id, nextval('item_id_seq')), l.item_id FROM listed l
        LEFT JOIN item_versions v ON v.server_item_id = l.id
        LEFT JOIN items i ON i.server_item_id = l.id AND i.work_id = l.work_id AND NOT i.is_version
        WHERE v.primary_item_id IS DISTINCT FROM l.item_id
        ON CONFLICT (server_item_id) DO UPDATE SET item_id = excluded.item_id,
        primary_item_id = excluded.primary_item_id"""
    execute(connection, statement)
