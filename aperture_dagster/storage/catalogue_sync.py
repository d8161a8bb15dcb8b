"""Bring what the server lists into the catalogue.

A sync stages a listing page by page, each in a transaction of its own, so that nothing is open while the network is
read and memory stays constant. The merge is one transaction without any network: it says what every item is, writes
the rows that differ, and gives what a complete listing lacks a tombstone, unless too much would go at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import text

from aperture_dagster.library.identity import Identities, Incoming, Known, ProviderIds, assign_identities
from aperture_dagster.library.removal import LibraryLoss, RemovalRefused, check_removals
from aperture_dagster.storage.bulk import WriteCounts, copied_row, copy_rows, merge_staged, upsert
from aperture_dagster.storage.tables import episodes, libraries, titles, works, written_columns
from aperture_dagster.storage.work_list import ask_again

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from aperture_dagster.resources.media_server.records import MediaType, ServerEpisode, ServerLibrary, ServerTitle

# Whether a row ``t`` that is not listed is missing for certain, where ``there`` is joined.
MISSING = "(t.library_id = ANY(:complete) AND there.id IS NULL)"
# The row that a version ``v`` has of its own, because it was an item once.
_WITH_A_ROW = "SELECT 1 FROM {table} o WHERE o.item_id = v.item_id OR o.server_item_id = v.server_item_id"


@dataclass(slots=True)
class CatalogueResult:
    """What a sync of the catalogue did."""

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
    """The share of a library that may vanish at once, and whether the operator accepted more."""

    limit: float
    accepted: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the server a listing saw. Only what it saw whole can be missing.

    ``complete``: ids of libraries that were listed whole, or that the server no longer has. ``incomplete``: names of
    those that were not, for the report. ``unreadable``: server ids that were listed and could not be read.
    ``excluded``: ids of libraries that the operator left out; their items go without a guard, and are not missing.
    """

    complete: Collection[str] = ()
    incomplete: Collection[str] = ()
    unreadable: Collection[str] = ()
    excluded: Collection[str] = ()

    def read_whole(self) -> list[str]:
        """Ids of the libraries of which what is not listed is missing for certain.

        None while anything could not be read, for it may be any of the missing. Its id proves nothing: a server
        whose database was rebuilt reassigns ids.
        """
        return [] if self.unreadable else list(self.complete)


def write_libraries(connection: Connection, listed: Iterable[ServerLibrary]) -> WriteCounts:
    """Keep the names of the server's libraries; one that vanished stays, since its titles do."""
    rows = [asdict(library) for library in listed]
    return upsert(connection, libraries, rows)


class CatalogueSync:
    """Items of one type on their way into the catalogue: ``add`` their pages, then ``merge`` once.

    Needs a connection of its own that is in no transaction (:meth:`Database.connection`): what is staged lies in
    temporary tables, which the server drops when the connection ends, however it ends.
    """

    TABLE: ClassVar[Table]
    # Columns that the merge fills in, and columns that are staged for the merge only, with their types.
    ASSIGNED: ClassVar[tuple[str, ...]]
    STAGED_ONLY: ClassVar[dict[str, str]] = {"version_ids": "text[]"}
    # A condition on missing rows ``t`` that go whatever the guard says.
    FOLLOWS: ClassVar[str] = "FALSE"

    def __init__(self, connection: Connection, what: str, scope: str = "TRUE") -> None:
        """Open the staging table. ``what`` names the items in messages, ``scope`` is a condition on their rows."""
        self._connection = connection
        self._what = what
        self._scope = scope
        self._written = [name for name in written_columns(self.TABLE) if name != "removed_at"]
        self._columns = [name for name in self._written if name not in self.ASSIGNED]
        more = "".join(f", NULL::{kind} AS {name}" for name, kind in self.STAGED_ONLY.items())
        with connection.begin():
            connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE incoming_items AS SELECT {', '.join(self._columns)}{more} "
                f"FROM {self.TABLE.name} WITH NO DATA"
            )

    def add(self, library: ServerLibrary, page: Iterable[Any]) -> None:
        """Stage a page of a library."""
        rows = [
            [*copied_row(self.TABLE, fields_ | {"library_id": library.library_id}, self._columns), *more]
            for fields_, more in map(self._row, page)
        ]
        with self._connection.begin():
            copy_rows(self._connection, "incoming_items", [*self._columns, *self.STAGED_ONLY], rows)

    def merge(self, coverage: Coverage, rules: RemovalRules) -> CatalogueResult:
        """Write what is staged, and the tombstones of what is missing."""
        connection, table = self._connection, self.TABLE
        with connection.begin():
            # One merge at a time: two that find the same new items must not both take them for theirs.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('catalogue'))")
            # An item that two libraries list belongs to the first.
            connection.exec_driver_sql(
                "DELETE FROM incoming_items a USING incoming_items b "
                "WHERE b.server_item_id = a.server_item_id AND b.ctid < a.ctid"
            )
            connection.exec_driver_sql(f"ANALYZE incoming_items, {table.name}")
            _note_what_is_there(connection, coverage)
            recognised = self._identify(coverage)
            connection.exec_driver_sql("CREATE UNIQUE INDEX ON staged_items (item_id)")
            connection.exec_driver_sql("ANALYZE staged_items")
            result = CatalogueResult(
                listed=_count(connection, "SELECT count(*) FROM staged_items"),
                recognised=recognised,
                returned=_count(
                    connection,
                    f"SELECT count(*) FROM staged_items JOIN {table.name} t USING (item_id) "
                    "WHERE t.removed_at IS NOT NULL",
                ),
                incomplete_libraries=sorted(coverage.incomplete),
            )
            result.orphaned_episodes = _count(connection, "SELECT count(*) FROM incoming_items") - result.listed
            result.removed = _release_ids(connection)
            connection.exec_driver_sql(
                "CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT s.item_id, s.work_id FROM staged_items s "
                f"JOIN {table.name} t USING (item_id) WHERE t.work_id <> s.work_id"
            )
            result.counts = merge_staged(connection, table, "staged_items", self._written)
            connection.exec_driver_sql(
                f"UPDATE {table.name} t SET removed_at = NULL, updated_at = now() FROM staged_items s "
                "WHERE s.item_id = t.item_id AND t.removed_at IS NOT NULL"
            )
            _write_versions(connection)
            _move_history(connection)
            self._remove_missing(coverage, rules, result)
        return result

    def _row(self, record: Any) -> tuple[dict[str, Any], list[Any]]:
        """The fields of a record, and the values of ``STAGED_ONLY``."""
        raise NotImplementedError

    def _identify(self, coverage: Coverage) -> int:
        """Make ``staged_items``: what is staged, with the ``ASSIGNED`` columns. Returns how many were recognised."""
        raise NotImplementedError

    def _remove_missing(self, coverage: Coverage, rules: RemovalRules, result: CatalogueResult) -> None:
        """Give what is missing its tombstone; a refusal is kept in the result."""
        connection, table = self._connection, self.TABLE.name
        connection.exec_driver_sql(f"ANALYZE {table}")
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE missing_items ON COMMIT DROP AS SELECT t.item_id, t.library_id, "
                f"({self.FOLLOWS}) OR EXISTS (SELECT 1 FROM there v WHERE v.id = t.server_item_id) AS follows "
                f"FROM {table} t WHERE {self._scope} AND t.removed_at IS NULL "
                "AND NOT EXISTS (SELECT 1 FROM incoming_items i WHERE i.server_item_id = t.server_item_id) "
                "AND NOT EXISTS (SELECT 1 FROM there u WHERE u.id = t.server_item_id AND NOT u.is_version)"
            )
        )
        connection.exec_driver_sql("ANALYZE missing_items")
        losses = {
            row.library_id: LibraryLoss(row.name or row.library_id, row.missing, row.present)
            for row in connection.exec_driver_sql(
                "SELECT t.library_id, max(l.name) AS name, count(m.item_id) AS missing, count(*) AS present "
                f"FROM {table} t LEFT JOIN missing_items m USING (item_id) "
                "LEFT JOIN libraries l ON l.library_id = t.library_id "
                f"WHERE {self._scope} AND t.removed_at IS NULL AND m.follows IS NOT TRUE GROUP BY t.library_id"
            )
        }
        guarded = {key: loss for key, loss in losses.items() if key in coverage.complete and loss.missing}
        removable = {*guarded, *coverage.excluded}
        try:
            check_removals(guarded, limit=rules.limit, accepted=rules.accepted, what=self._what)
        except RemovalRefused as refusal:
            result.refusal = refusal
            removable = set(coverage.excluded)
        result.removed += connection.execute(
            text(
                f"UPDATE {table} t SET removed_at = now(), updated_at = now() FROM missing_items m "
                "WHERE m.item_id = t.item_id AND (m.library_id = ANY(:libraries) OR m.follows)"
            ),
            {"libraries": list(removable)},
        ).rowcount


class TitleSync(CatalogueSync):
    """Films or series on their way into the catalogue."""

    TABLE = titles
    ASSIGNED = ("item_id", "work_id")

    def __init__(self, connection: Connection, media_type: MediaType) -> None:
        """Open the staging table for films or for series."""
        super().__init__(connection, "films" if media_type == "movie" else "series", f"t.media_type = '{media_type}'")
        self._media_type = media_type

    def _row(self, record: ServerTitle) -> tuple[dict[str, Any], list[Any]]:
        content = _fields(record)
        for name in ("genres", "tags", "studios"):
            content[name] = list(content[name])
        return content | {"media_type": self._media_type}, [list(record.version_ids)]

    def _identify(self, coverage: Coverage) -> int:
        connection = self._connection
        incoming = [
            Incoming(
                row.server_item_id,
                ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id),
                row.path,
                row.library_id,
                row.title,
            )
            for row in connection.exec_driver_sql(
                "SELECT server_item_id, tmdb_id, imdb_id, tvdb_id, path, library_id, title FROM incoming_items "
                "ORDER BY ctid"
            )
        ]
        known = [
            Known(
                row.item_id,
                row.work_id,
                row.server_item_id,
                ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id),
                row.path,
                row.library_id,
                row.title,
                row.missing,
            )
            for row in connection.execute(
                # A version that is listed by itself now, as when another file became the primary one, is known, too.
                text(
                    "SELECT t.item_id, t.work_id, t.server_item_id, t.tmdb_id, t.imdb_id, t.tvdb_id, t.path, "
                    f"t.library_id, t.title, {MISSING} AS missing, t.removed_at IS NOT NULL AS removed FROM titles t "
                    "LEFT JOIN (SELECT DISTINCT id FROM there) there ON there.id = t.server_item_id "
                    f"WHERE {self._scope} UNION ALL "
                    "SELECT v.item_id, t.work_id, v.server_item_id, t.tmdb_id, t.imdb_id, t.tvdb_id, NULL, "
                    "t.library_id, t.title, FALSE, FALSE FROM item_versions v "
                    f"JOIN titles t ON t.item_id = v.primary_item_id WHERE {self._scope} "
                    f"AND NOT EXISTS ({_WITH_A_ROW.format(table='titles')}) ORDER BY removed, item_id"
                ),
                {"complete": coverage.read_whole()},
            )
        ]
        known_works = {
            row.work_id: ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id)
            for row in connection.execute(
                text("SELECT work_id, tmdb_id, imdb_id, tvdb_id FROM works WHERE media_type = :kind"),
                {"kind": self._media_type},
            )
        }
        identities = assign_identities(
            incoming,
            known,
            known_works,
            new_item_id=_numbers(connection, "item_id_seq"),
            new_work_id=_numbers(connection, "works_work_id_seq"),
        )
        self._write_works(identities)
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE assigned (server_item_id text, item_id bigint, work_id bigint) ON COMMIT DROP"
        )
        assigned = ((one.server_item_id, one.item_id, one.work_id) for one in identities.assignments)
        copy_rows(connection, "assigned", ("server_item_id", "item_id", "work_id"), assigned)
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE staged_items ON COMMIT DROP AS "
            "SELECT a.item_id, a.work_id, i.* FROM incoming_items i JOIN assigned a USING (server_item_id)"
        )
        return identities.recognised

    def _write_works(self, identities: Identities) -> None:
        rows = [
            {"work_id": work_id, "media_type": self._media_type, **asdict(ids)}
            for work_id, ids in identities.works.items()
        ]
        columns = ("work_id", "media_type", "tmdb_id", "imdb_id", "tvdb_id")
        upsert(self._connection, works, rows, columns=columns)
        # What was asked under other ids is asked again.
        ask_again(self._connection, list(identities.works))


class EpisodeSync(CatalogueSync):
    """Episodes on their way into the catalogue; those whose series it lacks are counted and left out.

    An episode under a new server id is recognised within its series, by its path, then by season and number.
    """

    TABLE = episodes
    ASSIGNED = ("item_id", "series_item_id", "work_id")
    STAGED_ONLY: ClassVar[dict[str, str]] = {"version_ids": "text[]", "series_server_id": "text"}
    # What goes with its series was looked at, and accepted, with the series.
    FOLLOWS = "EXISTS (SELECT 1 FROM titles s WHERE s.item_id = t.series_item_id AND s.removed_at IS NOT NULL)"

    def __init__(self, connection: Connection) -> None:
        """Open the staging table."""
        super().__init__(connection, "episodes")

    def _row(self, record: ServerEpisode) -> tuple[dict[str, Any], list[Any]]:
        return _fields(record), [list(record.version_ids), record.series_item_id]

    def _identify(self, coverage: Coverage) -> int:
        connection = self._connection
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE staged_items ON COMMIT DROP AS "
            "SELECT NULL::bigint AS item_id, s.item_id AS series_item_id, s.work_id, i.* FROM incoming_items i "
            "JOIN titles s ON s.server_item_id = i.series_server_id AND s.media_type = 'series' "
            "AND s.removed_at IS NULL"
        )
        connection.exec_driver_sql(
            "INSERT INTO there SELECT server_item_id, false FROM incoming_items i "
            "WHERE NOT EXISTS (SELECT 1 FROM staged_items s WHERE s.server_item_id = i.server_item_id)"
        )
        connection.exec_driver_sql("ANALYZE staged_items, there")
        # The server's id decides, unless both number and path say that it was given to another episode.
        connection.exec_driver_sql(
            "UPDATE staged_items s SET item_id = e.item_id FROM episodes e WHERE e.server_item_id = s.server_item_id "
            "AND (e.path IS NOT DISTINCT FROM s.path OR e.series_item_id = s.series_item_id "
            "AND coalesce(e.season = s.season AND e.number = s.number, e.title = s.title))"
        )
        # So does that of a version that is listed by itself now, as when another file became the primary one.
        connection.exec_driver_sql(
            "UPDATE staged_items s SET item_id = v.item_id FROM item_versions v "
            "JOIN episodes p ON p.item_id = v.primary_item_id WHERE v.server_item_id = s.server_item_id "
            "AND s.item_id IS NULL AND p.series_item_id = s.series_item_id "
            "AND coalesce(p.season = s.season AND p.number = s.number, p.title = s.title) "
            f"AND NOT EXISTS ({_WITH_A_ROW.format(table='episodes')})"
        )
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE unmatched ON COMMIT DROP AS SELECT t.item_id, t.series_item_id, t.season, "
                f"t.number, t.path, t.library_id, t.removed_at IS NULL AS present, {MISSING} AS missing "
                "FROM episodes t LEFT JOIN (SELECT DISTINCT id FROM there) there ON there.id = t.server_item_id "
                "WHERE NOT EXISTS (SELECT 1 FROM staged_items s WHERE s.item_id = t.item_id)"
            ),
            {"complete": coverage.read_whole()},
        )
        # A file is where it was, even if its library was not listed whole; all else could be a copy.
        recognised = self._recognise(("series_item_id", "library_id", "path"))
        recognised += self._recognise(("series_item_id", "path"), only_missing=True)
        recognised += self._recognise(("series_item_id", "season", "number"), only_missing=True)
        connection.exec_driver_sql("UPDATE staged_items SET item_id = nextval('item_id_seq') WHERE item_id IS NULL")
        return recognised

    def _recognise(self, key: tuple[str, ...], *, only_missing: bool = False) -> int:
        """Pair newcomers with unmatched rows that agree in ``key``: of several, the first with the first."""
        connection = self._connection
        known = " AND ".join(f"{name} IS NOT NULL" for name in key)
        pair = ", ".join(key)
        found = connection.exec_driver_sql(
            "UPDATE staged_items s SET item_id = found.item_id FROM ("
            f" SELECT n.server_item_id, u.item_id FROM (SELECT server_item_id, {pair}, row_number() OVER "
            f"  (PARTITION BY {pair} ORDER BY server_item_id) AS nth "
            f"  FROM staged_items WHERE item_id IS NULL AND {known}) n "
            f" JOIN (SELECT item_id, {pair}, row_number() OVER (PARTITION BY {pair} ORDER BY NOT present, item_id) "
            f"  AS nth FROM unmatched WHERE {known}{' AND missing' if only_missing else ''}) u USING ({pair}, nth)"
            ") found WHERE found.server_item_id = s.server_item_id"
        ).rowcount
        connection.exec_driver_sql("DELETE FROM unmatched u USING staged_items s WHERE s.item_id = u.item_id")
        connection.exec_driver_sql("ANALYZE unmatched, staged_items")
        return found


def _note_what_is_there(connection: Connection, coverage: Coverage) -> None:
    """Make the table ``there``: server ids that exist without being staged, so that they are not missing.

    Those are items that could not be read, and alternate versions of listed ones.
    """
    connection.exec_driver_sql("CREATE TEMPORARY TABLE there (id text, is_version boolean) ON COMMIT DROP")
    copy_rows(connection, "there", ("id", "is_version"), ((one, False) for one in coverage.unreadable))
    connection.exec_driver_sql("INSERT INTO there SELECT unnest(version_ids), true FROM incoming_items")
    connection.exec_driver_sql("DELETE FROM there USING incoming_items i WHERE i.server_item_id = there.id")
    connection.exec_driver_sql("ANALYZE there")


def _release_ids(connection: Connection) -> int:
    """Take server ids from rows that they no longer mean, whatever their type; returns how many of those went.

    The server has given the id to another item. A row without an id has a tombstone until it is recognised again.
    """
    removed = 0
    for table in ("titles", "episodes"):
        removed += _count(
            connection,
            f"WITH released AS (UPDATE {table} t SET server_item_id = NULL, updated_at = now(), "
            "removed_at = coalesce(t.removed_at, now()) FROM staged_items s "
            "WHERE s.server_item_id = t.server_item_id AND s.item_id <> t.item_id RETURNING t.item_id, t.removed_at) "
            "SELECT count(*) FROM released r WHERE r.removed_at = now() "
            "AND NOT EXISTS (SELECT 1 FROM staged_items s WHERE s.item_id = r.item_id)",
        )
    return removed


def _write_versions(connection: Connection) -> None:
    """Keep whose alternate versions the listed ids are.

    A version that was an item of the same work before keeps its number, and with it its states. One of another item
    than before is another version, whose id was reused.
    """
    for name in ("item_id", "server_item_id"):
        connection.exec_driver_sql(f"DELETE FROM item_versions v USING staged_items s WHERE s.{name} = v.{name}")
    connection.exec_driver_sql(
        "WITH listed AS (SELECT DISTINCT ON (id) id, s.item_id, s.work_id FROM staged_items s, "
        "  unnest(s.version_ids) AS id WHERE NOT EXISTS (SELECT 1 FROM incoming_items i WHERE i.server_item_id = id) "
        "  ORDER BY id, s.item_id) "
        "INSERT INTO item_versions AS old (server_item_id, item_id, primary_item_id) "
        "SELECT l.id, coalesce(t.item_id, e.item_id, nextval('item_id_seq')), l.item_id FROM listed l "
        "LEFT JOIN item_versions v ON v.server_item_id = l.id "
        "LEFT JOIN titles t ON t.server_item_id = l.id AND t.work_id = l.work_id "
        "LEFT JOIN episodes e ON e.server_item_id = l.id AND e.work_id = l.work_id "
        "WHERE v.primary_item_id IS DISTINCT FROM l.item_id "
        "ON CONFLICT (server_item_id) DO UPDATE SET item_id = excluded.item_id, "
        "primary_item_id = excluded.primary_item_id"
    )


def _move_history(connection: Connection) -> None:
    """Let history follow items that turned out to be another work, episodes and versions along with them."""
    connection.exec_driver_sql(
        "INSERT INTO moved SELECT e.item_id, m.work_id FROM moved m JOIN episodes e ON e.series_item_id = m.item_id"
    )
    connection.exec_driver_sql(
        "INSERT INTO moved SELECT v.item_id, s.work_id FROM staged_items s "
        "JOIN item_versions v ON v.primary_item_id = s.item_id"
    )
    if _count(connection, "SELECT count(*) FROM moved"):
        for table in ("episodes", "watch_state", "plays", "ratings", "rating_changes"):
            connection.exec_driver_sql(
                f"UPDATE {table} h SET work_id = m.work_id FROM moved m "
                "WHERE m.item_id = h.item_id AND m.work_id <> h.work_id"
            )


def _count(connection: Connection, statement: str) -> int:
    return connection.exec_driver_sql(statement).scalar() or 0


def _fields(record: ServerTitle | ServerEpisode) -> dict[str, Any]:
    """A record's fields by name. ``asdict`` would copy all that they hold, which for a listing is half of the work."""
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _numbers(connection: Connection, sequence: str) -> Callable[[], int]:
    """Give numbers of a sequence, fetched in blocks."""

    def blocks() -> Iterator[int]:
        while True:
            statement = text("SELECT nextval(CAST(:s AS regclass)) FROM generate_series(1, 500)")
            yield from connection.execute(statement, {"s": sequence}).scalars().all()

    numbers = itertools.chain.from_iterable([blocks()])
    return lambda: next(numbers)
