"""Ratings in step with Trakt, for one user: read, merge, write here, push, and read again to confirm.

Every step can be the last one: what was not confirmed is read and merged again by the next run, and only what Trakt
does not have is pushed. Ratings wait in the outbox until a later read shows them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.removals import RemovalRefused
from aperture_dagster.catalogue.works import works_for, works_sharing_ids
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model import MEDIA_TYPES, Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.in_force import TRAKT, give_rating, ratings_in_force
from aperture_dagster.ratings.merge import (
    LARGE_SHARE,
    MANY_PUSHES,
    WINDOW,
    Edit,
    HeldRemoval,
    LocalRating,
    RatingMerge,
    SyncedRating,
    TitleId,
    TraktList,
    describe_held,
    guard_removals,
    merge_ratings,
    needs_consent,
    newest,
    whole_second,
)
from aperture_dagster.ratings.outbox import Waiting, let_wait, read_outbox, resume, write_outbox
from aperture_dagster.ratings.removals import held_removals, read_removals, write_removals
from aperture_dagster.ratings.synced import change_base, echoes_of, read_base, works_to_push
from aperture_dagster.trakt.client import Trakt
from aperture_dagster.trakt.pushing import TraktOutbox
from aperture_dagster.trakt.records import RatingsList
from aperture_dagster.trakt.stored import read_state, write_activities
from aperture_dagster.trakt.tokens import leased, sync_lease

# Trakt's own activities may miss a change.
READ_EVERY = timedelta(days=1)
PATIENCE_SECONDS = 300.0
IN_THE_UI = "(in the Dagster UI: asset trakt_ratings, Materialize, Open launchpad)"
WAITS_FOR_CONSENT = (
    f"The first sync waits for the operator: materialize trakt_ratings with accept_first_sync: true {IN_THE_UI}."
)


@dataclass(slots=True)
class RatingsReport:
    """What a sync of one user's ratings did.

    Attributes:
        here, there: number of ratings in force here, and on Trakt.
        pulled, removed_here: ratings written and removed here.
        pushed, removed_there: ratings that Trakt has since shown, or no longer shows.
        held: removals that wait for the operator.
        waiting: ratings that wait to be pushed.
        unmatched: titles on Trakt whose ids are unknown or belong to several works here.
        conflicts: works that were rated on both sides.
        changes: what changed, with ``title``, ``change`` and ``rating``.
        notes: sentences for the operator.
        rows_written: number of rows written in the database.
        was_read: whether the lists were read, and not only Trakt's last activities.
        is_left_out: whether nothing was compared, since the user has no working connection.
        requests: sent to Trakt.
        version: of the ratings from here and from Trakt, afterwards.
    """

    here: int = 0
    there: int = 0
    pulled: int = 0
    removed_here: int = 0
    pushed: int = 0
    removed_there: int = 0
    held: list[HeldRemoval] = field(default_factory=list)
    waiting: int = 0
    unmatched: int = 0
    conflicts: set[int] = field(default_factory=set)
    changes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows_written: int = 0
    was_read: bool = False
    is_left_out: bool = False
    requests: int = 0
    version: str = ""

    @property
    def refusal(self) -> RemovalRefused | None:
        """What to raise after everything else is done: removals are held back."""
        if not self.held:
            return None
        return RemovalRefused(f"{describe_held(self.held)} The rest is in step.")


class RatingsSync:
    """Keeps the ratings of one user in step with Trakt.

    Args:
        trakt: a client of that user.
        accept_first_sync: whether a first sync may push any number of ratings.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        user: User,
        trakt: Trakt,
        log: logging.Logger,
        *,
        accept_first_sync: bool = False,
    ) -> None:
        self._database, self._clock, self._log = database, clock, log
        self._user, self._trakt, self._accept_first_sync = user, trakt, accept_first_sync
        self._report = RatingsReport()
        # Of the last merge: works for which nothing was decided, and why.
        self._unknown: Collection[int] = ()
        self._unclear: Collection[int] = ()

    def run(self) -> RatingsReport:
        """Sync once. One process at a time serves a user.

        Raises:
            ServiceBusy: another process does so.
            ServiceError: Trakt cannot be used; what waits is tried again later.
        """
        message = f"another run is syncing the ratings of {self._user.name} with Trakt"
        with leased(self._database, sync_lease(self._user.user_id), PATIENCE_SECONDS, message):
            return self._run()

    def _run(self) -> RatingsReport:
        outbox = TraktOutbox(self._database, self._clock, self._user, self._trakt)
        try:
            lists = self._read(again=False)
            consented = self._merge(lists)
            if lists is not None and lists.incomplete is None and consented:
                # Reading takes a while, and what is pushed replaces what was rated meanwhile.
                self._merge(self._read(again=False))
            sent = outbox.push(unclear=self._unclear, unsure=self._unknown) if consented else {}
            if outbox.full is not None:
                self._warn(outbox.full)
            if sent:
                # A change that was made during the push belongs to the next look: the activities are requested first.
                self._merge(self._read(again=True))
                self._tell_confirmed(outbox.confirm(sent, unseen=self._unknown))
        except Exception as error:
            outbox.wait_after(error)
            raise
        self._count()
        return self._report

    # Reading

    def _read(self, *, again: bool) -> TraktList | None:
        """Read the ratings on Trakt; None if they are those that were last read."""
        with self._database.transaction() as connection:
            read_at, known = read_state(connection, self._user.user_id)
        activities = {str(name): value for name, value in self._trakt.last_activities().items()}
        if not again and _is_current(read_at, known, activities, self._clock.now()):
            return None
        self._report.was_read = True
        lists: dict[MediaType, RatingsList] = {
            media_type: self._trakt.ratings(media_type) for media_type in MEDIA_TYPES
        }
        matched: dict[int, list[SyncedRating]] = {}
        unmatched, unclear, ids = 0, set[int](), set[TitleId]()
        with self._database.transaction() as connection:
            for media_type, ratings_list in lists.items():
                ids |= {
                    (media_type, number) for rating in ratings_list.ratings if (number := rating.ids.trakt) is not None
                }
                lost: list[ProviderIds] = []
                works = works_for(connection, media_type, [rating.ids.elsewhere for rating in ratings_list.ratings])
                for work, rating in zip(works, ratings_list.ratings, strict=True):
                    if work is None:
                        lost.append(rating.ids.elsewhere)
                        continue
                    rated_at = whole_second(rating.rated_at)
                    matched.setdefault(work, []).append(
                        SyncedRating(rating.rating, rated_at, rating.ids.trakt, media_type)
                    )
                unmatched += len(lost)
                unclear |= works_sharing_ids(connection, media_type, lost)
        if unmatched:
            self._log.warning(
                f"{self._user.name}: {unmatched:,} ratings on Trakt are of titles whose ids are unknown, or belong to "
                "several titles here; they were left alone."
            )
        return TraktList(
            {work: newest(ratings) for work, ratings in matched.items()},
            ids,
            unclear,
            unmatched,
            next((ratings_list.incomplete for ratings_list in lists.values() if ratings_list.incomplete), None),
            activities,
        )

    # Merging

    def _merge(self, read: TraktList | None) -> bool:
        """Merge in one transaction; return False if the operator has to agree to a first sync."""
        now, user_id = whole_second(self._clock.now()), self._user.user_id
        with self._database.transaction() as connection:
            lock_history(connection, user_id)
            base, here = read_base(connection, user_id), ratings_in_force(connection, user_id, to_share=True)
            outbox, (read_at, _) = read_outbox(connection, user_id), read_state(connection, user_id)
            listed = read or TraktList(base)
            maybe_pushed = {work for work, waiting in outbox.items() if waiting.attempted_at is not None}
            news = {
                work: rating
                for work, rating in listed.ratings.items()
                if work in maybe_pushed and base.get(work) != rating
            }
            echoes = echoes_of(connection, user_id, news) if news else ()
            merge = merge_ratings(base, here, listed, now=now, edited=outbox.keys(), echoes=echoes)
            if read_at is None:
                if not self._accept_first_sync and needs_consent(merge, here):
                    self._ask(merge, here)
                    due_at = self._clock.now() + READ_EVERY
                    let_wait(connection, user_id, list(outbox), due_at=due_at, detail=WAITS_FOR_CONSENT)
                    return False
                # What was rated before the consent takes part.
                resume(connection, user_id, detail=WAITS_FOR_CONSENT, now=now)
            # A clock that has just jumped ahead must not make recent removals look old.
            since = min(now, read_at or now) - WINDOW
            known = read_removals(connection, user_id)
            removals = guard_removals(merge, base, here, known, since=since, was_read=read is not None)
            self._apply(connection, merge, base, outbox, now)
            write_removals(connection, user_id, removals, now=now)
            self._unknown, self._unclear = merge.unknown, merge.unknown & set(listed.unclear)
            if read is not None and read.incomplete is None:
                # What was held back, and what is unclear, must be found again by the next look.
                activities = {} if removals.held or read.unclear else read.activities
                write_activities(connection, user_id, activities, read_at=now)
        self._report.conflicts |= merge.conflicts
        if read is not None:
            self._report.unmatched = read.unmatched
        if read is not None and read.incomplete is not None:
            self._warn(f"Trakt's list is not complete ({read.incomplete}), so nothing missing from it was removed.")
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
        changed = {work: rating for work, rating in merge.base.items() if base.get(work) != rating}
        works = works_to_push(connection, merge.write)
        report.rows_written += len(merge.write)
        report.rows_written += change_base(connection, user_id, changed, base.keys() - merge.base.keys())
        report.rows_written += write_outbox(
            connection, user_id, merge.push, keep=merge.unknown & outbox.keys(), now=now
        )
        report.there = len(merge.base)
        for work, edit in merge.write.items():
            report.pulled += edit.value is not None
            report.removed_here += edit.value is None
            what = "removed on Trakt" if edit.value is None else "from Trakt"
            self._note_change(works[work].title, what, edit.value)

    def _ask(self, merge: RatingMerge, here: Mapping[int, LocalRating]) -> None:
        """Report what a first sync would do."""
        rated = sum(rating.value is not None for rating in here.values())
        pushed = sum(edit.value is not None for edit in merge.push.values())
        pulled = sum(edit.value is not None for edit in merge.write.values())
        self._warn(
            f"The first sync would push {pushed:,} of {rated:,} ratings "
            f"to Trakt, and take over {pulled:,} from there. That is more than {MANY_PUSHES} and more than "
            f"{LARGE_SHARE:.0%}, so nothing was written on either side. If it is right, materialize trakt_ratings "
            f"for {self._user.name} with the config accept_first_sync: true {IN_THE_UI}."
        )

    def _tell_confirmed(self, confirmed: Mapping[int, Edit]) -> None:
        with self._database.transaction() as connection:
            works = works_to_push(connection, confirmed)
        for work, edit in confirmed.items():
            self._report.pushed += edit.value is not None
            self._report.removed_there += edit.value is None
            what = "to Trakt" if edit.value is not None else "removed there"
            self._note_change(works[work].title, what, edit.value)

    def _count(self) -> None:
        report = self._report
        with self._database.transaction() as connection:
            here = ratings_in_force(connection, self._user.user_id)
            report.waiting = len(read_outbox(connection, self._user.user_id))
            report.held = [
                removal for removal in held_removals(connection, self._user.user_id) if not removal.is_accepted
            ]
        report.here = sum(rating.value is not None for rating in here.values())

    def _warn(self, note: str) -> None:
        if note not in self._report.notes:
            self._report.notes.append(note)
            self._log.warning(f"{self._user.name}: {note}")

    def _note_change(self, title: str, what: str, rating: int | None) -> None:
        self._report.changes.append({"title": title, "change": what, "rating": rating})


def _is_current(
    read_at: datetime | None, known: Mapping[str, str], activities: Mapping[str, str], now: datetime
) -> bool:
    """Return whether the ratings on Trakt are certainly those that were last read."""
    if read_at is None or not timedelta(0) <= now - read_at < READ_EVERY:
        return False
    # Any other value is a change, also an earlier one; what Trakt does not tell may have changed.
    return all(name in activities for name in MEDIA_TYPES) and dict(known) == dict(activities)
