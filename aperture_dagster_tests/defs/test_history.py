"""What a read of a history means for those who depend on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from aperture_dagster.catalogue.history.progress import SyncMark
from aperture_dagster.catalogue.history.reader import HistoryRead
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.defs.catalogue.history import _outcome
from aperture_dagster.model import Clock
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.settings import Settings
from aperture_dagster_tests.catalogue.viewers import furnish
from aperture_dagster_tests.shelf import NOW, Shelf, shelf

__all__ = ["shelf"]
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("compared", "rated_at", "is_recorded"),
    [(False, None, False), (True, None, True), (False, NOW - HOUR, True), (False, NOW - 3 * HOUR, False)],
)
def test_a_quiet_read_is_recorded_for_whoever_rated_since_the_last_one_and_once_a_day(
    shelf: Shelf, make_settings: Callable[..., Settings], compared: bool, rated_at: object, is_recorded: bool
):
    furnish(shelf)
    if rated_at is not None:
        with shelf.open() as connection:
            rate_here(connection, "ann", shelf.item("film-1")["work_id"], 8, now=rated_at)  # pyright: ignore[reportArgumentType]
    with shelf.open() as connection:
        ann = next(user for user in read_users(connection) if user.user_id == "ann")
    read = HistoryRead(SyncMark(None, NOW - 2 * HOUR, NOW - 2 * HOUR), compared=compared)
    found = _outcome(ann, read, make_settings(), shelf.database, Clock(lambda: NOW))
    assert (found.record, found.rows_written) == (is_recorded, 0)
