"""Texts for people."""

from __future__ import annotations

import pytest

from aperture_dagster import model


@pytest.mark.parametrize(("rating", "text"), [(10, "★★★★★"), (7, "★★★½"), (1, "½"), (2, "★")])
def test_a_rating_of_ten_is_shown_as_five_stars_with_halves(rating: int, text: str):
    assert model.stars(rating) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.26, "1.26 s"), (89, "89 s"), (90, "2 min"), (3 * 3600 - 60, "179 min"), (3 * 3600, "3 h"),
        (47 * 3600, "47 h"), (48 * 3600, "2 days"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_in_the_unit_in_which_it_is_easiest_to_read(seconds: float, text: str):
    assert model.duration(seconds) == text
