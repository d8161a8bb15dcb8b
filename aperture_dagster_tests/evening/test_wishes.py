"""What an address asks for tonight."""

from __future__ import annotations

import pytest

from aperture_dagster.evening.wishes import MOST_GENRES, Wishes, parse_wishes

GENRES = ("Comedy", "Drama")


def test_an_address_says_how_long_which_genres_how_old_and_whether_unseen():
    pairs = [("minutes", "90"), ("genre", "Comedy"), ("genre", "Drama"), ("age", "old"), ("unseen", "1"), ("as", "x")]
    assert parse_wishes(pairs, GENRES) == Wishes(90, ("Comedy", "Drama"), "old", unseen=True)
    # An empty choice of a form is none.
    assert parse_wishes([("minutes", ""), ("age", "")], GENRES) == Wishes()


@pytest.mark.parametrize(
    "pair", [("minutes", "ninety"), ("minutes", "9" * 400), ("genre", "\x00'"), ("age", "1800"), ("unseen", "maybe")]
)
def test_what_means_nothing_is_ignored_beside_what_does(pair: tuple[str, str]):
    assert parse_wishes([pair, ("minutes", "120")], GENRES) == Wishes(120, is_odd=True)


def test_genres_have_an_end():
    many = [f"Genre {number}" for number in range(50)]
    found = parse_wishes([("genre", name) for name in many], many)
    assert len(found.genres) == MOST_GENRES and found.is_odd


def test_what_is_not_known_of_a_title_fits_no_limit():
    assert Wishes().allow("movie", None, (), None, 2026)
    assert not Wishes(minutes=90).allow("movie", None, (), None, 2026)
    assert not Wishes(age="new").allow("movie", 80, (), None, 2026)
    assert not Wishes(minutes=60).allow("movie", 40, (), 2000, 2026), "a film is no episode"
    assert Wishes(minutes=60, genres=("Drama",)).allow("series", 45, ("Crime", "Drama"), 2000, 2026)
    assert [Wishes(age="new").allow("movie", 80, (), year, 2026) for year in (2021, 2022)] == [False, True]
    assert [Wishes(age="old").allow("movie", 80, (), year, 2026) for year in (1999, 2000)] == [True, False]
