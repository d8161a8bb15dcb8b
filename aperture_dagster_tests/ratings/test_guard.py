"""Which removals of ratings travel, and which are too many."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.ratings.merge import (
    GuardedRemovals,
    HeldRemoval,
    LocalRating,
    RatingMerge,
    Removal,
    Side,
    SyncedRating,
    TraktList,
    describe_held,
    guard_removals,
    merge_ratings,
)

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SINCE = NOW - 30 * DAY
OLD = NOW - 400 * DAY


def both(works: range) -> tuple[dict[int, SyncedRating], dict[int, LocalRating]]:
    return dict.fromkeys(works, SyncedRating(8, OLD)), dict.fromkeys(works, LocalRating(8, OLD))


def travelled(works: range, had: int, days_ago: float = 1) -> dict[int, Removal]:
    return dict.fromkeys(works, Removal(had, NOW - days_ago * DAY))


def guard(
    total: int, removed: range, side: Side, known: dict[int, Removal] | None = None, **how: Any
) -> tuple[GuardedRemovals, RatingMerge]:
    """Guard a user with the ratings 0 to ``total``, of whom some were removed on a side."""
    earlier = {work for work, one in (known or {}).items() if one.passed_at is not None}
    base, here = both(range(total))
    base = {work: one for work, one in base.items() if work not in earlier}
    here = {work: one for work, one in here.items() if work not in earlier}
    trakt = dict(base)
    for work in removed:
        (trakt if side == "trakt" else here).pop(work)
    merge = merge_ratings(base, here, TraktList(trakt), now=NOW)
    return guard_removals(merge, base, here, known or {}, since=SINCE, **how), merge


@pytest.mark.parametrize("side", ["trakt", "here"])
@pytest.mark.parametrize(
    ("removed", "of", "is_held"),
    [(1, 2, False), (9, 10, False), (10, 40, False), (11, 40, True), (11, 55, False), (12, 55, True), (1, 1, True),
     (3, 3, True), (10, 10, True)],
)  # fmt: skip
def test_more_than_ten_and_a_fifth_are_held_and_always_everything(side: Side, removed: int, of: int, is_held: bool):
    found, merge = guard(of, range(removed), side)
    edits = merge.write if side == "trakt" else merge.push
    if is_held:
        assert (found.held, found.passed, edits) == (dict.fromkeys(range(removed), side), {}, {})
        assert set(merge.base) == set(range(of)), "they are found again"
    else:
        assert (found.passed, found.held, len(edits)) == (dict.fromkeys(range(removed), side), {}, removed)


def test_earlier_removals_of_either_side_count_and_those_that_are_older_or_accepted_do_not():
    recent = travelled(range(40, 48), had=48)
    for side in ("trakt", "here"):
        assert set(guard(48, range(2), side, recent)[0].passed) == {0, 1}
        assert set(guard(48, range(3), side, recent)[0].held) == {0, 1, 2}
    for known in (travelled(range(40, 48), 48, days_ago=31), {one: Removal(48, NOW, True) for one in recent}):
        assert guard(48, range(9), "here", known)[0].held == {}


def test_the_share_is_of_what_they_had_before_and_not_of_what_was_added_since():
    known = travelled(range(190, 200), had=50, days_ago=20) | travelled(range(189, 190), had=180)
    assert len(guard(200, range(1), "trakt", known)[0].held) == 1
    assert guard(200, range(1), "trakt", travelled(range(190, 200), had=200))[0].held == {}


def test_a_rating_that_is_back_is_no_loss():
    known = travelled(range(10), had=48)
    base, here = both(range(48))
    trakt = {work: one for work, one in base.items() if work < 40}
    merge = merge_ratings(base, here, TraktList(trakt), now=NOW)
    found = guard_removals(merge, base, here, known, since=SINCE)
    assert (found.over, set(found.passed), found.held) == (set(range(10)), set(range(40, 48)), {})


def test_both_sides_at_once_are_added_up_and_the_smaller_part_travels():
    base, here = both(range(48))
    trakt = {work: one for work, one in base.items() if work >= 6}
    here = {work: one for work, one in here.items() if work < 41}
    merge = merge_ratings(base, here, TraktList(trakt), now=NOW)
    found = guard_removals(merge, base, here, {}, since=SINCE)
    assert (set(found.passed), set(found.held)) == (set(range(6)), set(range(41, 48)))


def test_what_is_held_stays_held_though_it_would_not_be_too_much_any_more():
    held = dict.fromkeys(range(3), Removal(3))
    found, merge = guard(50, range(4), "trakt", held)
    assert (set(found.held), set(found.passed), set(merge.write)) == ({0, 1, 2}, {3}, {3})


def test_more_of_the_same_side_is_held_with_what_is_held_and_the_other_side_goes_on():
    held = dict.fromkeys(range(12), Removal(48))
    assert set(guard(48, range(13), "trakt", held)[0].held) == set(range(13))
    base, here = both(range(48))
    trakt = {work: one for work, one in base.items() if work >= 12}
    del here[47]
    merge = merge_ratings(base, here, TraktList(trakt), now=NOW)
    found = guard_removals(merge, base, here, held, since=SINCE)
    assert (set(found.held), found.passed, set(merge.push)) == (set(range(12)), {47: "here"}, {47})


def test_what_is_accepted_travels_and_the_rest_is_judged_again():
    known = dict.fromkeys(range(12), Removal(48, None, True)) | {one: Removal(48, NOW, True) for one in range(40, 48)}
    found, merge = guard(48, range(22), "trakt", known)
    assert (found.held, set(found.passed), set(merge.write)) == ({}, set(range(22)), set(range(22)))
    found, merge = guard(48, range(23), "trakt", known)
    assert (set(found.held), set(found.passed)) == (set(range(12, 23)), set(range(12)))


def test_acceptance_of_some_does_not_let_the_last_ones_go():
    known = dict.fromkeys(range(2), Removal(3, None, True))
    found, _ = guard(3, range(3), "trakt", known)
    assert (set(found.held), set(found.passed)) == ({2}, {0, 1})


def test_a_push_that_is_not_confirmed_yet_is_not_judged_again():
    base, here = both(range(48))
    for work in range(10):
        del here[work]
    merge = merge_ratings(base, here, TraktList(base), now=NOW)
    found = guard_removals(merge, base, here, travelled(range(10), had=48, days_ago=40), since=SINCE)
    assert (found.held, found.passed, set(merge.push)) == ({}, {}, set(range(10)))


def test_what_an_incomplete_list_does_not_mention_and_an_unread_one_stay_held():
    held = dict.fromkeys(range(12), Removal(48))
    base, here = both(range(48))
    trakt = {work: one for work, one in base.items() if work >= 12}
    merge = merge_ratings(base, here, TraktList(trakt, incomplete="why"), now=NOW)
    assert guard_removals(merge, base, here, held, since=SINCE).over == set()
    merge = merge_ratings(base, here, TraktList(base), now=NOW)
    assert guard_removals(merge, base, here, held, since=SINCE, was_read=False).over == set()
    assert guard_removals(merge, base, here, held, since=SINCE).over == set(range(12))


def test_the_sentence_says_how_many_of_what_on_which_side_and_what_to_do():
    held = [
        HeldRemoval("1", "ann b", work, f"Film {work}", "trakt" if work else "here", 1200, NOW, False)
        for work in range(1, -1, -1)
    ] * 3
    said = describe_held(held)
    assert "of ann b's 1,200 ratings" in said and "3 on Trakt and 3 here or on the media server were removed" in said
    assert "`aperture trakt removals 'ann b'`" in said and said.endswith("Film 1, Film 0, Film 1 and 3 others.")
