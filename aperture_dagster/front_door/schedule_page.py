"""The page on which an administrator sets when a job starts, in fields rather than as a JSON object."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from babel.dates import get_day_names
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.files.private import FileError
from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.operators import author_of, for_operators, moment_in_words
from aperture_dagster.front_door.schedule_form import TimeFields, cron_of, fields_of, sent_fields
from aperture_dagster.front_door.settings_store import SET_OUTSIDE, Change, Present, SettingsStore
from aperture_dagster.settings import Settings
from aperture_dagster.texts import Texts, marked

PATH = "/settings/schedule"
NO_TIME = marked("This is no time: choose a time, or a number of hours from 1 to 23.")
NO_SETTINGS = marked("The settings cannot be used as they are: correct them first.")
_JOB = re.compile(r"[a-z][a-z0-9_]{0,99}")


def schedule_routes(house: House, store: SettingsStore) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [house.page(PATH, functools.partial(show, store)), house.form(PATH, functools.partial(propose, store))]


def next_start(cron: str, settings: Settings, now: datetime) -> datetime | None:
    """Return when the clock starts a job that has this time; None: never."""
    from aperture_dagster.jobs import Job

    return None if cron == "off" else Job("", "", (), cron).next_start(now, settings)


def starts_in_words(before: Settings | None, after: Settings, now: datetime, _: Texts) -> str:
    """Say when the jobs start next whose time changes; empty if none does, or they start by hand or as usual."""
    zone, known = after.schedule_timezone, before.schedules if before is not None else {}
    starts = {job: next_start(cron, after, now) for job, cron in after.schedules.items() if known.get(job) != cron}
    said = {job: moment_in_words(_, ZoneInfo(zone), start) for job, start in starts.items() if start is not None}
    return " ".join(_("%(job)s then starts next: %(moment)s (%(zone)s).", job=job, moment=moment, zone=zone)
                    for job, moment in said.items())  # fmt: skip


def show(store: SettingsStore, visit: Visit) -> Response:
    """Show the fields of a job, which the query names."""
    job = visit.request.query_params.get("job", "")
    return for_operators(visit, f"{PATH}?{urlencode({'job': job})}") or _page(store, visit, job)


def propose(store: SettingsStore, visit: Visit) -> Response:
    """Check a time, and show what it would change, or what is wrong with it."""
    visit.require_csrf()
    job, fields, _ = visit.form.get("job", ""), sent_fields(visit.form), visit.texts
    if (elsewhere := for_operators(visit, f"{PATH}?{urlencode({'job': job})}")) is not None:
        return elsewhere
    user_id, _name = author_of(visit)
    present = _present(store, visit)
    if isinstance(present, Response):
        return present
    if present.settings is None:
        return _page(store, visit, job, fields, NO_SETTINGS)
    try:
        cron = cron_of(fields)
    except ValueError:
        return _page(store, visit, job, fields, NO_TIME)
    before = dict(present.settings.schedules)
    times = {name: time for name, time in before.items() if name != job} | ({} if cron is None else {job: cron})
    if times == before:
        return visit.back(f"{visit.house.prefix}/jobs#{job}")
    change = Change({"schedules": json.dumps(times) if times else None}, {"schedules": visit.form.get("seen", "")})
    if problems := store.check(present, change):
        return _page(store, visit, job, fields, next(iter(problems.values())))
    number = store.hold(change, user_id, visit.house.clock.now())
    return visit.back(f"{visit.house.prefix}/settings/review?{urlencode({'change': number})}")


def _present(store: SettingsStore, visit: Visit) -> Present | Response:
    try:
        return store.present()
    except FileError as error:
        return visit.step(visit.texts("Settings"), 503, problem=str(error))


def _page(
    store: SettingsStore, visit: Visit, job: str, fields: TimeFields | None = None, problem: str = ""
) -> Response:
    """Show the fields: those that were sent, with what is wrong with them, or else those of the settings."""
    if not _JOB.fullmatch(job):
        raise HTTPException(404)
    present = _present(store, visit)
    if isinstance(present, Response):
        return present
    _, house, settings = visit.texts, visit.house, present.settings
    cron = settings.schedules.get(job) if settings is not None else None
    zone = (settings or house.settings).schedule_timezone
    starts = next_start(cron, settings, house.clock.now()) if settings is not None and cron is not None else None
    names = get_day_names("wide", locale=_.locale)
    # Babel's week begins with Monday, that of a cron with Sunday.
    days = [(str((place + 1) % 7), names[place]) for place in range(7)]
    if fields is None:
        fields = fields_of(cron)
    return visit.render(
        "schedule.html", 422 if problem else 200, heading=_("When %(job)s starts", job=job), job=job, fields=fields,
        days=days, zone=zone, problem=problem and _(problem), mark=present.marks["schedules"],
        next_at=moment_in_words(_, ZoneInfo(zone), starts) if starts is not None else "",
        why_fixed=_(SET_OUTSIDE) if present.given["schedules"].source == "outside" else "",
        csrf=house.gate.csrf(visit.request),
    )  # fmt: skip
