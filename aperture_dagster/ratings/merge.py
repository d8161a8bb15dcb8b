"""Ratings in whole steps, the merge of those here with those on Trakt, and the guard against losing them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Literal

from aperture_dagster.model import counted, listed

Side = Literal["here", "trakt"]
# A title on Trakt by media type and id: films and series are numbered separately there.
TitleId = tuple[str, int]
LOWEST, HIGHEST = 1, 10
# Dates are compared in whole seconds, and may have been rounded on the way.
TOLERANCE = timedelta(seconds=2)
# Fewer ratings pushed at first are never too many.
MANY_PUSHES = 25
LARGE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class LocalRating:
    """The rating in force here. ``value`` None: it was removed.

    ``is_observed``: the date is when the value was first seen on the media server, which tells no date.
    """

    value: int | None
    rated_at: datetime
    is_observed: bool = False


@dataclass(frozen=True, slots=True)
class SyncedRating:
    """A rating on Trakt; ``trakt_id`` is its title's id there, which is unique among titles of a media type."""

    value: int
    rated_at: datetime
    trakt_id: int | None = None
    media_type: str = "movie"

    @property
    def title_id(self) -> TitleId | None:
        """What identifies the title on Trakt; None if its id there is unknown."""
        return None if self.trakt_id is None else (self.media_type, self.trakt_id)


@dataclass(frozen=True, slots=True)
class TraktList:
    """All ratings on Trakt as they were read, by work.

    Attributes:
        ids: all titles that Trakt listed, also of those that were not matched to one work. A title that is still listed
            was not removed; it may only belong to another work by now.
        unclear: works that a title on Trakt may be whose ids belong to several works.
        unmatched: number of titles whose ids are unknown or belong to several works.
        incomplete: why some may be missing. If so, nothing is concluded from what is missing.
        activities: what Trakt said before of when ratings changed last.
    """

    ratings: Mapping[int, SyncedRating]
    ids: Collection[TitleId] = ()
    unclear: Collection[int] = ()
    unmatched: int = 0
    incomplete: str | None = None
    activities: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edit:
    """A rating to write; ``value`` None: to remove."""

    value: int | None
    rated_at: datetime


@dataclass(slots=True)
class RatingMerge:
    """What a merge results in.

    Attributes:
        base: all ratings on Trakt as they are known now, by work.
        write: ratings to write here.
        push: ratings to write on Trakt; all others that waited for that have no need to.
        unknown: works for which nothing was decided: an incomplete list does not mention them, or they are unclear.
        conflicts: works that were rated on both sides since the last merge.
    """

    base: dict[int, SyncedRating] = field(default_factory=dict)
    write: dict[int, Edit] = field(default_factory=dict)
    push: dict[int, Edit] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    conflicts: set[int] = field(default_factory=set)


def whole_step(rating: float | None) -> int | None:
    """Round a rating on the scale from 0 to 10 half up to a whole number from 1 to 10; None if it means no rating.

    0 and everything that would round to it mean that there is none.
    """
    if rating is None or not rating >= LOWEST / 2:
        return None
    return min(HIGHEST, floor(rating + 0.5))


def whole_second(moment: datetime) -> datetime:
    """Return a moment in UTC, without its fraction of a second."""
    return moment.astimezone(UTC).replace(microsecond=0)


def merge_ratings(
    base: Mapping[int, SyncedRating],
    here: Mapping[int, LocalRating],
    trakt: TraktList,
    *,
    now: datetime,
    edited: Collection[int] = (),
    echoes: Collection[int] = (),
) -> RatingMerge:
    """Merge the ratings of a user, all by work.

    Args:
        base: those on Trakt when they were last merged.
        here: those in force here, in whole steps.
        trakt: those on Trakt now.
        now: the current time; later dates count as now.
        edited: works with a local rating or removal that waits to be pushed, even if it equals the base.
        echoes: works whose rating on Trakt is an earlier one from here, which a run pushed and did not live to confirm.
    """
    merge = RatingMerge()
    for work in base.keys() | here.keys() | trakt.ratings.keys():
        before, mine, theirs = base.get(work), here.get(work), trakt.ratings.get(work)
        is_listed = before is not None and before.title_id in trakt.ids
        if theirs is None and work not in trakt.unclear and is_listed:
            theirs = before
        elif theirs is None and (work in trakt.unclear or trakt.incomplete is not None):
            merge.unknown.add(work)
            if before is not None:
                merge.base[work] = before
            continue
        if theirs is not None:
            merge.base[work] = theirs
        if work in echoes:
            before = theirs
        value_here = None if mine is None else mine.value
        value_there = None if theirs is None else theirs.value
        if value_here == value_there:
            continue
        winner = _winner(before, mine, theirs, is_edited=work in edited or work in echoes)
        if winner is None:
            winner = "here" if _is_newer_here(before, mine, theirs, now=now) else "trakt"
            merge.conflicts.add(work)
        if winner == "here":
            merge.push[work] = Edit(value_here, now if mine is None else min(mine.rated_at, now))
        else:
            merge.write[work] = Edit(value_there, now if theirs is None else min(theirs.rated_at, now))
    return merge


def _winner(
    before: SyncedRating | None,
    mine: LocalRating | None,
    theirs: SyncedRating | None,
    *,
    is_edited: bool,
) -> Side | None:
    """Return the only side with an edit; None if both have one."""
    value_before = None if before is None else before.value
    if not is_edited and (None if mine is None else mine.value) == value_before:
        return "trakt"
    # The same value with a later date was given again.
    again = before is not None and theirs is not None and theirs.rated_at > before.rated_at + TOLERANCE
    return None if again or (None if theirs is None else theirs.value) != value_before else "here"


def _is_newer_here(
    before: SyncedRating | None, mine: LocalRating | None, theirs: SyncedRating | None, *, now: datetime
) -> bool:
    """Return whether the local edit wins over that on Trakt, which has a different value."""
    if theirs is None:
        # Trakt does not tell when a rating was removed, and a rating is worth more than its absence.
        return True
    if mine is None or (mine.value is None and mine.is_observed):
        return False
    mine_at, theirs_at = min(mine.rated_at, now), min(theirs.rated_at, now)
    if before is not None and before.value == theirs.value:
        return not theirs_at > mine_at + TOLERANCE
    return not mine.is_observed and mine_at > theirs_at + TOLERANCE


def needs_consent(merge: RatingMerge, here: Mapping[int, LocalRating]) -> bool:
    """Return whether a first merge would push so many of the local ratings that the operator should be asked."""
    pushed = sum(edit.value is not None for edit in merge.push.values())
    return is_large(pushed, sum(rating.value is not None for rating in here.values()), MANY_PUSHES)


def is_large(count: int, total: int, many: int) -> bool:
    """Return whether a change concerns more than ``many`` ratings, and more than a fifth of them all."""
    return count > many and count > LARGE_SHARE * total


def is_same_rating(rating: SyncedRating, value: int | None, rated_at: datetime) -> bool:
    """Return whether a rating on Trakt is that of a value and date from here."""
    return rating.value == value and abs(rating.rated_at - rated_at) <= TOLERANCE


def newest(ratings: Iterable[SyncedRating]) -> SyncedRating:
    """Return the rating that counts when several titles on Trakt are the same work: the newest, then the highest."""
    return max(ratings, key=lambda rating: (rating.rated_at, rating.value, rating.trakt_id or 0))


# The guard against losing ratings bit by bit: removals of a user are counted over thirty days before they travel.


WINDOW = timedelta(days=30)
# Fewer removals in that time are never too many, unless nothing would be left.
MANY_REMOVALS = 10
NAMED_TITLES = 3


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal that travelled to the other side, or is held back.

    Attributes:
        had: ratings that were in step before.
        passed_at: when it travelled; None: it has not.
        is_accepted: by the operator, so that it may travel, and no longer counts.
    """

    had: int
    passed_at: datetime | None = None
    is_accepted: bool = False

    @property
    def is_held(self) -> bool:
        """Whether it waits for the operator."""
        return self.passed_at is None and not self.is_accepted


@dataclass(frozen=True, slots=True)
class HeldRemoval:
    """A removal that is held back, with the names to show.

    Attributes:
        removed_on: the side on which the rating was removed; the other one still has it.
        had: ratings that were in step before the first removal that counts.
        is_accepted: whether it travels with the next sync.
    """

    user_id: str
    user: str
    work_id: int
    title: str
    removed_on: Side
    had: int
    noticed_at: datetime
    is_accepted: bool


@dataclass(slots=True)
class GuardedRemovals:
    """What becomes of the removals of a merge, by work, with the side on which the rating was removed.

    Attributes:
        had: ratings in step before.
        had_first: those before the first removal that counts.
        passed: those that travel for the first time.
        held: those that are held back.
        over: known ones to forget, since the rating is back, or gone on both sides.
    """

    had: int
    had_first: int
    passed: dict[int, Side] = field(default_factory=dict)
    held: dict[int, Side] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)


def guard_removals(
    merge: RatingMerge,
    base: Mapping[int, SyncedRating],
    here: Mapping[int, LocalRating],
    known: Mapping[int, Removal],
    *,
    since: datetime,
    was_read: bool = True,
) -> GuardedRemovals:
    """Take removals out of a merge if they are too many for their user; the next merge finds them again.

    Too many are more than ``MANY_REMOVALS`` that are also more than a fifth of what the user had before the first of
    them, and always all that is left, however little that is. What is held back stays so until it is accepted, or the
    rating is back.

    Args:
        merge: of these ``base`` and ``here`` with Trakt; it is changed.
        known: earlier removals of the user.
        since: only removals that travelled later count, including those dated in the future.
        was_read: whether Trakt was read for this merge, so that it shows which ratings are back.
    """
    # Before the first sync, what is on Trakt.
    in_step = (base or merge.base).keys()
    rated = {work for work, rating in here.items() if rating.value is not None}
    pending: dict[Side, set[int]] = {
        "trakt": {work for work, edit in merge.write.items() if edit.value is None},
        "here": {work for work, edit in merge.push.items() if edit.value is None},
    }
    over = _find_over(known, pending, rated | merge.write.keys(), merge.unknown if was_read else known)
    recent = [
        (removal.passed_at, removal.had)
        for work, removal in known.items()
        if removal.passed_at is not None and removal.passed_at > since and not removal.is_accepted and work not in over
    ]
    had = min(recent)[1] if recent else len(in_step)
    result = GuardedRemovals(len(in_step), had, over=over)
    lost = len(recent)
    # Accepted, or not confirmed by Trakt yet.
    decided = {work for work, removal in known.items() if not removal.is_held}
    left = {"trakt": in_step & rated - decided, "here": in_step & merge.base.keys() - decided}
    for side, works in sorted(pending.items(), key=lambda entry: len(entry[1])):
        undecided = works - decided
        is_too_much = is_large(lost + len(undecided), had, MANY_REMOVALS) or len(undecided) >= len(left[side])
        held = undecided if is_too_much else undecided & known.keys()
        lost += len(undecided - held)
        result.held |= dict.fromkeys(held, side)
        news = {work for work in works - held if work not in known or known[work].passed_at is None}
        result.passed |= dict.fromkeys(news, side)
    for work, side in result.held.items():
        del (merge.write if side == "trakt" else merge.push)[work]
        if side == "trakt" and work in base:
            merge.base[work] = base[work]
    return result


def _find_over(
    known: Mapping[int, Removal],
    pending: Mapping[Side, Collection[int]],
    rated: Collection[int],
    unknown: Collection[int],
) -> set[int]:
    """Return known removals that are over: the rating is back, or, if it was held back, gone on both sides."""
    others = known.keys() - set().union(*pending.values())
    return {work for work in others if (work in rated if known[work].passed_at is not None else work not in unknown)}


def describe_held(held: Sequence[HeldRemoval]) -> str:
    """Say how many removals of one user are held back, on which side they were made, of what, and what to do."""
    user, had = held[0].user, max(removal.had for removal in held)
    where = {"trakt": "on Trakt", "here": "here or on the media server"}
    counts = {side: sum(removal.removed_on == side for removal in held) for side in where}
    removed = listed([f"{count:,} {where[side]}" for side, count in counts.items() if count])
    titles = [removal.title for removal in held[:NAMED_TITLES]]
    more = [counted(len(held) - NAMED_TITLES, "others")] if len(held) > NAMED_TITLES else []
    verb = "were" if len(held) > 1 else "was"
    return (
        f"Removals are held back: of {user}'s {counted(had, 'ratings')}, {removed} {verb} removed, too many within "
        f"{WINDOW.days} days. Accept or undo that: `aperture trakt removals {shlex.quote(user)}`. "
        f"Titles: {listed([*titles, *more])}."
    )
