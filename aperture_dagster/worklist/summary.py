"""Summaries of a work list: outcomes, failures, and what is overdue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.worklist.fetches import IS_LISTED, list_key
from aperture_dagster.worklist.source import Source


def outcome_summary(connection: Connection, source: Source) -> list[dict[str, Any]]:
    """Count the population by kind and outcome of the last attempt.

    Each row has the ``share`` of its kind, the time of the ``oldest`` answer and of the ``next_due`` item. The outcome
    is ``waiting`` for items never fetched, and ``no_id`` for items without an id that the source accepts.
    """
    # The last outcome of an item that has lost its ids is obsolete.
    statement = f"""
        SELECT kind, outcome, count(*) AS items,
        round(count(*) / sum(count(*)) OVER (PARTITION BY kind), 4)::float8 AS share,
        {_minute("min(fetched_at)")} AS oldest, {_minute("min(due_at)")} AS next_due FROM (
          SELECT f.kind, CASE WHEN {source.is_askable} THEN f.outcome ELSE 'no_id' END AS outcome, f.fetched_at,
          f.due_at FROM fetches f WHERE {IS_LISTED} AND {source.population.has_member}
          UNION ALL SELECT f.kind, 'no_id', NULL, NULL FROM ({source.members(askable=False)}) f WHERE NOT EXISTS
          (SELECT 1 FROM fetches o WHERE o.source = :source AND o.kind = f.kind AND o.item = f.item)
        ) f GROUP BY kind, outcome ORDER BY kind, items DESC"""
    return read_rows(connection, statement, **list_key(source))


def total(rows: Sequence[Mapping[str, Any]], outcome: str) -> int:
    """Sum the items with an outcome over all kinds of a summary."""
    return sum(row["items"] for row in rows if row["outcome"] == outcome)


def coverage(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the share (0-1) of the items that a source can be asked about and has answered; 1 if there are none."""
    askable = sum(row["items"] for row in rows) - total(rows, "no_id")
    return total(rows, "ok") / askable if askable else 1.0


def without_id(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List items without an id that ``source`` accepts: ``title``, ``year``, ``kind``."""
    statement = f"""
        SELECT n.name AS title, n.year, f.kind FROM ({source.members(askable=False)}) f
        JOIN LATERAL ({source.population.name}) n ON true ORDER BY n.name LIMIT :n"""
    return read_rows(connection, statement, n=limit)


def count_stale(connection: Connection, source: Source, *, now: datetime, grace_days: float) -> tuple[int, int]:
    """Return the number of answers overdue by more than ``grace_days``, and the number of all answers."""
    statement = f"""
        SELECT count(*) FILTER (WHERE f.due_at < :limit), count(*) FROM fetches f WHERE {IS_LISTED}
        AND f.fetched_at IS NOT NULL AND f.outcome <> 'not_found' AND {source.population.has_member}"""
    row = execute(connection, statement, limit=now - timedelta(days=grace_days), **list_key(source)).one()
    return row[0], row[1]


def not_fetched(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List items whose last attempt failed or found nothing, with the reason; failures first."""
    statement = f"""
        SELECT n.name, n.year, f.outcome, f.attempts, f.detail, {_minute("f.due_at")} AS next_attempt FROM fetches f
        JOIN LATERAL ({source.population.name}) n ON true WHERE {IS_LISTED} AND f.outcome IN ('error', 'not_found')
        AND f.detail IS NOT NULL ORDER BY f.outcome, f.attempts DESC, n.name LIMIT :n"""
    return read_rows(connection, statement, n=limit, **list_key(source))


def _minute(moment: str) -> str:
    """SQL that formats a time to the minute, in the session's time zone, which is UTC."""
    return f"to_char({moment}, 'YYYY-MM-DD HH24:MI')"
