"""The catalogue: libraries, films, series and episodes, written by one path for all of them.

A listing is staged page by page (constant memory), then merged in one transaction: only rows that differ are written,
and what a complete listing lacks gets a tombstone, unless too much would go at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from aperture_dagster.library.identity import Identities, Incoming, Known, ProviderIds, assign_identities
from aperture_dagster.library.removal import LibraryLoss, RemovalRefused, check_removals
from aperture_dagster.storage.bulk import WriteCounts, adapt_row, copy_rows, merge_staged, staging_table, upsert
from aperture_dagster.storage.tables import episodes, libraries, titles, works
from aperture_dagster.storage.work_list import ask_again

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from aperture_dagster.resources.media_server import MediaType, ServerEpisode, ServerLibrary, ServerTitle

TITLE_COLUMNS = (
    "item_id", "work_id", "media_type", "server_item_id", "library_id", "title", "original_title", "sort_title",
    "year", "premiere_date", "end_date", "overview", "tagline", "genres", "tags", "studios", "official_rating",
    "community_rating", "critic_rating", "runtime_minutes", "status", "path", "tmdb_id", "imdb_id", "tvdb_id",
    "added_at", "content_hash",
)  # fmt: skip
EPISODE_COLUMNS = (
    "item_id", "series_item_id", "work_id", "server_item_id", "library_id", "season", "number", "number_end",
    "title", "air_date", "runtime_minutes", "path", "content_hash",
)  # fmt: skip


# What is gone with its series was looked at, and accepted, with the series.
SERIES_IS_GONE = "EXISTS (SELECT 1 FROM titles s WHERE s.item_id = t.series_item_id AND s.removed_at IS NOT NULL)"


@dataclass(slots=True)
class CatalogueResult:
    """What a sync of the catalogue did."""

    listed: int = 0
    counts: WriteCounts = field(default_factory=WriteCounts)
    recognised: int = 0
    returned: int = 0
    removed: int = 0
    purged: int = 0
    orphaned_episodes: int = 0
    incomplete_libraries: list[str] = field(default_factory=list)
    refusal: RemovalRefused | None = None


@dataclass(frozen=True, slots=True)
class RemovalRules:
    """When what is missing is removed: the share that may vanish at once, whether more was accepted, days kept."""

    limit: float
    accepted: bool
    tombstone_days: int


def write_libraries(connection: Connection, listed: Iterable[ServerLibrary]) -> WriteCounts:
    """Keep the names of the server's libraries; one that vanished stays, since its titles do."""
    rows = [asdict(library) for library in listed]
    return upsert(connection, libraries, rows, columns=("library_id", "name", "collection_type"))


class TitleStage:
    """Films or series on their way into the catalogue, staged page by page inside one transaction."""

    def __init__(self, connection: Connection, media_type: MediaType) -> None:
        self._connection = connection
        self._media_type = media_type
        self._columns = [name for name in TITLE_COLUMNS if name not in ("item_id", "work_id")]
        self._table = staging_table(connection, titles, self._columns, "incoming_items")
        self._incoming: dict[str, Incoming] = {}

    def add(self, library: ServerLibrary, page: Iterable[ServerTitle]) -> None:
        """Stage a page; an item that another library listed already is not staged twice."""
        fresh = {title.server_item_id: title for title in page if title.server_item_id not in self._incoming}
        rows = []
        for title in fresh.values():
            content = _fields(title) | {"library_id": library.library_id, "media_type": self._media_type}
            content["genres"], content["tags"] = list(title.genres), list(title.tags)
            content["studios"] = list(title.studios)
            rows.append(adapt_row(titles, content | {"content_hash": content_hash(content)}, self._columns))
            self._incoming[title.server_item_id] = Incoming(
                title.server_item_id, ProviderIds(title.tmdb_id, title.imdb_id, title.tvdb_id), title.path
            )
        copy_rows(self._connection, self._table, self._columns, rows)

    def merge(
        self,
        *,
        complete: Collection[str],
        incomplete: Collection[str],
        unreadable: Collection[str],
        excluded: Collection[str],
        rules: RemovalRules,
    ) -> CatalogueResult:
        """Write what is staged, and the tombstones of what is missing.

        Args:
            complete: ids of the libraries that were listed whole, or that the server has no more.
            incomplete: names of those that were not, for the report.
            unreadable: server ids that were listed and could not be read: they are there.
            excluded: ids of libraries that the operator left out: their titles go without a guard.
            rules: when what is missing is removed.
        """
        connection, kind = self._connection, self._media_type
        identities = self._identify(excluded)
        self._write_works(identities)
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE assigned (server_item_id text, item_id bigint, work_id bigint) ON COMMIT DROP"
        )
        copy_rows(
            connection,
            "assigned",
            ("server_item_id", "item_id", "work_id"),
            ((one.server_item_id, one.item_id, one.work_id) for one in identities.assignments),
        )
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE staged_titles ON COMMIT DROP AS "
            "SELECT a.item_id, a.work_id, i.* FROM incoming_items i JOIN assigned a USING (server_item_id)"
        )
        result = CatalogueResult(
            listed=len(identities.assignments),
            recognised=identities.recognised,
            incomplete_libraries=sorted(incomplete),
        )
        result.returned = _revive(connection, titles, "staged_titles")
        result.counts = merge_staged(connection, titles, "staged_titles", columns=TITLE_COLUMNS)
        # History belongs to what an item is now known to be.
        for table in ("watch_state", "plays", "episodes"):
            column = "series_item_id" if table == "episodes" else "item_id"
            connection.exec_driver_sql(
                f"UPDATE {table} h SET work_id = t.work_id FROM staged_titles t "
                f"WHERE t.item_id = h.{column} AND h.work_id <> t.work_id"
            )
        _remove_missing(
            connection,
            titles,
            result,
            f"t.media_type = '{kind}'",
            "films" if kind == "movie" else "series",
            complete,
            unreadable,
            excluded,
            rules,
        )
        return result

    def _identify(self, excluded: Collection[str]) -> Identities:
        connection, kind = self._connection, self._media_type
        # Nobody else gives out works of this kind meanwhile.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"works:{kind}"})
        t = titles.c
        known = [
            Known(
                row.item_id,
                row.work_id,
                row.server_item_id,
                ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id),
                row.path,
            )
            for row in connection.execute(
                select(
                    t.item_id, t.work_id, t.server_item_id, t.library_id, t.tmdb_id, t.imdb_id, t.tvdb_id, t.path
                ).where(t.media_type == kind)
            )
            # What was not asked for is not missing: a copy elsewhere must not be taken for it.
            if row.library_id not in excluded or row.server_item_id in self._incoming
        ]
        w = works.c
        known_works = {
            row.work_id: ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id)
            for row in connection.execute(
                select(w.work_id, w.tmdb_id, w.imdb_id, w.tvdb_id).where(w.media_type == kind)
            )
        }
        return assign_identities(
            list(self._incoming.values()),
            known,
            known_works,
            new_item_id=_numbers(connection, "item_id_seq"),
            new_work_id=_numbers(connection, "works_work_id_seq"),
        )

    def _write_works(self, identities: Identities) -> None:
        rows = [
            {"work_id": work_id, "media_type": self._media_type, **asdict(ids)}
            for work_id, ids in identities.works.items()
        ]
        columns = ("work_id", "media_type", "tmdb_id", "imdb_id", "tvdb_id")
        upsert(self._connection, works, rows, columns=columns, touch=None)
        # What was asked under other ids is asked again.
        ask_again(self._connection, list(identities.works))


class EpisodeStage:
    """Episodes on their way into the catalogue, staged page by page inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The series' id is the server's until the merge looks it up.
        self._columns = [name for name in EPISODE_COLUMNS if name not in ("item_id", "series_item_id", "work_id")]
        self._table = staging_table(connection, episodes, self._columns, "incoming_items")
        connection.exec_driver_sql("ALTER TABLE incoming_items ADD COLUMN series_server_id text")
        self._series = {
            row.server_item_id
            for row in connection.execute(
                select(titles.c.server_item_id).where(titles.c.media_type == "series", titles.c.removed_at.is_(None))
            )
        }
        self._seen: set[int] = set()
        self._orphans: list[str] = []

    def add(self, library: ServerLibrary, page: Iterable[ServerEpisode]) -> None:
        """Stage a page; an episode whose series the catalogue lacks is counted and left out."""
        rows = []
        for episode in page:
            if episode.series_item_id not in self._series:
                self._orphans.append(episode.server_item_id)
                continue
            identity = hash(episode.server_item_id)
            if identity in self._seen:
                continue
            self._seen.add(identity)
            content = _fields(episode) | {"library_id": library.library_id}
            content["content_hash"] = content_hash(content)
            rows.append([*adapt_row(episodes, content, self._columns), episode.series_item_id])
        copy_rows(self._connection, self._table, [*self._columns, "series_server_id"], rows)

    def merge(
        self,
        *,
        complete: Collection[str],
        incomplete: Collection[str],
        unreadable: Collection[str],
        excluded: Collection[str],
        rules: RemovalRules,
    ) -> CatalogueResult:
        """Write what is staged, and the tombstones of what is missing; see :meth:`TitleStage.merge`.

        An episode under a new server id is known again by its series, season and number, and one that lacks these by
        its path.
        """
        connection = self._connection
        # Two that find the same new episodes must not both take them for theirs.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('episodes'))"))
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE staged_episodes ON COMMIT DROP AS SELECT e.item_id, t.item_id AS series_item_id, "
            "t.work_id, i.* FROM incoming_items i JOIN titles t ON t.server_item_id = i.series_server_id "
            "LEFT JOIN episodes e ON e.server_item_id = i.server_item_id"
        )
        connection.exec_driver_sql("CREATE INDEX ON staged_episodes (server_item_id)")
        connection.exec_driver_sql("ANALYZE staged_episodes")
        recognised = connection.exec_driver_sql(
            "UPDATE staged_episodes s SET item_id = found.item_id FROM ("
            "  SELECT DISTINCT ON (e.item_id) e.item_id, n.server_item_id FROM episodes e "
            "  JOIN staged_episodes n ON n.item_id IS NULL AND n.series_item_id = e.series_item_id "
            "    AND n.season = e.season AND n.number = e.number "
            "  WHERE NOT EXISTS (SELECT 1 FROM staged_episodes k WHERE k.server_item_id = e.server_item_id) "
            "  ORDER BY e.item_id, (n.path IS NOT DISTINCT FROM e.path) DESC, n.server_item_id"
            ") found WHERE found.server_item_id = s.server_item_id"
        ).rowcount
        recognised += connection.exec_driver_sql(
            "UPDATE staged_episodes s SET item_id = e.item_id FROM episodes e WHERE s.item_id IS NULL "
            "AND (s.season IS NULL OR s.number IS NULL) AND e.series_item_id = s.series_item_id AND e.path = s.path "
            "AND NOT EXISTS (SELECT 1 FROM staged_episodes k "
            " WHERE k.server_item_id = e.server_item_id OR k.item_id = e.item_id)"
        ).rowcount
        # Two copies of an episode may both have found the same old one: one keeps it.
        connection.exec_driver_sql(
            "UPDATE staged_episodes s SET item_id = NULL FROM (SELECT server_item_id, row_number() OVER "
            "(PARTITION BY item_id ORDER BY server_item_id) AS n FROM staged_episodes WHERE item_id IS NOT NULL) d "
            "WHERE d.server_item_id = s.server_item_id AND d.n > 1"
        )
        connection.exec_driver_sql("UPDATE staged_episodes SET item_id = nextval('item_id_seq') WHERE item_id IS NULL")
        listed = connection.exec_driver_sql("SELECT count(*) FROM staged_episodes").scalar() or 0
        result = CatalogueResult(
            listed=listed,
            recognised=recognised,
            orphaned_episodes=len(self._orphans),
            incomplete_libraries=sorted(incomplete),
        )
        result.returned = _revive(connection, episodes, "staged_episodes")
        result.counts = merge_staged(connection, episodes, "staged_episodes", columns=EPISODE_COLUMNS)
        # Those without a series are there, too.
        there = [*unreadable, *self._orphans]
        _remove_missing(
            connection, episodes, result, "TRUE", "episodes", complete, there, excluded, rules, follows=SERIES_IS_GONE
        )
        return result


def content_hash(content: dict[str, Any]) -> str:
    """A hash of everything that the server says of an item."""
    # Bytes that are no valid text would otherwise stop the whole listing.
    plain = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _fields(record: ServerTitle | ServerEpisode) -> dict[str, Any]:
    """A record's fields by name. ``asdict`` would copy all that they hold, which for a listing is half of the work."""
    return {one.name: getattr(record, one.name) for one in fields(record)}


def catalogue_size(connection: Connection) -> dict[str, int]:
    """How many films, series and episodes are there."""
    row = connection.exec_driver_sql(
        "SELECT (SELECT count(*) FROM titles WHERE media_type = 'movie' AND removed_at IS NULL), "
        "(SELECT count(*) FROM titles WHERE media_type = 'series' AND removed_at IS NULL), "
        "(SELECT count(*) FROM episodes WHERE removed_at IS NULL)"
    ).one()
    return {"movies": row[0], "series": row[1], "episodes": row[2]}


def known_libraries(connection: Connection) -> set[str]:
    """The ids of all libraries that titles or episodes came from."""
    statement = "SELECT library_id FROM titles UNION SELECT library_id FROM episodes"
    return set(connection.exec_driver_sql(statement).scalars())


def titles_without_ids(connection: Connection, limit: int = 10) -> tuple[int, int, list[dict[str, Any]]]:
    """How many titles have no id of another service, of how many; and some of them."""
    bare = "tmdb_id IS NULL AND imdb_id IS NULL AND tvdb_id IS NULL"
    without, total = connection.exec_driver_sql(
        f"SELECT count(*) FILTER (WHERE {bare}), count(*) FROM titles WHERE removed_at IS NULL"
    ).one()
    rows = connection.execute(
        text(f"SELECT title, year, path FROM titles WHERE {bare} AND removed_at IS NULL ORDER BY title LIMIT :n"),
        {"n": limit},
    ).mappings()
    return without, total, [dict(row) for row in rows]


def newest_titles(connection: Connection, media_type: MediaType, limit: int = 20) -> list[dict[str, Any]]:
    """The titles added last, for the asset's page."""
    rows = connection.execute(
        text(
            "SELECT title, year, genres, runtime_minutes, added_at::date AS added FROM titles "
            "WHERE media_type = :kind AND removed_at IS NULL ORDER BY added_at DESC NULLS LAST, item_id LIMIT :n"
        ),
        {"kind": media_type, "n": limit},
    ).mappings()
    return [dict(row) for row in rows]


def largest_series(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The series with most episodes, for the asset's page."""
    rows = connection.execute(
        text(
            "SELECT t.title, t.year, count(DISTINCT e.season) AS seasons, count(*) AS episodes, "
            "max(e.air_date) AS last_aired FROM episodes e JOIN titles t ON t.item_id = e.series_item_id "
            "WHERE e.removed_at IS NULL AND t.removed_at IS NULL GROUP BY t.item_id "
            "ORDER BY episodes DESC, t.title LIMIT :n"
        ),
        {"n": limit},
    ).mappings()
    return [dict(row) for row in rows]


def _numbers(connection: Connection, sequence: str) -> Callable[[], int]:
    """Give numbers of a sequence, fetched in blocks."""

    def blocks() -> Iterator[int]:
        while True:
            statement = text("SELECT nextval(CAST(:s AS regclass)) FROM generate_series(1, 500)")
            yield from connection.execute(statement, {"s": sequence}).scalars().all()

    numbers = itertools.chain.from_iterable([blocks()])
    return lambda: next(numbers)


def _revive(connection: Connection, table: Table, staged: str) -> int:
    """Take the tombstone off what is listed again."""
    return connection.exec_driver_sql(
        f"UPDATE {table.name} t SET removed_at = NULL, updated_at = now() FROM {staged} s "
        "WHERE s.item_id = t.item_id AND t.removed_at IS NOT NULL"
    ).rowcount


def _remove_missing(
    connection: Connection,
    table: Table,
    result: CatalogueResult,
    scope: str,
    what: str,
    complete: Collection[str],
    unreadable: Collection[str],
    excluded: Collection[str],
    rules: RemovalRules,
    *,
    follows: str = "FALSE",
) -> None:
    """Give what is missing its tombstone, and drop what had one long enough; a refusal is kept in the result.

    ``follows``: a condition on missing rows ``t`` that go whatever the rules say.
    """
    # Both were filled a moment ago: without fresh figures the planner compares every row with every other.
    connection.exec_driver_sql(f"ANALYZE incoming_items, {table.name}")
    connection.execute(
        text(
            f"CREATE TEMPORARY TABLE missing_items ON COMMIT DROP AS SELECT t.item_id, t.library_id, "
            f"{follows} AS follows "
            f"FROM {table.name} t LEFT JOIN incoming_items i USING (server_item_id) "
            f"WHERE {scope} AND t.removed_at IS NULL AND i.server_item_id IS NULL "
            "AND NOT t.server_item_id = ANY(:unreadable)"
        ),
        {"unreadable": list(unreadable)},
    )
    connection.exec_driver_sql("ANALYZE missing_items")
    losses = {
        row.library_id: LibraryLoss(row.name or row.library_id, row.missing, row.present)
        for row in connection.exec_driver_sql(
            "SELECT t.library_id, max(l.name) AS name, count(m.item_id) AS missing, count(*) AS present "
            f"FROM {table.name} t LEFT JOIN missing_items m USING (item_id) "
            "LEFT JOIN libraries l ON l.library_id = t.library_id "
            f"WHERE {scope} AND t.removed_at IS NULL AND m.follows IS NOT TRUE GROUP BY t.library_id"
        )
    }
    guarded = {key: loss for key, loss in losses.items() if key in complete and loss.missing}
    try:
        check_removals(guarded, limit=rules.limit, accepted=rules.accepted, what=what)
        removable = {*guarded, *excluded}
    except RemovalRefused as refusal:
        result.refusal = refusal
        removable = set(excluded)
    result.removed = connection.execute(
        text(
            f"UPDATE {table.name} t SET removed_at = now(), updated_at = now() FROM missing_items m "
            "WHERE m.item_id = t.item_id AND (m.library_id = ANY(:libraries) OR m.follows)"
        ),
        {"libraries": list(removable)},
    ).rowcount
    result.purged = connection.execute(
        text(f"DELETE FROM {table.name} t WHERE {scope} AND t.removed_at < now() - make_interval(days => :days)"),
        {"days": rules.tombstone_days},
    ).rowcount
