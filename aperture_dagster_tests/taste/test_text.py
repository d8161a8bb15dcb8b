"""The text that is embedded for a title."""

from __future__ import annotations

import numpy as np

from aperture_dagster.taste.ranking.text import RECIPE, title_text


def test_the_text_has_all_parts_in_order():
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


def test_missing_values_are_skipped():
    empty = {"title": "Solaris", "year": np.nan, "genres": None, "keywords": float("nan"), "overview": "", "cast": []}
    assert title_text(empty) == "Solaris"
    assert title_text({"title": "Solaris", "overview": "nan", "director": "None"}) == "Solaris"
    assert title_text({}) == ""


def test_a_series_has_its_creators_and_network():
    text = title_text(
        {"title": "Dark", "creators": ["Baran bo Odar"], "networks": ["Netflix"], "companies": ["Wiedemann"]}
    )
    assert text == "Dark. Baran bo Odar. Netflix"


def test_long_lists_of_names_are_cut():
    many = [f"n{number}" for number in range(30)]
    text = title_text({"keywords": many, "cast": many, "companies": many})
    assert text == ". ".join(", ".join(many[:limit]) for limit in (20, 5, 3))
    assert title_text({"networks": many}) == "n0, n1, n2"


def test_names_may_come_as_arrays_or_a_single_string_and_are_not_repeated():
    assert title_text({"title": "X", "genres": np.array(["A", "B", "A"]), "directors": "D"}) == "X. A, B. D"
