"""The work lists of all sources: the items to fetch, when each is due, and the outcome of the last attempt.

A source has a row for every item that it can be queried for, including items that wait for their first request, so
that the next batch is read from an index, whatever the size of the library.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from aperture_dagster.storage.populations import TITLES, Source

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause


@dataclass(frozen=True, slots=True)
class DueItem:
    """An item that is due at a source.

    For titles, ``item`` is the work, and the ids come from the last lookup at the source, the media server or TMDb.
    ``failures`` is the number of consecutive failed attempts.
    """

    kind: str
    item: int
    name: str = ""
    year: int | None = None
    tmdb_id: int | None = None
    imdb_id: str | None = None
    tvdb_id: int | None = None
    failures: int = 0
    logo_path: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Key of the item among all items of a source."""
        return (self.kind, self.item)


def enrol(connection: Connection, source: Source, *, now: datetime) -> int:
    """Add new items of the population to the list; return how many.

    Items that left the population before their first request are removed, since every batch would have to skip them.
    Other items that left keep their row and its information.
    """
    values = {"source": source.name, "now": now, "kinds": list(source.kinds)}
    connection.execute(
        text(
            "DELETE FROM fetches f WHERE f.source = :source AND f.kind = ANY(:kinds) AND f.outcome = 'waiting' "
            f"AND NOT {source.population.has_member}"
        ),
        values,
    )
    statement = (
        "INSERT INTO fetches (source, kind, item, outcome, attempts, added_at, due_at) "
        f"SELECT :source, kind, item, 'waiting', 0, added_at, :now FROM ({_members(source, source.askable)}) new "
        "WHERE NOT EXISTS (SELECT 1 FROM fetches f WHERE f.source = :source AND f.kind = new.kind "
        "AND f.item = new.item) ON CONFLICT DO NOTHING"
    )
    added = connection.execute(text(statement), values).rowcount
    if added >= 1000:
        # Autovacuum analyses the table minutes later; until then, the index would not be used.
        connection.exec_driver_sql("ANALYZE fetches")
    return added


def due_items(
    connection: Connection,
    source: Source,
    *,
    now: datetime,
    limit: int,
    busy: Collection[tuple[str, int]] = (),
) -> list[DueItem]:
    """Return the next items to fetch from ``source``: never fetched items, newest first, then the most overdue.

    Args:
        connection: the database.
        source: the source whose list is read.
        now: the current time.
        limit: maximum number of items.
        busy: items that are being fetched already.
    """
    found: list[DueItem] = []
    for condition, order in (
        ("f.outcome = 'waiting'", "f.added_at DESC NULLS LAST, f.item"),
        ("f.outcome <> 'waiting' AND f.due_at <= :now", "f.due_at, f.item"),
    ):
        if len(found) < limit:
            values = {"source": source.name, "now": now, "n": limit - len(found)}
            values |= {f"busy_{kind}": [item for busy_kind, item in busy if busy_kind == kind] for kind in source.kinds}
            rows = connection.execute(_due_statement(source, condition, order), values).mappings()
            found += [DueItem(**row) for row in rows]
    return found


def _due_statement(source: Source, condition: str, order: str) -> TextClause:
    # One SELECT per kind: the index is sorted within a kind.
    chosen = " UNION ALL ".join(
        f"(SELECT f.* FROM fetches f WHERE f.source = :source AND f.kind = '{kind}' AND {condition} "
        f"AND NOT f.item = ANY(:busy_{kind}) AND {_may_be_asked(source)} ORDER BY {order} LIMIT :n)"
        for kind in source.kinds
    )
    if len(source.kinds) > 1:
        chosen = f"SELECT f.* FROM ({chosen}) f ORDER BY {order} LIMIT :n"
    population = source.population
    columns = ", ".join(("f.kind, f.item, n.name, n.year, f.attempts AS failures", *population.columns))
    return text(
        f"SELECT {columns} FROM ({chosen}) f {population.joins} JOIN LATERAL ({population.name}) n ON true "
        f"ORDER BY {order}"
    )


def count_due(connection: Connection, source: Source, *, now: datetime) -> int:
    """Count the items that are due at ``source``."""
    statement = (
        "SELECT count(*) FROM fetches f WHERE f.source = :source AND f.kind = ANY(:kinds) "
        f"AND (f.outcome = 'waiting' OR f.due_at <= :now) AND {_may_be_asked(source)}"
    )
    values = {"source": source.name, "now": now, "kinds": list(source.kinds)}
    return connection.execute(text(statement), values).scalar() or 0


def write_fetches(connection: Connection, source: Source, rows: Iterable[dict[str, Any]]) -> None:
    """Record attempts. Each row has ``kind``, ``item``, ``outcome``, ``attempts``, ``attempted_at``, ``due_at``,
    ``detail``, and ``fetched_at`` and ``found_id``, where None keeps the previous value.
    """
    # Always in the same order, so that concurrent writers of the same rows cannot deadlock.
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
    """Make these works due at every source, because their ids have changed."""
    connection.execute(
        text(
            "WITH locked AS (SELECT source, kind, item FROM fetches WHERE item = ANY(:works) AND kind = ANY(:kinds) "
            "ORDER BY kind, item, source FOR UPDATE) "
            "UPDATE fetches f SET due_at = least(f.due_at, now()), found_id = NULL FROM locked l "
            "WHERE (f.source, f.kind, f.item) = (l.source, l.kind, l.item)"
        ),
        {"works": list(works), "kinds": list(TITLES.kinds)},
    )


def outcome_summary(connection: Connection, source: Source) -> list[dict[str, Any]]:
    """Count the population by kind and outcome of the last attempt.

    Each row has the ``share`` of its kind, the time of the ``oldest`` answer and of the ``next_due`` item. The outcome
    is ``waiting`` for items never fetched, and ``no_id`` for items without an id that the source accepts.
    """
    population = source.population
    without_id = _members(source, _no(source.askable))
    # The last outcome of an item that has lost its ids is obsolete.
    outcome = f"CASE WHEN {_is_askable(source)} THEN f.outcome ELSE 'no_id' END"
    statement = text(
        "SELECT kind, outcome, count(*) AS items, round(count(*) / sum(count(*)) OVER (PARTITION BY kind), 4)::float8 "
        f"AS share, {_minute('min(fetched_at)')} AS oldest, {_minute('min(due_at)')} AS next_due FROM ("
        f"SELECT f.kind, {outcome} AS outcome, f.fetched_at, f.due_at FROM fetches f WHERE f.source = :source "
        f"AND f.kind = ANY(:kinds) AND {population.has_member} "
        f"UNION ALL SELECT f.kind, 'no_id', NULL, NULL FROM ({without_id}) f WHERE NOT EXISTS ("
        "SELECT 1 FROM fetches o WHERE o.source = :source AND o.kind = f.kind AND o.item = f.item) "
        ") f GROUP BY kind, outcome ORDER BY kind, items DESC"
    )
    values = {"source": source.name, "kinds": list(source.kinds)}
    return [dict(row) for row in connection.execute(statement, values).mappings()]


def without_id(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List items without an id that ``source`` accepts: ``title``, ``year``, ``kind``."""
    statement = text(
        f"SELECT n.name AS title, n.year, f.kind FROM ({_members(source, _no(source.askable))}) f "
        f"JOIN LATERAL ({source.population.name}) n ON true ORDER BY n.name LIMIT :n"
    )
    return [dict(row) for row in connection.execute(statement, {"n": limit}).mappings()]


def count_stale(connection: Connection, source: Source, *, now: datetime, grace_days: float) -> tuple[int, int]:
    """Return the number of answers overdue by more than ``grace_days``, and the number of all answers."""
    statement = text(
        "SELECT count(*) FILTER (WHERE f.due_at < CAST(:now AS timestamptz) - make_interval(secs => :grace)), count(*) "
        "FROM fetches f WHERE f.source = :source AND f.fetched_at IS NOT NULL AND f.outcome <> 'not_found' "
        f"AND f.kind = ANY(:kinds) AND {source.population.has_member}"
    )
    values = {"source": source.name, "now": now, "grace": grace_days * 86_400, "kinds": list(source.kinds)}
    stale, fetched = connection.execute(statement, values).one()
    return stale, fetched


def not_fetched(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List items whose last attempt failed or found nothing, with the reason; failures first."""
    statement = text(
        f"SELECT n.name, n.year, f.outcome, f.attempts, f.detail, {_minute('f.due_at')} AS next_attempt FROM fetches f "
        f"JOIN LATERAL ({source.population.name}) n ON true WHERE f.source = :source AND f.kind = ANY(:kinds) "
        "AND f.outcome IN ('error', 'not_found') AND f.detail IS NOT NULL "
        "ORDER BY f.outcome, f.attempts DESC, n.name LIMIT :n"
    )
    values = {"source": source.name, "kinds": list(source.kinds), "n": limit}
    return [dict(row) for row in connection.execute(statement, values).mappings()]


def _minute(moment: str) -> str:
    """SQL that formats a time to the minute, in the session's time zone, which is UTC."""
    return f"to_char({moment}, 'YYYY-MM-DD HH24:MI')"


def _members(source: Source, condition: str) -> str:
    """SQL that selects the items of the population that meet a condition."""
    return source.population.members.format(askable=f"({condition})")


def _no(condition: str) -> str:
    return f"NOT ({condition})"


def _is_askable(source: Source) -> str:
    """Condition on a row of the list: its item has the ids that the source needs."""
    return source.population.is_askable.format(askable=source.askable) if source.askable != "true" else "true"


def _may_be_asked(source: Source) -> str:
    """Condition on a row of the list: its item belongs to the population and has the ids that the source needs."""
    return f"{source.population.has_member} AND {_is_askable(source)}"
