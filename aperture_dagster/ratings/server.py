"""Ratings that were given on the command line or on Trakt, written to the copies on the media server."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.watch_states import SeenRating, lock_history
from aperture_dagster.http.errors import NotFound, RequestRejected
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_rows, read_value
from aperture_dagster.ratings.in_force import OWN, TRAKT, forget_server_writes, rows_in_force, write_server_ratings
from aperture_dagster.ratings.merge import whole_step

NO_RATINGS = "Emby keeps no ratings from 0 to 10, so none was written there."


@dataclass(slots=True)
class ServerWrites:
    """Copies that were rated, and those that were not.

    Attributes:
        written: number of copies that were rated.
        rated_there: that were given another rating on the server, which is read with the history.
        hidden: that the user does not see, or that are gone.
        refused: that the server did not accept a rating of.
        note: why none was written.
    """

    written: int = 0
    rated_there: int = 0
    hidden: int = 0
    refused: int = 0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class CopyToRate:
    """A copy on the media server that lacks the rating in force of a user.

    Attributes:
        known: the rating on the server when it was last read.
        wanted: the rating in force, a whole step; None: it was removed.
        rated_at, in_force_since: dates of the rating in force.
        is_begun, begun: whether a rating was being written there, and which; how that ended is unknown.
    """

    work_id: int
    item_id: int
    server_item_id: str
    title: str
    known: float | None
    wanted: int | None
    rated_at: datetime
    in_force_since: datetime
    is_begun: bool
    begun: int | None


def lacks_ratings(database: Database, user: User, *, works: Collection[int] | None = None) -> bool:
    """Return whether a copy on the media server lacks a rating of the user, as far as is known."""
    with database.transaction() as connection:
        return bool(copies_to_rate(connection, user.user_id, works=works))


def rate_on_server(
    database: Database,
    clock: Clock,
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
    result = ServerWrites()
    if not writer.keeps_ratings:
        result.note = NO_RATINGS
        return result
    with database.transaction() as connection:
        copies = copies_to_rate(connection, user.user_id, works=works)
    states = writer.reader.states_of(user.user_id, [copy.server_item_id for copy in copies])
    visible = {state.server_item_id for page in states for state in page}
    writing = _Writing(database, clock, writer, user, log, result)
    for copy in copies:
        if copy.server_item_id not in visible:
            result.hidden += 1
            continue
        # One request for all copies would be minutes old at the last of them.
        with database.transaction() as guard:
            lock_server_writes(guard, user.user_id)
            writing.rate(copy)
    return result


@dataclass(frozen=True, slots=True)
class _Writing:
    """Writes a user's ratings to copies, one at a time, and counts the outcomes."""

    database: Database
    clock: Clock
    writer: MediaServerWriter
    user: User
    log: logging.Logger
    result: ServerWrites

    def rate(self, listed: CopyToRate) -> None:
        """Give one copy the rating in force, unless it has it by now, or was rated on the server."""
        user_id, item_id = self.user.user_id, listed.server_item_id
        state = next((one for page in self.writer.reader.states_of(user_id, [item_id]) for one in page), None)
        if state is None:
            self.result.hidden += 1
            return
        shown = whole_step(state.rating)
        with self.database.transaction() as connection:
            lock_history(connection, user_id)
            copy = _current(connection, user_id, listed)
            if copy is not None and copy.is_begun and shown == copy.begun:
                # Written by a run that did not live to record it.
                confirm_server_write(connection, user_id, copy.item_id, state.rating, now=self.clock.now())
                copy = _current(connection, user_id, listed)
            if copy is None:
                return
            if shown not in (whole_step(copy.known), copy.wanted):
                self.result.rated_there += 1
                return
            if shown != copy.wanted:
                begin_server_write(connection, user_id, copy)
        is_missing = shown != copy.wanted
        if is_missing and not self._write(copy):
            return
        with self.database.transaction() as connection:
            lock_history(connection, user_id)
            # What the server showed in between may have ended it.
            begin_server_write(connection, user_id, copy)
            rating = copy.wanted if is_missing else state.rating
            confirm_server_write(connection, user_id, copy.item_id, rating, now=self.clock.now())

    def _write(self, copy: CopyToRate) -> bool:
        """Write a rating to the server; return whether it was accepted."""
        try:
            self.writer.set_rating(self.user.user_id, copy.server_item_id, copy.wanted)
        except (NotFound, RequestRejected) as error:
            with self.database.transaction() as connection:
                forget_server_writes(connection, self.user.user_id, [copy.item_id])
            self.log.warning(f"{self.user.name}: {copy.title} was not rated on the media server: {error}")
            if isinstance(error, NotFound):
                self.result.hidden += 1
            else:
                self.result.refused += 1
            return False
        self.result.written += 1
        return True


def _current(connection: Connection, user_id: str, listed: CopyToRate) -> CopyToRate | None:
    """Return what a copy lacks now; None if nothing."""
    copies = copies_to_rate(connection, user_id, works=[listed.work_id])
    return next((copy for copy in copies if copy.item_id == listed.item_id), None)


def lock_server_writes(connection: Connection, user_id: str) -> None:
    """Let no other process write this user's ratings to the media server until the end of the transaction.

    Only around the requests of one copy, with other transactions inside: whoever has another lock must not take it.
    """
    lock_until_commit(connection, f"server ratings:{user_id}")


def begin_server_write(connection: Connection, user_id: str, copy: CopyToRate) -> None:
    """Record that a copy is given the rating in force, before that is requested. The caller holds the lock."""
    statement = """
        INSERT INTO server_rating_writes (user_id, item_id, rating, rated_at, in_force_since)
        VALUES (:user, :item, CAST(:rating AS smallint), :rated_at, :since)
        ON CONFLICT (user_id, item_id) DO UPDATE SET rating = excluded.rating, rated_at = excluded.rated_at,
        in_force_since = excluded.in_force_since"""
    values = {"rating": copy.wanted, "rated_at": copy.rated_at, "since": copy.in_force_since}
    execute(connection, statement, user=user_id, item=copy.item_id, **values)


def confirm_server_write(
    connection: Connection, user_id: str, item_id: int, rating: float | None, *, now: datetime
) -> None:
    """Record that the server shows the rating that was begun to be written to a copy. The caller holds the lock.

    It has the dates of the rating that was copied: one that was given meanwhile stays in force.
    """
    # The items of a work may not move to another one meanwhile, and may have done so during the request.
    lock_until_commit(connection, "catalogue", shared=True)
    work_id = read_value(connection, "SELECT work_id FROM titles WHERE item_id = :item", item=item_id)
    if work_id is not None:
        reported = SeenRating(work_id, item_id, is_episode=False, rating=rating)
        write_server_ratings(connection, user_id, [reported], now=now)
    forget_server_writes(connection, user_id, [item_id])


def copies_to_rate(connection: Connection, user_id: str, *, works: Collection[int] | None = None) -> list[CopyToRate]:
    """List the copies on the media server that lack the rating in force of a user, as far as they are known.

    Only ratings from the command line or Trakt; ``works``: only of these.
    """
    in_force = {
        work: row for work, row in rows_in_force(connection, user_id, works).items() if row.source in (OWN, TRAKT)
    }
    statement = """
        SELECT t.work_id, t.item_id, t.server_item_id, t.title, r.rating AS known, w.user_id IS NOT NULL AS is_begun,
        w.rating AS begun FROM present_titles t
        LEFT JOIN ratings r ON r.user_id = :user AND r.source = 'server' AND r.work_id = t.work_id
          AND r.item_id = t.item_id
        LEFT JOIN server_rating_writes w ON w.user_id = :user AND w.item_id = t.item_id
        WHERE t.work_id = ANY(:works) AND t.server_item_id IS NOT NULL ORDER BY t.item_id"""
    copies: list[CopyToRate] = []
    for row in read_rows(connection, statement, user=user_id, works=list(in_force)):
        given = in_force[row["work_id"]]
        wanted = whole_step(given.rating)
        # What was begun may be there by now, although it was not read yet.
        if wanted != whole_step(row["known"]) or (row["is_begun"] and row["begun"] != wanted):
            copies.append(CopyToRate(**row, wanted=wanted, rated_at=given.rated_at, in_force_since=given.updated_at))
    return copies
