"""The work lists of all sources: the items to fetch, when each is due, and the outcome of the last attempt.

Items that wait for their first request have a row, too, so that the next batch is read from an index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.bulk import as_json
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.worklist.source import Source

# Conditions on a row: its next attempt is due; the operator wants it again, or its answer is in another language than
# is wanted now; and it is in the list of the source of :func:`list_key`.
IS_DUE = "f.due_at <= :now"
_IS_NAMED = "f.asked_again IS NOT DISTINCT FROM 'named'"
_IS_OUTDATED = (
    "(f.asked_again IS NOT DISTINCT FROM 'all' "
    "OR (f.outcome = 'ok' AND coalesce(f.language <> CAST(:language AS text), false)))"
)
IS_LISTED = "f.source = :source AND f.kind = ANY(:kinds)"


@dataclass(frozen=True, slots=True)
class DueItem:
    """An item that is due at a source, with the number of consecutive failed attempts.

    For titles, ``item`` is the work, and the ids come from the last lookup at the source, the media server or TMDb.
    ``media_type`` is set where ``kind`` does not say it.
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
    media_type: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Key of the item among all items of a source."""
        return (self.kind, self.item)


def enrol(connection: Connection, source: Source, *, now: datetime) -> int:
    """Add new items of the population to the list; return how many.

    Items that left before their first request are removed, since every batch would have to skip them.
    """
    statement = f"""
        DELETE FROM fetches f WHERE {IS_LISTED} AND f.outcome = 'waiting' AND NOT {source.population.has_member}"""
    execute(connection, statement, **list_key(source))
    statement = f"""
        INSERT INTO fetches (source, kind, item, outcome, attempts, added_at, due_at)
        SELECT :source, kind, item, 'waiting', 0, added_at, :now FROM ({source.members(askable=True)}) new
        WHERE NOT EXISTS (SELECT 1 FROM fetches f WHERE f.source = :source AND f.kind = new.kind AND f.item = new.item)
        ON CONFLICT DO NOTHING"""
    added = execute(connection, statement, source=source.name, now=now).rowcount
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
    language: str | None = None,
) -> list[DueItem]:
    """Return the next items to fetch; ``busy`` are skipped.

    Named ones come first, then those that were never fetched, then those whose answer is wanted again, or is in another
    language than ``language``, each the newest first; then the most overdue.
    """
    found: list[DueItem] = []
    values: dict[str, Any] = {
        f"busy_{kind}": [item for busy_kind, item in busy if busy_kind == kind] for kind in source.kinds
    }
    values["language"] = language
    newest, known = "f.added_at DESC NULLS LAST, f.item", f"f.outcome <> 'waiting' AND NOT {_IS_NAMED}"
    for condition, order in (
        (_IS_NAMED, newest),
        (f"f.outcome = 'waiting' AND NOT {_IS_NAMED}", newest),
        (f"{known} AND {_IS_OUTDATED}", newest),
        (f"{known} AND NOT {_IS_OUTDATED} AND {IS_DUE}", "f.due_at, f.item"),
    ):
        if len(found) >= limit:
            break
        statement = _due_statement(source, condition, order)
        rows = read_rows(connection, statement, source=source.name, n=limit - len(found), now=now, **values)
        found += [DueItem(**row) for row in rows]
    return found


def _due_statement(source: Source, condition: str, order: str) -> str:
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
    return f"""
        SELECT {columns} FROM ({chosen}) f {population.joins} JOIN LATERAL ({population.name}) n ON true
        ORDER BY {order}"""


def find_due(connection: Connection, source: Source, *, now: datetime, language: str | None = None) -> int:
    """Add new items to the list of ``source``, and return how many items are due; see :func:`count_due`."""
    enrol(connection, source, now=now)
    return count_due(connection, source, now=now, language=language)


def count_due(connection: Connection, source: Source, *, now: datetime, language: str | None = None) -> int:
    """Count the items that are due at ``source``; ``language``: the one in which answers are wanted now."""
    statement = f"""
        SELECT count(*) FROM fetches f WHERE {IS_LISTED}
        AND (f.outcome = 'waiting' OR {IS_DUE} OR {_IS_NAMED} OR {_IS_OUTDATED}) AND {_may_be_asked(source)}"""
    return read_value(connection, statement, language=language, now=now, **list_key(source))


def request_again(
    connection: Connection, source: Source, works: Sequence[int] | None, *, request: str, now: datetime
) -> int | None:
    """Make these works, or with None everything that was fetched, due at ``source``, whenever it was fetched.

    It stays due until it was asked about. A ``request`` counts once, so that a run that is started again after a crash
    asks only about what is left.

    Returns:
        How many items are due because of this; None if the request was made before.
    """
    enrol(connection, source, now=now)
    statement = """
        INSERT INTO services AS s (service, asked_again_by) VALUES (:service, :request)
        ON CONFLICT (service) DO UPDATE SET asked_again_by = :request
        WHERE s.asked_again_by IS DISTINCT FROM :request"""
    if not execute(connection, statement, service=source.name, request=request).rowcount:
        return None
    # In the same order as others write them.
    chosen = "f.outcome <> 'waiting' AND f.asked_again IS NULL"
    if works is not None:
        chosen = f"f.kind = ANY(:kinds) AND f.item = ANY(:works) AND {_may_be_asked(source)}"
    statement = f"""
        WITH locked AS (SELECT kind, item FROM fetches f WHERE f.source = :source AND {chosen}
          ORDER BY kind, item FOR UPDATE OF f)
        UPDATE fetches f SET asked_again = :how FROM locked l
        WHERE f.source = :source AND (f.kind, f.item) = (l.kind, l.item)"""
    how = {"how": "all"} if works is None else {"how": "named", "works": list(works), "kinds": list(source.kinds)}
    return execute(connection, statement, source=source.name, **how).rowcount


def write_fetches(connection: Connection, source: Source, rows: Iterable[dict[str, Any]]) -> None:
    """Record attempts. Each row has ``kind``, ``item``, ``outcome``, ``attempts``, ``attempted_at``, ``due_at``,
    ``detail``, and ``fetched_at``, ``found_id`` and ``language``, where None keeps the previous value.
    """
    written = [{"source": source.name, **row} for row in rows]
    # Always in the same order, so that concurrent writers of the same rows cannot deadlock.
    columns = "source, kind, item, outcome, attempts, fetched_at, attempted_at, due_at, found_id, language, detail"
    statement = f"""
        INSERT INTO fetches ({columns})
        SELECT {columns} FROM jsonb_populate_recordset(NULL::fetches, CAST(:rows AS jsonb)) ORDER BY kind, item
        ON CONFLICT (source, kind, item) DO UPDATE SET outcome = excluded.outcome, attempts = excluded.attempts,
        fetched_at = coalesce(excluded.fetched_at, fetches.fetched_at), attempted_at = excluded.attempted_at,
        due_at = excluded.due_at, found_id = coalesce(excluded.found_id, fetches.found_id),
        language = coalesce(excluded.language, fetches.language), asked_again = NULL, detail = excluded.detail"""
    if written:
        execute(connection, statement, rows=as_json(written))


def ask_again(connection: Connection, works: Sequence[int]) -> None:
    """Make these works due at every source, because their ids have changed."""
    statement = """
        WITH locked AS (SELECT source, kind, item FROM fetches WHERE item = ANY(:works) AND kind = ANY(:kinds)
          ORDER BY kind, item, source FOR UPDATE)
        UPDATE fetches f SET due_at = least(f.due_at, now()), found_id = NULL FROM locked l
        WHERE (f.source, f.kind, f.item) = (l.source, l.kind, l.item)"""
    execute(connection, statement, works=list(works), kinds=list(MEDIA_TYPES))


def make_due(connection: Connection, source: Source, items: Iterable[tuple[str, int]], *, now: datetime) -> None:
    """Make items, given by kind and number, due now at a source. Failed attempts keep their retry time."""
    numbers: dict[str, list[int]] = {}
    for kind, item in items:
        numbers.setdefault(kind, []).append(item)
    statement = """
        UPDATE fetches SET due_at = :now WHERE source = :source AND kind = :kind AND item = ANY(:items)
        AND outcome IN ('ok', 'not_found') AND due_at > :now"""
    for kind in sorted(numbers):
        execute(connection, statement, source=source.name, kind=kind, items=sorted(numbers[kind]), now=now)


def forget(connection: Connection, source: str, items: Sequence[int]) -> None:
    """Take items off the list of a source, by the source's name, whatever kind they are of."""
    statement = "DELETE FROM fetches WHERE source = :source AND item = ANY(:items)"
    execute(connection, statement, source=source, items=list(items))


def forget_former(connection: Connection, source: Source) -> None:
    """Take items off the list of a source that no longer belong to its population."""
    execute(
        connection,
        f"DELETE FROM fetches f WHERE {IS_LISTED} AND NOT {source.population.has_member}",
        **list_key(source),
    )


def forget_works(connection: Connection, works: Sequence[int]) -> None:
    """Delete the attempts of all sources at works that are deleted."""
    statement = "DELETE FROM fetches WHERE kind IN ('movie', 'series') AND item = ANY(:works)"
    execute(connection, statement, works=list(works))


def list_key(source: Source) -> dict[str, Any]:
    """Return the parameters of ``IS_LISTED``."""
    return {"source": source.name, "kinds": list(source.kinds)}


def _may_be_asked(source: Source) -> str:
    """Condition on a row of the list: its item belongs to the population and has the ids that the source needs."""
    return f"{source.population.has_member} AND {source.is_askable}"
