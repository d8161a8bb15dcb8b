"""Ratings per user, source and work, and which of them is in force.

Of the ratings of a film or series by one user, the one that was written last is in force, from whatever source. A row
without a rating says that it was removed, whatever other sources have. Ratings of episodes are rows of their own.

Writers hold the user's lock until the end of their transaction, which is that of the watch history, too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.states import SeenRating
from aperture_dagster.model import SKEW
from aperture_dagster.postgres.queries import array_of, content_version, execute, lock_until_commit, read_value
from aperture_dagster.ratings.merge import LocalRating, whole_second, whole_step

# The sources of ratings: the media server, the command line and the members' pages, Trakt, and imported files.
SERVER, OWN, TRAKT, IMPORTED = "server", "own", "trakt", "imported"
SOURCES = (SERVER, OWN, TRAKT, IMPORTED)
# The item of ratings that are about a work, not one of its copies.
WHOLE_WORK = 0
# Rows of ``ratings`` that count, the one in force first: of copies with equal dates, the oldest item's. What the media
# server confirms has the dates of the rating that it confirms, which goes first.
_OF_TITLES = """
    FROM ratings r LEFT JOIN item_versions v USING (item_id)
    LEFT JOIN episodes e ON e.item_id = coalesce(v.primary_item_id, r.item_id) WHERE e.item_id IS NULL"""
_NEWEST_FIRST = "r.updated_at DESC, r.rated_at DESC, r.source = 'server', r.source, r.item_id"
# Of what the media server confirms, a rating from a source that does not count does not count either.
_COUNTING = """
    NOT r.source = ANY(:without) AND NOT (r.source = 'server' AND EXISTS (
      SELECT 1 FROM ratings o WHERE o.user_id = r.user_id AND o.work_id = r.work_id AND o.source = ANY(:without)
      AND (o.updated_at, o.rated_at) = (r.updated_at, r.rated_at)))"""
# Ratings in force of all users, without those of the sources ``:without``.
COUNTED_RATINGS = f"""
    SELECT DISTINCT ON (r.user_id, r.work_id) r.user_id, r.work_id, r.rating
    {_OF_TITLES} AND {_COUNTING} ORDER BY r.user_id, r.work_id, {_NEWEST_FIRST}"""


def ratings_in_force(
    connection: Connection, user_id: str, *, works: Collection[int] | None = None, to_share: bool = False
) -> dict[int, LocalRating]:
    """Return a user's ratings in force in whole steps, by work.

    ``works``: only of these; ``to_share``: without those that stay here.
    """
    return {
        work: LocalRating(whole_step(row.rating), whole_second(row.rated_at), row.source == SERVER)
        for work, row in rows_in_force(connection, user_id, works).items()
        if not (to_share and row.stays_here)
    }


def rows_in_force(connection: Connection, user_id: str, works: Collection[int] | None) -> dict[int, Any]:
    """Return the rows of a user's ratings in force, by work; ``works``: only of these."""
    chosen = "" if works is None else "AND r.work_id = ANY(:works)"
    statement = f"""
        SELECT DISTINCT ON (r.work_id) r.work_id, r.rating, r.rated_at, r.updated_at, r.source, r.stays_here,
        r.import_id
        {_OF_TITLES} AND r.user_id = :user {chosen} ORDER BY r.work_id, {_NEWEST_FIRST}"""
    rows = execute(connection, statement, user=user_id, **({} if works is None else {"works": array_of(works)}))
    return {row.work_id: row for row in rows}


def give_rating(
    connection: Connection, user_id: str, work_id: int, rating: float | None, *, source: str, rated_at: datetime
) -> None:
    """Put a user's rating of a work (None: no rating any more) from a source in force. The caller holds the lock."""
    key = {"user_id": user_id, "source": source, "work_id": work_id, "item_id": WHOLE_WORK}
    previous = _stored(connection, user_id, source, [WHOLE_WORK]).get((work_id, WHOLE_WORK))
    given = key | {"rating": rating, "rated_at": rated_at}
    _put(connection, [given | {"updated_at": _next_stamp(connection, user_id)}])
    _log(connection, [given | {"previous": previous}])


def never_rated(connection: Connection, user_id: str, works: Collection[int]) -> set[int]:
    """Return which works the user has neither rated here nor unrated again, as taking an import back does not."""
    in_force = rows_in_force(connection, user_id, works)
    return set(works) - {work for work, row in in_force.items() if row.rating is not None or row.source != IMPORTED}


def give_imported(
    connection: Connection,
    user_id: str,
    given: Mapping[int, tuple[int, datetime]],
    *,
    source: str,
    import_id: int,
    stays_here: bool,
) -> None:
    """Put ratings of works from a file, each with its date, in force. The caller holds the lock."""
    if not given:
        return
    stamp = _next_stamp(connection, user_id)
    rows = [
        {"user_id": user_id, "source": source, "work_id": work, "item_id": WHOLE_WORK, "rating": rating,
         "rated_at": rated_at, "updated_at": stamp, "import_id": import_id, "stays_here": stays_here}
        for work, (rating, rated_at) in given.items()
    ]  # fmt: skip
    _put(connection, rows)
    _log(connection, [{**row, "previous": None} for row in rows])


def take_imported_back(connection: Connection, user_id: str, import_id: int, *, now: datetime) -> list[int]:
    """Take the ratings of a file back, and return the works whose removal others have to be told.

    What stayed here is forgotten. What was shared is removed, if nothing was given since. The caller holds the lock.
    """
    statement = """
        SELECT work_id, source, rating, stays_here FROM ratings
        WHERE user_id = :user AND import_id = :import AND item_id = 0"""
    rows = execute(connection, statement, user=user_id, **{"import": import_id}).all()
    works = [row.work_id for row in rows]
    in_force = rows_in_force(connection, user_id, works)
    # What the media server confirms has its dates, and stands for it.
    shared = [
        row.work_id
        for row in rows
        if not row.stays_here and (current := in_force.get(row.work_id)) is not None and current.rating == row.rating
    ]
    statement = "DELETE FROM ratings WHERE user_id = :user AND import_id = :import"
    execute(connection, statement, user=user_id, **{"import": import_id})
    stamp = _next_stamp(connection, user_id) or now
    key = {"user_id": user_id, "source": IMPORTED, "item_id": WHOLE_WORK, "rating": None, "rated_at": now}
    _put(connection, [key | {"work_id": work, "updated_at": stamp} for work in shared])
    _log(connection, [key | {"work_id": row.work_id, "previous": row.rating} for row in rows])
    return shared


def write_server_ratings(
    connection: Connection,
    user_id: str,
    reported: Iterable[SeenRating],
    *,
    now: datetime,
    requested_at: datetime | None = None,
) -> tuple[int, list[int]]:
    """Write ratings of items as the media server reports them.

    An equal value keeps its date, which is when it was first seen. A value that equals the one in force only confirms
    it. If the one in force is removed on the server, it is removed altogether, but from a published copy it is taken
    off once the original has it. The caller holds the lock.

    Items whose rating on the server was noted since ``requested_at`` (by the database's clock) are left out: another
    process may have rated them there after the server reported them. The next report has them again.

    Returns:
        The number of items whose rating changed, and the works that were rated there, without those of episodes.
    """
    # As everywhere, 0 means that there is no rating.
    rated = {(rating.work_id, rating.item_id): rating for rating in reported}
    values = {key: rating.rating if whole_step(rating.rating) is not None else None for key, rating in rated.items()}
    known = _stored(connection, user_id, SERVER, [item for _, item in rated])
    changed = [key for key in rated if values[key] != known.get(key)]
    if changed and requested_at is not None:
        noted = _noted_since(connection, user_id, changed, requested_at)
        changed = [key for key in changed if key[1] not in noted]
    if not changed:
        return 0, []
    in_force = rows_in_force(connection, user_id, {work for work, _ in changed})
    elsewhere = _works_rated_elsewhere(connection, user_id, in_force)
    stamp = _next_stamp(connection, user_id)
    # Formatted once instead of for each row.
    dates = {"rated_at": str(now), "updated_at": str(stamp)}
    written: list[dict[str, Any]] = []
    removed: list[int] = []
    log: list[dict[str, Any]] = []
    for key in changed:
        work_id, item_id = key
        value, current = values[key], None if rated[key].is_episode else in_force.get(work_id)
        confirms = current is not None and whole_step(value) == whole_step(current.rating)
        was_in_force = current is not None and whole_step(known.get(key)) == whole_step(current.rating)
        row = {"user_id": user_id, "source": SERVER, "work_id": work_id, "item_id": item_id, "rating": value}
        log.append(row | {"previous": known.get(key), "rated_at": dates["rated_at"]})
        if value is None and (rated[key].is_published or not (was_in_force and work_id in elsewhere)):
            removed.append(item_id)
        elif confirms and current is not None:
            written.append(row | {"rated_at": current.rated_at, "updated_at": current.updated_at})
        else:
            written.append(row | dates)
    _put(connection, written)
    _delete_server_ratings(connection, user_id, removed)
    _log(connection, log)
    return len(changed), sorted({key[0] for key in changed if not rated[key].is_episode})


def note_copied_rating(
    connection: Connection, user_id: str, item_id: int, copied: Any, *, known: float | None, shown: float | None
) -> None:
    """Record that the media server shows a rating that was copied to it: it has the dates of that one.

    So a rating that was given meanwhile stays in force. The caller holds the lock.

    Args:
        copied: the row of the rating in force then, see :func:`rows_in_force`.
        known: what the server showed before.
        shown: what it shows now.
    """
    # The item may have moved to another work during the request, and may not do so now.
    lock_until_commit(connection, "catalogue", shared=True)
    work_id = read_value(connection, "SELECT work_id FROM titles WHERE item_id = :item", item=item_id)
    row = {"user_id": user_id, "source": SERVER, "work_id": work_id, "item_id": item_id, "rating": shown}
    row["rated_at"] = copied.rated_at
    if shown is None:
        _delete_server_ratings(connection, user_id, [item_id])
    else:
        _put(connection, [row | {"updated_at": copied.updated_at}])
    _log(connection, [row | {"previous": known}])


def _delete_server_ratings(connection: Connection, user_id: str, items: Sequence[int]) -> None:
    statement = "DELETE FROM ratings WHERE user_id = :user AND source = :source AND item_id = ANY(:items)"
    execute(connection, statement, user=user_id, source=SERVER, items=array_of(items))


def _stored(connection: Connection, user_id: str, source: str, items: Sequence[int]) -> dict[tuple[int, int], Any]:
    """Return stored ratings of a source by work and item."""
    statement = """
        SELECT work_id, item_id, rating FROM ratings
        WHERE user_id = :user AND source = :source AND item_id = ANY(:items)"""
    rows = execute(connection, statement, user=user_id, source=source, items=array_of(items))
    return {(row.work_id, row.item_id): row.rating for row in rows}


def _noted_since(connection: Connection, user_id: str, keys: Iterable[tuple[int, int]], moment: datetime) -> set[int]:
    """Return the items, of works and items, whose rating on the media server was noted at a moment or later.

    What the database noted while its clock was ahead is not newer than everything that the server reports from now on.
    """
    statement = """
        SELECT item_id FROM rating_changes WHERE user_id = :user AND source = :source AND work_id = ANY(:works)
        AND noted_at BETWEEN :moment AND clock_timestamp()"""
    works = list({work for work, _ in keys})
    return set(
        execute(connection, statement, user=user_id, source=SERVER, works=array_of(works), moment=moment).scalars()
    )


def _works_rated_elsewhere(connection: Connection, user_id: str, works: Iterable[int]) -> set[int]:
    """Return which works have a rating from another source than the media server."""
    statement = """
        SELECT work_id FROM ratings
        WHERE user_id = :user AND source <> :source AND work_id = ANY(:works) AND rating IS NOT NULL"""
    return set(execute(connection, statement, user=user_id, source=SERVER, works=array_of(list(works))).scalars())


def _next_stamp(connection: Connection, user_id: str) -> datetime:
    """Return the time, but later than that of all the user's ratings: a transaction may have begun before others."""
    statement = """
        SELECT greatest(clock_timestamp(), max(updated_at) + interval '1 microsecond')
        FROM ratings WHERE user_id = :user"""
    return read_value(connection, statement, user=user_id)


def _put(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    columns = "user_id, source, work_id, item_id, rating, rated_at, updated_at, import_id"
    statement = f"""
        INSERT INTO ratings ({columns}, stays_here)
        SELECT {columns}, coalesce(stays_here, false)
        FROM jsonb_populate_recordset(NULL::ratings, CAST(:rows AS jsonb))
        ON CONFLICT (user_id, source, work_id, item_id) DO UPDATE
        SET rating = excluded.rating, rated_at = excluded.rated_at, updated_at = excluded.updated_at,
        import_id = excluded.import_id, stays_here = excluded.stays_here"""
    if rows:
        execute(connection, statement, rows=json.dumps(rows, default=str))


def _log(connection: Connection, changes: Sequence[dict[str, Any]]) -> None:
    # A transaction may have begun long before it got the lock.
    columns = "user_id, source, work_id, item_id, rating, previous, rated_at"
    statement = f"""
        INSERT INTO rating_changes ({columns}, noted_at) SELECT {columns}, clock_timestamp()
        FROM jsonb_populate_recordset(NULL::rating_changes, CAST(:rows AS jsonb))"""
    execute(connection, statement, rows=json.dumps(changes, default=str))


def rated_since(connection: Connection, user_id: str, moment: datetime, *, now: datetime) -> bool:
    """Return whether the user rated something on the command line after a moment, or in its second."""
    statement = """
        SELECT 1 FROM ratings WHERE user_id = :user AND source = :source
        AND rated_at BETWEEN :moment AND :latest LIMIT 1"""
    values = {"moment": whole_second(moment), "latest": now + SKEW}
    return read_value(connection, statement, user=user_id, source=OWN, **values) is not None


def ratings_version(connection: Connection, user_id: str, *sources: str) -> str:
    """Return a hash of a user's ratings from some sources."""
    versions = (content_version(connection, "ratings", user_id=user_id, source=source) for source in sources)
    return "-".join(versions)
