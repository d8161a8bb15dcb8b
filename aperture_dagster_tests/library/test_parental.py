"""From what is printed on a title to an age."""

from __future__ import annotations

import pytest

from aperture_dagster.library.parental import age_of, within_limit


@pytest.mark.parametrize(
    ("mark", "age"),
    [
        ("G", 0), ("TV-Y", 0), ("TV-Y7", 7), ("TV-Y7-FV", 7), ("PG", 10), ("TV-PG", 10), ("PG-13", 13), ("TV-14", 14),
        ("R", 17), ("TV-MA", 17), ("NC-17", 18), ("X", 18), ("FSK-12", 12), ("FSK 16", 16), ("DE-6", 6), ("de/18", 18),
        ("GB-12A", 12), ("12A", 12), ("12+", 12), ("18", 18), ("0", 0), ("GB-U", 0), ("US-PG-13", 13), (" pg-13 ", 13),
    ],
)  # fmt: skip
def test_marks_of_many_countries_are_ages(mark: str, age: int):
    assert age_of(mark) == age


@pytest.mark.parametrize(
    "mark", [None, "", " ", "Not Rated", "NR", "Unrated", "XYZ-99x", "-", "100", "Approved?", "🔞"]
)
def test_an_unknown_mark_is_unknown(mark: str | None):
    assert age_of(mark) is None


def test_a_child_is_offered_nothing_of_which_the_mark_is_unknown_or_too_high():
    assert within_limit("FSK-12", 12)
    assert not within_limit("PG-13", 12)
    assert not within_limit(None, 12)
    assert not within_limit("Not Rated", 12)
    assert within_limit("G", 0)


def test_without_a_limit_all_is_offered():
    assert within_limit("X", None)
    assert within_limit(None, None)
