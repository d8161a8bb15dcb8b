"""Push what the outbox holds to Trakt: what it refused, or does not show afterwards, waits for another attempt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from aperture_dagster.catalogue.people import User
from aperture_dagster.http.errors import RequestRejected, ServiceError, ServicePaused
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model import Clock, elapsed
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.merge import Edit, SyncedRating
from aperture_dagster.ratings.outbox import Waiting, let_wait, note_sending, read_outbox
from aperture_dagster.ratings.synced import WorkIds, read_base, works_to_push
from aperture_dagster.trakt.client import LARGEST_BATCH, Trakt
from aperture_dagster.trakt.errors import AccountFull, UserPaused
from aperture_dagster.trakt.records import TraktIds, TraktRating, TraktTitle

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=2)
# A title that Trakt does not have may be added there some day.
UNKNOWN_WAIT = timedelta(days=30)
NOT_FOUND = "Trakt does not know this title under any id known here; the rating is kept here."
NOT_SHOWN = "Trakt accepted this and does not show it."
UNSEEN = "Trakt accepted this; its list of ratings is not complete, so nobody knows whether it shows it."
UNSURE = "Trakt's list of ratings is not complete, and this one may have changed there."
# Some lists are never complete, which must not keep new ratings from Trakt for good.
UNSURE_FOR = timedelta(days=1)
UNCLEAR = "Trakt lists a title with the ids of several titles here, of which this is one; correct the ids first."
REJECTED = "Trakt rejects this rating."
INVALID = (400, 422)
# So many rejected ratings, and none accepted: something else is wrong.
REJECTED_IN_A_ROW = 5
# What Trakt took and cannot show, and what a full account does not take.
UNSEEN_WAIT = FULL_WAIT = timedelta(days=1)
# Attempts that Trakt accepts and does not show before a rating waits for as long as an unknown title.
UNCONFIRMED_ATTEMPTS = 4


class _Entry(NamedTuple):
    """An entry of the outbox with the ids to push it by: those that identify it best, then others."""

    waiting: Waiting
    media_type: MediaType
    ids: list[TraktIds]

    @property
    def work_id(self) -> int:
        """The work."""
        return self.waiting.work_id


def _entry(waiting: Waiting, work: WorkIds, known: SyncedRating | None) -> _Entry:
    first = TraktIds(tmdb=work.ids.tmdb_id)
    others = TraktIds(imdb=work.ids.imdb_id, tvdb=work.ids.tvdb_id if work.media_type == "series" else None)
    if known is not None and known.trakt_id is not None:
        first, others = TraktIds(trakt=known.trakt_id), replace(others, tmdb=first.tmdb)
    return _Entry(waiting, work.media_type, [ids for ids in (first, others) if ids.known()])


class TraktOutbox:
    """Pushes what a user's outbox holds. The caller reads Trakt before, and again between pushing and confirming.

    Attributes:
        full: why Trakt took no more ratings in the last push; None if it did.
    """

    def __init__(self, database: Database, clock: Clock, user: User, trakt: Trakt) -> None:
        self._database, self._clock = database, clock
        self._user_id, self._trakt = user.user_id, trakt
        self.full: str | None = None
        self._sent: dict[int, Edit] = {}
        self._rejected: dict[int, str] = {}
        self._missing: list[int] = []

    def push(self, *, unclear: Collection[int] = (), unsure: Collection[int] = ()) -> dict[int, Edit]:
        """Push what is due, in batches; return what Trakt did not refuse, by work.

        Args:
            unclear: works that Trakt lists under ids of several works; they wait.
            unsure: works that an incomplete list does not mention. They wait for a complete one: new ratings a day,
                and those that Trakt had already, which may have been removed there, for as long as it takes.
        """
        now, due = self._clock.now(), self._due()
        with self._database.transaction() as connection:
            base, works = read_base(connection, self._user_id), works_to_push(connection, due)
            waits = dict.fromkeys(due.keys() & set(unclear), UNCLEAR)
            for work in due.keys() & (set(unsure) - set(unclear)):
                known = base.get(work)
                # Trakt had the very rating that waits, so that it may have been removed there.
                was_there = known is not None and due[work].rating == known.value
                if was_there or elapsed(due[work].queued_at, now) < UNSURE_FOR:
                    waits[work] = UNSURE
            for work, detail in waits.items():
                let_wait(connection, self._user_id, [work], due_at=now + LONGEST_WAIT, detail=detail)
            entries = [
                _entry(waiting, works[work], base.get(work)) for work, waiting in due.items() if work not in waits
            ]
            # From here on, they may have reached Trakt.
            note_sending(connection, self._user_id, [entry.work_id for entry in entries if entry.ids], now=now)
        self._sent, self._rejected = {}, {}
        self._missing = [entry.work_id for entry in entries if not entry.ids]
        try:
            for is_removal in (True, False):
                chosen = [entry for entry in entries if entry.ids and (entry.waiting.rating is None) == is_removal]
                for start in range(0, len(chosen), LARGEST_BATCH):
                    self._push(chosen[start : start + LARGEST_BATCH], is_removal=is_removal)
        except AccountFull as error:
            self.full = str(error)
        with self._database.transaction() as connection:
            refused = dict.fromkeys(self._missing, NOT_FOUND)
            refused |= {work: f"{REJECTED} {why}" for work, why in self._rejected.items()}
            for work, detail in refused.items():
                due_at = now + UNKNOWN_WAIT
                let_wait(connection, self._user_id, [work], due_at=due_at, detail=detail, attempted_at=now)
            if self.full is not None:
                left = {entry.work_id for entry in entries} - self._sent.keys() - refused.keys()
                let_wait(connection, self._user_id, left, due_at=now + FULL_WAIT, detail=self.full)
        return self._sent

    def _push(self, batch: Sequence[_Entry], *, is_removal: bool) -> None:
        """Push a batch; an entry that Trakt rejects must not keep the others from it."""
        try:
            missing = self._send(batch, turn=0)
            if rest := [entry for entry in batch if entry.work_id in missing and len(entry.ids) > 1]:
                missing -= {entry.work_id for entry in rest} - self._send(rest, turn=1)
        except RequestRejected as error:
            if error.status not in INVALID:
                raise
            if len(batch) > 1:
                half = len(batch) // 2
                self._push(batch[:half], is_removal=is_removal)
                self._push(batch[half:], is_removal=is_removal)
                return
            self._rejected[batch[0].work_id] = str(error)
            if not self._sent and len(self._rejected) >= REJECTED_IN_A_ROW:
                # It is not about these ratings.
                raise
            return
        # A removal that is not found has happened.
        gone = set() if is_removal else missing
        self._sent |= {
            entry.work_id: Edit(entry.waiting.rating, entry.waiting.rated_at)
            for entry in batch
            if entry.work_id not in gone
        }
        self._missing += gone

    def _send(self, batch: Sequence[_Entry], *, turn: int) -> set[int]:
        """Send ratings, or removals, by the ids of a turn; return the works that Trakt did not find."""
        if batch[0].waiting.rating is None:
            titles = [TraktTitle(entry.media_type, entry.ids[turn]) for entry in batch]
            lost: Collection[TraktTitle] = self._trakt.remove_ratings(titles)
        else:
            titles = [
                TraktRating(entry.media_type, entry.ids[turn], entry.waiting.rating, entry.waiting.rated_at)
                for entry in batch
                if entry.waiting.rating is not None
            ]
            lost = self._trakt.push_ratings(titles)
        missing = {(title.media_type, title.ids) for title in lost}
        return {entry.work_id for entry in batch if (entry.media_type, entry.ids[turn]) in missing}

    def confirm(self, sent: Mapping[int, Edit], *, unseen: Collection[int] = ()) -> dict[int, Edit]:
        """Return what no longer waits, since Trakt shows it by now; the rest waits for another attempt.

        ``unseen``: works that an incomplete list does not mention.
        """
        now = self._clock.now()
        with self._database.transaction() as connection:
            left = read_outbox(connection, self._user_id)
            unconfirmed = {
                work for work, waiting in left.items() if Edit(waiting.rating, waiting.rated_at) == sent.get(work)
            }
            for work in unconfirmed:
                attempts = left[work].attempts
                wait = UNKNOWN_WAIT if attempts + 1 >= UNCONFIRMED_ATTEMPTS else _wait(attempts)
                wait, detail = (UNSEEN_WAIT, UNSEEN) if work in unseen else (wait, NOT_SHOWN)
                let_wait(connection, self._user_id, [work], due_at=now + wait, detail=detail, attempted_at=now)
        return {work: edit for work, edit in sent.items() if work not in unconfirmed}

    def wait_after(self, error: Exception) -> None:
        """Let what is due wait after a failure: each time twice as long, or as long as Trakt asks."""
        now, due = self._clock.now(), self._due()
        detail = str(error) if isinstance(error, ServiceError) else f"The last run failed: {type(error).__name__}."
        until = error.resumes_at if isinstance(error, (ServicePaused, UserPaused)) else now
        with self._database.transaction() as connection:
            for work, waiting in due.items():
                due_at = max(until, now + _wait(waiting.attempts))
                let_wait(connection, self._user_id, [work], due_at=due_at, detail=detail, attempted_at=now)

    def _due(self) -> dict[int, Waiting]:
        now = self._clock.now()
        with self._database.transaction() as connection:
            waiting = read_outbox(connection, self._user_id)
        return {work: rating for work, rating in waiting.items() if rating.is_due(now)}


def _wait(attempts: int) -> timedelta:
    return min(FIRST_WAIT * 2 ** min(attempts, 10), LONGEST_WAIT)
