"""What was a play, from what the server said last time and what it says now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.library.history import Viewing, ViewState, next_watermark, viewing_between

NOW = datetime(2026, 5, 1, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


def state(*, played: bool = True, count: int = 1, share: float = 0.0, hours_ago: float | None = 1) -> ViewState:
    return ViewState(played, count, share, None if hours_ago is None else NOW - hours_ago * HOUR)


def viewing(before: ViewState | None, after: ViewState) -> Viewing | None:
    return viewing_between(before, after, now=NOW, started_share=0.05)


def test_the_first_sight_dates_the_last_play_only_however_many_there_were():
    assert viewing(None, state(count=7)) == Viewing(NOW - HOUR, 1, 1.0)


def test_a_play_without_a_date_is_not_in_the_log():
    assert viewing(None, state(count=0, hours_ago=None)) is None
    assert viewing(state(played=False, count=0, hours_ago=None), state(count=3, hours_ago=None)) is None


def test_a_played_mark_with_a_date_and_no_count_is_one_play():
    assert viewing(None, state(count=0)) == Viewing(NOW - HOUR, 1, 1.0)
    assert viewing(state(played=False, count=0, hours_ago=None), state(count=0)) == Viewing(NOW - HOUR, 1, 1.0)


def test_nothing_new_is_no_play():
    assert viewing(state(), state()) is None
    assert viewing(state(share=0.3, played=False), state(share=0.3, played=False)) is None


def test_what_was_gained_since_the_last_look_is_counted():
    assert viewing(state(count=2, hours_ago=50), state(count=5)) == Viewing(NOW - HOUR, 3, 1.0)


def test_watching_again_is_a_play_of_its_own():
    assert viewing(state(count=1, hours_ago=500), state(count=2)) == Viewing(NOW - HOUR, 1, 1.0)


def test_a_mark_by_hand_that_moves_the_date_alone_is_no_play():
    assert viewing(state(count=1, hours_ago=500), state(count=1)) is None


@pytest.mark.parametrize(("share", "seen"), [(0.0, False), (0.049, False), (0.05, True), (0.6, True)])
def test_a_view_counts_as_started_from_five_percent(share: float, seen: bool):
    after = state(played=False, count=0, share=share)
    expected = Viewing(NOW - HOUR, 0, share) if seen else None
    assert viewing(None, after) == expected
    assert viewing(state(played=False, count=0, share=0, hours_ago=90), after) == expected


def test_a_start_that_was_given_up_is_no_whole_play():
    # Servers count a play at its start, and take the played mark off until the end.
    assert viewing(state(count=1, hours_ago=90), state(played=False, count=2, share=0.0)) is None
    assert viewing(state(count=1, hours_ago=90), state(played=False, count=2, share=0.5)) == Viewing(NOW - HOUR, 0, 0.5)
    assert viewing(state(played=False, count=1, share=0.2, hours_ago=9), state(played=False, count=4, share=0.4)) == (
        Viewing(NOW - HOUR, 0, 0.4)
    )


def test_a_film_whose_end_comes_after_the_look_is_one_whole_play_at_its_start():
    half_way = state(played=False, count=1, share=0.5)
    assert viewing(None, half_way) == Viewing(NOW - HOUR, 0, 0.5)
    assert viewing(half_way, state(played=True, count=1)) == Viewing(NOW - HOUR, 1, 1.0)


def test_progress_after_the_look_goes_to_the_same_viewing():
    barely = state(played=False, count=1, share=0.02)
    assert viewing(None, barely) is None
    assert viewing(barely, state(played=False, count=1, share=0.7)) == Viewing(NOW - HOUR, 0, 0.7)


def test_rounding_of_a_stored_position_is_no_progress():
    assert viewing(state(played=False, share=0.1234), state(played=False, share=0.12344)) is None


def test_a_position_in_what_is_played_changes_no_whole_play():
    assert viewing(state(played=True), state(played=True, share=0.5)) is None
    assert viewing(state(played=True), state(played=False, share=0.5)) is None


def test_a_date_in_the_future_is_taken_as_now():
    assert viewing(None, state(hours_ago=-1000)) == Viewing(NOW, 1, 1.0)


def test_a_wrong_date_in_the_future_hides_no_later_play():
    assert viewing(state(count=1, hours_ago=-1000), state(count=2)) == Viewing(NOW - HOUR, 1, 1.0)


def test_a_date_that_stays_in_the_future_hides_no_later_play():
    assert viewing(state(count=1, hours_ago=-1000), state(count=3, hours_ago=-1000)) == Viewing(NOW, 2, 1.0)
    assert viewing(state(count=1, hours_ago=-1000), state(count=1, hours_ago=-1000)) is None
    assert viewing(state(count=1, hours_ago=9), state(count=2, hours_ago=9)) is None, "that line is written already"


def test_what_was_finished_by_a_clock_that_was_set_back_is_a_play():
    half_way = state(played=False, count=1, share=0.5, hours_ago=-1)
    assert viewing(half_way, state(count=1)) == Viewing(NOW - HOUR, 1, 1.0)


def test_a_clock_that_was_set_back_makes_no_play_by_itself():
    assert viewing(state(count=2, hours_ago=-1000), state(count=2)) is None
    assert viewing(state(count=2), state(count=1, hours_ago=90)) is None


def test_taking_a_mark_back_is_no_play():
    assert viewing(state(), state(played=False, count=0, hours_ago=None)) is None
    assert viewing(state(hours_ago=90), state(played=False, count=0)) is None


def test_one_date_in_the_future_does_not_hide_what_comes_after():
    old, new, future = NOW - 9 * HOUR, NOW - HOUR, NOW + 900 * HOUR
    assert next_watermark(old, [None, new, future], NOW) == new
    assert next_watermark(None, [future], NOW) is None
    assert next_watermark(new, [old], NOW) == new
    assert next_watermark(None, [], NOW) is None
    assert next_watermark(future, [old], NOW) == old
