"""Words around figures and titles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Control characters and those that override or isolate a direction; marks of Arabic and Hebrew are none of them.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
# Nouns whose singular is not the plural without its s.
IRREGULAR = {"series": "series", "libraries": "library", "entries": "entry", "copies": "copy", "people": "person"}
WEEKDAYS = dict(
    zip("0123456", ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"), strict=True)
)


def counted(count: int, what: str) -> str:
    """Return a number with what it counts: ``what`` is in the plural, and its first word the noun (`users served`)."""
    noun, space, rest = what.partition(" ")
    if count == 1:
        noun = IRREGULAR.get(noun, noun.removesuffix("s"))
    return f"{count:,} {noun}{space}{rest}"


def stars(rating: int) -> str:
    """Return a rating from 1 to 10 as up to five stars, the last of which may be half a one."""
    return "★" * (rating // 2) + "½" * (rating % 2)


def listed(names: Sequence[str], *, conjunction: str = "and") -> str:
    """Join names as a sentence does: `a`, `a and b`, `a, b and c`."""
    *others, last = names or [""]
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def sentence(error: Exception | str) -> str:
    """End a message with a full stop, so that more can follow it."""
    message = str(error).rstrip()
    return message if message.endswith((".", "!", "?", "…")) else f"{message}."


def titled(row: Mapping[str, Any]) -> str:
    """Name a title with its year, if that is known."""
    return f"{row['title']} ({row['year']})" if row["year"] else str(row["title"])


def printable(text: str) -> str:
    """Return a text without characters that move the cursor, colour a terminal, or change the direction of text.

    Line breaks and tabs are kept.
    """
    return UNPRINTABLE.sub("", text)


def shortened(text: str, length: int) -> str:
    """Cut a text to a number of characters; the last one is then an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def duration(seconds: float) -> str:
    """Return a duration in the unit in which it is easiest to read: `40 s`, `15 min`, `6 h`, `3 days`."""
    for least, unit, name in ((48 * 3600, 86_400, "days"), (3 * 3600, 3600, "h"), (90, 60, "min")):
        if seconds >= least:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.3g} s"


def often(cron: str) -> str:
    """Say how often a cron starts, as part of a sentence."""
    words = in_words(cron)
    if words.startswith("every"):
        return words
    if words.startswith("`"):
        return f"by the cron {words}"
    day, _, time = words.rpartition(" ")
    return f"every {day or 'day'} at {time}"


def in_words(cron: str) -> str:
    """Say when a cron starts; one without a common phrase is shown as it is."""
    minute, hour, *days = cron.split()
    at_a_time = minute.isdigit() and hour.isdigit()
    if at_a_time and days[:2] == ["*", "*"] and days[2] in WEEKDAYS:
        return f"{WEEKDAYS[days[2]]} {int(hour):02}:{int(minute):02}"
    if days == ["*", "*", "*"]:
        if at_a_time:
            return f"{int(hour):02}:{int(minute):02}"
        if minute == "0" and hour.startswith("*/"):
            return f"every {hour.removeprefix('*/')} hours"
        if hour == "*" and minute.startswith("*/"):
            return f"every {minute.removeprefix('*/')} minutes"
    return f"`{cron}`"
