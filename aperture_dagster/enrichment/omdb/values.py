"""Parse OMDb's values, all of which are text for human readers: a text that cannot be parsed is None, never 0."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from aperture_dagster.http.messages import one_line

# A larger number is a mistake, and does not fit its column.
MOST_VOTES = 2**31 - 1
MOST_AWARDS = 9_999
# Python's \d matches the digits of all scripts. Digits may be grouped in threes.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,5}|[0-9]{1,16})"
_NUMBER = re.compile(rf"({_WHOLE})(\.[0-9]{{1,16}})?")
_OUT_OF = re.compile(rf"({_WHOLE}(?:\.[0-9]{{1,16}})?) ?/ ?({_WHOLE})")
_COUNT = r"(?<![0-9.,-])([0-9]{1,3}(?:,[0-9]{3})|[0-9]{1,4})"
_WINS = re.compile(rf"{_COUNT} wins?\b", re.IGNORECASE)
_NOMINATIONS = re.compile(rf"{_COUNT} nominations?\b", re.IGNORECASE)
_OSCARS = re.compile(rf"\bwon {_COUNT} oscars?\b", re.IGNORECASE)


class Awards(NamedTuple):
    """The numbers of an awards text, None if not stated."""

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


def awards(value: Any) -> Awards:
    """Parse ``"Won 4 Oscars. 159 wins & 220 nominations total"``, and texts that have only some of these."""
    text = known(value) or ""
    found = (kind.search(text) for kind in (_WINS, _NOMINATIONS, _OSCARS))
    return Awards(*(_amount(match[1]) if match else None for match in found))


def _amount(text: str) -> int | None:
    amount = int(text.replace(",", ""))
    return amount if amount <= MOST_AWARDS else None
