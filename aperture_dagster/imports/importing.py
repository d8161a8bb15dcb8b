"""Importing a file for a user: planning, writing and taking back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history_import.matching import NamedTitle, NewTitle, UnknownEpisode
from aperture_dagster.catalogue.history_import.rows import PastRow, SkippedRow
from aperture_dagster.catalogue.history_import.stored import (
    SeenElsewhere,
    create_import,
    delete_import,
    finish_import,
    known_episodes,
    known_names,
    known_plays,
    known_works,
    liked_works,
    read_imports,
    read_known_titles,
    recognise,
    unrecognised,
    works_of_items,
    write_plays,
    write_seen,
)
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.references import match_users
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.imports.plan import Key, Known, Plan, Planner, items_of
from aperture_dagster.members.for_later import put_aside, take_off, titles_for_later
from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.ratings.in_force import IMPORTED, TRAKT, give_imported, never_rated, take_imported_back
from aperture_dagster.ratings.outbox import queue_imported, queue_removals

BATCH = 1_000
OF_OTHERS = "of somebody else"


def start_plan(
    connection: Connection,
    user_id: str,
    *,
    now: datetime,
    decided: Mapping[NamedTitle, int | None] | None = None,
) -> Planner:
    """Return what plans an import for a user; ``decided``: the works of unclear names, None to skip them."""
    chosen = {name: work for name, work in (decided or {}).items() if work is not None}
    skip = frozenset(name for name, work in (decided or {}).items() if work is None)
    known = Known(
        known_plays(connection, user_id),
        frozenset(known_works(connection, user_id)),
        frozenset(liked_works(connection, user_id)),
        frozenset(row["work_id"] for row in titles_for_later(connection, user_id))
        | {work for stored in read_imports(connection, user_id) for work in stored.later},
        frozenset(known_names(connection, user_id)),
        frozenset(known_episodes(connection, user_id)),
    )
    titles = read_known_titles(connection, chosen)
    return Planner(titles, known, lambda works: never_rated(connection, user_id, works), skip, now=now)


def batches(
    connection: Connection, rows: Iterable[PastRow | SkippedRow]
) -> Iterator[tuple[list[PastRow | SkippedRow], dict[str, int]]]:
    """Yield rows in batches, with the works of the media server's items in them.

    Raises:
        OperatorError: the file cannot be read to its end.
    """
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        yield batch, works_of_items(connection, items_of(batch))


def plan_import(
    connection: Connection,
    user: User,
    rows: Iterable[PastRow | SkippedRow],
    *,
    now: datetime,
    decided: Mapping[NamedTitle, int | None] | None = None,
) -> Plan:
    """Return what importing a user's own file would do; rows that name somebody else are left out.

    Raises:
        OperatorError: the file cannot be read to its end.
    """
    planner = start_plan(connection, user.user_id, now=now, decided=decided)
    for batch, works in batches(connection, rows):
        for row in batch:
            if isinstance(row, PastRow) and row.user is not None and not match_users(row.user, [user]):
                planner.plan.leave_out(OF_OTHERS, row.label)
            else:
                planner.take(row, works)
    return planner.finish()


def apply_plan(
    connection: Connection, user_id: str, plan: Plan, *, file_name: str, share_ratings: bool, now: datetime
) -> dict[str, int]:
    """Write a plan, in the transaction in which it was made, and return what was written, by kind.

    The caller holds the lock of the history, from before the plan was made.
    """
    if plan.is_empty:
        return plan.figures
    import_id = create_import(
        connection, user_id, source=plan.source, file_name=file_name, shares_ratings=share_ratings, now=now
    )
    works = _works_of_new(connection, plan)
    plays = [
        {"item_id": play.item_id, "played_at": play.played_at, "is_episode": play.is_episode,
         "imported_from": plan.source}
        for play in plan.plays
    ]  # fmt: skip
    figures = plan.figures | {"plays": write_plays(connection, user_id, plays, import_id)}
    seen = []
    for key, entry in plan.elsewhere.items():
        work = works.get(key)
        if work is None and isinstance(key, NewTitle):
            # Its ids contradict each other.
            figures["elsewhere"] -= 1
            continue
        rating = plan.ratings.get(key) if work is None else None
        seen.append(
            SeenElsewhere(
                work, entry.media_type, entry.title, entry.year, entry.times, entry.seen_at, entry.is_liked,
                *(rating or (None, None)), key.imdb_id if isinstance(key, UnknownEpisode) else None,
            )
        )  # fmt: skip
    write_seen(connection, user_id, seen, import_id)
    ratings = {work: given for key, given in plan.ratings.items() if (work := works.get(key)) is not None}
    give_imported(
        connection, user_id, ratings, source=TRAKT if plan.source == "trakt" else IMPORTED, import_id=import_id,
        stays_here=not share_ratings,
    )  # fmt: skip
    if share_ratings:
        queue_imported(connection, user_id, ratings, now=now)
    later = [
        work
        for key, (title, at) in plan.wanted.items()
        if (work := works.get(key)) is not None and put_aside(connection, user_id, work, title, now=at or now)
    ]
    finish_import(connection, import_id, figures | {"wanted": len(later)}, later)
    return figures


def _works_of_new(connection: Connection, plan: Plan) -> dict[Key, int]:
    """Return the work of each title of a plan; those that nothing here knows are created."""
    keys: dict[Key, None] = dict.fromkeys([*plan.elsewhere, *plan.ratings, *plan.wanted])
    works: dict[Key, int] = {key: key for key in keys if isinstance(key, int)}
    for media_type in MEDIA_TYPES:
        new = [key for key in keys if isinstance(key, NewTitle) and key.media_type == media_type]
        found = works_for(connection, media_type, [key.ids for key in new]) if new else []
        works |= {key: work for key, work in zip(new, found, strict=True) if work is not None}
    return works


def take_back(connection: Connection, user_id: str, import_id: int, *, now: datetime) -> bool:
    """Delete what an import wrote; return whether the user has such an import."""
    lock_history(connection, user_id)
    stored = next((stored for stored in read_imports(connection, user_id) if stored.import_id == import_id), None)
    if stored is None:
        return False
    for work in stored.later:
        take_off(connection, user_id, work)
    shared = take_imported_back(connection, user_id, import_id, now=now)
    queue_removals(connection, user_id, shared, now=now)
    return delete_import(connection, user_id, import_id)


def recognise_names(connection: Connection, *, now: datetime) -> int:
    """Give what is kept by its name the work that name and year stand for by now, with its rating; return how many."""
    waiting = unrecognised(connection)
    if not waiting:
        return 0
    titles = read_known_titles(connection, {})
    found: dict[int, int] = {}
    for row in waiting:
        if (work := titles.named_exactly(row["title"], row["year"], row["media_type"])) is not None:
            found[row["seen_id"]] = work
    recognise_as(connection, found, now=now)
    return len(found)


def recognise_as(connection: Connection, found: Mapping[int, int], *, now: datetime) -> None:
    """Give what is kept without a work the one that it is, by the number of its row, with the rating that waited."""
    waiting = [row for row in unrecognised(connection) if row["seen_id"] in found]
    shares = {
        stored.import_id: stored
        for user_id in {row["user_id"] for row in waiting}
        for stored in read_imports(connection, user_id)
    }
    for row in waiting:
        work = found[row["seen_id"]]
        if row["rating"] is None:
            continue
        lock_history(connection, row["user_id"])
        if never_rated(connection, row["user_id"], [work]):
            stored = shares[row["import_id"]]
            give_imported(
                connection, row["user_id"], {work: (row["rating"], row["rated_at"] or now)},
                source=TRAKT if stored.source == "trakt" else IMPORTED, import_id=row["import_id"],
                stays_here=not stored.shares_ratings,
            )  # fmt: skip
    recognise(connection, found)
