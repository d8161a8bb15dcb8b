"""The guard against losing ratings bit by bit: removals of a user are counted over thirty days before they travel."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aperture_dagster.model.wording import counted, listed
from aperture_dagster.ratings.merge import LocalRating, RatingMerge, Side, SyncedRating, is_large

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
    rated = {work for work, one in here.items() if one.value is not None}
    pending: dict[Side, set[int]] = {
        "trakt": {work for work, edit in merge.write.items() if edit.value is None},
        "here": {work for work, edit in merge.push.items() if edit.value is None},
    }
    over = _find_over(known, pending, rated | merge.write.keys(), merge.unknown if was_read else known)
    recent = [
        (one.passed_at, one.had)
        for work, one in known.items()
        if one.passed_at is not None and one.passed_at > since and not one.is_accepted and work not in over
    ]
    had = min(recent)[1] if recent else len(in_step)
    result = GuardedRemovals(len(in_step), had, over=over)
    lost = len(recent)
    # Accepted, or not confirmed by Trakt yet.
    decided = {work for work, one in known.items() if not one.is_held}
    left = {"trakt": in_step & rated - decided, "here": in_step & merge.base.keys() - decided}
    for side, works in sorted(pending.items(), key=lambda one: len(one[1])):
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
    user, had = held[0].user, max(one.had for one in held)
    where = {"trakt": "on Trakt", "here": "here or on the media server"}
    counts = {side: sum(one.removed_on == side for one in held) for side in where}
    removed = listed([f"{count:,} {where[side]}" for side, count in counts.items() if count])
    titles = [one.title for one in held[:NAMED_TITLES]]
    more = [counted(len(held) - NAMED_TITLES, "others")] if len(held) > NAMED_TITLES else []
    verb = "were" if len(held) > 1 else "was"
    return (
        f"Removals are held back: of {user}'s {counted(had, 'ratings')}, {removed} {verb} removed, too many within "
        f"{WINDOW.days} days. Accept or undo that: `aperture trakt removals {shlex.quote(user)}`. "
        f"Titles: {listed([*titles, *more])}."
    )
