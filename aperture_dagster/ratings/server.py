"""Ratings that were given on the command line or on Trakt, written to the copies on the media server."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.people import User
from aperture_dagster.http.errors import NotFound, RequestRejected
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import lock_until_commit, read_rows
from aperture_dagster.ratings.in_force import IMPORTED, OWN, TRAKT, note_copied_rating, rows_in_force
from aperture_dagster.ratings.merge import whole_step

NO_RATINGS = "Emby keeps no ratings from 0 to 10, so none was written there."


@dataclass(slots=True)
class ServerWrites:
    """How many copies were rated, and how many were left alone: the user does not see them, they were rated on the
    server meanwhile, or it refused the rating. ``note`` says why none was written.
    """

    written: int = 0
    left: int = 0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class CopyToRate:
    """A copy on the media server that lacks the rating in force of a user: that row, and the rating last read there."""

    item_id: int
    server_item_id: str
    title: str
    known: float | None
    given: Any

    @property
    def wanted(self) -> int | None:
        """The rating in force, a whole step; None: it was removed."""
        return whole_step(self.given.rating)


def lacks_ratings(database: Database, user: User, *, works: Collection[int] | None = None) -> bool:
    """Return whether a copy on the media server lacks a rating of the user, as far as is known."""
    with database.transaction() as connection:
        return bool(copies_to_rate(connection, user.user_id, works=works))


def rate_on_server(
    database: Database,
    writer: MediaServerWriter,
    user: User,
    *,
    log: logging.Logger,
    works: Collection[int] | None = None,
) -> ServerWrites:
    """Give every copy of a user's rated works the rating in force; ``works``: only of these.

    A copy whose rating is not the one that was last read was rated on the server meanwhile. It is left alone, and read
    with the history. What failed is found again by the next call.

    Raises:
        ServiceError: the server cannot be used.
    """
    result, user_id = ServerWrites(), user.user_id
    if not writer.keeps_ratings:
        result.note = NO_RATINGS
        return result
    with database.transaction() as connection:
        copies = copies_to_rate(connection, user_id, works=works)
    # Those that are hidden from the user are so in every run, and many.
    pages = writer.reader.states_of(user_id, [copy.server_item_id for copy in copies])
    visible = {state.server_item_id for page in pages for state in page}
    result.left = sum(copy.server_item_id not in visible for copy in copies)
    for listed in copies:
        if listed.server_item_id not in visible:
            continue
        # Only around the requests of one copy, with other transactions inside: whoever has another lock must not take
        # it. One request for the states of all copies would be minutes old at the last of them.
        with database.transaction() as guard:
            lock_until_commit(guard, f"server ratings:{user_id}")
            states = [state for page in writer.reader.states_of(user_id, [listed.server_item_id]) for state in page]
            with database.transaction() as connection:
                current = copies_to_rate(connection, user_id, works=[listed.given.work_id])
            copy = next((copy for copy in current if copy.item_id == listed.item_id), None)
            if copy is None:
                continue
            shown = states[0].rating if states else None
            if not states or whole_step(shown) not in (whole_step(copy.known), copy.wanted):
                result.left += 1
                continue
            if whole_step(shown) != copy.wanted:
                try:
                    writer.set_rating(user_id, copy.server_item_id, copy.wanted)
                except (NotFound, RequestRejected) as error:
                    log.warning(f"{user.name}: {copy.title} was not rated on the media server: {error}")
                    result.left += 1
                    continue
                result.written += 1
                shown = copy.wanted
            with database.transaction() as connection:
                lock_history(connection, user_id)
                note_copied_rating(connection, user_id, copy.item_id, copy.given, known=copy.known, shown=shown)
    return result


def copies_to_rate(connection: Connection, user_id: str, *, works: Collection[int] | None = None) -> list[CopyToRate]:
    """List the copies on the media server that lack the rating in force of a user, as far as they are known.

    Only ratings from the command line or Trakt, and from files if they may be shared; ``works``: only of these.
    """
    in_force = {
        work: row
        for work, row in rows_in_force(connection, user_id, works).items()
        if row.source in (OWN, TRAKT, IMPORTED) and not row.stays_here
    }
    statement = """
        SELECT t.work_id, t.item_id, t.server_item_id, t.title, r.rating AS known FROM present_titles t
        LEFT JOIN ratings r ON r.user_id = :user AND r.source = 'server' AND r.work_id = t.work_id
          AND r.item_id = t.item_id
        WHERE t.work_id = ANY(:works) AND t.server_item_id IS NOT NULL ORDER BY t.item_id"""
    rows = read_rows(connection, statement, user=user_id, works=list(in_force))
    copies = (CopyToRate(given=in_force[row.pop("work_id")], **row) for row in rows)
    return [copy for copy in copies if copy.wanted != whole_step(copy.known)]
