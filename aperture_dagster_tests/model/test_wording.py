"""Texts for people."""

from __future__ import annotations

import pytest

from aperture_dagster import model


@pytest.mark.parametrize(("rating", "text"), [(10, "★★★★★"), (7, "★★★½"), (1, "½"), (2, "★")])
def test_a_rating_of_ten_is_shown_as_five_stars_with_halves(rating: int, text: str):
    assert model.stars(rating) == text
