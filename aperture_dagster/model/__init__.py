"""What everything else speaks of: time, words, tags and progress.

Imports nothing of the package.
"""

from __future__ import annotations

import functools
import logging
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

# The clock of the assets.


class Clock:
    """The time, which a test can set."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now or (lambda: datetime.now(UTC))

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return self._now()


# Words around figures and titles.


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


def from_monday(weekdays: Iterable[str]) -> list[str]:
    """Sort the weekdays of a cron, in which 0 is Sunday, as a week that begins with Monday."""
    return sorted(set(weekdays), key=lambda day: (int(day) - 1) % 7)


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
    weekdays = days[2].split(",")
    if at_a_time and days[:2] == ["*", "*"] and WEEKDAYS.keys() >= set(weekdays):
        return f"{listed([WEEKDAYS[day] for day in from_monday(weekdays)])} {int(hour):02}:{int(minute):02}"
    if days == ["*", "*", "*"]:
        if at_a_time:
            return f"{int(hour):02}:{int(minute):02}"
        if minute == "0" and hour.startswith("*/"):
            return f"every {hour.removeprefix('*/')} hours"
        if hour == "*" and minute.startswith("*/"):
            return f"every {minute.removeprefix('*/')} minutes"
    return f"`{cron}`"


# Dates in the future, which a wrong clock wrote: they say nothing about when something happened.
#
# A computer without a battery, or a virtual machine that was suspended, may run for a while with a clock that is ahead.
# What was recorded then is dated in the future once the clock is right again, and what is planned from it waits. It is
# not corrected by itself: if the clock is behind now, everything looks the same, although all that is stored is right.
# The doctor finds it, and `aperture clock` sets it right. What guards something (locks, limits, sessions), what is told
# to the operator, and the ticks of schedules do not wait for that: for them, such a date counts as never.


SKEW = timedelta(minutes=10)
"""By how much the clocks of hosts, services and the database may differ."""
MOST_NAMED = 4


def is_future(moment: datetime, now: datetime) -> bool:
    """Return whether a moment is later than now, by more than clocks usually differ."""
    return moment > now + SKEW


def past(moment: datetime | None, now: datetime) -> datetime | None:
    """Return a moment, or None if it is in the future."""
    return None if moment is None or is_future(moment, now) else moment


def elapsed(since: datetime | None, now: datetime) -> timedelta:
    """Return the time since a moment; ``timedelta.max`` if there was none, or it is in the future."""
    since = past(since, now)
    return timedelta.max if since is None else max(now - since, timedelta(0))


@dataclass(frozen=True, slots=True)
class FutureDates:
    """What is dated in the future: rows of a table, or of a part of Dagster's storage, and their latest date."""

    what: str
    rows: int
    latest: datetime


def describe_future(found: Sequence[FutureDates], now: datetime) -> str | None:
    """Say what is dated in the future, by how much, and what that means; None if nothing is."""
    if not found:
        return None
    span = duration((max(one.latest for one in found) - now).total_seconds())
    most = sorted(found, key=lambda one: (-one.rows, one.what))
    named = [f"{one.what} ({one.rows:,})" for one in most[:MOST_NAMED]]
    more = [counted(len(found) - MOST_NAMED, "others")] if len(found) > MOST_NAMED else []
    return (
        f"Dated up to {span} in the future: {listed([*named, *more])}. The clock was ahead when that was written, or "
        "is behind now: check it. What is planned from these dates waits for them. Once the clock is right, run "
        "`aperture clock`, which dates what is in the database anew."
    )


# Tags, genres and keywords in the form in which they are compared, as media servers do it.


_NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


def clean_tags(tags: Iterable[str]) -> frozenset[str]:
    """Return tags in the form in which they are compared; blank ones are dropped."""
    return frozenset(cleaned for tag in tags if (cleaned := _clean(tag)))


# Genres and keywords of thousands of titles are a few thousand different ones.
@functools.lru_cache(50_000)
def _clean(tag: str) -> str:
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", tag) if not unicodedata.combining(letter))
    return _NOT_ALPHANUMERIC.sub(" ", letters.lower()).strip()


# Types of media.


MediaType = Literal["movie", "series"]
MEDIA_TYPES: tuple[MediaType, ...] = ("movie", "series")


# Progress of long work: in the log, a line every few seconds, and for whoever listens.


SECONDS_BETWEEN_LINES = 5
ProgressReport = Callable[[str, int, int | None, float], None]
"""Takes what is counted, how much is done, the total if known, and the seconds that it took."""
progress_reports: ContextVar[ProgressReport] = ContextVar("progress_reports", default=lambda *_: None)
"""What is called each time that something was counted: it decides itself what is too often."""


class Progress:
    """Counts what is done, and logs count, rate and time left every few seconds: each line is a row in the event log.

    The report of the context in which it was made is called from any thread.
    """

    def __init__(self, log: logging.Logger, what: str, total: int | None = None) -> None:
        self._log, self._what, self._total = log, what, total
        self._started = self._reported = time.monotonic()
        self._done = 0
        self._report = progress_reports.get()

    def begin(self) -> None:
        """Show that nothing is done yet, where the first part may take long."""
        self._report(self._what, 0, self._total, 0.0)

    def add(self, count: int = 1) -> None:
        """Count, and report if the last line is old enough."""
        self._done += count
        self._report(self._what, self._done, self._total, time.monotonic() - self._started)
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_LINES:
            self.report()

    def expect(self, count: int | None) -> None:
        """Count so many more as still to do, once that is known."""
        if count is not None:
            self._total = (self._total or 0) + count

    def report(self) -> None:
        """Log how much is done."""
        self._reported = time.monotonic()
        seconds = max(self._reported - self._started, 1e-9)
        of = f" of {self._total:,}" if self._total is not None else ""
        rate = self._done / seconds
        left = time_left(self._done, self._total or 0, seconds)
        self._log.info(
            f"{self._done:,}{of} {self._what}, {f'{rate:,.0f}/s' if rate >= 1 else f'{60 * rate:,.0f}/min'}"
            + (f", {left}" if left else "")
        )


def time_left(done: float, total: float, seconds: float) -> str:
    """Estimate in words how long the rest takes, at the pace of ``seconds`` so far; empty if that cannot be known."""
    if done <= 0 or done >= total or seconds <= 0:
        return ""
    return f"about {duration(max(round(seconds * (total - done) / done), 1))} left"
