"""Read what users have watched and rated on the server."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Protocol

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.marks import Marks, copies_of_unmarked, items_with_versions, marked_items
from aperture_dagster.catalogue.history.progress import SyncMark, read_mark, write_mark
from aperture_dagster.catalogue.history.states import PageResult
from aperture_dagster.catalogue.history.viewings import next_watermark
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.removals import check_history_loss, is_great_loss
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import ItemState, Listing, in_batches, with_content
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import database_time


class RecordStates(Protocol):
    """What writes a page of a user's states; see :func:`~aperture_dagster.catalogue.history.states.write_states`."""

    def __call__(
        self,
        connection: Connection,
        user_id: str,
        states: Sequence[ItemState],
        *,
        now: datetime,
        requested_at: datetime | None = None,
    ) -> PageResult:
        """Write the page; ``requested_at``: the database's time before the states were requested."""
        ...


@dataclass(slots=True)
class HistoryRead:
    """What reading a user's history has found.

    ``before`` is how far it had been read until then, ``compared`` whether all of it was compared, ``unmarked`` the
    number of marks that were taken back.
    """

    before: SyncMark
    compared: bool = False
    problems: list[str] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)
    dates: list[datetime | None] = field(default_factory=list)
    unmatched: list[datetime | None] = field(default_factory=list)
    written: int = 0
    plays: int = 0
    unknown: int = 0
    unmarked: int = 0
    ratings: int = 0

    @property
    def rows_written(self) -> int:
        """Rows written, of all kinds."""
        return self.written + self.plays + self.unmarked + self.ratings


class HistoryReader:
    """Reads the histories of users from the server, and writes them with ``record``."""

    def __init__(self, server: MediaServerReader, database: Database, clock: Clock, record: RecordStates) -> None:
        self._server, self._database, self._clock, self._record = server, database, clock, record

    def read(self, user: User, *, full: bool = False, accept_removals: bool = False) -> HistoryRead:
        """Read what is new of a user's history, or all of it if ``full`` or that is due.

        Raises:
            RemovalRefused: the server knows of nothing, or much less, for a user who had a history, and the operator
                did not accept that.
        """
        now = self._clock.now()
        with self._database.transaction() as connection:
            mark = read_mark(connection, user.user_id)
            known = marked_items(connection, user.user_id)
            # Other processes rate items on the server, too, and what is read here may be older than that.
            started_at = database_time(connection)

        def write(page: Sequence[ItemState]) -> PageResult:
            copies = self._copies(user, page, known)
            with self._database.transaction() as connection:
                record = functools.partial(self._record, connection, user.user_id, now=now, requested_at=started_at)
                if copies:
                    found.ratings += record(copies).rating_changes
                return record(page)

        # A mark in the future was made by a clock that has been set back since, so it does not show what is new.
        is_known = mark.watermark is not None and mark.watermark <= now
        since = mark.watermark if is_known and not (full or accept_removals or mark.full_is_due(now)) else None
        found, listing = HistoryRead(mark), Listing()
        for page in in_batches(self._pages(user.user_id, since, listing)):
            _count(found, page, write(page))
        found.listed |= set(listing.unreadable_ids)
        found.problems = listing.problems
        if since is not None and not self._server.tells_unmarked:
            unmarked = self._unmarked(user, found, known)
            _count(found, unmarked, write(unmarked))
        watermark = next_watermark(mark.watermark, found.dates, now, unmatched=found.unmatched)
        if listing.shifted and since is not None:
            # What moved over the edge of a page may be new, and is looked for again.
            watermark = mark.watermark
        found.compared = since is None and listing.complete
        if found.compared:
            result = write(self._gone(user, found, known, accept_removals=accept_removals))
            found.unmarked = result.states.written
            found.ratings += result.rating_changes
        with self._database.transaction() as connection:
            is_full = found.compared and not listing.problems
            write_mark(connection, user.user_id, watermark, now=now, full=is_full)
        return found

    def _pages(self, user_id: str, since: datetime | None, listing: Listing) -> Iterator[list[ItemState]]:
        """Yield the states that changed since then, or all of them."""
        if since is not None:
            return self._server.changed_states(user_id, since, listing)
        pages = self._server.all_states(user_id, listing)
        # Jellyfin 12 lists no progress in a version that lies in its film's own folder: the film itself hints at it.
        return chain(pages, with_content(self._server.states_of(user_id, self._versioned)))

    @functools.cached_property
    def _versioned(self) -> list[str]:
        # The same for all users.
        with self._database.transaction() as connection:
            return items_with_versions(connection)

    def _unmarked(self, user: User, found: HistoryRead, known: Mapping[str, Marks]) -> list[ItemState]:
        """Return the states of items that were favourites or liked, and are no longer listed.

        None if there are very many: the daily comparison decides whether to believe it.
        """
        missing = sorted(one for one, marks in known.items() if any(marks) and one not in found.listed)
        states = [state for page in self._server.states_of(user.user_id, missing) for state in page]
        lost = sum(not state.has_content for state in states)
        return [] if is_great_loss(lost, known=len(known)) else states

    def _gone(
        self, user: User, found: HistoryRead, known: Mapping[str, Marks], *, accept_removals: bool
    ) -> list[ItemState]:
        """Return the states of items that had a mark and are not listed; raises as :meth:`read`.

        What is not listed may have a new id, or be hidden from this user, so the items are requested by id.
        """
        missing = sorted(known.keys() - found.listed)
        states = [state for page in self._server.states_of(user.user_id, missing) for state in page]
        believed = bool(found.listed) or not (user.visibility.all_libraries or user.visibility.library_ids)
        check_history_loss(
            user.name,
            listed=len(found.listed),
            lost=sum(not state.has_content for state in states) if believed else len(known),
            known=len(known),
            accepted=accept_removals,
        )
        return states

    def _copies(self, user: User, states: Sequence[ItemState], known: Mapping[str, Marks]) -> list[ItemState]:
        """Return the states of other copies of what lacks a mark in these states that it has in the database.

        Copies that the server no longer shows to the user would keep the mark forever.
        """
        unmarked = [
            state
            for state in states
            if (marks := known.get(state.server_item_id)) is not None
            and not (state.was_started and state.favorite >= marks.favorite)
        ]
        if not unmarked:
            return []
        with self._database.transaction() as connection:
            copies = copies_of_unmarked(connection, user.user_id, unmarked)
        ids = [state.server_item_id for state in copies]
        told = {one.server_item_id: one for page in self._server.states_of(user.user_id, ids) for one in page}
        return [told.get(state.server_item_id, state) for state in copies]


def _count(found: HistoryRead, page: Sequence[ItemState], result: PageResult) -> None:
    """Add what was written of a page."""
    found.written += result.states.written
    found.plays += result.plays
    found.unknown += result.unknown
    found.ratings += result.rating_changes
    found.dates += [state.last_played_at for state in page]
    found.unmatched += [state.last_played_at for state in result.unmatched]
    found.listed |= {state.server_item_id for state in page}
