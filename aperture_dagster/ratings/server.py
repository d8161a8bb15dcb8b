"""Ratings that were given on the command line or on Trakt, written to the copies on the media server."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from aperture_dagster.library.people import User
from aperture_dagster.ratings.in_force import (
    CopyToRate,
    begin_server_write,
    confirm_server_write,
    copies_to_rate,
    forget_server_writes,
    lock_server_writes,
)
from aperture_dagster.ratings.merge import whole_step
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import NotFound, RequestRejected
from aperture_dagster.resources.media_server.writer import MediaServerWriter
from aperture_dagster.storage.history import lock_history

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
    for copy in copies:
        if copy.server_item_id not in visible:
            result.hidden += 1
            continue
        # One request for all copies would be minutes old at the last of them.
        with database.transaction() as guard:
            lock_server_writes(guard, user.user_id)
            _rate_copy(database, clock, writer, user, copy, result, log)
    return result


def _rate_copy(
    database: Database,
    clock: Clock,
    writer: MediaServerWriter,
    user: User,
    listed: CopyToRate,
    result: ServerWrites,
    log: logging.Logger,
) -> None:
    """Give one copy the rating in force, unless it has it by now, or was rated on the server."""
    item_id = listed.server_item_id
    state = next((one for page in writer.reader.states_of(user.user_id, [item_id]) for one in page), None)
    if state is None:
        result.hidden += 1
        return
    shown = whole_step(state.rating)
    with database.transaction() as connection:
        lock_history(connection, user.user_id)
        copy = _current(connection, user.user_id, listed)
        if copy is not None and copy.is_begun and shown == copy.begun:
            # Written by a run that did not live to record it.
            confirm_server_write(connection, user.user_id, copy.item_id, state.rating, now=clock.now())
            copy = _current(connection, user.user_id, listed)
        if copy is None:
            return
        if shown not in (whole_step(copy.known), copy.wanted):
            result.rated_there += 1
            return
        if shown != copy.wanted:
            begin_server_write(connection, user.user_id, copy)
    rating = state.rating
    if shown != copy.wanted:
        try:
            writer.set_rating(user.user_id, item_id, copy.wanted)
        except (NotFound, RequestRejected) as error:
            with database.transaction() as connection:
                forget_server_writes(connection, user.user_id, [copy.item_id])
            if isinstance(error, NotFound):
                result.hidden += 1
            else:
                result.refused += 1
            log.warning(f"{user.name}: {copy.title} was not rated on the media server: {error}")
            return
        result.written += 1
        rating = copy.wanted
    with database.transaction() as connection:
        lock_history(connection, user.user_id)
        # What the server showed in between may have ended it.
        begin_server_write(connection, user.user_id, copy)
        confirm_server_write(connection, user.user_id, copy.item_id, rating, now=clock.now())


def _current(connection: Connection, user_id: str, listed: CopyToRate) -> CopyToRate | None:
    """Return what a copy lacks now; None if nothing."""
    copies = copies_to_rate(connection, user_id, works=[listed.work_id])
    return next((copy for copy in copies if copy.item_id == listed.item_id), None)
