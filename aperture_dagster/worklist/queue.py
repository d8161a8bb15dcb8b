"""The work lists of all sources: the items to fetch, when each is due, and the outcome of the last attempt.

Items that wait for their first request have a row, too, so that the next batch is read from an index.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from aperture_dagster.model import MEDIA_TYPES, SKEW
from aperture_dagster.postgres.bulk import as_json
from aperture_dagster.postgres.queries import execute, read_rows, read_value

AsksBy = Literal["any", "any_known", "imdb", "imdb_or_tmdb"]


@dataclass(frozen=True, slots=True)
class Population:
    """A set of items in the database, as SQL fragments, in which ``f`` is a row with an item's ``kind`` and ``item``.

    Args:
        kinds: as in ``fetches.kind``.
        members: SELECT ``kind``, ``item`` and ``added_at``, with the condition ``{askable}``.
        has_member: a condition: the item belongs to the population now.
        name: SELECT the display ``name`` and the ``year`` of an item.
        columns: further columns of :class:`~aperture_dagster.worklist.queue.DueItem` that a request needs.
        joins: the tables of ``columns``.
        askable: conditions on ``members``, by the ids that a source needs.
        is_askable: a condition: the item meets such a condition, given as ``{askable}``.
    """

    kinds: tuple[str, ...]
    members: str
    has_member: str
    name: str
    columns: tuple[str, ...] = ()
    joins: str = ""
    askable: Mapping[AsksBy, str] = field(default_factory=dict)
    is_askable: str = "true"


NOTHING = Population(
    kinds=(),
    members="SELECT NULL::text AS kind, NULL::bigint AS item, NULL::timestamptz AS added_at WHERE {askable} AND false",
    has_member="false",
    name="SELECT NULL::text AS name, NULL::int AS year WHERE false",
)
"""Of a service without a work list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A service and the population that it is queried for. Each has a work list.

    ``name`` is the service's name in the database, which work lists of different kinds may share. ``asks_by`` are the
    ids that it needs; ``any_known``: TMDb, IMDb or, for series, TVDb; ``any``: none.
    """

    name: str
    label: str
    population: Population = NOTHING
    asks_by: AsksBy = "any"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the items."""
        return self.population.kinds

    @property
    def _condition(self) -> str:
        return self.population.askable.get(self.asks_by, "true")

    @property
    def is_askable(self) -> str:
        """Condition on a row ``f`` of the list: its item has the ids that the source needs."""
        return self.population.is_askable.format(askable=self._condition) if self._condition != "true" else "true"

    def members(self, *, askable: bool) -> str:
        """SELECT the items of the population that have the ids that the source needs, or those that have not."""
        return self.population.members.format(askable=f"({self._condition})" if askable else f"NOT ({self._condition})")


# Conditions on a row: its next attempt is due, or its last one is dated in the future, so that the due date means
# nothing; the operator wants it again, or its answer is in another language than is wanted now; and it is in the list
# of the source of :func:`_key`.
IS_DUE = "(f.due_at <= :now OR f.attempted_at > :latest)"
_IS_NAMED = "f.asked_again IS NOT DISTINCT FROM 'named'"
_IS_OUTDATED = (
    "(f.asked_again IS NOT DISTINCT FROM 'all' "
    "OR (f.outcome = 'ok' AND coalesce(f.language <> CAST(:language AS text), false)))"
)
_LISTED = "f.source = :source AND f.kind = ANY(:kinds)"


@dataclass(frozen=True, slots=True)
class DueItem:
    """An item that is due at a source, with the number of consecutive failed attempts.

    For titles, ``item`` is the work, and the ids come from the last lookup at the source, the media server or TMDb.
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

    Items that left before their first request are removed, since every batch would have to skip them.
    """
    statement = f"""
        DELETE FROM fetches f WHERE {_LISTED} AND f.outcome = 'waiting' AND NOT {source.population.has_member}"""
    execute(connection, statement, **_key(source))
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
        rows = read_rows(connection, statement, source=source.name, n=limit - len(found), **until(now), **values)
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
        SELECT count(*) FROM fetches f WHERE {_LISTED}
        AND (f.outcome = 'waiting' OR {IS_DUE} OR {_IS_NAMED} OR {_IS_OUTDATED}) AND {_may_be_asked(source)}"""
    return read_value(connection, statement, language=language, **until(now), **_key(source))


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


def forget(connection: Connection, source: str, items: Sequence[int]) -> None:
    """Take items off the list of a source, by the source's name, whatever kind they are of."""
    statement = "DELETE FROM fetches WHERE source = :source AND item = ANY(:items)"
    execute(connection, statement, source=source, items=list(items))


def forget_works(connection: Connection, works: Sequence[int]) -> None:
    """Delete the attempts of all sources at works that are deleted."""
    statement = "DELETE FROM fetches WHERE kind IN ('movie', 'series') AND item = ANY(:works)"
    execute(connection, statement, works=list(works))


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
          f.due_at FROM fetches f WHERE {_LISTED} AND {source.population.has_member}
          UNION ALL SELECT f.kind, 'no_id', NULL, NULL FROM ({source.members(askable=False)}) f WHERE NOT EXISTS
          (SELECT 1 FROM fetches o WHERE o.source = :source AND o.kind = f.kind AND o.item = f.item)
        ) f GROUP BY kind, outcome ORDER BY kind, items DESC"""
    return read_rows(connection, statement, **_key(source))


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
        SELECT count(*) FILTER (WHERE f.due_at < :limit), count(*) FROM fetches f WHERE {_LISTED}
        AND f.fetched_at IS NOT NULL AND f.outcome <> 'not_found' AND {source.population.has_member}"""
    row = execute(connection, statement, limit=now - timedelta(days=grace_days), **_key(source)).one()
    return row[0], row[1]


def not_fetched(connection: Connection, source: Source, limit: int = 20) -> list[dict[str, Any]]:
    """List items whose last attempt failed or found nothing, with the reason; failures first."""
    statement = f"""
        SELECT n.name, n.year, f.outcome, f.attempts, f.detail, {_minute("f.due_at")} AS next_attempt FROM fetches f
        JOIN LATERAL ({source.population.name}) n ON true WHERE {_LISTED} AND f.outcome IN ('error', 'not_found')
        AND f.detail IS NOT NULL ORDER BY f.outcome, f.attempts DESC, n.name LIMIT :n"""
    return read_rows(connection, statement, n=limit, **_key(source))


def until(now: datetime) -> dict[str, datetime]:
    """Return the parameters of ``IS_DUE``."""
    return {"now": now, "latest": now + SKEW}


def _key(source: Source) -> dict[str, Any]:
    return {"source": source.name, "kinds": list(source.kinds)}


def _may_be_asked(source: Source) -> str:
    """Condition on a row of the list: its item belongs to the population and has the ids that the source needs."""
    return f"{source.population.has_member} AND {source.is_askable}"


def _minute(moment: str) -> str:
    """SQL that formats a time to the minute, in the session's time zone, which is UTC."""
    return f"to_char({moment}, 'YYYY-MM-DD HH24:MI')"


# When an item is due again, depending on the outcome of the last attempt.


Outcome = Literal["ok", "not_found", "error"]
RETRY_NOT_FOUND = timedelta(days=30)
FIRST_RETRY = timedelta(hours=1)
LONGEST_RETRY = timedelta(hours=24)


def due_after(outcome: Outcome, *, failures: int, now: datetime, ttl: timedelta) -> datetime:
    """Return when the next attempt is due, after one at ``now`` that was the last of ``failures`` errors in a row.

    An attempt that the quota prevented was not made; its item stays due.
    """
    if outcome == "ok":
        return now + ttl
    if outcome == "not_found":
        return now + RETRY_NOT_FOUND
    return now + min(FIRST_RETRY * 2 ** min(max(failures - 1, 0), 10), LONGEST_RETRY)


def ttl_for(
    released: date | None, year: int | None, *, now: datetime, ttl: timedelta, young_ttl: timedelta
) -> timedelta:
    """Return how long facts about a title remain good: ``young_ttl`` until a year after its release, then ``ttl``.

    Votes and episodes of young titles still change. Without a release date the last day of ``year`` counts, and a title
    of unknown age is old.
    """
    if released is None and year is not None:
        released = date(min(max(year, 1), 9999), 12, 31)
    return young_ttl if released is not None and released > now.date() - timedelta(days=365) else ttl


# State of outside services: health, quota and batch size, shared by all processes.


_LIMIT = 'coalesce(CAST(:own AS integer), q."limit")'


def spend(connection: Connection, service: str, *, day: date, limit: int, reported: bool, requests: int = 1) -> int:
    """Count up to so many requests against the day's quota; return how many of them are left, 0 if it is used up.

    ``reported``: ``limit`` applies only until the service reports its own (:func:`correct`). Otherwise it is a setting,
    which may have changed since the first request of the day.
    """
    own = None if reported else limit
    statement = """
        INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, 0, :limit)
        ON CONFLICT (service, day) DO NOTHING"""
    execute(connection, statement, service=service, day=day, limit=limit)
    # Locked first, so that what is left stays so until it is taken.
    statement = f"""
        WITH day AS (SELECT service, day, {_LIMIT} AS allowed, least(:requests, {_LIMIT} - used) AS taken FROM quota q
          WHERE service = :service AND day = :day FOR UPDATE)
        UPDATE quota q SET used = q.used + d.taken, "limit" = d.allowed, updated_at = now() FROM day d
        WHERE q.service = d.service AND q.day = d.day AND d.taken > 0 RETURNING d.taken"""
    return execute(connection, statement, service=service, day=day, requests=requests, own=own).scalar() or 0


def give_back(connection: Connection, service: str, *, day: date, requests: int) -> None:
    """Take back the count of requests that were not sent."""
    statement = """
        UPDATE quota SET used = greatest(used - :requests, 0), updated_at = now()
        WHERE service = :service AND day = :day"""
    execute(connection, statement, service=service, day=day, requests=requests)


def correct(connection: Connection, service: str, *, day: date, limit: int, used: int) -> None:
    """Record the day's limit and usage as reported by the service."""
    statement = """
        INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, :used, :limit)
        ON CONFLICT (service, day) DO UPDATE SET used = :used, "limit" = :limit, updated_at = now()
        WHERE (q.used, q."limit") IS DISTINCT FROM (excluded.used, excluded."limit")"""
    execute(connection, statement, service=service, day=day, used=used, limit=limit)


def exhaust(connection: Connection, service: str, *, day: date, limit: int, reported: bool) -> None:
    """Record that the service reports the day's quota as used up. ``limit``, ``reported``: as in :func:`spend`."""
    used, limit = quota_of(connection, service, day=day, limit=limit, reported=reported)
    correct(connection, service, day=day, limit=limit, used=max(used, limit))


def quota_of(connection: Connection, service: str, *, day: date, limit: int, reported: bool) -> tuple[int, int]:
    """Return the requests used on this day, and the limit. ``limit``, ``reported``: as in :func:`spend`."""
    statement = f"SELECT used, {_LIMIT} FROM quota q WHERE service = :service AND day = :day"
    row = execute(connection, statement, service=service, day=day, own=None if reported else limit).one_or_none()
    return (row[0], row[1]) if row else (0, limit)


def note_answers(connection: Connection, service: str, *, now: datetime) -> None:
    """Record that the service is working."""
    statement = """
        INSERT INTO services (service, answered_at) VALUES (:service, :now)
        ON CONFLICT (service) DO UPDATE SET answered_at = :now, failing_since = NULL, trouble = NULL"""
    execute(connection, statement, service=service, now=now)


def note_trouble(connection: Connection, service: str, *, now: datetime, trouble: str) -> None:
    """Record that the service is failing, and the error; ``failing_since`` is kept if it was failing before."""
    statement = """
        INSERT INTO services (service, failing_since, trouble) VALUES (:service, :now, :trouble)
        ON CONFLICT (service) DO UPDATE
        SET failing_since = coalesce(services.failing_since, :now), trouble = :trouble"""
    execute(connection, statement, service=service, now=now, trouble=trouble[:500])


def failing_services(connection: Connection) -> list[dict[str, Any]]:
    """List the failing services, with the time of the first failure, the last error and the last success."""
    statement = """
        SELECT service, failing_since, answered_at, trouble FROM services WHERE failing_since IS NOT NULL ORDER BY 1"""
    return read_rows(connection, statement)


def batch_size(connection: Connection, service: str) -> int | None:
    """Return the largest batch that the service accepts, if it has refused a larger one; else None."""
    return read_value(connection, "SELECT batch_size FROM services WHERE service = :service", service=service)


def remember_batch_size(connection: Connection, service: str, size: int) -> None:
    """Record the largest batch that the service accepts."""
    statement = """
        INSERT INTO services (service, batch_size) VALUES (:service, :size)
        ON CONFLICT (service) DO UPDATE SET batch_size = :size"""
    execute(connection, statement, service=service, size=size)
