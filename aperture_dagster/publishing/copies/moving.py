"""Move what users did with published copies to the originals, where the media server does not share it itself."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from aperture_dagster.catalogue.people import User
from aperture_dagster.http.errors import NotFound, RequestRejected, ServiceError
from aperture_dagster.media_server.listing import IDS_PER_QUERY
from aperture_dagster.media_server.records import ItemState
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import database_time, lock_until_commit
from aperture_dagster.publishing.copies.news import as_written, is_same_state, is_tick
from aperture_dagster.publishing.copies.originals import record_states
from aperture_dagster.publishing.copies.subjects import Subject, copies_of_series, due_subjects, shows_series
from aperture_dagster.publishing.disk.forms import shares_history

# A subject has an original and, on average, hardly more than one copy.
SUBJECTS_PER_BATCH = IDS_PER_QUERY // 2


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
            if subject.original_id not in shown or not all(is_same_state(shown[one], found.get(one)) for one in copies):
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
                data = {"Played": True, "LastPlayedDate": as_written(wanted)}
                self._writer.set_user_data(user_id, copy_id, data)
                writes += 1
        except (NotFound, RequestRejected) as error:
            self._log.warning(f"What was watched or marked on a published copy was not taken off it: {error}")
            return False
        return writes > 0
