"""The outbox of one user: pushes ratings to Trakt, and lets those wait that it refused, or does not show afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from aperture_dagster.library.moments import elapsed
from aperture_dagster.library.people import User
from aperture_dagster.ratings.errors import AccountFull, UserPaused
from aperture_dagster.ratings.merge import Edit, SyncedRating
from aperture_dagster.ratings.records import RatingsList, TraktIds, TraktRating, TraktTitle, WriteResult
from aperture_dagster.ratings.synced import (
    Waiting,
    WorkIds,
    note_attempt,
    note_sending,
    postpone,
    read_base,
    read_outbox,
    works_to_push,
)
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import RequestRejected, ServiceError, ServicePaused
from aperture_dagster.resources.media_server.records import MediaType

BATCH = 100
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=2)
# A title that Trakt does not have may be added there some day.
PARKED_FOR = timedelta(days=30)
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
# Attempts that Trakt accepts and does not show before a rating is parked.
UNCONFIRMED_ATTEMPTS = 4


class RatingsClient(Protocol):
    """What is needed of Trakt: see :class:`aperture_dagster.ratings.client.Trakt`."""

    def last_activities(self) -> dict[MediaType, str]:
        """Request when ratings last changed."""
        ...

    def ratings(self, media_type: MediaType) -> RatingsList:
        """Request all ratings of a media type."""
        ...

    def push_ratings(self, batch: Sequence[TraktRating]) -> WriteResult[TraktRating]:
        """Set ratings."""
        ...

    def remove_ratings(self, batch: Sequence[TraktTitle]) -> WriteResult[TraktTitle]:
        """Remove ratings."""
        ...


class _Entry:
    """An entry of the outbox with the ids to push it by: those that identify it best, then others."""

    def __init__(self, waiting: Waiting, work: WorkIds, known: SyncedRating | None) -> None:
        self.work_id, self.waiting = waiting.work_id, waiting
        self.media_type: MediaType = work.media_type
        ids = work.ids
        first = TraktIds(tmdb=ids.tmdb_id)
        others = TraktIds(imdb=ids.imdb_id, tvdb=ids.tvdb_id if work.media_type == "series" else None)
        if known is not None and known.trakt_id is not None:
            first, others = (
                TraktIds(trakt=known.trakt_id),
                TraktIds(imdb=others.imdb, tmdb=first.tmdb, tvdb=others.tvdb),
            )
        self.ids = [one for one in (first, others) if one.known()]

    @property
    def edit(self) -> Edit:
        return Edit(self.waiting.rating, self.waiting.rated_at)


class TraktOutbox:
    """Pushes what a user's outbox holds. The caller reads Trakt before, and again between pushing and confirming.

    Args:
        database: the product's.
        clock: the time.
        user: whose ratings.
        trakt: a client of that user.

    Attributes:
        full: why Trakt took no more ratings in the last push; None if it did.
    """

    def __init__(self, database: Database, clock: Clock, user: User, trakt: RatingsClient) -> None:
        self._database, self._clock = database, clock
        self._user_id, self._trakt = user.user_id, trakt
        self.full: str | None = None
        self._sent: dict[int, Edit] = {}
        self._rejected: dict[int, str] = {}
        self._missing: list[int] = []

    def is_uncertain(self) -> bool:
        """Return whether something is due that may have been pushed already, which activities need not show."""
        return any(one.attempted_at is not None for one in self._due().values())

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
            held = {
                UNCLEAR: due.keys() & set(unclear),
                UNSURE: {
                    work
                    for work in due.keys() & (set(unsure) - set(unclear))
                    if _is_known(due[work], base.get(work)) or elapsed(due[work].queued_at, now) < UNSURE_FOR
                },
            }
            for detail, chosen in held.items():
                postpone(connection, self._user_id, due_at=now + LONGEST_WAIT, detail=detail, works=chosen)
                due = {work: one for work, one in due.items() if work not in chosen}
            entries = [_Entry(one, works[work], base.get(work)) for work, one in due.items()]
            # From here on, they may have reached Trakt.
            note_sending(connection, self._user_id, [entry.work_id for entry in entries if entry.ids], now=now)
        self._sent, self._rejected = {}, {}
        self._missing = [entry.work_id for entry in entries if not entry.ids]
        try:
            for is_removal in (True, False):
                chosen = [entry for entry in entries if entry.ids and (entry.waiting.rating is None) == is_removal]
                for start in range(0, len(chosen), BATCH):
                    self._push(chosen[start : start + BATCH], is_removal=is_removal)
        except AccountFull as error:
            self.full = str(error)
        with self._database.transaction() as connection:
            parked = {NOT_FOUND: self._missing} | {f"{REJECTED} {why}": [work] for work, why in self._rejected.items()}
            for detail, chosen in parked.items():
                note_attempt(connection, self._user_id, chosen, now=now, due_at=now + PARKED_FOR, detail=detail)
            if self.full is not None:
                left = due.keys() - self._sent.keys() - self._rejected.keys() - set(self._missing)
                postpone(connection, self._user_id, due_at=now + FULL_WAIT, detail=self.full, works=left)
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
        self._sent |= {entry.work_id: entry.edit for entry in batch if entry.work_id not in gone}
        self._missing += gone

    def _send(self, batch: Sequence[_Entry], *, turn: int) -> set[int]:
        """Send ratings, or removals, by the ids of a turn; return the works that Trakt did not find."""
        if batch[0].waiting.rating is None:
            titles = [TraktTitle(entry.media_type, entry.ids[turn]) for entry in batch]
            lost: Collection[TraktTitle] = self._trakt.remove_ratings(titles).not_found
        else:
            titles = [
                TraktRating(entry.media_type, entry.ids[turn], entry.waiting.rating, entry.waiting.rated_at)
                for entry in batch
                if entry.waiting.rating is not None
            ]
            lost = self._trakt.push_ratings(titles).not_found
        missing = {(title.media_type, title.ids) for title in lost}
        return {entry.work_id for entry in batch if (entry.media_type, entry.ids[turn]) in missing}

    def confirm(self, sent: Mapping[int, Edit], *, unseen: Collection[int] = ()) -> dict[int, Edit]:
        """Return what no longer waits, since Trakt shows it by now; the rest waits for another attempt.

        ``unseen``: works that an incomplete list does not mention.
        """
        now = self._clock.now()
        with self._database.transaction() as connection:
            left = read_outbox(connection, self._user_id)
            unconfirmed = {work for work, one in left.items() if Edit(one.rating, one.rated_at) == sent.get(work)}
            for work in unconfirmed:
                attempts = left[work].attempts
                wait = PARKED_FOR if attempts + 1 >= UNCONFIRMED_ATTEMPTS else _wait(attempts)
                wait, detail = (UNSEEN_WAIT, UNSEEN) if work in unseen else (wait, NOT_SHOWN)
                note_attempt(connection, self._user_id, [work], now=now, due_at=now + wait, detail=detail)
        return {work: edit for work, edit in sent.items() if work not in unconfirmed}

    def wait_after(self, error: Exception) -> None:
        """Let what is due wait after a failure: each time twice as long, or as long as Trakt asks."""
        now, due = self._clock.now(), self._due()
        detail = str(error) if isinstance(error, ServiceError) else f"The last run failed: {type(error).__name__}."
        until = error.resumes_at if isinstance(error, (ServicePaused, UserPaused)) else now
        with self._database.transaction() as connection:
            for work, one in due.items():
                due_at = max(until, now + _wait(one.attempts))
                note_attempt(connection, self._user_id, [work], now=now, due_at=due_at, detail=detail)

    def _due(self) -> dict[int, Waiting]:
        now = self._clock.now()
        with self._database.transaction() as connection:
            waiting = read_outbox(connection, self._user_id)
        return {work: one for work, one in waiting.items() if one.is_due(now)}


def _is_known(one: Waiting, known: SyncedRating | None) -> bool:
    """Return whether Trakt had the very rating that waits, so that it may have been removed there."""
    return known is not None and one.rating == known.value


def _wait(attempts: int) -> timedelta:
    return min(FIRST_WAIT * 2 ** min(attempts, 10), LONGEST_WAIT)
