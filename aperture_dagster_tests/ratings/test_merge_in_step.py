"""Edits on both sides, with failures and kills between any two steps of a sync, end in the same ratings on both.

The expected winner follows from the edits alone, without the input of the merge: base, outbox and lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from hypothesis import event, given
from hypothesis import strategies as st

from aperture_dagster.ratings.merge import (
    TOLERANCE,
    Edit,
    LocalRating,
    SyncedRating,
    TraktList,
    is_same_rating,
    merge_ratings,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
WORKS, VALUES = range(3), (2, 7, 8)
Side = Literal["own", "server", "trakt"]


class Killed(Exception):
    """The process ended, or Trakt did."""


@dataclass
class Intent:
    """The last edit of a side since both agreed."""

    value: int | None
    at: datetime
    observed: bool = False


@dataclass
class TwoSides:
    """An installation, Trakt, and what their user wanted."""

    now: datetime = START
    trakt: dict[int, SyncedRating] = field(default_factory=dict)
    activity: int = 0
    here: dict[int, LocalRating] = field(default_factory=dict)
    given: list[tuple[int, int, datetime]] = field(default_factory=list)
    base: dict[int, SyncedRating] = field(default_factory=dict)
    outbox: dict[int, Edit] = field(default_factory=dict)
    attempted: set[int] = field(default_factory=set)
    read_activity: int | None = None
    agreed: dict[int, int] = field(default_factory=dict)
    local_intents: dict[int, Intent] = field(default_factory=dict)
    trakt_intents: dict[int, Intent] = field(default_factory=dict)
    writes: int = 0
    needless_pushes: int = 0

    # What the user does

    def edit(self, side: Side, work: int, value: int | None) -> None:
        if side == "trakt":
            self._edit_trakt(work, value)
            return
        current = self.here.get(work)
        if side == "server" and (current.value if current else None) == value:
            return
        if side == "own" and value is None and (current is None or current.value is None):
            return
        observed = side == "server"
        self.here[work] = LocalRating(value, self.now, observed)
        if value is None and observed:
            del self.here[work]
        if value is not None:
            self.given.append((work, value, self.now))
        known = self.base.get(work)
        if not observed or work in self.outbox or value != (known.value if known else None):
            self.outbox[work] = Edit(value, self.now)
        self.local_intents[work] = Intent(value, self.now, observed)

    def _edit_trakt(self, work: int, value: int | None) -> None:
        rating = SyncedRating(value or 1, self.now, 100 + work)
        if value is None and work not in self.trakt:
            return
        if any(work == one and is_same_rating(rating, given, at) for one, given, at in self.given):
            # It looks the same as a rating that was pushed.
            return
        self.trakt.pop(work, None)
        if value is not None:
            self.trakt[work] = rating
        self.activity += 1
        self.trakt_intents[work] = Intent(value, self.now)

    def wanted(self, work: int) -> int | None:
        mine, theirs = self.local_intents.get(work), self.trakt_intents.get(work)
        if mine is None or theirs is None:
            last = mine or theirs
            return last.value if last is not None else self.agreed.get(work)
        if mine.value == theirs.value:
            return mine.value
        if theirs.value is None:
            return mine.value
        if mine.value is None and mine.observed:
            return theirs.value
        if theirs.value == self.agreed.get(work):
            return theirs.value if theirs.at > mine.at + TOLERANCE else mine.value
        return mine.value if not mine.observed and mine.at > theirs.at + TOLERANCE else theirs.value

    # What a sync does

    def sync(self, plan: Plan | None = None) -> None:
        plan = plan or Plan()
        changed = self._read_and_merge(plan, force=bool(self.attempted))
        sent = dict(self.outbox)
        plan.step(self, pushing=set(sent))
        self.attempted |= sent.keys()
        for work, edit in sent.items():
            plan.step(self, pushing=set(sent))
            before = self.trakt.pop(work, None)
            self.needless_pushes += (before.value if before else None) == edit.value
            if edit.value is not None:
                self.trakt[work] = SyncedRating(edit.value, edit.rated_at, 100 + work)
            self.activity += 1
            self.writes += 1
        if sent:
            self._read_and_merge(plan, force=True)
        self.writes += changed

    def _read_and_merge(self, plan: Plan, *, force: bool) -> int:
        plan.step(self)
        activity = self.activity
        read = force or activity != self.read_activity
        plan.step(self, reading=not read)
        there = dict(self.trakt) if read else self.base
        plan.step(self, reading=True)
        news = {work: one for work, one in there.items() if work in self.attempted and self.base.get(work) != one}
        echoes = {work for work, value, at in self.given if work in news and is_same_rating(news[work], value, at)}
        merge = merge_ratings(
            self.base, self.here, TraktList(there), now=self.now, edited=set(self.outbox), echoes=echoes
        )
        for work, edit in merge.write.items():
            self.here[work] = LocalRating(edit.value, edit.rated_at)
        changed = len(merge.write) + (self.base != merge.base) + (self.outbox.keys() != merge.push.keys())
        self.base = merge.base
        self.outbox = merge.push
        self.attempted &= self.outbox.keys()
        self.read_activity = activity if read else self.read_activity
        for work in WORKS:
            self._decide(work)
        return changed

    def _decide(self, work: int) -> None:
        """What the merge saw of a work is decided; if it saw every edit, the right one must be in force here."""
        if self.trakt.get(work) == self.base.get(work):
            mine = self.here.get(work)
            assert (mine.value if mine else None) == self.wanted(work)
            self.trakt_intents.pop(work, None)
        if work not in self.outbox:
            self.local_intents.pop(work, None)
        self.agreed.pop(work, None)
        if work in self.base:
            self.agreed[work] = self.base[work].value


@dataclass
class Plan:
    """When a sync is killed, and what the user does meanwhile."""

    kill_at: int | None = None
    meanwhile: tuple[int, Side, int, int | None] | None = None
    steps: int = 0

    def step(self, sides: TwoSides, *, reading: bool = False, pushing: set[int] | None = None) -> None:
        self.steps += 1
        if self.meanwhile is not None and self.steps == self.meanwhile[0]:
            _, side, work, value = self.meanwhile
            # Trakt offers no way to push only if nothing changed since it was read.
            waits = pushing if pushing is not None else sides.outbox.keys()
            if side != "trakt" or not ((reading or pushing is not None) and work in waits):
                sides.now += timedelta(seconds=5)
                sides.edit(side, work, value)
        if self.steps == self.kill_at:
            raise Killed


sides = st.sampled_from(["own", "server", "trakt"])
ratings = st.sampled_from([*VALUES, None])
edits = st.tuples(st.just("edit"), sides, st.sampled_from(WORKS), ratings, st.sampled_from([0, 1, 3, 60]))
syncs = st.tuples(
    st.just("sync"),
    st.none() | st.integers(1, 12),
    st.none() | st.tuples(st.integers(1, 10), sides, st.sampled_from(WORKS), ratings),
)


@given(st.lists(edits | syncs, max_size=25))
def test_both_sides_end_equal_with_the_newest_edit_and_nothing_is_written_after_that(story: list[Any]):
    both = TwoSides()
    for what, *details in story:
        if what == "edit":
            side, work, value, seconds = details
            both.now += timedelta(seconds=seconds)
            both.edit(side, work, value)
            continue
        kill_at, meanwhile = details
        both.now += timedelta(seconds=60)
        try:
            both.sync(Plan(kill_at, meanwhile))
        except Killed:
            event("killed")
    wanted = {work: value for work in WORKS if (value := both.wanted(work)) is not None}
    both.now += timedelta(seconds=60)
    both.sync()
    both.sync()
    assert {work: one.value for work, one in both.trakt.items()} == wanted
    assert {work: one.value for work, one in both.here.items() if one.value is not None} == wanted
    assert not both.outbox
    both.writes = 0
    both.sync()
    both.sync()
    assert both.writes == 0
    assert both.needless_pushes == 0
