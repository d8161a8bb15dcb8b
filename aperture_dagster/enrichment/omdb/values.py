"""Parse OMDb's values, all of which are text for human readers: a text that cannot be parsed is None, never 0."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, NamedTuple

from aperture_dagster.http.json_text import one_line

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# A larger number is a mistake, and does not fit its column.
MOST_VOTES = 2**31 - 1
MOST_MINUTES = 100_000
MOST_AWARDS = 9_999

# Python's \d matches the digits of all scripts. Digits may be grouped in threes.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,5}|[0-9]{1,16})"
_NUMBER = re.compile(rf"({_WHOLE})(\.[0-9]{{1,16}})?")
_OUT_OF = re.compile(rf"({_WHOLE}(?:\.[0-9]{{1,16}})?) ?/ ?({_WHOLE})")
_DAY = re.compile(r"([0-9]{1,2}) ([A-Za-z]{3,9}) ([0-9]{4})")
_MINUTES = re.compile(rf"(?:({_WHOLE}) ?h(?:ours?|rs?)?)? ?(?:({_WHOLE}) ?m(?:in(?:ute)?s?)?)?\.?", re.IGNORECASE)

_COUNT = r"(?<![0-9.,-])([0-9]{1,3}(?:,[0-9]{3})|[0-9]{1,4})"
_WINS = re.compile(rf"{_COUNT} wins?\b", re.IGNORECASE)
_NOMINATIONS = re.compile(rf"{_COUNT} nominations?\b", re.IGNORECASE)
# The name of the award extends to the next number: "Won 2 News & Documentary Emmys. 3 wins".
_NAMED = re.compile(rf"\b(won|nominated for) {_COUNT} (?=([^.0-9]{{1,80}}))", re.IGNORECASE)
_OSCAR = re.compile(r"\boscars?\b", re.IGNORECASE)
_BESIDES = re.compile(r"\banother [0-9]", re.IGNORECASE)


class Awards(NamedTuple):
    """The numbers of an awards text, None if not stated. The first two count all awards, including Oscars."""

    award_wins: int | None = None
    award_nominations: int | None = None
    oscars_won: int | None = None


def known(value: Any) -> str | None:
    """Return the text on one line and trimmed; None for "", "N/A" and anything but text."""
    text = one_line(value)
    return None if text is None or text.replace(" ", "").upper() == "N/A" else text


def number(value: Any, *, most: float) -> float | None:
    """Parse ``"8.8"`` or ``"2,300,000"``: from 0 to ``most``, to four decimals."""
    match = _NUMBER.fullmatch(known(value) or "")
    if match is None:
        return None
    found = float(match[1].replace(",", "") + (match[2] or ""))
    return round(found, 4) if found <= most else None


def count(value: Any, *, most: int = MOST_VOTES) -> int | None:
    """Parse ``"2,300,000"``: a whole number from 0 to ``most``."""
    match = _NUMBER.fullmatch(known(value) or "")
    if match is None or match[2]:
        return None
    found = int(match[1].replace(",", ""))
    return found if found <= most else None


def percent(value: Any) -> int | None:
    """Parse ``"87%"``: 0-100."""
    text = known(value)
    return count(text[:-1], most=100) if text and text.endswith("%") else None


def out_of(value: Any, scale: int) -> float | None:
    """Parse ``"74/100"`` or ``"8.8/10"``: from 0 to ``scale``, which the text must state."""
    match = _OUT_OF.fullmatch(known(value) or "")
    return number(match[1], most=scale) if match and count(match[2]) == scale else None


def day(value: Any) -> date | None:
    """Parse ``"16 Jul 2010"``, with English month names in every locale."""
    match = _DAY.fullmatch(known(value) or "")
    if match is None or (month := match[2][:3].lower()) not in MONTHS:
        return None
    try:
        return date(int(match[3]), MONTHS.index(month) + 1, int(match[1]))
    except ValueError:
        return None


def minutes(value: Any) -> int | None:
    """Parse ``"148 min"``, ``"1 h 30 min"`` or ``"2 h"``: minutes, at least 1."""
    match = _MINUTES.fullmatch(known(value) or "")
    if match is None or not any(match.groups()):
        return None
    hours, rest = (int(part.replace(",", "")) if part else 0 for part in match.groups())
    total = 60 * hours + rest
    return total if 0 < total <= MOST_MINUTES else None


def awards(value: Any) -> Awards:
    """Parse ``"Won 4 Oscars. 159 wins & 220 nominations total"``, and its shorter and older forms.

    Older texts have "Another 143 wins & 198 nominations" after the named awards, and short ones have no total. The
    named awards are added there, so that wins and nominations always have the same meaning.
    """
    text = known(value)
    if text is None:
        return Awards()
    named: dict[str, int | None] = {}
    oscars_won: int | None = None
    for how, amount, award in _NAMED.findall(text):
        result = "won" if how.lower() == "won" else "nominated"
        named.setdefault(result, _amount(amount))
        if result == "won" and oscars_won is None and _OSCAR.search(award):
            oscars_won = _amount(amount)
    wins, nominations = (_amount(found[1]) if (found := kind.search(text)) else None for kind in (_WINS, _NOMINATIONS))
    if _BESIDES.search(text) or (wins is None and nominations is None):
        wins = _sum(wins, named.get("won"))
        nominations = _sum(nominations, named.get("nominated"))
    return Awards(wins, nominations, oscars_won)


def _amount(text: str) -> int | None:
    amount = int(text.replace(",", ""))
    return amount if amount <= MOST_AWARDS else None


def _sum(*parts: int | None) -> int | None:
    present = [part for part in parts if part is not None]
    return sum(present) if present else None
