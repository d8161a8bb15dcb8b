"""When a job starts, as fields of a form, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aperture_dagster.model import WEEKDAYS

Kind = Literal["usual", "day", "hours", "off", "cron"]
_DAY = re.compile(r"([0-5]?\d) (1?\d|2[0-3]) \* \* (\*|[0-6](?:,[0-6])*)")
_HOURS = re.compile(r"([0-5]?\d) \*(?:/([1-9]|1\d|2[0-3]))? \* \* \*")
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class TimeFields:
    """What is in the fields.

    Attributes:
        kind: which of them count.
        days: weekdays as in a cron, 0 for Sunday; none for every day.
        time: of these days, such as ``04:00``.
        hours: every so many.
        past: minutes past the hour.
        cron: as it is, for experts, and for what the other fields cannot say.
    """

    kind: Kind
    days: tuple[str, ...] = ()
    time: str = "04:00"
    hours: str = "6"
    past: str = "0"
    cron: str = ""


def fields_of(cron: str | None) -> TimeFields:
    """Return the fields of a time of the settings; None: the job starts at its usual time."""
    if cron is None:
        return TimeFields("usual")
    if cron == "off":
        return TimeFields("off")
    if found := _DAY.fullmatch(cron):
        days = () if found[3] == "*" else tuple(found[3].split(","))
        return TimeFields("day", days, f"{int(found[2]):02}:{int(found[1]):02}", cron=cron)
    if found := _HOURS.fullmatch(cron):
        return TimeFields("hours", hours=found[2] or "1", past=found[1], cron=cron)
    return TimeFields("cron", cron=cron)


def sent_fields(form: Mapping[str, str]) -> TimeFields:
    """Return the fields that were sent; without a known kind, those of the cron."""
    kind = form.get("kind", "")
    kinds: Mapping[str, Kind] = {"usual": "usual", "day": "day", "hours": "hours", "off": "off"}
    texts = {name: form.get(name, "").strip() for name in ("time", "hours", "past", "cron")}
    days = tuple(day for day in WEEKDAYS if form.get(f"day{day}"))
    return TimeFields(kinds.get(kind, "cron"), days, **texts)


def cron_of(fields: TimeFields) -> str | None:
    """Return the time as the settings have it, or None for the usual one.

    Raises:
        ValueError: a field holds no time or number of its range.
    """
    if fields.kind in ("usual", "off"):
        return None if fields.kind == "usual" else "off"
    if fields.kind == "cron":
        return " ".join(fields.cron.split())
    if fields.kind == "day":
        found = _TIME.fullmatch(fields.time)
        if found is None:
            raise ValueError("no time of a day")
        every = len(fields.days) in (0, len(WEEKDAYS))
        return f"{int(found[2])} {int(found[1])} * * {'*' if every else ','.join(fields.days)}"
    hours, past = int(fields.hours), int(fields.past or 0)
    if not (1 <= hours <= 23 and 0 <= past <= 59):
        raise ValueError("no interval of hours")
    return f"{past} {'*' if hours == 1 else f'*/{hours}'} * * *"
