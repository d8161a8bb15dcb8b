"""Move what users did with published copies to the originals, where the media server does not share it itself."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.rules import SAME_POSITION
from aperture_dagster.http.errors import NotFound, RequestRejected, ServiceError
from aperture_dagster.media_server.listing import IDS_PER_QUERY
from aperture_dagster.media_server.records import ItemState
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.model import Clock, past
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import database_time, execute, lock_until_commit
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.publishing.disk.names import shares_history

# State travels one way. A home screen offers whatever has a state, so a title with one on its original and on a copy is
# offered twice. A copy therefore holds nothing for long: what its user did there goes to the original, and is taken off
# the copy once the server shows it on the original. So whatever is found on a copy is news, and nothing needs to be
# remembered about it: a run that was killed at any point is repeated, and ends the same.
#
# The exception are films of Top Picks, which everybody sees whether or not they have seen them: these have a tick, the
# played mark of their original. A tick has the date of the original's play, but no play is counted; a play on the copy
# itself is counted by the server at its start.

LONG_AGO = datetime.min.replace(tzinfo=UTC)
# A subject has an original and, on average, hardly more than one copy.
SUBJECTS_PER_BATCH = IDS_PER_QUERY // 2


class Watched(NamedTuple):
    """How far a user is with a title or episode: finished, or at a position as a share of the runtime (0-1).

    ``at`` is the date of the last play; None if it is not known.
    """

    played: bool
    position: float
    at: datetime | None


def watched(state: ItemState, now: datetime) -> Watched | None:
    """Return how far a user is with an item, by the state that the server reported; None if it was not watched.

    What has a position is in progress, whether or not an earlier play left its mark. A date in the future is that of a
    wrong clock, and would win over every later play. Servers mark a file of unknown length as played when it is
    started.
    """
    at = past(state.last_played_at, now)
    if state.position_share > 0:
        return Watched(False, state.position_share, at)
    if state.played and state.has_runtime:
        return Watched(True, 0.0, at)
    return None


def is_news(copy: Watched, original: Watched | None) -> bool:
    """Return whether what was watched on a copy is to be written to the original.

    The later play wins. Of plays with one date, or where one has no date, the one that is further wins: a client may go
    on after its play was moved, and reports no new date then.
    """
    if original is None:
        return True
    if copy.at is not None and copy.at != original.at:
        return copy.at > (original.at or LONG_AGO)
    return (copy.played, copy.position) > (original.played, original.position + SAME_POSITION)


def is_tick(state: ItemState) -> bool:
    """Return whether the state of a copy is the tick that this module sets."""
    return state.played and not state.play_count and not state.position_share and state.last_played_at is not None


def play_to_write(original: ItemState, copies: Iterable[ItemState], *, now: datetime) -> dict[str, Any]:
    """Return the user data to write to an original for what was watched on its copies, in the fields of Jellyfin.

    Empty if the original has the latest.
    """
    played = [(one, play) for one in copies if not is_tick(one) and (play := watched(one, now)) is not None]
    if not played:
        return {}
    source, latest = max(played, key=lambda pair: (pair[1].at or LONG_AGO, pair[1].played, pair[1].position))
    before = watched(original, now)
    if not is_news(latest, before):
        return {}
    if latest.played:
        # Without a date it may be the same play.
        is_repeated = before is not None and before.played and before.at is not None and latest.at is not None
        count = max(1, source.play_count, original.play_count + is_repeated)
        data: dict[str, Any] = {"Played": True, "PlayCount": count, "PlaybackPositionTicks": 0}
    else:
        # An earlier play stays marked.
        data = {"PlaybackPositionTicks": source.position_ticks}
    if latest.at is not None:
        data["LastPlayedDate"] = _date(latest.at)
    return data


def opinion_to_write(original: ItemState, copies: Sequence[ItemState]) -> dict[str, Any]:
    """Return the user data to write to an original for what its user thinks of it by marks on the copies.

    A copy without a mark says nothing. A rating there was given last, and one on the original was given before it; of
    several copies with a rating, the best one counts.
    """
    data: dict[str, Any] = {}
    if not original.favorite and any(one.favorite for one in copies):
        data["IsFavorite"] = True
    rating = max((one.rating or 0.0 for one in copies), default=0.0)
    if rating and rating != original.rating:
        data["Rating"] = rating
    return data


def _date(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _is_same(state: ItemState, other: ItemState | None) -> bool:
    """Return whether a copy has the same state as before, in all that can be moved."""
    return other is not None and all(
        getattr(state, name) == getattr(other, name)
        for name in ("played", "play_count", "position_ticks", "last_played_at", "favorite", "rating")
    )


@dataclass(slots=True)
class Subject:
    """A title or episode: its original, and the copies that a user may see, by their ids on the server.

    ``ticked`` are the copies that have a tick when the original is played, ``known`` the ids of which a state is
    stored.
    """

    original_id: str
    copies: list[str] = field(default_factory=list)
    ticked: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)

    @property
    def ids(self) -> list[str]:
        """The ids of the original and its copies."""
        return [self.original_id, *self.copies]

    def to_write(self, found: Mapping[str, ItemState], now: datetime) -> dict[str, Any]:
        """Return what to write to the original, given the states that the server shows."""
        original, copies = found[self.original_id], [found[one] for one in self.copies if one in found]
        return play_to_write(original, copies, now=now) | opinion_to_write(original, copies)


class StateMover:
    """Moves what a user did with published copies to the originals, and keeps the ticks of Top Picks.

    The order is: write to the original, see it there, take it off the copy. What a client is playing at that moment is
    left alone.
    """

    def __init__(self, database: Database, clock: Clock, writer: MediaServerWriter, log: logging.Logger) -> None:
        self._database, self._clock, self._writer, self._log = database, clock, writer, log
        self._reader = writer.reader

    def move(self, user_id: str, *, leaving: Collection[str] | None = None) -> int:
        """Move what a user did with copies; return the number of originals written.

        Args:
            user_id: of the user.
            leaving: only of these copies, by their ids on the server, which are about to disappear: also what is being
                played on them.

        Raises:
            ServiceError: the server cannot be used. What was written until then stays, and the next call goes on.
        """
        if self._writer.dry_run or shares_history(self._writer.product, self._writer.version):
            return 0
        offered = self._offered(user_id) if leaving is None else frozenset()
        if not self._due(user_id, leaving, offered):
            return 0
        with self._database.transaction() as guard:
            # With other transactions inside: whoever has another lock must not take this one.
            lock_until_commit(guard, f"moved states:{user_id}")
            due = self._due(user_id, leaving, offered)
            batches = (due[start : start + SUBJECTS_PER_BATCH] for start in range(0, len(due), SUBJECTS_PER_BATCH))
            return sum(self._move(user_id, batch, is_last=leaving is not None) for batch in batches)

    def move_or_warn(self, user: User) -> int:
        """Move what a user did as :meth:`move` does, or log why that has to wait for the next time."""
        try:
            return self.move(user.user_id)
        except ServiceError as error:
            self._log.warning(
                f"What {user.name} watched or marked on published copies could not be moved to the originals; the next "
                f"sync goes on. {error}"
            )
            return 0

    def _offered(self, user_id: str) -> frozenset[str]:
        """Return the copies of episodes of series that the user's home screen offers next.

        An episode that was hardly begun has nothing but a date, by which no list finds it.
        """
        with self._database.transaction() as connection:
            if not shows_series(connection, user_id):
                return frozenset()
        offered = self._reader.next_up(user_id)
        with self._database.transaction() as connection:
            return frozenset(copies_of_series(connection, offered))

    def _due(self, user_id: str, leaving: Collection[str] | None, offered: Collection[str]) -> list[Subject]:
        with self._database.transaction() as connection:
            return due_subjects(connection, user_id, leaving=leaving, also=offered)

    def _move(self, user_id: str, subjects: Sequence[Subject], *, is_last: bool) -> int:
        """Move the states of some subjects; ``is_last``: the copies disappear next."""
        now = self._clock.now()
        found = self._read(user_id, subjects)
        playing = frozenset() if is_last else self._playing(user_id)
        moving: list[Subject] = []
        written = 0
        for subject in subjects:
            if subject.original_id not in found or playing.intersection(subject.ids):
                continue
            data = subject.to_write(found, now)
            if data:
                written += self._write(user_id, subject.original_id, data)
            moving.append(subject)
        shown = self._read(user_id, moving) if moving else {}
        playing = self._playing(user_id) if moving else frozenset()
        unconfirmed = 0
        touched: list[Subject] = []
        for subject in moving:
            copies = [one for one in subject.copies if one in shown]
            if subject.original_id not in shown or not all(_is_same(shown[one], found.get(one)) for one in copies):
                # Somebody goes on with it: the next look decides.
                continue
            copies = [one for one in copies if one not in playing]
            if subject.to_write(shown, now):
                unconfirmed += 1
                continue
            original = shown[subject.original_id]
            done = [self._clear(user_id, shown[one], original, tick=one in subject.ticked) for one in copies]
            if any(done):
                touched.append(subject)
        if unconfirmed:
            self._log.warning(
                f"{self._reader.product} does not show the state that was written to {unconfirmed} titles and "
                "episodes. Use an API key of the dashboard, not the token of a user."
            )
        if touched:
            self._read(user_id, touched)
        return written

    def _playing(self, user_id: str) -> frozenset[str]:
        return frozenset(item_id for viewer, item_id in self._reader.playing() if viewer == user_id)

    def _read(self, user_id: str, subjects: Iterable[Subject]) -> dict[str, ItemState]:
        """Return the states of subjects as the server has them now, and store them."""
        known = {one for subject in subjects for one in subject.known}
        ids = [one for subject in subjects for one in subject.ids]
        with self._database.transaction() as connection:
            started_at = database_time(connection)
        found = {one.server_item_id: one for page in self._reader.states_of(user_id, ids) for one in page}
        told = [one for one in found.values() if one.has_content or one.server_item_id in known]
        with self._database.transaction() as connection:
            record_states(connection, user_id, told, now=self._clock.now(), requested_at=started_at)
        for subject in subjects:
            subject.known.update(one.server_item_id for one in told if one.server_item_id in subject.ids)
        return found

    def _write(self, user_id: str, item_id: str, data: Mapping[str, Any]) -> bool:
        try:
            self._writer.set_user_data(user_id, item_id, data)
        except (NotFound, RequestRejected) as error:
            # The user or the item may be gone since they were read.
            self._log.warning(
                f"What was watched or marked on a published copy was not written to its original: {error}"
            )
            return False
        return True

    def _clear(self, user_id: str, copy: ItemState, original: ItemState, *, tick: bool) -> bool:
        """Take off a copy what the original has now, and set or remove its tick; return whether anything was written.

        Args:
            user_id: of the user.
            copy: its state.
            original: the original's.
            tick: whether the copy has a tick if the original is played.
        """
        copy_id = copy.server_item_id
        wanted = original.last_played_at if tick and original.played else None
        has_tick, writes = is_tick(copy), 0
        try:
            if copy.favorite:
                self._writer.set_user_data(user_id, copy_id, {"IsFavorite": False})
                writes += 1
            if copy.rating:
                self._writer.set_rating(user_id, copy_id, None)
                writes += 1
            if (copy.was_started or copy.last_played_at is not None) and not (has_tick and wanted is not None):
                self._writer.forget_play(user_id, copy_id)
                has_tick, writes = False, writes + 1
            if wanted is not None and not has_tick:
                data = {"Played": True, "LastPlayedDate": _date(wanted)}
                self._writer.set_user_data(user_id, copy_id, data)
                writes += 1
        except (NotFound, RequestRejected) as error:
            self._log.warning(f"What was watched or marked on a published copy was not taken off it: {error}")
            return False
        return writes > 0


def shows_series(connection: Connection, user_id: str) -> bool:
    """Return whether a user sees published series on the home screen: those of Shows You Watch are kept out of it."""
    statement = """
        SELECT EXISTS (SELECT 1 FROM published_libraries WHERE media_type = 'series'
        AND (user_id IS NULL OR user_id = :user) AND list_key NOT LIKE 'shows_you_watch/%')"""
    return bool(execute(connection, statement, user=user_id).scalar())


def copies_of_series(connection: Connection, offered: Collection[str]) -> list[str]:
    """Return the ids of all published episodes of the series in the lists to which some of these episodes belong."""
    statement = """
        SELECT DISTINCT p.server_item_id FROM published_copies n
        JOIN item_versions nv USING (server_item_id) JOIN episodes ne ON ne.item_id = nv.primary_item_id
        JOIN published_copies p ON p.list_key = n.list_key JOIN item_versions v ON v.server_item_id = p.server_item_id
        JOIN episodes e ON e.item_id = v.primary_item_id AND e.work_id = ne.work_id
        WHERE n.server_item_id = ANY(:offered)"""
    return list(execute(connection, statement, offered=list(offered)).scalars())


def due_subjects(
    connection: Connection, user_id: str, *, leaving: Collection[str] | None = None, also: Collection[str] = ()
) -> list[Subject]:
    """List the titles and episodes of which a copy has a state that it should not have, as far as is known.

    Args:
        connection: to the database.
        user_id: of the user.
        leaving: only those with one of these copies.
        also: copies that may have more than is known.
    """
    statement = """
        SELECT v.primary_item_id AS item, p.server_item_id AS copy_id,
          coalesce(t.server_item_id, e.server_item_id) AS original_id,
          t.media_type = 'movie' AND p.list_key LIKE 'top_picks/%' AS keeps_tick,
          o.item_id IS NOT NULL AS has_original,
          coalesce(o.played AND o.last_played_at IS NOT NULL, false) AS is_played,
          c.item_id IS NOT NULL AS has_copy,
          coalesce(c.played AND c.play_count = 0 AND c.position_share = 0 AND c.last_played_at IS NOT NULL, false)
            AS is_tick,
          coalesce(c.played OR c.play_count > 0 OR c.position_share > 0 OR c.last_played_at IS NOT NULL, false)
            AS has_play,
          coalesce(c.favorite, false) OR EXISTS (SELECT 1 FROM ratings r WHERE r.user_id = :user
            AND r.source = 'server' AND r.item_id = v.item_id AND r.rating > 0) AS has_opinion
        FROM published_copies p JOIN published_libraries l USING (list_key)
        JOIN item_versions v ON v.server_item_id = p.server_item_id AND v.is_published
        LEFT JOIN present_titles t ON t.item_id = v.primary_item_id
        LEFT JOIN present_episodes e ON e.item_id = v.primary_item_id
        LEFT JOIN watch_state o ON o.user_id = :user AND o.item_id = v.primary_item_id
        LEFT JOIN watch_state c ON c.user_id = :user AND c.item_id = v.item_id
        WHERE (l.user_id IS NULL OR l.user_id = :user) AND coalesce(t.server_item_id, e.server_item_id) IS NOT NULL
        AND (o.item_id IS NOT NULL OR c.item_id IS NOT NULL OR p.server_item_id = ANY(:also)) ORDER BY 1, 2"""
    subjects: dict[int, Subject] = {}
    due: set[int] = set()
    for row in execute(connection, statement, user=user_id, also=list(also)):
        subject = subjects.setdefault(row.item, Subject(row.original_id))
        subject.copies.append(row.copy_id)
        subject.known |= {row.original_id} if row.has_original else set()
        subject.known |= {row.copy_id} if row.has_copy else set()
        if row.keeps_tick:
            subject.ticked.add(row.copy_id)
        has_tick = row.keeps_tick and row.is_tick
        is_marked = row.has_opinion or (row.has_play and not has_tick)
        lacks_tick = row.keeps_tick and row.is_played != row.is_tick
        if is_marked or lacks_tick or row.copy_id in also:
            due.add(row.item)
    if leaving is not None:
        due = {one for one in due if not set(leaving).isdisjoint(subjects[one].copies)}
    return [subject for item, subject in subjects.items() if item in due]
