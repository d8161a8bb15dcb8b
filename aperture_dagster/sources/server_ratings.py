"""Ratings that were given on the command line or on Trakt, written to the copies on the media server."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from aperture_dagster.library.people import User
from aperture_dagster.library.ratings import whole_step
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import NotFound, RequestRejected
from aperture_dagster.resources.media_server.writer import MediaServerWriter
from aperture_dagster.storage.ratings import ServerRating, copies_to_rate, lock_ratings, write_server_ratings

NO_RATINGS = "Emby keeps no ratings from 0 to 10, so none was written there."


@dataclass(slots=True)
class ServerWrites:
    """Copies that were rated, and those that were left alone: rated anew on the server, or not there for the user."""

    written: int = 0
    left_alone: int = 0
    note: str | None = None


def lacks_ratings(database: Database, user: User) -> bool:
    """Return whether a copy on the media server lacks a rating of the user, as far as is known."""
    with database.transaction() as connection:
        return bool(copies_to_rate(connection, user.user_id))


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
        copies = {row["server_item_id"]: row for row in copies_to_rate(connection, user.user_id, works=works)}
    states = (state for page in writer.reader.states_of(user.user_id, list(copies)) for state in page)
    shown = {state.server_item_id: state.rating for state in states}
    for item_id, copy in copies.items():
        known, wanted = whole_step(copy["known"]), copy["wanted"]
        if item_id not in shown or whole_step(shown[item_id]) not in (known, wanted):
            result.left_alone += 1
            continue
        if whole_step(shown[item_id]) != wanted:
            try:
                writer.set_rating(user.user_id, item_id, wanted)
            except (NotFound, RequestRejected) as error:
                result.left_alone += 1
                log.warning(f"{user.name}: {copy['title']} was not rated on the media server: {error}")
                continue
            result.written += 1
            shown[item_id] = wanted
        confirmed = ServerRating(copy["work_id"], copy["item_id"], is_episode=False, rating=shown[item_id])
        with database.transaction() as connection:
            lock_ratings(connection, user.user_id)
            write_server_ratings(connection, user.user_id, [confirmed], now=clock.now())
    return result
