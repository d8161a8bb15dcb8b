"""Plays derived from two consecutive states of an item; guards against removals after an incomplete answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aperture_dagster.catalogue.history.viewings import Viewing, ViewState, next_watermark, viewing_between
from aperture_dagster.catalogue.removals import LibraryLoss, RemovalRefused, check_history_loss, check_removals

NOW = datetime(2026, 5, 1, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


def state(*, played: bool = True, count: int = 1, share: float = 0.0, hours_ago: float | None = 1) -> ViewState:
    return ViewState(played, count, share, None if hours_ago is None else NOW - hours_ago * HOUR)


def viewing(before: ViewState | None, after: ViewState) -> Viewing | None:
    return viewing_between(before, after, now=NOW)


def test_the_first_read_gives_only_the_last_play_however_many_there_were():
    assert viewing(None, state(count=7)) == Viewing(NOW - HOUR, 1, 1.0)


def test_a_server_that_counts_fewer_plays_than_before_has_only_a_viewing_that_goes_on():
    before = state(count=3, hours_ago=5)
    assert viewing(before, state(count=1, share=0.5)) == Viewing(NOW - HOUR, 0, 0.5)
    assert viewing(before, state(count=1, share=0.04)) is None


def test_a_play_without_a_date_is_not_logged():
    assert viewing(None, state(count=0, hours_ago=None)) is None
    assert viewing(state(played=False, count=0, hours_ago=None), state(count=3, hours_ago=None)) is None


def test_a_played_mark_with_a_date_but_no_count_is_one_play():
    assert viewing(None, state(count=0)) == Viewing(NOW - HOUR, 1, 1.0)
    assert viewing(state(played=False, count=0, hours_ago=None), state(count=0)) == Viewing(NOW - HOUR, 1, 1.0)


def test_an_unchanged_state_is_not_a_play():
    assert viewing(state(), state()) is None
    assert viewing(state(share=0.3, played=False), state(share=0.3, played=False)) is None


def test_the_increase_of_the_count_is_the_number_of_plays():
    assert viewing(state(count=2, hours_ago=50), state(count=5)) == Viewing(NOW - HOUR, 3, 1.0)


def test_a_new_date_without_a_higher_count_is_not_a_play():
    assert viewing(state(count=1, hours_ago=500), state(count=1)) is None


@pytest.mark.parametrize(("share", "seen"), [(0.0, False), (0.049, False), (0.05, True), (0.6, True)])
def test_a_viewing_counts_as_started_from_five_percent(share: float, seen: bool):
    after = state(played=False, count=0, share=share)
    expected = Viewing(NOW - HOUR, 0, share) if seen else None
    assert viewing(None, after) == expected
    assert viewing(state(played=False, count=0, share=0, hours_ago=90), after) == expected


def test_an_abandoned_start_is_not_a_complete_play():
    # Servers count a play at its start, and clear the played mark until its end.
    assert viewing(state(count=1, hours_ago=90), state(played=False, count=2, share=0.0)) is None
    assert viewing(state(count=1, hours_ago=90), state(played=False, count=2, share=0.5)) == Viewing(NOW - HOUR, 0, 0.5)
    assert viewing(state(played=False, count=1, share=0.2, hours_ago=9), state(played=False, count=4, share=0.4)) == (
        Viewing(NOW - HOUR, 0, 0.4)
    )


def test_a_film_that_is_finished_after_the_first_read_is_one_complete_play_dated_at_its_start():
    half_way = state(played=False, count=1, share=0.5)
    assert viewing(None, half_way) == Viewing(NOW - HOUR, 0, 0.5)
    assert viewing(half_way, state(played=True, count=1)) == Viewing(NOW - HOUR, 1, 1.0)


def test_later_progress_updates_the_same_viewing():
    barely = state(played=False, count=1, share=0.02)
    assert viewing(None, barely) is None
    assert viewing(barely, state(played=False, count=1, share=0.7)) == Viewing(NOW - HOUR, 0, 0.7)


def test_rounding_of_a_stored_position_is_not_progress():
    assert viewing(state(played=False, share=0.1234), state(played=False, share=0.12344)) is None


def test_a_new_position_in_a_played_item_does_not_change_the_play():
    assert viewing(state(played=True), state(played=True, share=0.5)) is None
    assert viewing(state(played=True), state(played=False, share=0.5)) is None


def test_a_date_in_the_future_is_replaced_by_now():
    assert viewing(None, state(hours_ago=-1000)) == Viewing(NOW, 1, 1.0)


def test_a_wrong_future_date_does_not_hide_later_plays():
    assert viewing(state(count=1, hours_ago=-1000), state(count=2)) == Viewing(NOW - HOUR, 1, 1.0)


def test_a_date_that_stays_in_the_future_does_not_hide_later_plays():
    assert viewing(state(count=1, hours_ago=-1000), state(count=3, hours_ago=-1000)) == Viewing(NOW, 2, 1.0)
    assert viewing(state(count=1, hours_ago=-1000), state(count=1, hours_ago=-1000)) is None
    assert viewing(state(count=1, hours_ago=9), state(count=2, hours_ago=9)) is None, "that play is logged already"


def test_a_film_finished_after_the_clock_was_set_back_is_a_play():
    half_way = state(played=False, count=1, share=0.5, hours_ago=-1)
    assert viewing(half_way, state(count=1)) == Viewing(NOW - HOUR, 1, 1.0)


def test_setting_the_clock_back_alone_is_not_a_play():
    assert viewing(state(count=2, hours_ago=-1000), state(count=2)) is None
    assert viewing(state(count=2), state(count=1, hours_ago=90)) is None


def test_removing_the_played_mark_is_not_a_play():
    assert viewing(state(), state(played=False, count=0, hours_ago=None)) is None
    assert viewing(state(hours_ago=90), state(played=False, count=0)) is None


def test_the_watermark_stays_at_a_play_of_an_unknown_item_for_a_week():
    old, unknown, new = NOW - 30 * HOUR, NOW - 20 * HOUR, NOW - HOUR
    assert next_watermark(old, [unknown, new], NOW, unmatched=[None, unknown]) == unknown
    assert next_watermark(new, [unknown], NOW, unmatched=[unknown]) == unknown, "it was read by a full comparison"
    assert next_watermark(old, [unknown, new], NOW, unmatched=[NOW + HOUR]) == new
    week = 7 * 24 * HOUR
    assert next_watermark(old, [unknown, new], unknown + week, unmatched=[unknown]) == unknown
    assert next_watermark(old, [unknown, new], unknown + week + HOUR, unmatched=[unknown]) == new


def test_the_watermark_ignores_dates_in_the_future():
    old, new, future = NOW - 9 * HOUR, NOW - HOUR, NOW + 900 * HOUR
    assert next_watermark(old, [None, new, future], NOW) == new
    assert next_watermark(None, [future], NOW) is None
    assert next_watermark(new, [old], NOW) == new
    assert next_watermark(None, [], NOW) is None
    assert next_watermark(future, [old], NOW) == old


# Removals


def losses(**missing_of: tuple[int, int]) -> dict[str, LibraryLoss]:
    return {name: LibraryLoss(name, missing, present) for name, (missing, present) in missing_of.items()}


def test_up_to_a_fifth_of_a_library_may_be_removed_at_once():
    check_removals(losses(Films=(20, 100), Shows=(0, 10)), accepted=False, what="films")
    check_removals({}, accepted=False, what="films")
    check_removals(losses(Empty=(0, 0)), accepted=False, what="films")


def test_more_than_a_fifth_is_refused_with_the_numbers_and_how_to_accept_it():
    with pytest.raises(RemovalRefused) as refused:
        check_removals(losses(Films=(21, 100), Shows=(1, 10)), accepted=False, what="films")
    message = str(refused.value)
    assert "21 of 100 films of 'Films' (21%)" in message
    assert "Shows" not in message
    assert "accept_removals: true" in message


def test_a_few_titles_may_be_removed_whatever_their_share():
    """One of four films must not fail the step every night."""
    check_removals(losses(Films=(1, 4), Shows=(20, 21), Last=(1, 1)), accepted=False, what="films")
    with pytest.raises(RemovalRefused):
        check_removals(losses(Films=(21, 40)), accepted=False, what="films")


def test_each_library_is_checked_separately():
    # One per cent of all titles, but all of a small library: its disk is not mounted.
    with pytest.raises(RemovalRefused, match="'Small'"):
        check_removals(losses(Large=(0, 1000), Small=(10, 10)), accepted=False, what="films")


def test_a_loss_that_the_operator_accepted_is_allowed():
    check_removals(losses(Films=(100, 100)), accepted=True, what="films")
    check_history_loss("ann", listed=0, lost=500, known=500, accepted=True)


@pytest.mark.parametrize(
    ("listed", "lost", "known"), [(500, 0, 500), (501, -1, 500), (400, 100, 500), (3, 5, 8), (0, 0, 0), (900, 5, 5)]
)
def test_a_history_may_lose_a_few_marks_or_a_fifth(listed: int, lost: int, known: int):
    check_history_loss("ann", listed=listed, lost=lost, known=known, accepted=False)


@pytest.mark.parametrize(
    ("listed", "lost", "known"), [(0, 500, 500), (0, 1, 1), (399, 101, 500), (2, 6, 8), (900, 6, 8)]
)
def test_a_history_that_is_suddenly_gone_is_refused(listed: int, lost: int, known: int):
    with pytest.raises(RemovalRefused, match=rf"{listed} items that ann .* {lost} of the {known} .*accept_removals"):
        check_history_loss("ann", listed=listed, lost=lost, known=known, accepted=False)
