"""The text that stands for a title."""

from __future__ import annotations

import numpy as np

from aperture_dagster.ranking.text import RECIPE, title_text


def test_the_recipe_has_everything_in_its_order():
    text = title_text(
        {
            "title": "Alien",
            "year": 1979.0,
            "tagline": "In space no one can hear you scream.",
            "genres": ["Horror", "Science Fiction"],
            "keywords": ["android", "spaceship"],
            "directors": ["Ridley Scott"],
            "cast": [{"name": name} for name in ("One", "Two", "Three", "Four", "Five", "Six")],
            "companies": ["20th Century-Fox"],
            "countries": ["US"],
            "language": "en",
            "overview": "A crew answers a call.",
        }
    )
    assert text == (
        "Alien (1979). In space no one can hear you scream. Horror, Science Fiction. android, spaceship. Ridley Scott. "
        "One, Two, Three, Four, Five. 20th Century-Fox. US, en. A crew answers a call"
    )
    assert RECIPE


def test_what_is_missing_is_skipped():
    empty = {"title": "Solaris", "year": np.nan, "genres": None, "keywords": float("nan"), "overview": "", "cast": []}
    assert title_text(empty) == "Solaris"
    assert title_text({}) == ""


def test_a_series_is_made_by_its_creators_and_its_network():
    text = title_text(
        {"title": "Dark", "creators": ["Baran bo Odar"], "networks": ["Netflix"], "companies": ["Wiedemann"]}
    )
    assert text == "Dark. Baran bo Odar. Netflix"


def test_lists_may_be_arrays_or_one_name_and_repeat_nothing():
    assert title_text({"title": "X", "genres": np.array(["A", "B", "A"]), "directors": "D"}) == "X. A, B. D"
