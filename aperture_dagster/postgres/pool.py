"""Connections of a pool that survive a restart of the server, without a ping before each use, and lost networks."""

from __future__ import annotations

import select
import time
from typing import Any

from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError

NOTICE_LOSS = "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 4"
"""Makes the server end a session whose client has vanished after a minute, with its transaction, locks and leases.

By default, that takes more than two hours after a cut in the network. Connections by a socket ignore it.
"""


def keepalives(seconds: float) -> dict[str, int]:
    """Return the options of a connection that fails about this long after the network to the server was cut."""
    interval = max(int(seconds) // 4, 1)
    return {
        "keepalives": 1,
        "keepalives_idle": interval,
        "keepalives_interval": interval,
        "keepalives_count": 3,
        # What was sent and is not acknowledged; milliseconds.
        "tcp_user_timeout": int(seconds * 1000),
    }


def network_options(url: str) -> dict[str, int]:
    """Return :func:`keepalives` of a minute for a pool, without what the URL says itself."""
    given = make_url(url).query
    return {name: value for name, value in keepalives(60).items() if name not in given}


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
