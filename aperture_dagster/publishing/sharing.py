"""Share what users watched between originals and published copies, where the media server does not do so itself."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

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
from aperture_dagster.publishing.copies import record_states
from aperture_dagster.publishing.names import shares_history

# One watch state for an original and its published copies: which of them has the latest, and what the others lack.
#
# The later play wins, so that no play is undone by an older state. A mark that a user takes back has no date; it counts
# if the original had it when all of them last agreed. On a copy, it cannot be told from a state that the server lost
# with the copy, so there it changes nothing but the copy. A copy that returns to a list has the state that it had
# when it left, since servers keep that. It is no news: the marks may have been taken back on the original meanwhile.


Part = TypeVar("Part", "Watched | None", bool)
LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Watched(NamedTuple):
    """How far a user is with a title or episode: finished, or at a position as a share of the runtime (0-1).

    ``at`` is the date of the last play; None if it is not known.
    """

    played: bool
    position: float
    at: datetime | None


class WatchState(NamedTuple):
    """A user's state of an item; ``watched`` is None if it was neither finished nor begun."""

    watched: Watched | None = None
    favorite: bool = False

    def agrees(self, other: WatchState) -> bool:
        """Return whether two states are the same, but for the rounding of positions."""
        return _same(self.watched, other.watched) and self.favorite == other.favorite


NOTHING = WatchState()


def state_of(state: ItemState, now: datetime) -> WatchState:
    """Return what is shared of a state that the server reported.

    What has a position is in progress, whether or not an earlier play left its mark. A date in the future is that of a
    wrong clock, and would win over every later play. Servers mark a file of unknown length as played when it is
    started.
    """
    at = past(state.last_played_at, now)
    watched = None
    if state.position_share > 0:
        watched = Watched(False, state.position_share, at)
    elif state.played and state.has_runtime:
        watched = Watched(True, 0.0, at)
    return WatchState(watched, state.favorite)


class Pending(NamedTuple):
    """States that an original and a copy were about to have, and which of the two was to be written."""

    original: WatchState
    copy: WatchState
    to_original: bool
    to_copy: bool


class Copy(NamedTuple):
    """A published copy. ``agreed`` are the states of the original and of the copy when they last agreed, if ever.

    ``left`` is the state in which it left its list, if it has returned, and has not agreed with the original since.
    """

    state: WatchState
    agreed: tuple[WatchState, WatchState] | None
    left: WatchState = NOTHING


def agreement(
    original: WatchState,
    copy: WatchState,
    agreed: tuple[WatchState, WatchState] | None,
    pending: Pending | None,
) -> tuple[WatchState, WatchState] | None:
    """Return in which states an original and a copy last agreed, given what is known of a run that was interrupted.

    What it was writing counts if it is there: it is not news from the user. Otherwise it is decided again.
    """
    if pending is None:
        return agreed
    is_there = (not pending.to_original or original.agrees(pending.original)) and (
        not pending.to_copy or copy.agrees(pending.copy)
    )
    return (pending.original, pending.copy) if is_there else agreed


def settle(original: WatchState, copies: Sequence[Copy]) -> tuple[WatchState, list[WatchState]]:
    """Return the states that an original and its copies should have."""
    watched, of_copies = _settle(
        original.watched,
        [
            (one.state.watched, one.agreed and (one.agreed[0].watched, one.agreed[1].watched), one.left.watched)
            for one in copies
        ],
        _wins,
    )
    favorite, favorites = _settle(
        original.favorite,
        [
            (one.state.favorite, one.agreed and (one.agreed[0].favorite, one.agreed[1].favorite), one.left.favorite)
            for one in copies
        ],
        lambda *_: True,
    )
    return WatchState(watched, favorite), list(map(WatchState, of_copies, favorites))


def _settle(
    original: Part,
    copies: Sequence[tuple[Part, tuple[Part, Part] | None, Part]],
    wins: Callable[[Part, Part, bool], bool],
) -> tuple[Part, list[Part]]:
    """Settle one part of the states.

    ``wins`` gets the news of a copy, what it is up against, and whether nothing but this copy has news.
    """
    newest = original
    for value, agreed, left in copies:
        if not value or _same(value, left if agreed is None else agreed[1]):
            continue
        is_alone = agreed is not None and newest is original and _same(original, agreed[0])
        if wins(value, newest, is_alone):
            newest = value
    wanted: list[Part] = []
    for value, agreed, _ in copies:
        is_due = agreed is None or not _same(newest, agreed[0]) or (bool(value) and not _same(value, agreed[1]))
        wanted.append(newest if is_due else value)
    return newest, wanted


def _wins(one: Watched | None, other: Watched | None, is_alone: bool) -> bool:
    if one is None or other is None:
        return one is not None
    date, latest = one.at or LONG_AGO, other.at or LONG_AGO
    if date != latest:
        return date > latest
    # A play has the date of its start, so it goes on, or back, under the same date.
    return is_alone or (one.played, one.position) > (other.played, other.position)


def _same(one: Watched | bool | None, other: Watched | bool | None) -> bool:
    if isinstance(one, Watched) and isinstance(other, Watched):
        near = abs(one.position - other.position) <= SAME_POSITION
        return near and (one.played, one.at) == (other.played, other.at)
    return one == other


def changes(current: ItemState, lacks: WatchState, source: ItemState, *, now: datetime) -> dict[str, Any]:
    """Return the user data to write to an item, in the fields of Jellyfin; empty if there is nothing to write.

    Args:
        current: the item's state.
        lacks: the state that it should have.
        source: the state that ``lacks`` is that of, which has what the server needs besides.
        now: the time.
    """
    before, after = state_of(current, now), lacks.watched
    data: dict[str, Any] = {}
    if not _same(before.watched, after):
        if after is None:
            data |= {"Played": False, "PlayCount": 0, "PlaybackPositionTicks": 0}
        elif after.played:
            # Without a date it may be the same play, shared while this clock was behind the server's.
            is_repeated = before.watched is not None and before.watched.played and before.watched.at is not None
            count = max(1, source.play_count, current.play_count + is_repeated)
            data |= {"Played": True, "PlayCount": count, "PlaybackPositionTicks": 0}
        elif source.position_ticks:
            # An earlier play stays marked.
            data["PlaybackPositionTicks"] = source.position_ticks
        if data and after is not None and after.at is not None:
            data["LastPlayedDate"] = f"{after.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    if before.favorite != lacks.favorite:
        data["IsFavorite"] = lacks.favorite
    return data


# A subject has an original and, on average, hardly more than one copy.
SUBJECTS_PER_BATCH = IDS_PER_QUERY // 2


class Pair(NamedTuple):
    """An original and one of its copies, with their ids on the server.

    ``known`` are the ids of which a state is stored. ``agreed`` and ``pending`` are those of :func:`agreement`,
    ``left`` is that of :class:`Copy`.
    """

    original_id: str
    copy_id: str
    known: frozenset[str]
    agreed: tuple[WatchState, WatchState] | None
    pending: Pending | None
    left: WatchState


@dataclass(slots=True)
class Subject:
    """A title or episode: its original, and the copies that a user may see."""

    original_id: str
    pairs: list[Pair] = field(default_factory=list)


class WatchStateSharing:
    """Gives originals and published copies the same watch state.

    Played, position, date of the last play, and favourite go in both directions, to whichever has the older one. What
    is about to be written is recorded first, so that a run that is killed at any point is continued by the next one.
    Nobody counts as active through this.
    """

    def __init__(self, database: Database, clock: Clock, writer: MediaServerWriter, log: logging.Logger) -> None:
        self._database, self._clock, self._writer, self._log = database, clock, writer, log

    def share(self, user_id: str, *, copies: Collection[str] | None = None) -> int:
        """Share what a user watched, as far as the stored states differ; return the number of states written.

        Args:
            user_id: of the user.
            copies: only of these copies, by their ids on the server.

        Raises:
            ServiceError: the server cannot be used. What was written until then stays, and the next call goes on.
        """
        if self._writer.dry_run or not self._due(user_id, copies):
            return 0
        if shares_history(self._writer.product, self._writer.version):
            return 0
        with self._database.transaction() as guard:
            # With other transactions inside: whoever has another lock must not take this one.
            lock_until_commit(guard, f"shared states:{user_id}")
            due = self._due(user_id, copies)
            batches = (due[start : start + SUBJECTS_PER_BATCH] for start in range(0, len(due), SUBJECTS_PER_BATCH))
            return sum(self._share(user_id, batch) for batch in batches)

    def share_or_warn(self, user: User) -> int:
        """Share what a user watched as :meth:`share` does, or log why that has to wait for the next time."""
        try:
            return self.share(user.user_id)
        except ServiceError as error:
            self._log.warning(
                f"What {user.name} watched could not be shared between originals and published copies; the next sync "
                f"goes on. {error}"
            )
            return 0

    def _due(self, user_id: str, copies: Collection[str] | None) -> list[Subject]:
        with self._database.transaction() as connection:
            return due_subjects(connection, user_id, copies, now=self._clock.now())

    def _share(self, user_id: str, subjects: Sequence[Subject]) -> int:
        """Read the states of some subjects, write what differs, and record what they have in common then."""
        found = self._read(user_id, subjects)
        shown = [pairs for subject in subjects if (pairs := self._shown(subject, found))]
        wanted: dict[str, WatchState] = {}
        writes: dict[str, dict[str, Any]] = {}
        pending: list[dict[str, Any]] = []
        for pairs in shown:
            states = self._wanted(pairs, found)
            for item_id, state in states.items():
                data = changes(found[item_id], state, self._source(states, found, state), now=self._clock.now())
                if data:
                    wanted[item_id], writes[item_id] = state, data
            for one in pairs:
                to = [one.original_id in writes, one.copy_id in writes]
                if any(to):
                    states_of_both = [_stored(states[one.original_id]), _stored(states[one.copy_id])]
                    pending.append(_row(one) | {"pending": [*states_of_both, *to]})
        self._record(user_id, pending)
        written = sum(self._write(user_id, item_id, data) for item_id, data in writes.items())
        if writes:
            found = self._read(user_id, subjects)
            self._warn_of_others(found, wanted)
        rows = [
            _row(one) | {"original": self._stored(found, one.original_id), "copy": self._stored(found, one.copy_id)}
            for pairs in shown
            for one in pairs
            if one.original_id in found and one.copy_id in found
        ]
        self._record(user_id, rows)
        return written

    def _read(self, user_id: str, subjects: Iterable[Subject]) -> dict[str, ItemState]:
        """Return the states of subjects as the server has them now, and store them."""
        known = {one for subject in subjects for pair in subject.pairs for one in pair.known}
        ids = [one for subject in subjects for one in (subject.original_id, *(pair.copy_id for pair in subject.pairs))]
        with self._database.transaction() as connection:
            started_at = database_time(connection)
        found = {one.server_item_id: one for page in self._writer.reader.states_of(user_id, ids) for one in page}
        told = [one for one in found.values() if one.has_content or one.server_item_id in known]
        with self._database.transaction() as connection:
            record_states(connection, user_id, told, now=self._clock.now(), requested_at=started_at)
        return found

    def _shown(self, subject: Subject, found: Mapping[str, ItemState]) -> list[Pair]:
        """Return the pairs of a subject that the user sees, with what they last agreed on."""
        if subject.original_id not in found:
            return []
        now = self._clock.now()
        original = state_of(found[subject.original_id], now)
        return [
            one._replace(agreed=agreement(original, state_of(found[one.copy_id], now), one.agreed, one.pending))
            for one in subject.pairs
            if one.copy_id in found
        ]

    def _wanted(self, pairs: Sequence[Pair], found: Mapping[str, ItemState]) -> dict[str, WatchState]:
        """Return the states that an original and its copies should have, by id."""
        now = self._clock.now()
        original_id = pairs[0].original_id
        copies = [Copy(state_of(found[one.copy_id], now), one.agreed, one.left) for one in pairs]
        newest, of_copies = settle(state_of(found[original_id], now), copies)
        return {original_id: newest} | dict(zip((one.copy_id for one in pairs), of_copies, strict=True))

    def _source(
        self, states: Mapping[str, WatchState], found: Mapping[str, ItemState], wanted: WatchState
    ) -> ItemState:
        """Return the state that a wanted one is that of."""
        now = self._clock.now()
        shown = (found[one] for one in states)
        return next(one for one in shown if state_of(one, now).watched == wanted.watched)

    def _write(self, user_id: str, item_id: str, data: Mapping[str, Any]) -> bool:
        try:
            self._writer.set_user_data(user_id, item_id, data)
        except (NotFound, RequestRejected) as error:
            # The user or the item may be gone since they were read.
            self._log.warning(f"What was watched on a copy or an original was not written to the other one: {error}")
            return False
        return True

    def _warn_of_others(self, found: Mapping[str, ItemState], written: Mapping[str, WatchState]) -> None:
        """Warn if the server shows something else than what was written."""
        now = self._clock.now()
        others = [one for one, state in written.items() if one in found and not state_of(found[one], now).agrees(state)]
        if others:
            self._log.warning(
                f"{self._writer.reader.product} does not show the watch state that was written to {len(others)} titles "
                "and episodes. Use an API key of the dashboard, not the token of a user."
            )

    def _stored(self, found: Mapping[str, ItemState], item_id: str) -> list[Any]:
        return _stored(state_of(found[item_id], self._clock.now()))

    def _record(self, user_id: str, rows: Sequence[dict[str, Any]]) -> None:
        with self._database.transaction() as connection:
            write_shared(connection, user_id, rows)


def due_subjects(
    connection: Connection, user_id: str, copies: Collection[str] | None, *, now: datetime
) -> list[Subject]:
    """List the titles and episodes whose original and copies differ from what they last agreed on, as far as is known.

    ``copies``: only those with one of these copies.
    """
    statement = """
        SELECT v.primary_item_id AS item, p.server_item_id AS copy_id,
        coalesce(t.server_item_id, e.server_item_id) AS original_id,
        o.item_id IS NOT NULL AS has_original, o.played, o.position_share, o.last_played_at, o.favorite,
        c.item_id IS NOT NULL AS has_copy, c.played, c.position_share, c.last_played_at, c.favorite,
        s.original, s.copy, s.pending
        FROM published_copies p JOIN published_libraries l USING (list_key)
        JOIN item_versions v ON v.server_item_id = p.server_item_id AND v.is_published
        LEFT JOIN present_titles t ON t.item_id = v.primary_item_id
        LEFT JOIN present_episodes e ON e.item_id = v.primary_item_id
        LEFT JOIN watch_state o ON o.user_id = :user AND o.item_id = v.primary_item_id
        LEFT JOIN watch_state c ON c.user_id = :user AND c.item_id = v.item_id
        LEFT JOIN shared_states s ON s.user_id = :user AND s.copy_id = p.server_item_id
          AND s.original_id = coalesce(t.server_item_id, e.server_item_id)
        WHERE (l.user_id IS NULL OR l.user_id = :user) AND coalesce(t.server_item_id, e.server_item_id) IS NOT NULL
        AND (o.item_id IS NOT NULL OR c.item_id IS NOT NULL OR s.copy_id IS NOT NULL) ORDER BY 1, 2"""
    subjects: dict[int, Subject] = {}
    due: set[int] = set()
    for item, copy_id, original_id, has_original, *rest in execute(connection, statement, user=user_id):
        of_original, has_copy, of_copy, record = rest[:4], rest[4], rest[5:9], rest[9:]
        original = _known(of_original, now) if has_original else NOTHING
        copy = _known(of_copy, now) if has_copy else NOTHING
        left = _read_stored(record[1]) if record[1] is not None else NOTHING
        agreed = (_read_stored(record[0]), left) if record[0] is not None else None
        pending = record[2] and Pending(_read_stored(record[2][0]), _read_stored(record[2][1]), *record[2][2:])
        known = frozenset([original_id] * has_original + [copy_id] * has_copy)
        subject = subjects.setdefault(item, Subject(original_id))
        subject.pairs.append(Pair(original_id, copy_id, known, agreed, pending, left))
        last = agreed or (NOTHING, NOTHING)
        if pending or not (original.agrees(last[0]) and copy.agrees(last[1])):
            due.add(item)
    if copies is not None:
        wanted = set(copies)
        due = {one for one in due if any(pair.copy_id in wanted for pair in subjects[one].pairs)}
    return [subject for item, subject in subjects.items() if item in due]


def _known(row: Sequence[Any], now: datetime) -> WatchState:
    played, position, at, favorite = row
    return state_of(ItemState("", played=played, position_share=position, last_played_at=at, favorite=favorite), now)


def _row(pair: Pair) -> dict[str, Any]:
    """Return the record of a pair as it is, with nothing that is being written."""
    original, copy = pair.agreed or (None, pair.left)
    return {
        "copy_id": pair.copy_id,
        "original_id": pair.original_id,
        "original": _stored(original) if original is not None else None,
        "copy": _stored(copy),
        "pending": None,
    }


def _stored(state: WatchState) -> list[Any]:
    played, position, at = state.watched or (False, 0.0, None)
    return [played, round(position, 4), at.isoformat() if at is not None else None, state.favorite]


def _read_stored(stored: Sequence[Any]) -> WatchState:
    played, position, at, favorite = stored
    moment = datetime.fromisoformat(at) if at is not None else None
    return WatchState(Watched(played, position, moment) if played or position else None, favorite)


def write_shared(connection: Connection, user_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record what originals and copies have in common; those of copies that are leaving are left out."""
    statement = """
        INSERT INTO shared_states AS old (user_id, copy_id, original_id, original, copy, pending)
        SELECT :user, r.copy_id, r.original_id, nullif(r.original, 'null'), nullif(r.copy, 'null'),
        nullif(r.pending, 'null') FROM jsonb_to_recordset(CAST(:rows AS jsonb))
          AS r (copy_id text, original_id text, original jsonb, copy jsonb, pending jsonb)
        JOIN (SELECT server_item_id FROM published_copies WHERE server_item_id = ANY(:ids) FOR KEY SHARE) p
          ON p.server_item_id = r.copy_id ORDER BY r.copy_id
        ON CONFLICT (user_id, copy_id) DO UPDATE SET original_id = excluded.original_id, original = excluded.original,
        copy = excluded.copy, pending = excluded.pending"""
    if rows:
        ids = [row["copy_id"] for row in rows]
        execute(connection, statement, user=user_id, rows=json.dumps(list(rows)), ids=ids)
