"""Ages of official ratings, and parental limits."""

from __future__ import annotations

import pytest

from aperture_dagster.catalogue.parental import AGES, AGES_IN, age_of, certified_age, within_limit


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
        ("GB", "PG", 8), ("GB", "15", 15), ("DE", "16", 16), ("US", "PG-13", 13), ("SE", "Btl", 0), ("XX", "12", 12),
        ("US", "A", None),
    ],
)  # fmt: skip
def test_a_rating_means_what_it_means_in_its_country(country: str, rating: str, age: int | None):
    assert age_of(rating, country) == age


# The same certificates the other way round: from the ages at which the boards of each country admit to them.
ADMITTED = {
    None: {0: "G TV-Y TV-G APPROVED E U AL L T 0", 7: "TV-Y7 TV-Y7-FV", 10: "PG TV-PG", 13: "PG-13 M/PG", 14: "TV-14",
           17: "R M TV-MA MA", 18: "NC-17 X XXX AO"},
    "AU": {0: "EXEMPT", 15: "PG|M|MA|MA 15+|MA15+|AV 15+", 18: "R|R 18+|R18+|X 18+"},
    "BR": {0: "AL"},
    "CA": {0: "C", 8: "C8 PG TV-PG", 14: "14A", 18: "TV-MA 18A R A"},
    "DK": {0: "A|TILLADT FOR ALLE"},
    "ES": {0: "A APTA AI A/I TP INFANTIL"},
    "FI": {0: "S", 7: "K-7 K7", 12: "K-12 K12", 16: "K-16 K16", 18: "K-18 K18"},
    "FR": {0: "TP|TOUS PUBLICS|PUBLIC AVERTI"},
    "GB": {0: "ALL UC", 8: "PG", 13: "TEEN", 18: "R18"},
    "IE": {12: "PG"},
    "IN": {7: "U/A 7+|UA 7+", 12: "UA|U/A", 13: "U/A 13+|UA 13+", 16: "U/A 16+|UA 16+", 18: "A|S"},
    "IT": {0: "PER TUTTI|BA", 6: "VM6|", 12: "VM12|", 14: "VM14|", 18: "VM18|"},
    "JP": {12: "PG12 PG-12", 15: "R15+", 18: "R18+"},
    "KR": {0: "ALL|EXEMPT", 19: "RESTRICTED SCREENING|"},
    "MX": {0: "AA A", 12: "B", 15: "B-15 B15", 18: "C D"},
    "NL": {6: "MG6"},
    "NO": {0: "A"},
    "NZ": {13: "PG RP13 R13", 15: "R15", 16: "M RP16 R16", 18: "RP18 R18 R"},
    "PT": {0: "PÚBLICOS", 3: "M/3", 6: "M/6", 12: "M/12", 14: "M/14", 16: "M/16", 18: "M/18"},
    "SE": {0: "BTL BARNTILLÅTEN"},
    "SG": {13: "PG13", 16: "NC16", 18: "M18", 21: "R21"},
}  # fmt: skip


def test_every_certificate_admits_from_the_age_of_its_board():
    admitted = {
        (country, certificate): age
        for country, ages in ADMITTED.items()
        for age, certificates in ages.items()
        for certificate in filter(None, certificates.split("|" if "|" in certificates else None))
    }
    known = {(None, one) for one in AGES} | {(country, one) for country, ages in AGES_IN.items() for one in ages}
    assert {(country, one): age_of(one, country) for country, one in known} == admitted


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
