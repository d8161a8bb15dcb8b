"""Whole steps, the merge of ratings here with those on Trakt, and which removals travel or are too many."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aperture_dagster.ratings.merge import (
    Edit,
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
    is_same_rating,
    merge_ratings,
    needs_consent,
    whole_second,
    whole_step,
)

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SINCE = NOW - 30 * DAY
OLD = NOW - 1000 * HOUR
WORK = 1


def here(value: int | None, hours_ago: float = 24, *, observed: bool = False) -> LocalRating:
    return LocalRating(value, NOW - hours_ago * HOUR, observed)


def there(value: int, hours_ago: float = 24, trakt_id: int | None = None) -> SyncedRating:
    return SyncedRating(value, NOW - hours_ago * HOUR, trakt_id)


def merged(base: SyncedRating | None, mine: LocalRating | None, theirs: SyncedRating | None, **how: Any) -> RatingMerge:
    before, local, listed = ({WORK: one} if one is not None else {} for one in (base, mine, theirs))
    edits = {name: how.pop(name) for name in ("edited", "echoes") if name in how}
    return merge_ratings(before, local, TraktList(listed, **how), now=NOW, **edits)  # type: ignore[arg-type]


def decision(*sides: Any, **how: Any) -> str:
    """What a merge of one work does: nothing, pull or push, with the value."""
    merge = merged(*sides, **how)
    done = [f"pull {edit.value}" for edit in merge.write.values()]
    done += [f"push {edit.value}" for edit in merge.push.values()]
    assert len(done) <= 1
    return done[0] if done else "nothing"


@pytest.mark.parametrize(
    ("rating", "step"),
    [(None, None), (0, None), (0.49, None), (0.5, 1), (1.49, 1), (7.5, 8), (8.5, 9), (8.6, 9), (7.5999999, 8),
     (9.5, 10), (10, 10), (10.6, 10), (float("nan"), None)],
)  # fmt: skip
def test_ratings_are_rounded_half_up_once(rating: float | None, step: int | None):
    assert whole_step(rating) == step


def test_dates_are_cut_to_whole_seconds():
    assert whole_second(NOW + timedelta(microseconds=999_999)) == NOW


@pytest.mark.parametrize("hours", [1, 5000])
def test_equal_ratings_are_never_written_whatever_their_dates(hours: float):
    for base in (None, there(8), there(3)):
        for edited in ((), {WORK}):
            merge = merged(base, here(8, 50), there(8, hours), edited=edited)
            assert (merge.push, merge.write, merge.base) == ({}, {}, {WORK: there(8, hours)})


def test_the_side_that_changed_wins_whatever_the_dates():
    assert decision(there(8, 10), here(8, 1), there(5, 900)) == "pull 5"
    assert decision(there(8, 10), here(5, 900), there(8, 10)) == "push 5"
    assert decision(there(8, 10), here(5, 1, observed=True), there(8, 10)) == "push 5"
    assert decision(None, here(5), None) == "push 5"
    assert decision(None, None, there(5)) == "pull 5"


def test_if_both_changed_the_newest_edit_wins():
    for base in (None, there(8, 500)):
        assert decision(base, here(5, 2), there(6, 3)) == "push 5"
        assert decision(base, here(5, 3), there(6, 2)) == "pull 6"


def test_a_tie_and_an_observed_date_go_to_trakt_and_are_reported():
    second = 1 / 3600
    for mine in (here(5, 24), here(5, 24 - 2 * second), here(5, 1, observed=True)):
        merge = merged(there(8, 500), mine, there(6, 24))
        assert merge.write == {WORK: Edit(6, NOW - 24 * HOUR)}
        assert merge.conflicts == {WORK} and not merge.push
    assert decision(there(8, 500), here(5, 24 - 3 * second), there(6, 24)) == "push 5"


def test_an_equal_value_that_was_given_again_on_trakt_is_an_edit():
    assert decision(there(8, 500), here(5, 3), there(8, 2)) == "pull 8"
    assert decision(there(8, 500), here(5, 2), there(8, 3)) == "push 5"
    assert decision(there(8, 500), here(5, 2, observed=True), there(8, 3)) == "push 5", "only the date differs"
    assert decision(there(8, 500), None, there(8, 3)) == "pull 8"
    second = 1 / 3600
    assert decision(there(8, 500), here(5, 3), there(8, 3)) == "push 5"
    assert decision(there(8, 500), here(5, 3), there(8, 3 - 2 * second)) == "push 5", "Trakt cuts the seconds"
    assert decision(there(8, 500), here(5, 3), there(8, 3 - 3 * second)) == "pull 8"


def test_a_rating_on_trakt_is_known_from_here_by_its_value_and_date():
    assert is_same_rating(there(8), 8, there(8).rated_at + timedelta(seconds=2))
    assert is_same_rating(there(8), 8, there(8).rated_at - timedelta(seconds=2))
    assert not is_same_rating(there(8), 8, there(8).rated_at + timedelta(seconds=3))
    assert not is_same_rating(there(8), 7, there(8).rated_at)
    assert not is_same_rating(there(8), None, there(8).rated_at)


def test_removals_travel_both_ways():
    assert decision(there(8), here(8), None) == "pull None"
    assert decision(there(8), None, there(8)) == "push None"
    assert decision(there(8), here(None, 1), there(8)) == "push None"
    assert merged(there(8), here(8), None).base == {}
    assert merged(there(8), None, None).push == {}


def test_a_rating_beats_an_undated_removal_and_a_dated_one_only_if_it_is_newer():
    assert decision(there(8, 500), here(5, 400), None) == "push 5"
    assert decision(there(8, 500), None, there(5, 400)) == "pull 5"
    assert decision(there(8, 500), here(None, 1, observed=True), there(5, 400)) == "pull 5"
    assert decision(there(8, 500), here(None, 3), there(5, 2)) == "pull 5"
    assert decision(there(8, 500), here(None, 2), there(5, 3)) == "push None"


def test_nothing_is_concluded_from_what_an_incomplete_list_lacks():
    assert decision(there(8), here(8), None, incomplete="why") == "nothing"
    assert decision(None, here(5), None, incomplete="why") == "nothing", "a newer rating may be in the rest"
    merge = merged(there(8), here(5), None, incomplete="why")
    assert (merge.base, merge.unknown) == ({WORK: there(8)}, {WORK})
    assert decision(there(8), here(8), there(4, 1), incomplete="why") == "pull 4"


def test_a_title_with_another_work_by_now_was_not_removed():
    assert decision(there(8, trakt_id=77), here(8), None, ids={("movie", 77)}) == "nothing"
    assert decision(there(8, trakt_id=77), here(8), None, ids={("movie", 78)}) == "pull None"
    assert decision(there(8, trakt_id=77), here(8), None, ids={("series", 77)}) == "pull None"


def test_another_trakt_id_of_the_same_work_is_a_move():
    merge = merged(there(8, trakt_id=77), here(8), there(8, trakt_id=78), ids={("movie", 78)})
    assert (merge.write, merge.push, merge.base) == ({}, {}, {WORK: there(8, trakt_id=78)})


def test_an_edit_that_waits_counts_even_if_it_equals_the_base():
    assert decision(there(7, 500), here(7, 1), there(8, 2), edited={WORK}) == "push 7"
    assert decision(there(7, 500), here(7, 2), there(8, 1), edited={WORK}) == "pull 8"
    assert decision(None, here(None, 1), there(8, 2), edited={WORK}) == "push None"
    assert decision(None, here(None, 1), there(8, 2)) == "pull 8", "a first sync restores what only Trakt has"


def test_a_pushed_rating_that_was_not_confirmed_is_no_edit_on_trakt():
    assert decision(there(7, 500), here(7, 1, observed=True), there(8, 2), edited={WORK}, echoes={WORK}) == "push 7"
    assert decision(there(7, 500), here(8, 2), there(8, 2), edited={WORK}, echoes={WORK}) == "nothing"


def test_dates_in_the_future_count_as_now():
    assert decision(there(8, 500), here(5, 0), there(6, -5000)) == "pull 6", "a tie"
    assert merged(there(8), here(8), there(6, -5000)).write == {WORK: Edit(6, NOW)}
    assert merged(there(8), here(6, -5000), there(8)).push == {WORK: Edit(6, NOW)}
    assert merged(there(6, -5000), here(6), there(6, -5000)).base == {WORK: there(6, -5000)}


def test_an_old_rating_keeps_its_date():
    assert merged(None, LocalRating(8, OLD), None).push == {WORK: Edit(8, OLD)}
    assert merged(None, None, SyncedRating(8, OLD)).write == {WORK: Edit(8, OLD)}


def many(count: int, value: int = 8) -> tuple[dict[int, SyncedRating], dict[int, LocalRating]]:
    return dict.fromkeys(range(count), there(value)), dict.fromkeys(range(count), here(value))


@pytest.mark.parametrize(("pushed", "of", "asks"), [(25, 100, False), (26, 100, True), (26, 130, False)])
def test_a_large_first_push_needs_consent(pushed: int, of: int, asks: bool):
    theirs, local = many(of)
    merge = merge_ratings({}, local, TraktList(dict(list(theirs.items())[pushed:])), now=NOW)
    assert needs_consent(merge, local) is asks


def test_merging_again_changes_nothing():
    """What was decided once is decided: for every combination of sides."""
    values: Collection[Any] = (None, 3, 8)
    dates = (1, 2, 500)
    locals_ = [None, *(here(value, ago, observed=flag) for value in values for ago in dates for flag in (False, True))]
    theirs = [None, *(there(value, ago) for value in (3, 8) for ago in dates)]
    for base in theirs:
        for mine in locals_:
            for one in theirs:
                merge = merged(base, mine, one)
                after_here, after_there = _applied(merge, mine, one)
                again = merge_ratings(merge.base, after_here, TraktList(after_there), now=NOW)
                assert (again.write, again.push) == ({}, {}), (base, mine, one)
                assert {work: edit.value for work, edit in after_there.items()} == {
                    work: edit.value for work, edit in after_here.items() if edit.value is not None
                }


def _applied(
    merge: RatingMerge, mine: LocalRating | None, theirs: SyncedRating | None
) -> tuple[Mapping[int, LocalRating], Mapping[int, SyncedRating]]:
    local = {WORK: mine} if mine is not None else {}
    remote = {WORK: theirs} if theirs is not None else {}
    local |= {work: LocalRating(edit.value, edit.rated_at) for work, edit in merge.write.items()}
    for work, edit in merge.push.items():
        remote.pop(work, None)
        if edit.value is not None:
            remote[work] = SyncedRating(edit.value, edit.rated_at)
    return local, remote


# Removals


def both(works: range) -> tuple[dict[int, SyncedRating], dict[int, LocalRating]]:
    return dict.fromkeys(works, SyncedRating(8, OLD)), dict.fromkeys(works, LocalRating(8, OLD))


def travelled(works: range, had: int, days_ago: float = 1) -> dict[int, Removal]:
    return dict.fromkeys(works, Removal(had, NOW - days_ago * DAY))


def guard(
    total: int, removed: range, side: Side, known: dict[int, Removal] | None = None, **how: Any
) -> tuple[GuardedRemovals, RatingMerge]:
    """Guard a user with the ratings 0 to ``total``, of whom some were removed on a side."""
    earlier = {work for work, one in (known or {}).items() if one.passed_at is not None}
    base, mine = both(range(total))
    base = {work: one for work, one in base.items() if work not in earlier}
    mine = {work: one for work, one in mine.items() if work not in earlier}
    trakt = dict(base)
    for work in removed:
        (trakt if side == "trakt" else mine).pop(work)
    merge = merge_ratings(base, mine, TraktList(trakt), now=NOW)
    return guard_removals(merge, base, mine, known or {}, since=SINCE, **how), merge


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
    base, mine = both(range(48))
    trakt = {work: one for work, one in base.items() if work < 40}
    merge = merge_ratings(base, mine, TraktList(trakt), now=NOW)
    found = guard_removals(merge, base, mine, known, since=SINCE)
    assert (found.over, set(found.passed), found.held) == (set(range(10)), set(range(40, 48)), {})


def test_both_sides_at_once_are_added_up_and_the_smaller_part_travels():
    base, mine = both(range(48))
    trakt = {work: one for work, one in base.items() if work >= 6}
    mine = {work: one for work, one in mine.items() if work < 41}
    merge = merge_ratings(base, mine, TraktList(trakt), now=NOW)
    found = guard_removals(merge, base, mine, {}, since=SINCE)
    assert (set(found.passed), set(found.held)) == (set(range(6)), set(range(41, 48)))


def test_what_is_held_stays_held_though_it_would_not_be_too_much_any_more():
    held = dict.fromkeys(range(3), Removal(3))
    found, merge = guard(50, range(4), "trakt", held)
    assert (set(found.held), set(found.passed), set(merge.write)) == ({0, 1, 2}, {3}, {3})


def test_more_of_the_same_side_is_held_with_what_is_held_and_the_other_side_goes_on():
    held = dict.fromkeys(range(12), Removal(48))
    assert set(guard(48, range(13), "trakt", held)[0].held) == set(range(13))
    base, mine = both(range(48))
    trakt = {work: one for work, one in base.items() if work >= 12}
    del mine[47]
    merge = merge_ratings(base, mine, TraktList(trakt), now=NOW)
    found = guard_removals(merge, base, mine, held, since=SINCE)
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
    base, mine = both(range(48))
    for work in range(10):
        del mine[work]
    merge = merge_ratings(base, mine, TraktList(base), now=NOW)
    found = guard_removals(merge, base, mine, travelled(range(10), had=48, days_ago=40), since=SINCE)
    assert (found.held, found.passed, set(merge.push)) == ({}, {}, set(range(10)))


def test_what_an_incomplete_list_does_not_mention_and_an_unread_one_stay_held():
    held = dict.fromkeys(range(12), Removal(48))
    base, mine = both(range(48))
    trakt = {work: one for work, one in base.items() if work >= 12}
    merge = merge_ratings(base, mine, TraktList(trakt, incomplete="why"), now=NOW)
    assert guard_removals(merge, base, mine, held, since=SINCE).over == set()
    merge = merge_ratings(base, mine, TraktList(base), now=NOW)
    assert guard_removals(merge, base, mine, held, since=SINCE, was_read=False).over == set()
    assert guard_removals(merge, base, mine, held, since=SINCE).over == set(range(12))


def test_the_sentence_says_how_many_of_what_on_which_side_and_what_to_do():
    held = [
        HeldRemoval("1", "ann b", work, f"Film {work}", "trakt" if work else "here", 1200, NOW, False)
        for work in range(1, -1, -1)
    ] * 3
    said = describe_held(held)
    assert "of ann b's 1,200 ratings" in said and "3 on Trakt and 3 here or on the media server were removed" in said
    assert "`aperture trakt removals 'ann b'`" in said and said.endswith("Film 1, Film 0, Film 1 and 3 others.")
