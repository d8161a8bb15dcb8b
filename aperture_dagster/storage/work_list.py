"""The work list of all enrichment: what to ask each source, when, and how the last attempt went.

Every source has a row for each item of the library that it can be asked about, also before the first attempt, so that
the next batch is read from an index, whatever the size of the library.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from aperture_dagster.library.sources import TITLES, Kind, Source

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause

# Whether there is still something in the library that the item belongs to, by the kind of item.
_IN_LIBRARY = {
    "title": "EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = f.item)",
    "collection": "EXISTS (SELECT 1 FROM tmdb_metadata m JOIN present_titles t USING (work_id) "
    "WHERE m.collection_id = f.item)",
    "studio": "EXISTS (SELECT 1 FROM studio_logos s WHERE s.kind = f.kind AND s.studio_id = f.item AND s.titles > 0)",
}
_ENROL = {
    "title": "SELECT w.media_type AS kind, w.work_id AS item, min(t.added_at) AS added_at FROM works w "
    "JOIN present_titles t ON t.work_id = w.work_id "
    "LEFT JOIN tmdb_metadata m ON m.work_id = w.work_id WHERE {askable} GROUP BY 1, 2",
    "collection": "SELECT 'collection' AS kind, m.collection_id AS item, min(t.added_at) AS added_at "
    "FROM tmdb_metadata m JOIN present_titles t ON t.work_id = m.work_id "
    "WHERE m.collection_id IS NOT NULL GROUP BY 2",
    "studio": "SELECT s.kind, s.studio_id AS item, NULL::timestamptz AS added_at FROM studio_logos s "
    "WHERE s.titles > 0",
}
# Which titles a source can be asked about at all.
_ASKABLE = {
    "any": "true",
    "any_known": "coalesce(w.tmdb_id, m.tmdb_id) IS NOT NULL OR coalesce(w.imdb_id, m.imdb_id) IS NOT NULL "
    "OR (w.media_type = 'series' AND coalesce(w.tvdb_id, m.tvdb_id) IS NOT NULL)",
    "imdb": "coalesce(w.imdb_id, m.imdb_id) IS NOT NULL",
    "imdb_or_tmdb": "coalesce(w.imdb_id, m.imdb_id) IS NOT NULL OR coalesce(w.tmdb_id, m.tmdb_id) IS NOT NULL",
}
# A title of the library that is on no list of the source.
_UNLISTED = (
    "EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = w.work_id) "
    "AND NOT EXISTS (SELECT 1 FROM fetches f WHERE f.source = :source AND f.kind = w.media_type "
    "AND f.item = w.work_id)"
)


@dataclass(frozen=True, slots=True)
class DueItem:
    """An item that is due with a source.

    Of a title, ``item`` is its work, and the ids are those of the server or, failing that, of TMDb. ``found_id`` is the
    source's own id where a search found it; ``failures`` counts failed attempts in a row.
    """

    kind: Kind
    item: int
    name: str = ""
    year: int | None = None
    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None
    found_id: int | None = None
    failures: int = 0
    logo_path: str | None = None

    @property
    def key(self) -> tuple[Kind, int]:
        """Identify the item among all items of its source."""
        return (self.kind, self.item)


def enrol(connection: Connection, source: Source, *, now: datetime) -> int:
    """Add new items of the library to the list, and drop those that left it before their first attempt.

    Returns how many were added.
    """
    values = {"source": source.name, "now": now, "kinds": list(source.kinds)}
    # Every batch would have to skip them. Items with an attempt keep their row.
    connection.execute(
        text(
            "DELETE FROM fetches f WHERE f.source = :source AND f.kind = ANY(:kinds) AND f.outcome = 'waiting' "
            f"AND NOT {_IN_LIBRARY[_group(source)]}"
        ),
        values,
    )
    statement = (
        "INSERT INTO fetches (source, kind, item, outcome, attempts, added_at, due_at) "
        f"SELECT :source, kind, item, 'waiting', 0, added_at, :now FROM ({_sql(_ENROL, source)}) new "
        "WHERE NOT EXISTS (SELECT 1 FROM fetches f WHERE f.source = :source AND f.kind = new.kind "
        "AND f.item = new.item) ON CONFLICT DO NOTHING"
    )
    added = connection.execute(text(statement), values).rowcount
    if added >= 1000:
        # The planner's own figures come minutes later, and the first batches would be read without the index.
        connection.exec_driver_sql("ANALYZE fetches")
    return added


def due_items(
    connection: Connection,
    source: Source,
    *,
    now: datetime,
    limit: int,
    busy: Collection[tuple[Kind, int]] = (),
) -> list[DueItem]:
    """Return the next items to ask ``source`` about: first those without an attempt, newest in the library first; then
    those that have been due longest.

    Args:
        connection: the database.
        source: whose list it is.
        now: items due by then are returned.
        limit: the most items to return.
        busy: items that are in progress.
    """
    found: list[DueItem] = []
    for which, order in (
        ("f.outcome = 'waiting'", "f.added_at DESC NULLS LAST, f.item"),
        ("f.outcome <> 'waiting' AND f.due_at <= :now", "f.due_at, f.item"),
    ):
        if len(found) < limit:
            rows = connection.execute(
                _due_statement(source, which, order),
                {
                    "source": source.name,
                    "now": now,
                    "n": limit - len(found),
                }
                | {f"busy_{kind}": [item for of, item in busy if of == kind] for kind in source.kinds},
            ).mappings()
            found += [DueItem(**row) for row in rows]
    return found


def _due_statement(source: Source, which: str, order: str) -> TextClause:
    group = _group(source)
    # Each kind by itself, for of one kind the index knows the order.
    chosen = " UNION ALL ".join(
        f"(SELECT f.* FROM fetches f WHERE f.source = :source AND f.kind = '{kind}' AND {which} "
        f"AND NOT f.item = ANY(:busy_{kind}) AND {_present(source)} ORDER BY {order} LIMIT :n)"
        for kind in source.kinds
    )
    if len(source.kinds) > 1:
        chosen = f"SELECT f.* FROM ({chosen}) f ORDER BY {order} LIMIT :n"
    if group == "title":
        return text(
            # An id that had to be looked up is better than the server's, which may have been moved.
            "SELECT f.kind, f.item, t.title AS name, t.year, coalesce(f.found_id, w.tmdb_id, m.tmdb_id) AS tmdb_id, "
            "coalesce(w.imdb_id, m.imdb_id) AS imdb_id, coalesce(w.tvdb_id, m.tvdb_id) AS tvdb_id, f.found_id, "
            f"f.attempts AS failures FROM ({chosen}) f JOIN works w ON w.work_id = f.item "
            "LEFT JOIN tmdb_metadata m ON m.work_id = f.item "
            f"JOIN work_copies t ON t.work_id = f.item AND t.removed_at IS NULL ORDER BY {order}"
        )
    if group == "studio":
        return text(
            "SELECT f.kind, f.item, s.name, s.logo_path, f.attempts AS failures FROM "
            f"({chosen}) f JOIN studio_logos s ON s.kind = f.kind AND s.studio_id = f.item ORDER BY {order}"
        )
    return text(f"SELECT f.kind, f.item, f.attempts AS failures FROM ({chosen}) f ORDER BY {order}")


def count_due(connection: Connection, source: Source, *, now: datetime, kinds: Collection[Kind] | None = None) -> int:
    """Count the items that are due with ``source``."""
    statement = (
        "SELECT count(*) FROM fetches f WHERE f.source = :source AND f.kind = ANY(:kinds) "
        f"AND (f.outcome = 'waiting' OR f.due_at <= :now) AND {_present(source)}"
    )
    values = {"source": source.name, "now": now, "kinds": list(kinds or source.kinds)}
    return connection.execute(text(statement), values).scalar() or 0


def write_fetches(connection: Connection, source: Source, rows: Iterable[dict[str, Any]]) -> None:
    """Record attempts. Each row: ``kind``, ``item``, ``outcome``, ``attempts``, ``fetched_at`` and ``found_id``
    (None keeps the last), ``attempted_at``, ``due_at``, ``detail``.
    """
    # All writers lock rows in the same order, or two of them could wait for each other.
    rows = sorted(({"source": source.name, **row} for row in rows), key=lambda row: (row["kind"], row["item"]))
    if not rows:
        return
    connection.execute(
        text(
            "INSERT INTO fetches "
            "(source, kind, item, outcome, attempts, fetched_at, attempted_at, due_at, found_id, detail) "
            "VALUES (:source, :kind, :item, :outcome, :attempts, :fetched_at, :attempted_at, :due_at, :found_id, "
            ":detail) ON CONFLICT (source, kind, item) DO UPDATE SET outcome = excluded.outcome, "
            "attempts = excluded.attempts, fetched_at = coalesce(excluded.fetched_at, fetches.fetched_at), "
            "attempted_at = excluded.attempted_at, due_at = excluded.due_at, "
            "found_id = coalesce(excluded.found_id, fetches.found_id), detail = excluded.detail"
        ),
        rows,
    )


def ask_again(connection: Connection, works: Sequence[int]) -> None:
    """Make these works due with every source, since their ids changed."""
    connection.execute(
        text(
            "WITH locked AS (SELECT source, kind, item FROM fetches WHERE item = ANY(:works) AND kind = ANY(:kinds) "
            "ORDER BY kind, item, source FOR UPDATE) "
            "UPDATE fetches f SET due_at = least(f.due_at, now()), found_id = NULL FROM locked l "
            "WHERE (f.source, f.kind, f.item) = (l.source, l.kind, l.item)"
        ),
        {"works": list(works), "kinds": list(TITLES)},
    )


def outcome_summary(connection: Connection, source: Source) -> list[dict[str, Any]]:
    """Summarize the last attempts with ``source`` about items in the library: by kind and outcome their number, their
    ``share`` of the kind, the oldest answer and the next attempt. ``waiting``: no attempt yet; ``no_id``: the title has
    no id that the source knows.
    """
    group = _group(source)
    outcome = "f.outcome"
    if group == "title":
        # The last outcome of a title that has lost its ids since means nothing.
        outcome = f"CASE WHEN {_is_askable(source)} THEN f.outcome ELSE 'no_id' END"
    enrolled = (
        f"SELECT f.kind, {outcome} AS outcome, f.fetched_at, f.due_at FROM fetches f WHERE f.source = :source "
        f"AND f.kind = ANY(:kinds) AND {_IN_LIBRARY[group]}"
    )
    if group == "title":
        enrolled += f" UNION ALL SELECT w.media_type, 'no_id', NULL, NULL FROM works w WHERE {_UNLISTED}"
    statement = text(
        "SELECT kind, outcome, count(*) AS items, round(count(*) / sum(count(*)) OVER (PARTITION BY kind), 4)::float8 "
        f"AS share, {_minute('min(fetched_at)')} AS oldest, {_minute('min(due_at)')} AS next_due FROM ({enrolled}) f "
        "GROUP BY kind, outcome ORDER BY kind, items DESC"
    )
    values = {"source": source.name, "kinds": list(source.kinds)}
    return [dict(row) for row in connection.execute(statement, values).mappings()]


def without_id(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List titles of the library without an id that ``source`` knows: ``title``, ``year``, ``kind``."""
    if _group(source) != "title" or source.asks_by == "any":
        return []
    statement = text(
        "SELECT t.title, t.year, w.media_type AS kind FROM works w LEFT JOIN tmdb_metadata m USING (work_id) "
        "JOIN work_copies t ON t.work_id = w.work_id AND t.removed_at IS NULL "
        f"WHERE NOT ({_ASKABLE[source.asks_by]}) ORDER BY t.title LIMIT :n"
    )
    return [dict(row) for row in connection.execute(statement, {"n": limit}).mappings()]


def share_stale(connection: Connection, source: Source, *, now: datetime, grace_days: float) -> tuple[int, int]:
    """Return how many good answers are overdue by more than ``grace_days``, and how many there are in all."""
    statement = text(
        "SELECT count(*) FILTER (WHERE f.due_at < CAST(:now AS timestamptz) - make_interval(secs => :grace)), count(*) "
        "FROM fetches f WHERE f.source = :source AND f.fetched_at IS NOT NULL AND f.outcome <> 'not_found' "
        f"AND {_IN_LIBRARY[_group(source)]}"
    )
    stale, fetched = connection.execute(
        statement, {"source": source.name, "now": now, "grace": grace_days * 86_400}
    ).one()
    return stale, fetched


def not_fetched(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List items whose last attempt failed or found nothing, and why; failures first."""
    named = (
        "SELECT title AS name, year FROM work_copies t WHERE t.work_id = f.item AND t.removed_at IS NULL"
        if _group(source) == "title"
        else "SELECT name, NULL::int AS year FROM studio_logos s WHERE s.kind = f.kind AND s.studio_id = f.item "
        "AND s.logo_path IS NOT NULL"
    )
    statement = text(
        f"SELECT t.name, t.year, f.outcome, f.attempts, f.detail, {_minute('f.due_at')} AS next_attempt FROM fetches f "
        f"JOIN LATERAL ({named}) t ON true WHERE f.source = :source AND f.kind = ANY(:kinds) "
        "AND f.outcome IN ('error', 'not_found') ORDER BY f.outcome, f.attempts DESC, t.name LIMIT :n"
    )
    values = {"source": source.name, "kinds": list(source.kinds), "n": limit}
    return [dict(row) for row in connection.execute(statement, values).mappings()]


def _minute(moment: str) -> str:
    """Format a moment for people; sessions are in UTC."""
    return f"to_char({moment}, 'YYYY-MM-DD HH24:MI')"


def _group(source: Source) -> str:
    if source.kinds == TITLES:
        return "title"
    return "collection" if source.kinds == ("collection",) else "studio"


def _present(source: Source) -> str:
    """Return the condition that an item is in the library and the source can be asked about it."""
    in_library = _IN_LIBRARY[_group(source)]
    return in_library if source.asks_by == "any" else f"{in_library} AND {_is_askable(source)}"


def _is_askable(source: Source) -> str:
    """Return the condition that a title has an id that the source knows."""
    if source.asks_by == "any":
        return "true"
    return (
        "EXISTS (SELECT 1 FROM works w LEFT JOIN tmdb_metadata m USING (work_id) "
        f"WHERE w.work_id = f.item AND ({_ASKABLE[source.asks_by]}))"
    )


def _sql(statements: dict[str, str], source: Source) -> str:
    return statements[_group(source)].format(askable=_ASKABLE[source.asks_by])
