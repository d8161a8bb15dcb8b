"""Find out who may have watched or marked anything since their history was read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import read_mark
from aperture_dagster.catalogue.queries import last_addition
from aperture_dagster.http.errors import NotFound, RequestRejected
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.model import past

# Servers note a user's activity about once a minute, so the end of a play may be later than what they say.
ACTIVITY_LAG = timedelta(minutes=5)


# Runs of sync_watch_history are this far apart at most, and read whatever is older.
LOOK_BACK = timedelta(hours=2)


# Log entries may become visible out of the order of their dates.
OVERLAP = timedelta(minutes=5)


# A server notes a request of a client within three minutes, and a mark may come with the last one before the next look.
CLIENT_LAG = timedelta(minutes=4)


# Somebody may go on after a pause, of which the log tells nothing.
ASKING_FOR = timedelta(minutes=15)


# Of a look, for marks: the daemon gives up a look after a minute, and plays must not wait for a server that is slow.
SECONDS_FOR_MARKS = 20


def may_have_watched(
    connection: Connection, active_at: dict[str, datetime | None], user_ids: Sequence[str], *, now: datetime
) -> bool:
    """Return whether one of the users may have a history that was not read; ``active_at``: their last activity.

    Titles that are new in the catalogue require a read, since somebody may have watched them before. Marks that another
    program sets for a user who was not active wait for the daily comparison.
    """
    if not any(active_at.values()):
        return True
    added_at = last_addition(connection)
    for user_id in user_ids:
        mark = read_mark(connection, user_id)
        synced_at, last = mark.synced_at, active_at.get(user_id)
        if synced_at is None or mark.full_is_due(now):
            return True
        if last is not None and last > synced_at - ACTIVITY_LAG:
            return True
        if added_at is not None and added_at > synced_at:
            return True
    return False


@dataclass(slots=True)
class PlaysCursor:
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
    def parse(cls, cursor: str | None) -> PlaysCursor:
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

        No server reports marks, so the marks of active users are counted. While nobody is active, nothing is requested.
        A user's first count is not news.

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

    ``known`` maps each user to the state that was last reported and the state at the last look; it is updated. The
    first look reports nobody. A change that is taken back is also reported if there was a look in between.
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
