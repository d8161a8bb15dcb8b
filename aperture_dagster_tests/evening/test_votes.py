"""Which title an evening's votes choose."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aperture_dagster.evening.votes import count_votes
from aperture_dagster_tests.shelf import NOW


def votes(*given: tuple[str, int, bool]) -> list[dict[str, Any]]:
    """Return votes that were given one a minute."""
    return [
        {"voter": voter, "work_id": work, "likes": likes, "voted_at": NOW + timedelta(minutes=minute)}
        for minute, (voter, work, likes) in enumerate(given)
    ]


def test_the_first_title_that_all_like_wins_and_not_that_which_was_liked_first():
    given = votes(("a", 1, True), ("a", 2, True), ("b", 2, True), ("b", 1, True))
    assert count_votes(given[:2], 2, {1, 2})[0] is None
    assert count_votes(given[:3], 2, {1, 2})[0] == 2
    assert count_votes(given, 2, {1, 2})[0] == 2, "what is said later changes nothing"


def test_a_no_is_no_like_and_what_may_not_be_seen_by_now_wins_nothing():
    assert count_votes(votes(("a", 1, True), ("b", 1, False)), 2, {1}) == (None, [(1, 1)])
    assert count_votes(votes(("a", 1, True), ("b", 1, True)), 2, {2}) == (None, [])
