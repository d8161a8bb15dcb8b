"""Parsing OMDb's texts: arbitrary texts never raise, and OMDb's own formats are parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.enrichment.omdb import values as omdb
from aperture_dagster.enrichment.omdb.values import Awards

# Near what is read, so that chance gets past the first character.
NEARLY = st.text("0123456789.,/%$- \u2013\xa0minhoursMJaFebwns&ominatoldANE+eInf\u0663\u00b2", max_size=40)
TEXTS = st.text() | NEARLY | st.from_regex(r"[0-9]{1,30}([.,][0-9]{1,30})?([%/]1?[0-9]0+| min| wins?)?", fullmatch=True)
ANYTHING = TEXTS | st.none() | st.booleans() | st.integers() | st.floats() | st.lists(TEXTS, max_size=2)

RANGES: list[tuple[Callable[[Any], float | None], float, float]] = [
    (lambda text: omdb.number(text, most=10), 0, 10),
    (omdb.count, 0, 2**31 - 1),
    (omdb.percent, 0, 100),
    (lambda text: omdb.out_of(text, 100), 0, 100),
]


@given(ANYTHING)
def test_arbitrary_values_are_in_range_or_none(value: Any):
    for read, least, most in RANGES:
        found = read(value)
        assert found is None or least <= found <= most
    text = omdb.known(value)
    assert text is None or (text == text.strip() != "")


@given(ANYTHING | st.from_regex(r"((Won|Nominated for) [0-9]{1,6} [A-Z][a-z]+s?\. )?(Another )?[0-9]{1,12} wins?"))
def test_arbitrary_awards_texts_give_numbers_that_fit_their_columns(value: Any):
    found = omdb.awards(value)
    for total in (found.award_wins, found.award_nominations):
        assert total is None or 0 <= total <= omdb.MOST_AWARDS
    assert found.oscars_won is None or 0 <= found.oscars_won < 2**15


@given(st.text(" \t\n\xa0\u2003", max_size=3), st.sampled_from(["N/A", "n/a", "N/a", "N / A", "n/ A", ""]))
def test_every_spelling_of_not_available_is_none(space: str, word: str):
    said = space + word + space
    assert omdb.known(said) is None
    assert omdb.awards(said) == Awards()
    for read, _, _ in RANGES:
        assert read(said) is None


@given(st.integers(0, 2**31 - 1), st.integers(0, 100), st.integers(0, 100))
def test_numbers_in_omdbs_format_are_parsed(votes: int, tenths: int, share: int):
    assert omdb.count(f"{votes:,}") == omdb.count(str(votes)) == votes
    assert omdb.number(f"{tenths / 10:.1f}", most=10) == omdb.out_of(f"{tenths / 10:.1f}/10", 10) == tenths / 10
    assert omdb.percent(f"{share}%") == omdb.count(str(share), most=100) == omdb.out_of(f"{share}/100", 100)


def plural(amount: int, word: str) -> str:
    return f"{amount} {word}" if amount == 1 else f"{amount:,} {word}s"


amounts = st.integers(1, omdb.MOST_AWARDS)


@given(st.sampled_from(["Oscar", "Primetime Emmy"]), st.booleans(), amounts, amounts, amounts)
def test_awards_texts_are_parsed_to_the_numbers_they_were_made_from(
    prize: str, won: bool, named: int, wins: int, nominations: int
):
    totals = f"{plural(wins, 'win')} & {plural(nominations, 'nomination')}"
    lead = f"{'Won' if won else 'Nominated for'} {plural(named, prize)}. "
    expected = Awards(wins, nominations, oscars_won=named if prize == "Oscar" and won else None)
    assert omdb.awards(f"{lead}{totals} total") == expected
    assert omdb.awards(f"{totals}.") == Awards(wins, nominations)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Won 4 Oscars. 159 wins & 220 nominations total", Awards(159, 220, oscars_won=4)),
        ("Won 1 Oscar.", Awards(oscars_won=1)),
        ("5 nominations.", Awards(None, 5)),
        ("12345 wins & -3 nominations & 1.5 wins", Awards()),
        ("Oscars, Oscars, Oscars", Awards()),
    ],
)
def test_numbers_missing_from_an_awards_text_are_none(said: str, expected: Awards):
    assert omdb.awards(said) == expected


def test_a_score_must_state_its_scale():
    assert omdb.out_of("7/10", 100) is omdb.out_of("74", 100) is omdb.out_of("174/100", 100) is None
