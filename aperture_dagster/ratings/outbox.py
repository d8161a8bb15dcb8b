"""The outbox: ratings given here or on the media server, which wait until Trakt shows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history.states import SeenRating
from aperture_dagster.catalogue.people import User
from aperture_dagster.http.errors import RequestRejected, ServiceError, ServicePaused
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model import SKEW, Clock, elapsed, is_future
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.ratings.client import LARGEST_BATCH, Trakt
from aperture_dagster.ratings.in_force import (
    OWN,
    WorkIds,
    give_rating,
    ratings_in_force,
    read_base,
    works_to_push,
    write_server_ratings,
)
from aperture_dagster.ratings.merge import Edit, SyncedRating, whole_second
from aperture_dagster.ratings.records import AccountFull, TraktIds, TraktRating, TraktTitle, UserPaused


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry of the outbox: a rating (None: a removal) that Trakt has not confirmed yet."""

    work_id: int
    rating: int | None
    rated_at: datetime
    queued_at: datetime
    attempts: int
    attempted_at: datetime | None
    due_at: datetime
    detail: str | None

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to push it, or its last attempt is dated in the future."""
        return self.due_at <= now or is_future(self.attempted_at or self.queued_at, now)


def read_outbox(connection: Connection, user_id: str) -> dict[int, Waiting]:
    """Return a user's ratings that wait to be pushed, by work."""
    statement = """
        SELECT work_id, rating, rated_at, queued_at, attempts, attempted_at, due_at, detail FROM rating_outbox
        WHERE user_id = :user ORDER BY queued_at, work_id"""
    rows = execute(connection, statement, user=user_id)
    return {row.work_id: Waiting(**row._mapping) for row in rows}


def write_outbox(
    connection: Connection, user_id: str, push: Mapping[int, Edit], *, keep: Collection[int], now: datetime
) -> int:
    """Make ``push`` what waits to be pushed; works in ``keep`` stay as they are. Return the number of rows written.

    An entry that waits already keeps its date, attempts and due time.
    """
    statement = "DELETE FROM rating_outbox WHERE user_id = :user AND NOT work_id = ANY(:works)"
    deleted = execute(connection, statement, user=user_id, works=[*push, *keep]).rowcount
    return deleted + sum(queue_rating(connection, user_id, work, edit, now=now) for work, edit in push.items())


def queue_rating(connection: Connection, user_id: str, work_id: int, edit: Edit, *, now: datetime) -> int:
    """Let a rating, or its removal, wait to be pushed at once; return the number of rows written.

    What waited before may have been pushed already.
    """
    statement = """
        INSERT INTO rating_outbox AS o (user_id, work_id, rating, rated_at, queued_at, due_at)
        VALUES (:user, :work, CAST(:rating AS smallint), :rated_at, :now, :now)
        ON CONFLICT (user_id, work_id) DO UPDATE SET rating = excluded.rating, rated_at = excluded.rated_at,
        queued_at = excluded.queued_at, attempts = 0, due_at = excluded.due_at, detail = NULL
        WHERE o.rating IS DISTINCT FROM excluded.rating
          OR (excluded.rating IS NOT NULL AND o.rated_at <> excluded.rated_at)"""
    values = {"user": user_id, "work": work_id, "rating": edit.value, "rated_at": edit.rated_at, "now": now}
    return execute(connection, statement, **values).rowcount


def rate_here(connection: Connection, user_id: str, work_id: int, rating: int | None, *, now: datetime) -> bool:
    """Give a rating by hand, or remove the one in force, and let it wait for Trakt if the user has an account there.

    Returns:
        False if there is none to remove.
    """
    lock_history(connection, user_id)
    before = ratings_in_force(connection, user_id, works=[work_id]).get(work_id)
    if rating is None and (before is None or before.value is None):
        return False
    edit = Edit(rating, whole_second(now))
    give_rating(connection, user_id, work_id, rating, source=OWN, rated_at=edit.rated_at)
    if has_account(connection, user_id):
        queue_rating(connection, user_id, work_id, edit, now=now)
    return True


def take_server_ratings(
    connection: Connection,
    user_id: str,
    seen: Iterable[SeenRating],
    *,
    now: datetime,
    requested_at: datetime | None = None,
) -> int:
    """Take over the ratings that a history shows, and let those that changed wait for Trakt; return how many changed.

    In the transaction that wrote the history. ``requested_at``: the database's time before the history was requested.
    """
    changes, works = write_server_ratings(connection, user_id, seen, now=now, requested_at=requested_at)
    queue_server_ratings(connection, user_id, works, now=now)
    return changes


def queue_server_ratings(connection: Connection, user_id: str, works: Sequence[int], *, now: datetime) -> None:
    """Let ratings that changed on the media server wait to be pushed, if the user has a Trakt account."""
    if not works or not has_account(connection, user_id):
        return
    base, waiting = read_base(connection, user_id), read_outbox(connection, user_id)
    in_force = ratings_in_force(connection, user_id, works=works)
    for work in works:
        mine, theirs = in_force.get(work), base.get(work)
        value = mine.value if mine is not None else None
        # A value that waits may have been pushed already, so that going back to the old one is news, too.
        if work in waiting or value != (theirs.value if theirs is not None else None):
            rated_at = mine.rated_at if mine is not None else whole_second(now)
            queue_rating(connection, user_id, work, Edit(value, rated_at), now=now)


def has_account(connection: Connection, user_id: str) -> bool:
    """Return whether a user has connected Trakt, working or not."""
    statement = "SELECT 1 FROM trakt_accounts WHERE user_id = :user"
    return read_value(connection, statement, user=user_id) is not None


def note_sending(connection: Connection, user_id: str, works: Collection[int], *, now: datetime) -> None:
    """Record that ratings are about to be pushed: whoever finds them waiting reads Trakt before pushing again."""
    # Due by now, whatever a clock that was ahead had written.
    statement = """
        UPDATE rating_outbox SET attempted_at = :now, due_at = least(due_at, :now)
        WHERE user_id = :user AND work_id = ANY(:works)"""
    execute(connection, statement, user=user_id, works=list(works), now=now)


def let_wait(
    connection: Connection,
    user_id: str,
    works: Collection[int],
    *,
    due_at: datetime,
    detail: str,
    attempted_at: datetime | None = None,
) -> None:
    """Record why ratings wait until then; without an attempt, what waits for longer anyway keeps its time."""
    statement = """
        UPDATE rating_outbox SET detail = :detail, attempted_at = coalesce(CAST(:at AS timestamptz), attempted_at),
        due_at = CASE WHEN CAST(:at AS timestamptz) IS NULL THEN greatest(due_at, :due) ELSE :due END,
        attempts = CASE WHEN CAST(:at AS timestamptz) IS NULL THEN attempts ELSE least(attempts + 1, 1000) END
        WHERE user_id = :user AND work_id = ANY(:works)"""
    values = {"user": user_id, "works": list(works), "at": attempted_at, "due": due_at, "detail": detail[:500]}
    execute(connection, statement, **values)


def resume(connection: Connection, user_id: str, *, detail: str, now: datetime) -> None:
    """Make due what was postponed with this detail."""
    statement = """
        UPDATE rating_outbox SET due_at = least(due_at, :now), detail = NULL
        WHERE user_id = :user AND detail = :detail"""
    execute(connection, statement, user=user_id, now=now, detail=detail[:500])


def due_partitions(connection: Connection, user_ids: Collection[str], *, now: datetime) -> list[str]:
    """Return the partitions of those users for whom a rating is due to be pushed."""
    statement = """
        SELECT DISTINCT u.partition_key FROM rating_outbox o JOIN present_users u USING (user_id)
        WHERE user_id = ANY(:users)
        AND (o.due_at <= :now OR coalesce(o.attempted_at, o.queued_at) > :latest) ORDER BY 1"""
    return list(execute(connection, statement, users=list(user_ids), now=now, latest=now + SKEW).scalars())


def waiting_ratings(connection: Connection, *, queued_before: datetime) -> list[dict[str, Any]]:
    """List ratings of present users that have waited since before then, the oldest first."""
    statement = """
        SELECT u.partition_key AS partition, u.name AS user, coalesce(n.title, 'work ' || o.work_id) AS title,
        coalesce(o.rating::text, 'removal') AS rating, o.queued_at, o.attempts, o.detail
        FROM rating_outbox o JOIN present_users u USING (user_id) LEFT JOIN work_names n USING (work_id)
        WHERE o.queued_at < :before ORDER BY o.queued_at, o.work_id"""
    return read_rows(connection, statement, before=queued_before)


# Pushing what the outbox holds to Trakt: what it refused, or does not show afterwards, waits for another attempt.


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
    return _Entry(waiting, work.media_type, [one for one in (first, others) if one.known()])


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
            entries = [_entry(one, works[work], base.get(work)) for work, one in due.items() if work not in waits]
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
                due_at = now + PARKED_FOR
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
            unconfirmed = {work for work, one in left.items() if Edit(one.rating, one.rated_at) == sent.get(work)}
            for work in unconfirmed:
                attempts = left[work].attempts
                wait = PARKED_FOR if attempts + 1 >= UNCONFIRMED_ATTEMPTS else _wait(attempts)
                wait, detail = (UNSEEN_WAIT, UNSEEN) if work in unseen else (wait, NOT_SHOWN)
                let_wait(connection, self._user_id, [work], due_at=now + wait, detail=detail, attempted_at=now)
        return {work: edit for work, edit in sent.items() if work not in unconfirmed}

    def wait_after(self, error: Exception) -> None:
        """Let what is due wait after a failure: each time twice as long, or as long as Trakt asks."""
        now, due = self._clock.now(), self._due()
        detail = str(error) if isinstance(error, ServiceError) else f"The last run failed: {type(error).__name__}."
        until = error.resumes_at if isinstance(error, (ServicePaused, UserPaused)) else now
        with self._database.transaction() as connection:
            for work, one in due.items():
                due_at = max(until, now + _wait(one.attempts))
                let_wait(connection, self._user_id, [work], due_at=due_at, detail=detail, attempted_at=now)

    def _due(self) -> dict[int, Waiting]:
        now = self._clock.now()
        with self._database.transaction() as connection:
            waiting = read_outbox(connection, self._user_id)
        return {work: one for work, one in waiting.items() if one.is_due(now)}


def _wait(attempts: int) -> timedelta:
    return min(FIRST_WAIT * 2 ** min(attempts, 10), LONGEST_WAIT)
