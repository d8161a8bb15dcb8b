"""Ages of official ratings, and parental limits."""

from __future__ import annotations

import pytest

from aperture_dagster.library.parental import age_of, certified_age, within_limit


@pytest.mark.parametrize(
    ("rating", "age"),
    [
        ("G", 0), ("TV-Y", 0), ("TV-Y7", 7), ("TV-Y7-FV", 7), ("PG", 10), ("TV-PG", 10), ("PG-13", 13), ("TV-14", 14),
        ("R", 17), ("TV-MA", 17), ("NC-17", 18), ("X", 18), ("FSK-12", 12), ("FSK 16", 16), ("DE-6", 6), ("de/18", 18),
        ("GB-12A", 12), ("12A", 12), ("12+", 12), ("18", 18), ("0", 0), ("GB-U", 0), ("US-PG-13", 13), (" pg-13 ", 13),
    ],
)  # fmt: skip
def test_ratings_of_many_countries_are_converted_to_ages(rating: str, age: int):
    assert age_of(rating) == age


@pytest.mark.parametrize(
    "rating", [None, "", " ", "Not Rated", "NR", "Unrated", "XYZ-99x", "-", "100", "Approved?", "🔞"]
)
def test_an_unknown_rating_has_no_age(rating: str | None):
    assert age_of(rating) is None


def test_a_limit_hides_titles_with_a_higher_or_unknown_rating():
    assert within_limit("FSK-12", 12)
    assert not within_limit("PG-13", 12)
    assert not within_limit(None, 12)
    assert not within_limit("Not Rated", 12)
    assert within_limit("G", 0)


def test_without_a_limit_every_title_is_visible():
    assert within_limit("X", None)
    assert within_limit(None, None)


@pytest.mark.parametrize(
    ("country", "rating", "age"),
    [
        ("GB", "PG", 8), ("GB", "15", 15), ("GB", "R18", 18), ("AU", "M", 15), ("AU", "R", 18), ("CA", "14A", 14),
        ("MX", "B-15", 15), ("MX", "A", 0), ("IN", "A", 18), ("IT", "VM14", 14), ("PT", "M/12", 12), ("FR", "TP", 0),
        ("DE", "16", 16), ("US", "PG-13", 13), ("SE", "Btl", 0), ("XX", "12", 12), ("US", "A", None),
    ],
)  # fmt: skip
def test_a_rating_means_what_it_means_in_its_country(country: str, rating: str, age: int | None):
    assert age_of(rating, country) == age


@pytest.mark.parametrize(
    ("certifications", "age"),
    [
        ({"DE": ["12", "16", "6"]}, 16),
        ({"DE": ["12"], "US": ["R"]}, 12),
        ({"US": ["PG-13", "NR"]}, 13),
        ({"DE": ["", "NR"], "US": ["PG"]}, 10),
        ({"GB": ["U"]}, None),
        ({"DE": ["12", "indiziert"]}, None),
        ({}, None),
    ],
)
def test_of_the_certifications_of_a_country_the_strictest_counts(certifications: dict[str, list[str]], age: int | None):
    assert certified_age(certifications, ["DE", "US"]) == age
