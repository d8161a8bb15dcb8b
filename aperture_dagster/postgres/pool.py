"""Connections of a pool that survive a restart of the server, without a ping before each use."""

from __future__ import annotations

import select
import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError

# A connection that was used this short a time ago is pinged only if its socket has something to read.
QUIET_SECONDS = 1.0


def replace_dead_connections(engine: Engine) -> None:
    """Make an engine replace connections whose server has gone, as ``pool_pre_ping`` does with a request at each use.

    When a server ends, its sockets are closed or it sends the reason, so that there is something to read. A connection
    that was not used for a while is pinged in any case: a network may drop it without a word.
    """

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _check(connection: Any, record: Any, _proxy: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        used_at = record.info.get("used_at")
        if used_at is None:
            # It has just been opened.
            return
        try:
            if time.monotonic() - used_at > QUIET_SECONDS or _has_news(connection):
                engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def _has_news(connection: Any) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
