"""Ratings in step with Trakt, for one user: read, merge, write here, push, and read again to confirm.

Every step can be the last one: what was not confirmed is read and merged again by the next run, and only what Trakt
does not have is pushed. Ratings wait in the outbox until a later read shows them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection

from aperture_dagster.library.identity import ProviderIds
from aperture_dagster.library.people import User
from aperture_dagster.library.ratings import (
    LARGE_SHARE,
    MANY_PUSHES,
    MANY_REMOVALS,
    Edit,
    LocalRating,
    RatingConflict,
    RatingMerge,
    SyncedRating,
    merge_ratings,
    needs_consent,
    newest,
    whole_second,
)
from aperture_dagster.library.removal import RemovalRefused
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import ServiceBusy, ServiceError, ServicePaused
from aperture_dagster.resources.media_server.records import MediaType
from aperture_dagster.resources.trakt.errors import UserPaused
from aperture_dagster.resources.trakt.records import RatingsList, TraktIds, TraktRating, TraktTitle, WriteResult
from aperture_dagster.storage.ratings import TRAKT, give_rating, lock_ratings, ratings_in_force
from aperture_dagster.storage.trakt_ratings import (
    ReadState,
    Waiting,
    WorkIds,
    change_base,
    echoes_of,
    note_attempt,
    note_read,
    note_sending,
    postpone,
    read_base,
    read_outbox,
    read_state,
    works_to_push,
    write_outbox,
)
from aperture_dagster.storage.works import works_for

MEDIA_TYPES: tuple[MediaType, ...] = ("movie", "series")
BATCH = 100
# Trakt's own activities may miss a change.
READ_EVERY = timedelta(days=1)
PATIENCE_SECONDS = 300.0
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=2)
# A title that Trakt does not have may be added there some day.
PARKED_FOR = timedelta(days=30)
# Attempts that Trakt accepts and does not show before a rating is parked.
UNCONFIRMED_ATTEMPTS = 4
# The limit of ratings of an account without membership, and when to warn of it.
FREE_LIMIT, NEARLY_FULL = 10_000, 0.95
SHOWN = 20


class RatingsClient(Protocol):
    """What is needed of Trakt: see :class:`aperture_dagster.resources.trakt.client.Trakt`."""

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


@dataclass(slots=True)
class RatingsReport:
    """What a sync of one user's ratings did.

    Attributes:
        here, there: number of ratings in force here, and on Trakt.
        pulled, removed_here: ratings written and removed here.
        pushed, removed_there: ratings that Trakt has since shown, or no longer shows.
        waiting: ratings that wait to be pushed.
        unmatched: titles on Trakt whose ids are unknown or belong to several works here.
        conflicts: works that were rated on both sides.
        changes: what changed, with ``title``, ``change`` and ``rating``.
        notes: sentences for the operator.
        rows_written: number of rows written in the database.
        was_read: whether the lists were read, and not only Trakt's last activities.
        refusal: removals that were held back, to be raised after everything else is done.
    """

    here: int = 0
    there: int = 0
    pulled: int = 0
    removed_here: int = 0
    pushed: int = 0
    removed_there: int = 0
    waiting: int = 0
    unmatched: int = 0
    conflicts: list[RatingConflict] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows_written: int = 0
    was_read: bool = False
    refusal: RemovalRefused | None = None


@dataclass(frozen=True, slots=True)
class _Lists:
    """Ratings on Trakt by work, with the ids of all titles listed there, and the activities before they were read."""

    ratings: Mapping[int, SyncedRating]
    ids: Collection[int]
    activities: Mapping[str, str]
    incomplete: str | None
    unmatched: int


class RatingsSync:
    """Keeps the ratings of one user in step with Trakt.

    Args:
        database: the product's.
        clock: the time.
        user: whose ratings.
        trakt: a client of that user.
        log: for what was decided on both sides.
        accept_first_sync: whether a first sync may push any number of ratings.
        accept_removals: whether any number of ratings may be removed at once.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        user: User,
        trakt: RatingsClient,
        *,
        log: logging.Logger,
        accept_first_sync: bool = False,
        accept_removals: bool = False,
    ) -> None:
        self._database, self._clock, self._log = database, clock, log
        self._user, self._trakt = user, trakt
        self._accept_first_sync, self._accept_removals = accept_first_sync, accept_removals
        self._report = RatingsReport()

    def run(self) -> RatingsReport:
        """Sync once. One process at a time serves a user.

        Raises:
            ServiceBusy: another process does so.
            ServiceError: Trakt cannot be used; what waits is tried again later.
        """
        try:
            with self._database.lease(
                f"trakt ratings of {self._user.user_id}", waiting=lambda _: None, patience_seconds=PATIENCE_SECONDS
            ):
                return self._run()
        except TimeoutError:
            raise ServiceBusy(f"another run is syncing the ratings of {self._user.name} with Trakt") from None

    def _run(self) -> RatingsReport:
        try:
            consented = self._merge(self._read(again=self._was_interrupted()))
            sent = self._push() if consented else {}
            if sent:
                # A change that was made during the push belongs to the next look: the activities are requested first.
                self._merge(self._read(again=True))
                self._confirm(sent)
        except ServiceError as error:
            self._wait_after(error)
            raise
        self._count()
        return self._report

    # Reading

    def _was_interrupted(self) -> bool:
        """Return whether ratings were pushed without being confirmed, which a changed activity need not show."""
        with self._database.transaction() as connection:
            waiting = read_outbox(connection, self._user.user_id)
        return any(one.attempted_at is not None for one in waiting.values())

    def _read(self, *, again: bool) -> _Lists | None:
        """Read the ratings on Trakt; None if they are those that were last read."""
        with self._database.transaction() as connection:
            state = read_state(connection, self._user.user_id)
        activities = {str(name): value for name, value in self._trakt.last_activities().items()}
        if not (again or self._accept_removals) and _is_current(state, activities, self._clock.now()):
            return None
        self._report.was_read = True
        lists = {media_type: self._trakt.ratings(media_type) for media_type in MEDIA_TYPES}
        incomplete = next((one.incomplete for one in lists.values() if one.incomplete), None)
        found: dict[int, list[SyncedRating]] = {}
        unmatched = 0
        with self._database.transaction() as connection:
            for media_type, one in lists.items():
                ids: list[ProviderIds] = [rating.ids.elsewhere for rating in one.ratings]
                for work, rating in zip(works_for(connection, media_type, ids), one.ratings, strict=True):
                    if work is None:
                        unmatched += 1
                    else:
                        synced = SyncedRating(rating.rating, whole_second(rating.rated_at), rating.ids.trakt)
                        found.setdefault(work, []).append(synced)
        if unmatched:
            self._log.warning(
                f"{self._user.name}: {unmatched:,} ratings on Trakt are of titles whose ids are unknown, or belong to "
                "several titles here; they were left alone."
            )
        trakt_ids = {rating.ids.trakt for one in lists.values() for rating in one.ratings}
        return _Lists(
            {work: newest(ratings) for work, ratings in found.items()},
            {one for one in trakt_ids if one is not None},
            activities,
            incomplete,
            unmatched,
        )

    # Merging

    def _merge(self, lists: _Lists | None) -> bool:
        """Merge in one transaction; return False if the operator has to agree to a first sync."""
        now, user_id = whole_second(self._clock.now()), self._user.user_id
        with self._database.transaction() as connection:
            lock_ratings(connection, user_id)
            base, here = read_base(connection, user_id), ratings_in_force(connection, user_id)
            outbox, state = read_outbox(connection, user_id), read_state(connection, user_id)
            there = lists.ratings if lists is not None else base
            news = {work: one for work, one in there.items() if base.get(work) != one}
            merge = merge_ratings(
                base,
                here,
                there,
                now=now,
                is_complete=lists is None or lists.incomplete is None,
                edited=outbox.keys(),
                echoes=echoes_of(connection, user_id, news) if news else (),
                listed_ids=lists.ids if lists is not None else (),
                accept_removals=self._accept_removals,
            )
            if state.read_at is None and not self._accept_first_sync and needs_consent(merge, here):
                self._ask(connection, merge, here)
                return False
            self._apply(connection, merge, base, outbox, now)
            if lists is not None and lists.incomplete is None:
                held = merge.held_here or merge.held_on_trakt
                note_read(connection, user_id, None if held else lists.activities, now=now)
        self._tell(merge, lists, state)
        return True

    def _apply(
        self,
        connection: Connection,
        merge: RatingMerge,
        base: Mapping[int, SyncedRating],
        outbox: Mapping[int, Waiting],
        now: datetime,
    ) -> None:
        user_id, report = self._user.user_id, self._report
        for work, edit in merge.write.items():
            give_rating(connection, user_id, work, edit.value, source=TRAKT, rated_at=edit.rated_at)
        changed = {work: one for work, one in merge.base.items() if base.get(work) != one}
        works = works_to_push(connection, changed.keys() | merge.write.keys())
        media_types = {work: one.media_type for work, one in works.items()}
        report.rows_written += len(merge.write)
        report.rows_written += change_base(connection, user_id, changed, base.keys() - merge.base.keys(), media_types)
        report.rows_written += write_outbox(
            connection, user_id, merge.push, keep=merge.unknown & outbox.keys(), now=now
        )
        report.there = len(merge.base)
        for work, edit in merge.write.items():
            report.pulled += edit.value is not None
            report.removed_here += edit.value is None
            what = "removed on Trakt" if edit.value is None else "from Trakt"
            self._note_change(works[work].title, what, edit.value)

    def _ask(self, connection: Connection, merge: RatingMerge, here: Mapping[int, LocalRating]) -> None:
        """Report what a first sync would do, and let everything wait."""
        pushed = sum(edit.value is not None for edit in merge.push.values())
        pulled = sum(edit.value is not None for edit in merge.write.values())
        note = (
            f"The first sync would push {pushed:,} of {sum(one.value is not None for one in here.values()):,} ratings "
            f"to Trakt, and take over {pulled:,} from there. That is more than {MANY_PUSHES} and more than "
            f"{LARGE_SHARE:.0%}, so nothing was written on either side. If it is right, run trakt_ratings for "
            f"{self._user.name} with the config accept_first_sync: true."
        )
        self._report.notes.append(note)
        self._log.warning(f"{self._user.name}: {note}")
        postpone(
            connection,
            self._user.user_id,
            due_at=self._clock.now() + READ_EVERY,
            detail="The first sync waits for the operator: run trakt_ratings with accept_first_sync: true.",
        )

    def _tell(self, merge: RatingMerge, lists: _Lists | None, state: ReadState) -> None:
        report, name = self._report, self._user.name
        report.conflicts += merge.conflicts
        for one in merge.conflicts[:SHOWN]:
            self._log.info(
                f"{name}: work {one.work_id} was rated {one.here or 'no more'} here and {one.trakt or 'no more'} on "
                f"Trakt; kept that {'here' if one.kept == 'here' else 'on Trakt'}."
            )
        if lists is not None:
            report.unmatched = lists.unmatched
            if lists.incomplete is not None:
                note = f"Trakt's list is not complete ({lists.incomplete}), so nothing missing from it was removed."
                report.notes.append(note)
                self._log.warning(f"{name}: {note}")
        if not state.is_vip and report.there >= NEARLY_FULL * FREE_LIMIT:
            note = f"{report.there:,} ratings on Trakt: an account without membership holds {FREE_LIMIT:,}."
            report.notes.append(note)
            self._log.warning(f"{name}: {note}")
        held = [
            f"{count} ratings {where}"
            for count, where in ((merge.held_here, "here"), (merge.held_on_trakt, "on Trakt"))
            if count
        ]
        if held:
            report.refusal = RemovalRefused(
                f"The ratings that {name} has no longer given would remove {' and '.join(held)}. That is more than "
                f"{MANY_REMOVALS} and more than {LARGE_SHARE:.0%}, so none was removed; everything else is in step. "
                "If it is right, run trakt_ratings with the config accept_removals: true."
            )

    # Pushing

    def _push(self) -> dict[int, Edit]:
        """Push what is due; return what Trakt did not refuse."""
        now, user_id = self._clock.now(), self._user.user_id
        with self._database.transaction() as connection:
            base = read_base(connection, user_id)
            due = {work: one for work, one in read_outbox(connection, user_id).items() if one.due_at <= now}
            works = works_to_push(connection, due)
        sent: dict[int, Edit] = {}
        unknown: list[int] = []
        entries = [(work, one, _ids_in_turn(works[work], base.get(work))) for work, one in due.items()]
        unknown += [work for work, _, ids in entries if not ids]
        entries = [entry for entry in entries if entry[2]]
        with self._database.transaction() as connection:
            note_sending(connection, user_id, [work for work, _, _ in entries], now=now)
        for removing in (False, True):
            chosen = [entry for entry in entries if (entry[1].rating is None) == removing]
            for start in range(0, len(chosen), BATCH):
                batch = chosen[start : start + BATCH]
                missing = self._send(batch, works, turn=0)
                # Under its other ids, Trakt may know it.
                rest = [entry for entry in batch if entry[0] in missing and len(entry[2]) > 1]
                missing = missing - {work for work, _, _ in rest} | (self._send(rest, works, turn=1) if rest else set())
                sent |= {
                    work: Edit(one.rating, one.rated_at) for work, one, _ in batch if removing or work not in missing
                }
                unknown += [] if removing else sorted(missing)
        if unknown:
            with self._database.transaction() as connection:
                note_attempt(
                    connection, user_id, unknown, now=now, due_at=now + PARKED_FOR,
                    detail="Trakt does not know this title under any id known here; the rating is kept here.",
                )  # fmt: skip
        return sent

    def _send(self, batch: Sequence[tuple[int, Waiting, list[TraktIds]]], works: Mapping[int, WorkIds], turn: int) -> set[int]:
        """Send entries with the ids of their turn; return the works that Trakt did not find."""
        ratings: dict[int, TraktRating] = {}
        titles: dict[int, TraktTitle] = {}
        for work, one, ids in batch:
            media_type = works[work].media_type
            if one.rating is None:
                titles[work] = TraktTitle(media_type, ids[turn])
            else:
                ratings[work] = TraktRating(media_type, ids[turn], one.rating, one.rated_at)
        missing: set[int] = set()
        if ratings:
            lost: Collection[TraktTitle] = self._trakt.push_ratings(list(ratings.values())).not_found
            missing |= {work for work, entry in ratings.items() if entry in lost}
        if titles:
            lost = self._trakt.remove_ratings(list(titles.values())).not_found
            missing |= {work for work, entry in titles.items() if entry in lost}
        return missing

    def _confirm(self, sent: Mapping[int, Edit]) -> None:
        """Count what Trakt shows by now, and let the rest wait."""
        now, user_id = self._clock.now(), self._user.user_id
        with self._database.transaction() as connection:
            left = read_outbox(connection, user_id)
            open_still = {
                work: one
                for work, one in left.items()
                if work in sent and Edit(one.rating, one.rated_at) == sent[work]
            }
            for work, one in open_still.items():
                parked = one.attempts + 1 >= UNCONFIRMED_ATTEMPTS
                note_attempt(
                    connection, user_id, [work], now=now, due_at=now + (PARKED_FOR if parked else _wait(one.attempts)),
                    detail="Trakt accepted this and does not show it.",
                )  # fmt: skip
            works = works_to_push(connection, sent)
        for work, edit in sent.items():
            if work not in open_still:
                self._report.pushed += edit.value is not None
                self._report.removed_there += edit.value is None
                what = "to Trakt" if edit.value is not None else "removed there"
                self._note_change(works[work].title, what, edit.value)

    def _wait_after(self, error: ServiceError) -> None:
        """Let what is due wait after a failure: each time twice as long, or as long as Trakt asks."""
        now, user_id = self._clock.now(), self._user.user_id
        until = error.resumes_at if isinstance(error, (ServicePaused, UserPaused)) else now
        with self._database.transaction() as connection:
            for work, one in read_outbox(connection, user_id).items():
                if one.due_at <= now:
                    due_at = max(until, now + _wait(one.attempts))
                    note_attempt(connection, user_id, [work], now=now, due_at=due_at, detail=str(error))

    def _count(self) -> None:
        with self._database.transaction() as connection:
            here = ratings_in_force(connection, self._user.user_id)
            self._report.waiting = len(read_outbox(connection, self._user.user_id))
        self._report.here = sum(one.value is not None for one in here.values())

    def _note_change(self, title: str, what: str, rating: int | None) -> None:
        self._report.changes.append({"title": title, "change": what, "rating": rating})


def _is_current(state: ReadState, activities: Mapping[str, str], now: datetime) -> bool:
    """Return whether the ratings on Trakt are certainly those that were last read."""
    if state.read_at is None or not timedelta(0) <= now - state.read_at < READ_EVERY:
        return False
    # Any other value is a change, also an earlier one; what Trakt does not tell may have changed.
    return all(name in activities for name in MEDIA_TYPES) and dict(state.activities or {}) == dict(activities)


def _ids_in_turn(work: WorkIds, known: SyncedRating | None) -> list[TraktIds]:
    """Return the ids under which to push a work: those that identify it best, and others if those are not found."""
    ids = work.ids
    first = TraktIds(tmdb=ids.tmdb_id) if ids.tmdb_id is not None else TraktIds()
    others = TraktIds(imdb=ids.imdb_id, tvdb=ids.tvdb_id if work.media_type == "series" else None)
    if known is not None and known.trakt_id is not None:
        first, others = TraktIds(trakt=known.trakt_id), TraktIds(imdb=others.imdb, tmdb=ids.tmdb_id, tvdb=others.tvdb)
    return [one for one in (first, others) if one.known()]


def _wait(attempts: int) -> timedelta:
    return min(FIRST_WAIT * 2 ** min(attempts, 10), LONGEST_WAIT)
