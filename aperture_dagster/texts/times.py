"""When something starts, in words: from a cron, and back from what people write."""

from __future__ import annotations

import re
from collections.abc import Mapping

from babel.dates import get_day_names

from aperture_dagster.model import from_monday
from aperture_dagster.texts import Texts

_CRON = re.compile(
    r"(?P<minute>[0-5]?\d) (?P<hour>1?\d|2[0-3]) \* \* (?P<day>\*|[0-6](?:,[0-6])*)"
    r"|(?P<past>[0-5]?\d) \*(?:/(?P<hours>[1-9]|1\d|2[0-3]))? \* \* \*"
    r"|\*/(?P<minutes>[1-9]|[1-5]\d) \* \* \* \*"
)
_DAYS: Mapping[str, str] = {
    **{name: str(number) for number, name in enumerate(
        ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"))},
    **{name: str(number) for number, name in enumerate(
        ("sonntag", "montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag"))},
    "sonnabend": "6",
    **dict.fromkeys(("day", "night", "morning", "evening", "tag", "nacht", "morgen", "abend"), "*"),
}  # fmt: skip
_OFF = frozenset({"off", "never", "aus", "nie"})
_NAMES = "|".join(_DAYS)
_DAY = rf"(?P<day>(?:{_NAMES})(?:(?:,|\s+and|\s+und)+\s+(?:{_NAMES}))*)"
_TIME = r"(?:(?P<noon>noon|mittag)|(?P<midnight>midnight|mitternacht)|(?P<hour>\d{1,2})(?:[:.h](?P<minute>\d{2}))?"
_TIME += r"\s*(?P<half>am|pm|uhr|o'clock)?)"
_AT = re.compile(
    rf"(?:(?:every|each|jed(?:en|e)|on|am)\s+{_DAY}|(?P<plural>{'|'.join(_DAYS)})s|daily|nightly|täglich)\s+"
    rf"(?:at|um)\s+{_TIME}"
)
_PAST = r"(?:,\s*(?P<past>\d{1,2})\s+(?:minutes?|minuten?)\s+(?:past|nach))?"
_HOURS = re.compile(
    rf"(?:every\s+hour|hourly|jede\s+stunde|stündlich|(?:every|alle)\s+(?P<count>\d{{1,2}})\s+(?:hours?|stunden?)){_PAST}"
)
_MINUTES = re.compile(r"(?:every\s+minute|jede\s+minute|(?:every|alle)\s+(?P<count>\d{1,2})\s+(?:minutes?|minuten?))")


def when(cron: str, _: Texts) -> str:
    """Say when a cron starts, such as ``every day at 04:00``; one of another form is returned as it is.

    The forms are those that the setting of the schedules takes: a time of every day or of weekdays, every few hours,
    and every few minutes.
    """
    form = _CRON.fullmatch(cron)
    if form is None:
        return cron
    if form["hour"] is not None:
        time = f"{int(form['hour']):02}:{int(form['minute']):02}"
        if form["day"] == "*":
            return _("every day at %(time)s", time=time)
        names = get_day_names("wide", locale=_.locale)
        # Babel's week begins with Monday, that of a cron with Sunday.
        days = [names[(int(day) - 1) % 7] for day in from_monday(form["day"].split(","))]
        return _("every %(day)s at %(time)s", day=_.listed(days), time=time)
    if form["minutes"] is not None:
        count = int(form["minutes"])
        return _("every minute") if count == 1 else _("every %(count)s minutes", count=count)
    hours, past = int(form["hours"] or 1), int(form["past"])
    words = _("every hour") if hours == 1 else _("every %(count)s hours", count=hours)
    return _("%(when)s, %(minutes)s minutes past", when=words, minutes=past) if past else words


def read_when(text: str) -> str | None:
    """Return the cron of words such as ``every night at 4`` or ``montags um 8``; ``off`` for never.

    A cron of the forms of :func:`when` is returned as it is. None if the words are not understood, or say a time that
    there is not.
    """
    words = " ".join(text.split()).casefold()
    if words in _OFF:
        return "off"
    if _CRON.fullmatch(words):
        return words
    if found := _AT.fullmatch(words):
        names, time = re.findall(_NAMES, found["day"] or found["plural"] or "day"), _time_of(found)
        days = {_DAYS[name] for name in names}
        return None if time is None else f"{time[1]} {time[0]} * * {'*' if '*' in days else ','.join(sorted(days))}"
    if found := _HOURS.fullmatch(words):
        count, past = int(found["count"] or 1), int(found["past"] or 0)
        return f"{past} {'*' if count == 1 else f'*/{count}'} * * *" if 1 <= count <= 23 and past <= 59 else None
    if found := _MINUTES.fullmatch(words):
        count = int(found["count"] or 1)
        return f"*/{count} * * * *" if 1 <= count <= 59 else None
    return None


def _time_of(found: re.Match[str]) -> tuple[int, int] | None:
    """Return hour and minute."""
    if found["noon"] or found["midnight"]:
        return (12, 0) if found["noon"] else (0, 0)
    hour, minute, half = int(found["hour"]), int(found["minute"] or 0), found["half"]
    if half in ("am", "pm"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    elif found["day"] in ("evening", "abend") and 1 <= hour < 12:
        hour += 12
    return (hour, minute) if hour <= 23 and minute <= 59 else None
