"""Keeps an index while somebody searches, and makes it anew in the background when what it is made from changes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy import Connection

from aperture_dagster.model.errors import OperatorError
from aperture_dagster.model.memory import give_back_memory
from aperture_dagster.postgres.database import ReadOnlyDatabase

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
LOOK_AGAIN = 60.0
"""Seconds after which the next question makes it be looked up whether anything changed."""
PATIENCE = 4.0
"""Seconds for which a question waits for the first index."""
UNUSED = 1800.0
"""Seconds without a question after which the index is dropped: it may be the largest thing in the process."""


class Keeper(Generic[T]):
    """An index that is never waited for longer than :data:`PATIENCE`, and never made by a request.

    An index may be older than the database: whoever shows what it finds asks what of it is there and may be seen.

    Args:
        database: what it is made from.
        state: returns what changes whenever the index would.
        build: makes the index.
    """

    def __init__(
        self, database: ReadOnlyDatabase, state: Callable[[Connection], str], build: Callable[[Connection], T]
    ) -> None:
        self._database, self._state, self._build = database, state, build
        self._lock, self._index, self._made_from = threading.Lock(), None, ""
        self._looked_at = self._used_at = -math.inf
        self._done: threading.Event | None = None

    def get(self, patience: float = PATIENCE) -> T | None:
        """Return the index; None while the first is being made."""
        with self._lock:
            self._used_at = time.monotonic()
            is_due = self._index is None or self._used_at - self._looked_at >= LOOK_AGAIN
            if is_due and self._done is None:
                self._done = threading.Event()
                # Nobody waits for it when the program ends.
                threading.Thread(target=self._look, args=(self._done,), daemon=True).start()
            index, done = self._index, self._done
        if index is None and done is not None:
            done.wait(patience)
        return self._index

    def _look(self, done: threading.Event) -> None:
        """Make the index anew if anything changed."""
        try:
            with self._database.connection() as connection:
                state = self._state(connection)
                if self._index is None or state != self._made_from:
                    self._index, self._made_from = self._build(connection), state
                    give_back_memory()
        except OperatorError as error:
            _LOG.warning("the index of the search is not made: %s", error)
        finally:
            with self._lock:
                self._looked_at, self._done = time.monotonic(), None
            done.set()
        self._drop_later()

    def _drop_later(self) -> None:
        timer = threading.Timer(UNUSED, self._drop_unused)
        timer.daemon = True
        timer.start()

    def _drop_unused(self) -> None:
        with self._lock:
            if time.monotonic() - self._used_at >= UNUSED:
                self._index = None
