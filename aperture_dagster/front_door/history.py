"""The page on which members import what they have watched elsewhere, and take it back."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history_import.columns import ALIASES, DateOrder, Reading, Role, Survey, suggested_scale
from aperture_dagster.catalogue.history_import.files import read_history_file, survey_file
from aperture_dagster.catalogue.history_import.matching import NamedTitle
from aperture_dagster.catalogue.history_import.records import FileRefused, Limits
from aperture_dagster.catalogue.history_import.rows import NAMES, NOT_FINISHED, WITHOUT_DATE
from aperture_dagster.catalogue.history_import.stored import read_imports
from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.front_door import sign_in
from aperture_dagster.front_door.house import LONG_FORM, House, Visit, read_form
from aperture_dagster.imports.importing import OF_OTHERS, apply_plan, plan_import, take_back
from aperture_dagster.imports.plan import Plan
from aperture_dagster.imports.uploads import delete_uploads, owner_of, uploads_folder
from aperture_dagster.members.visible_titles import titles_in_sight
from aperture_dagster.texts import Texts, marked

PATH = "/history"
LIMITS = Limits(records=100_000, unpacked=64_000_000, seconds=30)
MOST_QUESTIONS = 40
"""Fewer than the fields that a form may have."""
MOST_EXAMPLES = 5
SCALES = ("5", "10", "100")
ORDERS: Mapping[DateOrder, str] = {
    "dmy": marked("day, month, year"),
    "mdy": marked("month, day, year"),
    "ymd": marked("year, month, day"),
}
ROLES: Mapping[Role, str] = {
    "title": marked("Title"), "year": marked("Year"), "imdb": marked("IMDb id"), "tmdb": marked("TMDb id"),
    "tvdb": marked("TheTVDB id"), "type": marked("Film or series"), "rating": marked("Rating"),
    "watched_at": marked("Watched on"),
}  # fmt: skip
REFUSED = {
    "large": marked("This file holds too much. Split it, and import its parts. Nothing was imported."),
    "slow": marked("Reading this file takes too long. Split it, and import its parts. Nothing was imported."),
    "damaged": marked("This file is damaged, or packed in an unusual way. Export it again. Nothing was imported."),
    "unknown": marked("There is no history in this file that could be read. Nothing was imported."),
}
GONE = marked("This file is no longer here. Choose it again.")
REASONS = {
    WITHOUT_DATE: marked("without a date"),
    NOT_FINISHED: marked("not watched to the end"),
    OF_OTHERS: marked("of somebody else"),
    "no film or episode": marked("neither film nor series"),
    "no film or series": marked("neither film nor series"),
    "dated in the future": marked("dated in the future"),
    "skipped": marked("skipped"),
    "on a watchlist, and unknown here": marked("on a watchlist, and unknown here"),
    "of unknown length": marked("of unknown length"),
}
OTHER_REASON = marked("cannot be read")
# Where each service gives its file, in its own words.
SOURCES = (
    ("Letterboxd", "Settings → Data → Export your data"),
    ("IMDb", "Your ratings → Export"),
    ("Netflix", "Account → Profile → Viewing activity → Download all"),
    ("Simkl", "Settings → Apps → Backup"),
    ("MDBList", "Preferences → Export"),
    ("Trakt", "Settings → Data → Export"),
)


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""

    async def go_on(request: Request) -> Response:
        visit = Visit(house, request, await read_form(request, *LONG_FORM))
        member = await house.answer(house.pages, _checked, visit)
        return await house.import_for(member.user_id, lambda: decide(visit))

    return [
        house.page(PATH, show),
        house.upload(f"{PATH}/look", receive),
        Route(f"{PATH}/import", go_on, methods=["POST"]),
        house.members_form(f"{PATH}/take-back", undo),
    ]


def _checked(visit: Visit) -> User:
    visit.require_csrf()
    return visit.member


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that waits for its member to decide; ``token`` is in their form."""

    token: str
    path: Path


def show(visit: Visit) -> Response:
    """Show what was imported, and a form for another file."""
    house, _ = visit.house, visit.texts
    if visit.visitor is None:
        return visit.back(house.prefix + sign_in.address(house.prefix + PATH))
    delete_uploads(visit.settings.home_path)
    with house.database.connection() as connection:
        stored = read_imports(connection, visit.member.user_id)
    imports = [
        (
            found.import_id,
            found.file_name,
            f"{_.day(today_of(found.imported_at, visit.settings))}, {_program(found.source)}",
            _stored_figures(_, found.figures),
        )
        for found in stored
    ]
    values = {"imports": imports, "sources": SOURCES, "csrf": house.gate.csrf(visit.request)}
    return visit.render("history.html", heading=_("What I have watched elsewhere"), **values)


def receive(visit: Visit, file: UploadFile) -> Response:
    """Take a file in, and show what importing it would do."""
    upload = _store(visit, file)
    return _look(visit, upload, Reading())


def decide(visit: Visit) -> Response:
    """Show again what importing a file would do, with what was answered, or do it."""
    upload = _stored(visit)
    if upload is None:
        return visit.step(visit.texts("What I have watched elsewhere"), 410, problem=visit.texts(GONE))
    reading = _answers(visit.form)
    if "import" not in visit.form:
        return _look(visit, upload, reading)
    house, member, now = visit.house, visit.member, visit.house.clock.now()
    zone = ZoneInfo(visit.settings.schedule_timezone)
    try:
        with house.written.transaction() as connection:
            lock_history(connection, member.user_id)
            plan = plan_import(connection, member, read_history_file(upload.path, zone, reading, LIMITS), now=now)
            if decided := _decisions(connection, visit, plan):
                rows = read_history_file(upload.path, zone, reading, LIMITS)
                plan = plan_import(connection, member, rows, now=now, decided=decided)
            share = "share" in visit.form
            apply_plan(connection, member.user_id, plan, file_name=upload.path.name, share_ratings=share, now=now)
    except FileRefused as refusal:
        return _refuse(visit, refusal)
    shutil.rmtree(upload.path.parent, ignore_errors=True)
    return visit.back(house.prefix + PATH)


def undo(visit: Visit) -> Response:
    """Take a file back, as a whole."""
    with visit.house.written.transaction() as connection:
        take_back(connection, visit.member.user_id, visit.number("import"), now=visit.house.clock.now())
    return visit.back(visit.house.prefix + PATH)


def _look(visit: Visit, upload: Upload, reading: Reading) -> Response:
    """Show what importing a file would do, or what has to be answered first."""
    house, member, _ = visit.house, visit.member, visit.texts
    zone = ZoneInfo(visit.settings.schedule_timezone)
    try:
        survey = survey_file(upload.path, reading, LIMITS)
        values: dict[str, Any] = {"token": upload.token, "csrf": visit.csrf, "name": upload.path.name}
        if survey.needs:
            return _ask(visit, survey, reading, values)
        reading = Reading(reading.columns, reading.scale, survey.dates)
        with house.database.connection() as connection:
            rows = read_history_file(upload.path, zone, reading, LIMITS)
            plan = plan_import(connection, member, rows, now=house.clock.now())
            questions = _questions(connection, member, plan)
            owned = titles_in_sight(connection, member, {play.work_id for play in plan.plays}, with_hidden=True)
    except FileRefused as refusal:
        return _refuse(visit, refusal)
    # What the member may not see is to them what the library lacks.
    unseen = sum(play.work_id not in owned for play in plan.plays)
    left_out = [
        (_(REASONS.get(reason, OTHER_REASON)), _.number(count), _.listed(plan.examples[reason][:MOST_EXAMPLES]))
        for reason, count in plan.refused.most_common()
    ]
    return visit.render(
        "history_plan.html",
        heading=_("Import %(name)s", name=upload.path.name),
        program=_program(plan.source),
        figures=[line for line in _figures(_, plan.figures, unseen) if line],
        known=_.plural(
            "%(count)s row says what is known already.", "%(count)s rows say what is known already.", plan.known
        )
        if plan.known
        else "",
        left_out=left_out,
        questions=questions[:MOST_QUESTIONS],
        more=_.plural(
            "%(count)s other one is asked when you import this file again.",
            "%(count)s others are asked when you import this file again.",
            more,
        )
        if (more := len(questions[MOST_QUESTIONS:]))
        else "",
        is_empty=plan.is_empty and not questions,
        has_ratings=bool(plan.ratings),
        reading=_as_fields(reading),
        **values,
    )


def _ask(visit: Visit, survey: Survey, reading: Reading, values: Mapping[str, Any]) -> Response:
    """Ask what a file does not say of itself, and show its first rows."""
    _ = visit.texts
    chosen = {role: heading for role, heading in (survey.roles | dict(reading.columns)).items() if role in ROLES}
    columns = [(role, _(label), chosen.get(role, "")) for role, label in ROLES.items()]
    return visit.render(
        "history_ask.html",
        heading=_("Import %(name)s", name=values["name"]),
        headings=survey.columns,
        samples=[[row.get(heading, "") for heading in survey.columns] for row in survey.samples],
        columns=columns if "columns" in survey.needs or reading.columns else (),
        scales=[(scale, float(scale) == suggested_scale(survey.highest)) for scale in SCALES]
        if "scale" in survey.needs
        else (),
        orders=[(order, _(label)) for order, label in ORDERS.items() if order != "ymd"]
        if "dates" in survey.needs
        else (),
        reading=_as_fields(reading),
        **{name: value for name, value in values.items() if name != "name"},
    )


def _refuse(visit: Visit, refusal: FileRefused) -> Response:
    """Say why a file cannot be imported."""
    _ = visit.texts
    text = _(REFUSED[refusal.why])
    return visit.render(
        "history.html", 400, heading=_("What I have watched elsewhere"), notice=text, imports=(), sources=SOURCES,
        csrf=visit.csrf,
    )  # fmt: skip


def _figures(_: Texts, figures: Mapping[str, int], unseen: int) -> list[str]:
    """Return what was, or would be, written, in words."""
    plays = figures.get("plays", 0) - unseen
    kept = figures.get("elsewhere", 0) + figures.get("named", 0) + unseen
    return [
        _.plural("%(count)s viewing of what the library has", "%(count)s viewings of what the library has", plays)
        if plays
        else "",
        _.plural(
            "%(count)s title is kept as seen, though the library lacks it or its date is not known",
            "%(count)s titles are kept as seen, though the library lacks them or their dates are not known",
            kept,
        )
        if kept
        else "",
        _.plural("%(count)s rating", "%(count)s ratings", figures["ratings"]) if figures.get("ratings") else "",
        _.plural("%(count)s title for later", "%(count)s titles for later", figures["wanted"])
        if figures.get("wanted")
        else "",
    ]


def _stored_figures(_: Texts, figures: Mapping[str, int]) -> list[str]:
    """Return what was written, in words that do not tell what the library has: limits may have changed since."""
    seen = sum(figures.get(kind, 0) for kind in ("plays", "elsewhere", "named"))
    lines = [
        (_.plural("%(count)s viewing", "%(count)s viewings", seen), seen),
        (_.plural("%(count)s rating", "%(count)s ratings", figures.get("ratings", 0)), figures.get("ratings")),
        (_.plural("%(count)s title for later", "%(count)s titles for later", figures.get("wanted", 0)),
         figures.get("wanted")),
    ]  # fmt: skip
    return [line for line, count in lines if count]


def _program(source: str) -> str:
    return next((name for program, name in NAMES.items() if program == source), source)


# Titles to decide


def _questions(connection: Connection, member: User, plan: Plan) -> list[tuple[str, str, list[tuple[int, str]]]]:
    """Return by a field's name what is unclear, and which titles it may be, of those that the member may see."""
    works = {title.work_id for question in plan.questions.values() for title in question.candidates}
    seen = titles_in_sight(connection, member, works, with_hidden=True)
    found = []
    for named, question in plan.questions.items():
        options = [(title.work_id, title.label) for title in question.candidates if title.work_id in seen]
        if options:
            year = f" ({question.year})" if question.year else ""
            found.append((_field(named), f"{question.title}{year}", options))
    return found


def _field(named: NamedTitle) -> str:
    """Return the name of the field for a title."""
    text = f"{named.name}\n{named.year}\n{named.media_type}"
    return f"title {hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _decisions(connection: Connection, visit: Visit, plan: Plan) -> dict[NamedTitle, int | None]:
    """Return what the member decided, as far as it was offered to them."""
    offered = {field: dict(options) for field, _, options in _questions(connection, visit.member, plan)}
    found: dict[NamedTitle, int | None] = {}
    for named in plan.questions:
        field = _field(named)
        if (work := visit.number(field)) in offered.get(field, {}):
            found[named] = work
    return found


# Answers


def _answers(form: Mapping[str, str]) -> Reading:
    """Return how to read a file, from a form."""
    columns: dict[Role, str] = {role: form[f"column {role}"] for role in ALIASES if form.get(f"column {role}")}
    scale = form.get("scale") if form.get("scale") in SCALES else None
    dates: DateOrder | None = next((order for order in ORDERS if order == form.get("dates")), None)
    return Reading(columns, float(scale) if scale else None, dates)


def _as_fields(reading: Reading) -> list[tuple[str, str]]:
    """Return answers as hidden fields."""
    fields = [(f"column {role}", heading) for role, heading in reading.columns.items()]
    given = (("scale", f"{reading.scale:g}" if reading.scale else ""), ("dates", reading.dates or ""))
    return [*fields, *((name, value) for name, value in given if value)]


# Files that wait


def _store(visit: Visit, file: UploadFile) -> Upload:
    """Keep a file, in place of the member's last one, and throw away what nobody decided about."""
    home, user_id = visit.settings.home_path, visit.member.user_id
    folder = uploads_folder(home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    delete_uploads(home, user_id)
    token = secrets.token_hex(16)
    own = folder / f"{owner_of(user_id)}.{token}"
    own.mkdir(mode=0o700)
    # The programs' own names say what a file is; nothing else of a name is kept.
    given = re.sub(r"[^A-Za-z0-9._-]+", "_", (file.filename or "").replace("\\", "/").rpartition("/")[2])
    path = own / (given[-80:].strip(".") or "file")
    with path.open("wb") as target:
        shutil.copyfileobj(file.file, target)
    return Upload(token, path)


def _stored(visit: Visit) -> Upload | None:
    """Return the file that the member's form is about; None if it is gone."""
    token = visit.form.get("token", "")
    if re.fullmatch(r"[0-9a-f]{32}", token) is None:
        raise HTTPException(400)
    own = uploads_folder(visit.settings.home_path) / f"{owner_of(visit.member.user_id)}.{token}"
    path = next(iter(own.iterdir()), None) if own.is_dir() else None
    return Upload(token, path) if path is not None else None
