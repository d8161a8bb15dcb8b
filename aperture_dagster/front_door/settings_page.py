"""The page on which administrators of the media server read and change the settings."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_origin
from urllib.parse import urlencode

from pydantic import SecretStr
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.catalogue.servers import known_server
from aperture_dagster.files.private import FileError
from aperture_dagster.front_door.embedder_words import change_in_words, choice_in_words
from aperture_dagster.front_door.house import TOO_OLD, House, Visit
from aperture_dagster.front_door.operators import after_password, author_of, for_operators
from aperture_dagster.front_door.schedule_page import schedule_routes, starts_in_words
from aperture_dagster.front_door.settings_rules import LOCKED
from aperture_dagster.front_door.settings_store import MEANWHILE, SET_OUTSIDE, Change, Conflict, Present, SettingsStore
from aperture_dagster.front_door.settings_words import EFFECTS, FIRST, GROUPS, LABELS
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.prices.choices import read_choices
from aperture_dagster.prices.costs import estimate_usage
from aperture_dagster.settings import Settings, environment_names, groups, secret_names
from aperture_dagster.settings.given import Given, check_texts, choices_of, written
from aperture_dagster.settings.reference import descriptions
from aperture_dagster.settings.types import parse_authority
from aperture_dagster.texts import Texts, marked
from aperture_dagster.texts.times import read_when, when
from aperture_dagster.up import restart

PATH = "/settings"
COSTS = f"{PATH}/embedder"
FIRST_GROUP = "first"
EMBEDDER = ("embedder", "embedder_model")
"""Settings that choose the embedding model."""
IMPATIENT = {"media_server_timeout_seconds": 5.0, "http_attempts": 1}
"""How long saving waits for a media server at another address."""
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
NO_SERVER = marked("Without a media server, nobody could sign in here again. Remove it in the file.")
SERVER_REFUSES = marked("Nothing was saved, because the media server cannot be used in this way:")
WORDS: Mapping[str, str] = {"true": marked("yes"), "false": marked("no")}
TYPES: Mapping[type, str] = {
    bool: marked("yes or no"), int: marked("whole number"), float: marked("number"), Decimal: marked("number"),
    str: marked("text"), Path: marked("folder or file"), tuple: marked("names, separated by commas"),
    dict: marked("JSON object"), SecretStr: marked("secret"),
}  # fmt: skip


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    store = SettingsStore(house.settings)
    return [
        house.page(PATH, functools.partial(show, store)),
        house.page(COSTS, costs),
        *schedule_routes(house, store),
        house.page(f"{PATH}/review", functools.partial(review, store)),
        house.form(f"{PATH}/change", functools.partial(propose, store), is_long=True),
        house.form(f"{PATH}/save", functools.partial(save, store), house.services),
    ]


# The page


@dataclass(frozen=True, slots=True)
class Field:
    """A setting on the page.

    Attributes:
        name: of the setting.
        label: its name in words.
        variable: the variable that sets it.
        kind: ``secret``, ``choice``, ``long`` or ``text``.
        options: texts and words of a choice.
        text: what is in the field; never a secret.
        now: the present value as it is shown; never a secret.
        default: as it is shown.
        type_name: in words.
        source: where the present value comes from, in words.
        about: the sentence of its declaration, in pieces; every other one is code.
        mark: see :class:`Present`.
        is_set: whether it has a value that is not the default.
        why_fixed: why it cannot be changed here; empty if it can.
        problem: what is wrong with what was sent.
        link: to what each choice costs; empty without one.
    """

    name: str
    label: str
    variable: str
    kind: str
    options: Sequence[tuple[str, str]]
    text: str
    now: str
    default: str
    type_name: str
    source: str
    about: Sequence[str]
    mark: str
    is_set: bool
    why_fixed: str
    problem: str
    link: str = ""


@functools.cache
def sentences() -> dict[str, Sequence[str]]:
    """Return the sentence about each setting in pieces, every other one of which is code; links are their text."""
    found = {name: text for group in groups() for name, text in descriptions(group).items()}
    return {name: _LINK.sub(r"\1", " ".join(text.split())).split("`") for name, text in found.items()}


def sections() -> list[tuple[str, str, list[str]]]:
    """Return the parts of the page: a key, a heading, and settings; each setting once."""
    first = (FIRST_GROUP, marked("Changed most often"), list(FIRST))
    others = [(one.__name__, GROUPS[one.__name__], [name for name in one.model_fields if name not in FIRST])
              for one in groups()]  # fmt: skip
    return [first, *(part for part in others if part[2])]


@functools.cache
def type_name(name: str) -> str:
    """Return the type of a setting in words, to be translated."""
    if name in secret_names():
        return TYPES[SecretStr]
    annotation = Settings.model_fields[name].annotation
    if choices_of(name) and annotation is not bool:
        return marked("one of the list")
    if name.endswith("_url"):
        return marked("address")
    return next((word for one, word in TYPES.items() if one in _classes(annotation)), TYPES[dict])


def _classes(annotation: Any) -> set[Any]:
    """Return the classes that an annotation is made of, without what is in a collection."""
    origin = get_origin(annotation)
    if origin in (tuple, dict):
        return {origin}
    return {one for part in get_args(annotation) for one in _classes(part)} if origin else {annotation}


@functools.cache
def default_of(name: str) -> str:
    """Return the default of a setting as a file would hold it."""
    return written(Settings.model_fields[name].get_default(call_default_factory=True))


def label(name: str, _: Texts) -> str:
    """Return the name of a setting in words."""
    return _(LABELS[name]) if name in LABELS else name.replace("_", " ").capitalize()


def in_words(text: str, _: Texts) -> str:
    """Return the text of a setting as it is shown."""
    return _(WORDS[text]) if text in WORDS else text


def field(store: SettingsStore, present: Present, name: str, _: Texts, typed: str | None, problem: str) -> Field:
    """Return a setting as the page shows it. ``typed`` is what was sent, which stays in the field."""
    given, is_secret, options = present.given[name], name in secret_names(), choices_of(name)
    default = default_of(name)
    is_long = len(default) > 60 or type_name(name) == TYPES[dict] or name in ("alert_urls", "media_server_headers")
    why = LOCKED.get(name) or (SET_OUTSIDE if given.source == "outside" else "")
    return Field(
        name=name,
        label=label(name, _),
        variable=given.variable,
        kind="secret" if is_secret else "choice" if options else "long" if is_long else "text",
        options=[(one, in_words(one, _)) for one in options],
        text="" if is_secret else given.text or "" if typed is None else typed,
        now="" if is_secret else in_words(given.text or default, _),
        default=in_words(default, _),
        type_name=_(type_name(name)),
        source=_(SOURCES[given.source]),
        about=sentences()[name],
        mark=present.marks[name],
        is_set=given.text is not None,
        why_fixed=why and _(why),
        problem=problem and _(problem),
        link=COSTS if name == "embedder" else "",
    )


SOURCES: Mapping[str, str] = {
    "default": marked("default"), "file": marked("from the file"), "outside": marked("set outside"),
}  # fmt: skip


def show(store: SettingsStore, visit: Visit) -> Response:
    """Show all settings, or those that a query names."""
    query = visit.request.query_params.get("q", "").strip()[:100]
    target = f"{PATH}?{urlencode({'q': query})}" if query else PATH
    return for_operators(visit, target) or _page(store, visit, query)


def matches(query: str, name: str, _: Texts) -> bool:
    """Return whether a setting has all words of a query, in its names or in its sentence."""
    texts = [*environment_names(name), name, LABELS.get(name, ""), label(name, _), "".join(sentences()[name])]
    where = " ".join(texts).casefold()
    return all(word in where for word in query.casefold().split())


def _page(
    store: SettingsStore, visit: Visit, query: str = "", change: Change | None = None,
    typed: Mapping[str, str] | None = None, problems: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    _, house = visit.texts, visit.house
    try:
        present = store.present()
    except FileError as error:
        return visit.step(_("Settings"), 503, problem=str(error))
    problems, typed = {**present.problems, **(problems or {})}, typed or {}
    parts: list[dict[str, Any]] = []
    for key, heading, names in sections():
        fields = [
            field(store, present, name, _, typed.get(name), problems.get(name, ""))
            for name in names
            if not query or matches(query, name, _) or name in problems
        ]
        if fields:
            is_open = key == FIRST_GROUP or bool(query) or any(one.problem for one in fields)
            parts.append({"key": key, "heading": _(heading), "fields": fields, "is_open": is_open})
    unknown = _("The file or the environment has variables that are no settings, so the program would not start: "
                "%(names)s", names=", ".join(present.unknown)) if present.unknown else ""  # fmt: skip
    count = sum(1 for name in problems if name in (change.texts if change else problems))
    answer = visit.render(
        "settings.html", 422 if change is not None else 200, heading=_("Settings"), parts=parts, query=query,
        csrf=house.gate.csrf(visit.request), file=str(store.path), unknown=unknown,
        problem=_.plural("%(count)s value cannot be used; nothing was saved.",
                         "%(count)s values cannot be used; nothing was saved.", count) if count else "",
        wrong=[(one.name, one.label) for part in parts for one in part["fields"] if one.problem],
        waits=[label(name, _) for name in store.waiting(present)],
    )  # fmt: skip
    return answer


def costs(visit: Visit) -> Response:
    """Show what each embedding model that could be configured costs for this library."""
    if (elsewhere := for_operators(visit, COSTS)) is not None:
        return elsewhere
    _, house = visit.texts, visit.house
    with house.database.connection() as connection:
        usage = estimate_usage(connection, house.clock.now())
        found = read_choices(connection, house.settings, usage)
    return visit.render(
        "embedder.html", heading=_("What embedding models cost"), usage=usage, csrf=house.gate.csrf(visit.request),
        rows=[choice_in_words(choice, _) for choice in found],
    )  # fmt: skip


# A change


def read_change(present: Present, form: Mapping[str, str]) -> tuple[Change, dict[str, str]]:
    """Return what a form changes, and what was typed, by setting; secrets are in the change alone."""
    texts: dict[str, str | None] = {}
    typed: dict[str, str] = {}
    for name in Settings.model_fields:
        sent = form.get(f"set.{name}")
        if f"remove.{name}" in form and name in secret_names():
            if present.given[name].text is not None:
                texts[name] = None
        elif sent is not None:
            # Browsers send line breaks of their own.
            text = sent.replace("\r\n", "\n")
            if name in secret_names():
                if text.strip():
                    texts[name] = text.strip()
                continue
            typed[name] = text
            if name == "schedules":
                text = _with_crons(text)
            if text != (present.given[name].text or ""):
                texts[name] = text or None
    return Change(texts, {name: form.get(f"seen.{name}", "") for name in texts}), typed


def _with_crons(text: str) -> str:
    """Return a JSON object of jobs and times with crons in place of words; anything else as it is, to be refused."""
    try:
        times = json.loads(text)
    except ValueError:
        return text
    if not isinstance(times, dict):
        return text
    crons = {job: (read_when(time) if isinstance(time, str) else None) or time for job, time in times.items()}
    return text if crons == times else json.dumps(crons, ensure_ascii=False)


def _times_in_words(text: str, _: Texts) -> str:
    """Return when jobs start, in words; the text itself if it is not valid."""
    settings, _problems = check_texts({"schedules": text})
    if settings is None or not settings.schedules:
        return text
    times = {job: _("off") if cron == "off" else when(cron, _) for job, cron in settings.schedules.items()}
    return "; ".join(f"{job}: {words}" for job, words in times.items())


def _name_of_page(visit: Visit) -> str | None:
    authority = parse_authority(visit.request.headers.get("host", ""))
    return authority[0] if authority else None


def propose(store: SettingsStore, visit: Visit) -> Response:
    """Check a change, and show what it would do, or what is wrong with it."""
    visit.require_csrf()
    if (elsewhere := for_operators(visit, PATH)) is not None:
        return elsewhere
    user_id, _name = author_of(visit)
    try:
        present = store.present()
    except FileError as error:
        return visit.step(visit.texts("Settings"), 503, problem=str(error))
    change, typed = read_change(present, visit.form)
    query = visit.form.get("q", "")[:100]
    if not change.texts:
        return visit.back(visit.target)
    if problems := store.check(present, change, opened_by=_name_of_page(visit)):
        return _page(store, visit, query, change, typed, problems)
    number = store.hold(change, user_id, visit.house.clock.now())
    return visit.back(f"{visit.house.prefix}{PATH}/review?{urlencode({'change': number})}")


def review(store: SettingsStore, visit: Visit) -> Response:
    """Show what a change does, and what starts anew for it, before it is saved."""
    number = visit.request.query_params.get("change", "")
    change = _proposed(store, visit, number)
    return _reviewed(store, visit, number, change) if isinstance(change, Change) else change


def _proposed(store: SettingsStore, visit: Visit, number: str) -> Change | Response:
    """Return a change that its author has proposed, or where they have to go before they see or save it.

    Raises HTTPException 403 if there is none of that number, or it is somebody else's.
    """
    target = f"{PATH}/review?{urlencode({'change': number})}"
    if (elsewhere := for_operators(visit, target)) is not None:
        return elsewhere
    user_id, _name = author_of(visit)
    change = store.held(number, user_id, visit.house.clock.now())
    if change is None:
        raise HTTPException(403, TOO_OLD)
    elsewhere = after_password(visit, target) if change.needs_recent_sign_in else None
    return change if elsewhere is None else elsewhere


def _reviewed(store: SettingsStore, visit: Visit, number: str, change: Change, problem: str = "") -> Response:
    _ = visit.texts
    present = store.present()
    given = present.given
    effects = {name: _(EFFECTS[name]) for name in change.texts if name in EFFECTS}
    if of_embedder := _effect_of_embedder(visit, store, present, change):
        # Said once, if both change.
        effects |= {**dict.fromkeys(EMBEDDER, ""), next(name for name in EMBEDDER if name in change.texts): of_embedder}
    changed = store.changed(present, change)
    if "schedules" in change.texts and changed is not None:
        starts = starts_in_words(present.settings, changed, visit.house.clock.now(), _)
        effects["schedules"] = f"{effects['schedules']} {starts}".strip()
    rows = [
        {"label": label(name, _), "variable": given[name].variable, "before": before, "after": after,
         "effect": effects.get(name, "")}
        for name, text in change.texts.items()
        for before, after in [_before_and_after(name, given[name], text, _)]
    ]  # fmt: skip
    return visit.render(
        "settings_review.html", 503 if problem else 200, heading=_("Save these settings?"), rows=rows, number=number,
        problem=problem, csrf=visit.house.gate.csrf(visit.request), file=str(store.path),
        restarts=restart.is_possible(),
    )  # fmt: skip


def _effect_of_embedder(visit: Visit, store: SettingsStore, present: Present, change: Change) -> str:
    """Return what another embedding model means for this library; empty if none is chosen, or there is no library."""
    settings = store.changed(present, change) if any(name in change.texts for name in EMBEDDER) else None
    if settings is None:
        return ""
    try:
        with visit.house.database.connection() as connection:
            usage = estimate_usage(connection, visit.house.clock.now())
            found = read_choices(connection, settings, usage)
    except DatabaseError:
        return ""
    return next(change_in_words(choice, visit.texts) for choice in found if choice.cost.is_configured)


def _before_and_after(name: str, given: Given, text: str | None, _: Texts) -> tuple[str, str]:
    if name == "schedules":
        before, after = (_times_in_words(one, _) if one else _("default") for one in (given.text, text))
        return before, after
    if name in secret_names():
        before = _("set") if given.text is not None else _("not set")
        return before, _("a new one") if text is not None else _("removed")
    default = default_of(name)
    usual = _("%(value)s (default)", value=in_words(default, _)) if default else _("default")
    return tuple(usual if one is None else in_words(one, _) for one in (given.text, text))  # pyright: ignore[reportReturnType]


def save(store: SettingsStore, visit: Visit) -> Response:
    """Save a change that its author has seen, and start everything anew."""
    visit.require_csrf()
    number, prefix, _ = visit.form.get("change", ""), visit.house.prefix, visit.texts
    change = _proposed(store, visit, number)
    if not isinstance(change, Change):
        return change
    _user_id, name = author_of(visit)
    try:
        present = store.present()
        # It may have been valid only with what somebody has changed since.
        if problems := store.check(present, change, opened_by=_name_of_page(visit)):
            store.drop(number)
            return _page(store, visit, change=change, typed=_typed(change), problems=problems)
        if problem := _why_server_refuses(visit, store, present, change):
            return _reviewed(store, visit, number, change, problem)
        store.save(change, name)
    except Conflict as conflict:
        problems = dict.fromkeys(conflict.names, MEANWHILE)
        return _page(store, visit, change=change, typed=_typed(change), problems=problems)
    except (FileError, ValueError) as error:
        return _reviewed(store, visit, number, change, str(error))
    store.drop(number)
    restarts = restart.is_possible()
    answer = visit.render("settings_saved.html", heading=_("Saved"), restarts=restarts, target=f"{prefix}{PATH}")
    if restarts:
        # Once the page has been sent.
        answer.background = BackgroundTask(restart.restart)
    return answer


def _typed(change: Change) -> dict[str, str]:
    """Return what stays in the fields; a secret is entered again."""
    return {name: text or "" for name, text in change.texts.items() if name not in secret_names()}


def _why_server_refuses(visit: Visit, store: SettingsStore, present: Present, change: Change) -> str:
    """Ask the media server whether it can be used as it would be set; it is what everybody signs in with."""
    if not any(name.startswith("media_server_") for name in change.texts):
        return ""
    settings = store.changed(present, change)
    if settings is None or settings.media_server_url is None:
        return visit.texts(NO_SERVER)
    try:
        with known_server(settings.model_copy(update=IMPATIENT), visit.house.database) as server:
            # The name of a server is known without a key.
            server.users()
    except ServiceError as error:
        return f"{visit.texts(SERVER_REFUSES)} {error}"
    except DatabaseError:
        # Its lists are not here yet, so nothing can be compared.
        return ""
    return ""
