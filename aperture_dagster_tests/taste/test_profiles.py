"""What sets a taste apart, in names and in words."""

from __future__ import annotations

import pytest

from aperture_dagster.taste.profiles import Lift, lifts, summary

WEST = ("western", "western")


def test_lift_is_the_share_among_liked_titles_over_that_in_the_library():
    usual = {"drama": 1.0, "western": 0.2}
    found = lifts([(2.0, ("drama", *WEST)), (2.0, ("drama", *WEST)), (2.0, ("drama",))], usual)
    assert found == (Lift("western", round((2 + 3 * 0.2) / 6 / 0.2, 3), 2),), "what is frequent anyway is left out"
    heavier = lifts([(3.0, WEST), (1.0, ("drama",))], usual)
    assert heavier == (Lift("western", round((1.5 + 3 * 0.2) / 5 / 0.2, 3), 1),), "by weight"
    assert lifts([(3.0, WEST), (1.0, ("drama",))], usual, minimum=2) == () == lifts([], usual)


def test_names_are_sorted_by_share_and_rarity_and_the_first_eight_are_named():
    liked = [(1.0, ("war",)), (1.0, ("war",)), (1.0, ("war", "zeppelin"))]
    assert [one.name for one in lifts(liked, {"war": 0.1, "zeppelin": 0.01})] == ["war", "zeppelin"]
    many = tuple(f"g{number:02d}" for number in range(12))
    assert [one.name for one in lifts([(1.0, many)], dict.fromkeys(many, 0.1))] == list(many[:8]), "ties by name"


@pytest.mark.parametrize("disliked", [0, 3])
def test_a_summary_names_four_genres_and_five_keywords(disliked: int):
    genres, keywords = ([Lift(f"{kind}{number}", 1.25, 3) for number in range(7)] for kind in "gk")
    named = "g0 (1.2x), g1 (1.2x), g2 (1.2x), g3 (1.2x); often k0, k1, k2, k3, k4."
    assert summary(9, disliked, genres, keywords) == (
        f"9 liked, {disliked} disliked; compared with the library, more {named}"
    )
    assert summary(9, disliked, [], []) == f"9 liked, {disliked} disliked."
    assert summary(0, 0, [], []) == "Nothing is known yet."
