"""Read what users have watched and rated on the server, and say whether there may be anything new."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Protocol

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.queries import last_addition
from aperture_dagster.catalogue.rules import check_history_loss, is_great_loss, next_watermark
from aperture_dagster.catalogue.watch_states import (
    Marks,
    PageResult,
    SyncMark,
    copies_of_unmarked,
    items_with_versions,
    marked_items,
    read_mark,
    write_mark,
)
from aperture_dagster.files.private import LOG_OF_PLAYS, write_file
from aperture_dagster.http.errors import NotFound, RequestRejected
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import ItemState, Listing, in_batches, with_content
from aperture_dagster.model import Clock, past
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import database_time

# Since when the household's plays are logged, in a small file in the home.
#
# The days of Top Picks begin with it, and Dagster's definitions must not open the database.


@dataclass(frozen=True, slots=True)
class LogOfPlays:
    """The time of the first play in the log, and when that was first looked up: the time of the installation."""

    first_play: datetime
    noted_at: datetime


def read_log_of_plays(home: Path) -> LogOfPlays | None:
    """Return what is known of the log; None before the first Top Picks, or if the file cannot be read."""
    try:
        content = json.loads((home / LOG_OF_PLAYS).read_text(encoding="utf-8"))
        moments = [datetime.fromisoformat(content[name]) for name in ("first_play", "noted_at")]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return LogOfPlays(*moments) if all(moment.tzinfo is not None for moment in moments) else None


def note_log_of_plays(home: Path, first_play: datetime, *, now: datetime) -> None:
    """Record the time of the first play, unless it is recorded already; ``noted_at`` is never changed.

    Raises:
        FileError: the file cannot be written.
    """
    known = read_log_of_plays(home)
    if known is None or known.first_play != first_play:
        noted_at = now if known is None else known.noted_at
        content = {"first_play": first_play.isoformat(), "noted_at": noted_at.isoformat()}
        write_file(home / LOG_OF_PLAYS, json.dumps(content).encode())


# Servers note a user's activity about once a minute, so the end of a play may be later than what they say.
ACTIVITY_LAG = timedelta(minutes=5)
# Runs of sync_watch_history are this far apart at most, and read whatever is older.
LOOK_BACK = timedelta(hours=2)
# Entries of the log may become visible in another order than that of their dates.
OVERLAP = timedelta(minutes=5)
# A server notes a request of a client within three minutes, and a mark may come with the last one before the next look.
CLIENT_LAG = timedelta(minutes=4)
# Somebody may go on after a pause, of which the log tells nothing.
ASKING_FOR = timedelta(minutes=15)
# Of a look, for marks: the daemon gives up a look after a minute, and plays must not wait for a server that is slow.
SECONDS_FOR_MARKS = 20


class RecordStates(Protocol):
    """What writes a page of a user's states; see :func:`~aperture_dagster.catalogue.watch_states.write_states`."""

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
        believed = bool(found.listed) or not (user.access.all_libraries or user.access.library_ids)
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

        Those that the server does not show to the user any more would keep the mark for ever.
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


def may_have_watched(
    connection: Connection, active_at: dict[str, datetime | None], user_ids: Sequence[str], *, now: datetime
) -> bool:
    """Return whether one of the users may have a history that was not read; ``active_at``: their last activity.

    Titles that are new in the catalogue require a read, since somebody may have watched them before. Marks that another
    program sets for a user who was not active wait for the daily comparison.
    """
    if not any(active_at.values()):
        return True
    added_at = past(last_addition(connection), now)
    for user_id in user_ids:
        mark = read_mark(connection, user_id)
        synced_at, last = past(mark.synced_at, now), active_at.get(user_id)
        if synced_at is None or mark.full_is_due(now):
            return True
        if last is not None and last > synced_at - ACTIVITY_LAG:
            return True
        if added_at is not None and added_at > synced_at:
            return True
    return False


@dataclass(slots=True)
class Seen:
    """What has been seen so far: the cursor of the sensor.

    Attributes:
        until: date of the newest entry of the server's log, by the server's clock.
        entries: the entries from shortly before that on.
        waiting: users who watched or marked something and have no run for it yet, each with what it was.
        active: without a log: each user's last activity, as in :func:`settled`.
        asking: until when somebody may be about, by our clock; None: nobody is.
        clients: for each user the last request of a client, as the server dates it, and until when they may have made
            more since, by our clock.
        marks: for each user how many favourites and likes the last look counted, and how often that has changed.
    """

    until: datetime | None = None
    entries: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    active: dict[str, tuple[str, str]] = field(default_factory=dict)
    asking: datetime | None = None
    clients: dict[str, tuple[str, str]] = field(default_factory=dict)
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None) -> Seen:
        """Read a cursor."""
        given = json.loads(cursor) if cursor else {}
        until, asking = (datetime.fromisoformat(given[one]) if given.get(one) else None for one in ("until", "asking"))
        seen = cls(until, given.get("entries", []), asking=asking)
        for name in OF_USERS:
            setattr(seen, name, given.get(name, {}))
        return seen

    def __str__(self) -> str:
        """Write it as a cursor."""
        moments = {"until": self.until, "asking": self.asking}
        seen = {name: moment.isoformat() if moment else None for name, moment in moments.items()}
        return json.dumps(seen | {"entries": self.entries} | {name: getattr(self, name) for name in OF_USERS})

    def look(self, server: MediaServerReader, *, now: datetime) -> dict[str, datetime] | None:
        """Add those who have watched something since the last look to ``waiting``.

        Returns:
            When users were last active, if the server has no log and had to be asked for that.

        Raises:
            ServiceError: the server does not answer as it should; nothing has changed then.
        """
        # Whatever a wrong clock noted is looked for again, and known by its entry.
        until = past(self.until, now)
        since = max(until or now - LOOK_BACK, now - timedelta(days=1)) - OVERLAP
        activities = server.activities(since)
        if activities is None:
            # Servers note activity every minute while somebody watches.
            active_at = {user.user_id: user.last_activity_at for user in server.users().records}
            states = {user_id: at.isoformat() if at else "" for user_id, at in active_at.items()}
            self.waiting |= settled(self.active, states)
            return {user_id: at for user_id, at in active_at.items() if at is not None}
        news = {name: one for one in activities if (name := f"{one.at.isoformat()} {one.entry}") not in self.entries}
        self.waiting |= {one.user_id: name for name, one in news.items() if one.is_end_of_play}
        if news:
            self.asking = now + ASKING_FOR
        # A date in the future must not hide what follows.
        self.until = max(filter(None, [until, *(past(one.at, now) for one in news.values())]), default=None)
        kept = (self.until or since) - OVERLAP
        known = sorted({*self.entries, *news})
        self.entries = [name for name in known if datetime.fromisoformat(name.partition(" ")[0]) >= kept]
        return None

    def look_at_marks(
        self,
        server: MediaServerReader,
        user_ids: Collection[str],
        *,
        now: datetime,
        active_at: Mapping[str, datetime] | None = None,
    ) -> None:
        """Add users to ``waiting`` who have marked a favourite, liked something, or taken that back.

        No server reports marks, so those of active users are counted; while nobody is active, nothing is requested. The
        first count of a user is not news.

        Args:
            server: the media server.
            user_ids: of those who take part.
            now: by our clock.
            active_at: what :meth:`look` returned.

        Raises:
            ServiceError: the server does not answer as it should; the next look counts those who are left.
        """
        if active_at is None:
            # A clock that was ahead must not have it asked for ever.
            self.asking = min(self.asking, now + ASKING_FOR) if self.asking is not None else None
            if self.asking is None or self.asking < now:
                self.asking = None
                return
            active_at = server.last_requests()
        started, before = monotonic(), self.clients
        self.clients = {}
        for user_id, at in active_at.items():
            known, until = before.get(user_id, ("", ""))
            if at.isoformat() != known:
                until = (now + CLIENT_LAG).isoformat()
                self.asking = now + ASKING_FOR
            self.clients[user_id] = (at.isoformat(), until)
            is_about = now <= datetime.fromisoformat(until) <= now + CLIENT_LAG
            if is_about and user_id in user_ids and monotonic() - started < SECONDS_FOR_MARKS:
                self._count_marks(server, user_id)

    def _count_marks(self, server: MediaServerReader, user_id: str) -> None:
        try:
            counts = "{} favourites, {} likes".format(*server.count_marks(user_id))
        except (NotFound, RequestRejected):
            # They have left since.
            return
        before, changes = self.marks.get(user_id, (counts, 0))
        if counts != before:
            changes += 1
            # The text is different after every change, so that each change gets its own run.
            self.waiting[user_id] = f"{counts} after {changes} changes, {self.clients[user_id][0]}"
        self.marks[user_id] = (counts, changes)


# The parts of the cursor that are by user.
OF_USERS = ("waiting", "active", "clients", "marks")


def settled(known: dict[str, tuple[str, str]], states: Mapping[str, str]) -> dict[str, str]:
    """Return, by user, the change of a state that differs from the one last reported and was the same in the last look.

    ``known`` holds for each user the state that was reported and that of the last look, and is updated. The first look
    reports nobody. A change that is taken back is reported, too, if there was a look in between.
    """
    is_first = not known
    found: dict[str, str] = {}
    for user_id, state in states.items():
        told, last = known.get(user_id, (state if is_first else "", ""))
        if last == state != told:
            found[user_id] = f"{told} {state}"
            told = state
        known[user_id] = (told, state)
    return found
