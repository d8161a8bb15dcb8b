"""The pages of set-up: whatever is asked for, they show the next step, and they need no scripts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import json
import logging
import secrets
import threading
import zoneinfo
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aperture_dagster.files.env_file import change_env_file, read_env_file
from aperture_dagster.files.private import FileError
from aperture_dagster.front_door.clients.any_origin import not_set_up_routes, open_paths
from aperture_dagster.front_door.gate import LANGUAGE_COOKIE, texts_for
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.house import TOO_OFTEN, TOO_OLD, read_body, safe_path
from aperture_dagster.front_door.lanes import Lane
from aperture_dagster.front_door.proxies import is_of_this_machine
from aperture_dagster.front_door.rendering import NO_STORE, Renderer, as_page
from aperture_dagster.front_door.server import network_of
from aperture_dagster.front_door.set_up import checks
from aperture_dagster.front_door.set_up.checks import OFFERS, Problem, settings_with
from aperture_dagster.front_door.set_up.progress import STEPS, progress_file, read_progress, write_progress
from aperture_dagster.front_door.throttle import Throttle
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings import Settings, environment_names, settings_set_outside
from aperture_dagster.settings.home import env_file, host_timezone
from aperture_dagster.settings.types import parse_authority
from aperture_dagster.texts import LANGUAGES, Texts, marked
from aperture_dagster.up.health import NOT_SET_UP

_LOG = logging.getLogger(__name__)
COOKIE = "aperture_set_up"
LARGEST_FORM, MOST_FIELDS = 200_000, 2_000
LANGUAGE_SECONDS = 365 * 86_400
# Letters and digits that nobody mistakes for others.
CODE_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
CODE_LENGTH = 10
URL, KEY, ZONE = "APERTURE_MEDIA_SERVER_URL", "APERTURE_MEDIA_SERVER_API_KEY", "APERTURE_TIMEZONE"
EXCLUDED, SECRET_KEY, HOSTS = "APERTURE_EXCLUDE_USERS", "APERTURE_SECRET_KEY", "APERTURE_UI_ALLOWED_HOSTS"
PUBLISH, ROOT, PATH_MAP = "APERTURE_PUBLISH", "APERTURE_PUBLISH_ROOT", "APERTURE_PATH_MAP"
SKIPPED = {"users": ("include_users", "exclude_users"), "timezone": ("timezone",), "lists": ("publish", "publish_root")}
"""Steps that there is no need for if one of these settings is set outside."""
HEADINGS = {
    "code": marked("Set up"),
    "address": marked("Where is your media server?"),
    "account": marked("Sign in as an administrator"),
    "users": marked("Who takes part?"),
    "timezone": marked("Which time zone?"),
    "keys": marked("Keys of other services"),
    "lists": marked("Lists on the media server?"),
    "finish": marked("All set"),
    "trouble": marked("Sorry"),
}
ABOUT = {
    "code": marked("This page can be reached from other machines, so it asks for the code that this program printed in "
                   "its log when it started (with Docker: docker compose logs)."),
    "account": marked("This program makes an API key there, named Aperture, which you can remove on the media server "
                      "at any time. The password is not kept."),
    "timezone": marked("Lists are renewed at night, and days begin at midnight there."),
    "keys": marked("Each of them makes lists better, and each can be left out or added later."),
    "finish": marked("The settings are written to the file .env in the home of this program. Then the library is read, "
                     "and the first lists appear within minutes."),
}  # fmt: skip

Form = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Start:
    """How set-up was started, and what it becomes.

    Attributes:
        host: address that it listens on.
        again: arguments of `aperture up`, once everything is set.
        demo: the same for the demo; None where none may be served.
        code: what has to be entered first; empty where only this machine can ask.
    """

    host: str
    again: Sequence[str] = ()
    demo: Sequence[str] | None = None
    code: str = ""


def new_code() -> str:
    """Return a code that nobody can guess."""
    return "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))


ELSEWHERE = marked(
    "Set-up is open to this machine only, and something leads here from elsewhere. Open it on the machine itself, or "
    "start the program with APERTURE_UI_ALLOWED_HOSTS, so that it asks for a code."
)
FILE_CHANGED = marked("The file .env was changed meanwhile, and is left as it is. Start the program again.")


def _given_file() -> dict[str, str]:
    # One that cannot be read cannot be changed either, which is said then.
    with contextlib.suppress(FileError):
        return read_env_file(env_file())
    return {}


class _AnyHost(AllowedHosts):
    """Whoever has the code is let in, by whichever name they ask."""

    def answers_to(self, name: str) -> bool:
        return True


@dataclass
class View:
    """What a page shows beside its step."""

    problem: Problem | None = None
    given: dict[str, str] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)


class SetUp:
    """Set-up, from the first page until something else is to be started.

    Args:
        start: how it was started.
        settings: those of the environment and of ``.env``, which may be incomplete.
        stop: ends the server; :attr:`becomes` says what is started then.
        prefix: path below which everything is served; empty, or with a leading slash.
    """

    def __init__(self, start: Start, settings: Settings, stop: Callable[[], None], prefix: str = "") -> None:
        self._start, self._settings, self._stop, self._prefix = start, settings, stop, prefix
        self.becomes: Sequence[str] | None = None
        self._outside = settings_set_outside()
        self._path = progress_file(settings)
        self._progress = read_progress(self._path)
        self._skip()
        self._given = _given_file()
        self._users: list[str] | None = None
        self._renderer = Renderer(prefix)
        self._lane, self._throttle, self._lock = Lane(4), Throttle(), threading.Lock()
        self._csrf, self._admitted = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._steps: dict[str, Callable[[Form, str], None]] = {
            "address": self._address,
            "account": self._account,
            "users": self._take_users,
            "timezone": self._timezone,
            "keys": self._keys,
            "lists": self._lists,
            "finish": self._finish,
            "demo": self._demo,
        }

    def _skip(self) -> None:
        """Accept the steps that ask for what is set outside."""
        for step, names in SKIPPED.items():
            if self._outside.keys() & names:
                self._progress.accept(step, {})

    def app(self) -> ASGIApp:
        """Return the application."""
        routes = [
            *not_set_up_routes(self._prefix),
            Route(f"{self._prefix}/health", self._health),
            Route(f"{self._prefix}/static/{{name}}", self._file),
            Route(f"{self._prefix}/language", self._language, methods=["POST"]),
            Route(f"{self._prefix}/set-up/code", self._enter_code, methods=["POST"]),
            Route(f"{self._prefix}/set-up/{{step}}", self._submit, methods=["POST"]),
            Mount("", self._everything),
        ]
        pages = Starlette(routes=routes, exception_handlers={HTTPException: self._refuse})
        hosts = self._settings.ui_allowed_hosts
        allowed = (_AnyHost if self._start.code else AllowedHosts)(self._start.host, hosts)
        # There are no queries to guard.
        return Guard(pages, allowed, graphql="", open_to_all=open_paths(self._prefix))

    async def _health(self, request: Request) -> Response:
        return PlainTextResponse(NOT_SET_UP)

    async def _file(self, request: Request) -> Response:
        return self._renderer.file(request.path_params["name"])

    async def _language(self, request: Request) -> Response:
        form = await _read_form(request)
        answer = RedirectResponse(safe_path(_text(form, "next"), self._prefix), 303, NO_STORE)
        if (language := _text(form, "language")) in LANGUAGES:
            answer.set_cookie(
                LANGUAGE_COOKIE, language, max_age=LANGUAGE_SECONDS, path=f"{self._prefix}/", httponly=True,
                samesite="lax",
            )  # fmt: skip
        return answer

    async def _everything(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})
            return
        request = Request(scope, receive)
        answer = await self._page(request, request.query_params.get("step"))
        await answer(scope, receive, send)

    async def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return await self._page(request, "trouble", View(Problem(str(error.detail))), error.status_code)

    def _is_from_elsewhere(self, request: Request) -> bool:
        """Return whether somebody on another machine asks, although only this one was expected, and needs no code."""
        return not self._start.code and not is_of_this_machine(request)

    def _is_admitted(self, request: Request) -> bool:
        shown = request.cookies.get(COOKIE, "")
        return not self._start.code or hmac.compare_digest(shown.encode(), self._admitted.encode())

    async def _enter_code(self, request: Request) -> Response:
        form = await _read_form(request)
        address = request.client.host if request.client else ""
        turn = self._throttle.sign_in("set-up", address)
        if not turn.is_granted:
            _LOG.warning("Refused a code for set-up from %s: too many attempts", network_of(address) or "unknown")
            return await self._page(request, "code", View(Problem(TOO_OFTEN)), 429)
        await asyncio.sleep(turn.seconds)
        entered = "".join(letter for letter in _text(form, "code").upper() if letter.isalnum())
        if not hmac.compare_digest(entered.encode(), self._start.code.encode()):
            _LOG.warning("Refused a code for set-up from %s: wrong code", network_of(address) or "unknown")
            wrong = Problem(marked("This is not the code. It is in the log of the latest start."))
            return await self._page(request, "code", View(wrong), 403)
        self._throttle.forgive(turn)
        answer = RedirectResponse(f"{self._prefix}/", 303, NO_STORE)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, self._admitted, path=f"{self._prefix}/", httponly=True, samesite="strict", secure=secure
        )
        return answer

    async def _submit(self, request: Request) -> Response:
        form = await _read_form(request)
        step = request.path_params["step"]
        if self._is_from_elsewhere(request) or not self._is_admitted(request) or step not in self._steps:
            return await self._page(request)
        if not hmac.compare_digest(_text(form, "csrf").encode(), self._csrf.encode()):
            return await self._page(request, step, View(Problem(TOO_OLD)), 403)
        view = View(given={name: values[0] for name, values in form.items() if name not in ("password", "key")})
        host = request.headers.get("host", "")
        address = request.client.host if request.client else ""
        try:
            await self._lane.run(self._take, step, form, host, view, client=network_of(address))
        except Problem as problem:
            view.problem = problem
            return await self._page(request, step if step in STEPS else None, view, 422)
        if view.problems:
            return await self._page(request, step, view, 422)
        if self.becomes is None:
            return RedirectResponse(f"{self._prefix}/", 303, NO_STORE)
        _ = texts_for(request)
        text = _("Everything starts now, which takes about half a minute. This page goes on when it is there.")
        page = as_page(self._renderer.text("waiting.html", _, heading=_("Starting"), text=text))
        page.background = BackgroundTask(self._stop)
        return page

    def _take(self, step: str, form: Form, host: str, view: View) -> None:
        """Take what was entered for a step. Raises Problem."""
        # What is entered in two windows at once is taken in turn.
        with self._lock:
            if self.becomes is not None:
                return
            if step in STEPS and not self._progress.may_show(step):
                raise Problem(TOO_OLD)
            try:
                if step == "keys":
                    self._keys(form, host, view)
                else:
                    self._steps[step](form, host)
                if self.becomes is None:
                    write_progress(self._path, self._progress)
            except (OperatorError, OSError) as error:
                raise Problem(marked("This could not be kept: %(reason)s"), reason=str(error)) from None

    def _settings_with(self, **values: str | None) -> Settings:
        known = {name: value for name, value in {**self._progress.values, **values}.items() if value is not None}
        return settings_with(known)

    def _address(self, form: Form, host: str) -> None:
        known = self._settings.media_server_url if "media_server_url" in self._outside else None
        found = checks.find_media_server(known or _text(form, "url"), self._settings)
        if self._progress.values.get(URL) != found.url:
            # What belonged to another server.
            done = [step for step in self._progress.done if step not in ("account", "users", "lists")]
            self._progress.done, self._users = done, None
            for name in (KEY, EXCLUDED, PUBLISH, ROOT, PATH_MAP):
                self._progress.values.pop(name, None)
            self._skip()
        self._progress.accept("address", {URL: found.url})
        self._progress.shown = {"server": f"{found.name} ({found.product} {found.version})"}

    def _account(self, form: Form, host: str) -> None:
        key = _text(form, "key") or None
        if "media_server_api_key" not in self._outside and key is None:
            # Verified as for a sign-in, by the media server, so guessing is slowed down alike.
            turn = self._throttle.sign_in(_text(form, "name"), "")
            if not turn.is_granted:
                raise Problem(TOO_OFTEN)
            password = next(iter(form.get("password", ())), "")
            key = checks.make_key(self._settings_with(), _text(form, "name"), password)
            self._throttle.forgive(turn)
        self._read_users(self._settings_with(**{KEY: key}))
        self._progress.accept("account", {KEY: key})

    def _read_users(self, settings: Settings) -> list[str]:
        self._users = [name for name, is_enabled in checks.list_users(settings) if is_enabled]
        return self._users

    def _take_users(self, form: Form, host: str) -> None:
        users, taken = self._users or self._read_users(self._settings_with()), form.get("user", ())
        if not set(users) & set(taken):
            raise Problem(marked("Choose at least one user, or there is nobody to make lists for."))
        excluded = [name for name in users if name not in taken]
        needs_json = any("," in name or name.strip() != name or name.startswith("[") for name in excluded)
        text = json.dumps(excluded, ensure_ascii=False) if needs_json else ", ".join(excluded)
        self._progress.accept("users", {EXCLUDED: text or None})

    def _timezone(self, form: Form, host: str) -> None:
        zone = _text(form, "zone")
        try:
            self._settings_with(**{ZONE: zone})
        except Problem:
            raise Problem(marked("There is no such time zone. Choose one such as Europe/Berlin.")) from None
        self._progress.accept("timezone", {ZONE: zone})

    def _keys(self, form: Form, host: str, view: View | None = None) -> None:
        problems = view.problems if view is not None else {}
        for offer in OFFERS:
            given = {name: text for name in offer.fields if (text := _text(form, name))}
            if not given:
                continue
            try:
                if len(given) < len(offer.fields):
                    raise Problem(marked("Both fields are needed."))
                checks.check_key(offer, self._settings_with(**given))
            except Problem as problem:
                problems[offer.name] = problem
                continue
            self._progress.values |= given
            if offer.name == "Trakt" and "secret_key" not in self._outside:
                # Tokens of members are encrypted with it.
                self._progress.values.setdefault(SECRET_KEY, secrets.token_urlsafe(32))
        if problems:
            # The others are not entered again.
            write_progress(self._path, self._progress)
        else:
            self._progress.accept("keys", {})

    def _lists(self, form: Form, host: str) -> None:
        if _text(form, "publish") != "yes":
            self._progress.accept("lists", {PUBLISH: None, ROOT: None, PATH_MAP: None})
            return
        folder, on_server = _text(form, "folder"), _text(form, "server_folder")
        if not folder:
            raise Problem(marked("Enter a folder, or leave lists on the pages of this program."))
        paths = json.dumps({folder: on_server}, ensure_ascii=False) if on_server and on_server != folder else None
        values = {PUBLISH: "true", ROOT: folder, PATH_MAP: paths}
        checks.check_folder(self._settings_with(**values))
        self._progress.accept("lists", values)

    def _finish(self, form: Form, host: str) -> None:
        values = dict(self._progress.values)
        self._settings_with()
        authority = parse_authority(host)
        allowed = self._settings.ui_allowed_hosts
        if authority and not AllowedHosts(self._start.host, allowed).answers_to(authority[0]):
            # By the name by which set-up was reached, the pages are reached as well.
            values[HOSTS] = ", ".join([*allowed, host.lower()])
        outside = {name for field in self._outside for name in environment_names(field)}
        values = {name: value for name, value in values.items() if name not in outside}
        if _given_file() != self._given:
            raise Problem(FILE_CHANGED)
        change_env_file(env_file(), values)
        self._path.unlink(missing_ok=True)
        self.becomes = self._start.again

    def _demo(self, form: Form, host: str) -> None:
        self.becomes = self._start.demo

    async def _page(
        self, request: Request, step: str | None = None, view: View | None = None, status: int = 503
    ) -> Response:
        """Return the page of a step, by default the next one; nothing runs yet, so its status is 503."""
        view = view or View()
        if self._is_from_elsewhere(request):
            step, view, status = "trouble", View(Problem(ELSEWHERE)), 403
        elif not self._is_admitted(request):
            step = "code"
        elif step not in ("code", "trouble") and (step not in STEPS or not self._progress.may_show(step)):
            step = self._progress.step
        users: list[tuple[str, bool]] = []
        if step == "users":
            try:
                users = await self._lane.run(self._choices)
            except Problem as problem:
                step, view.problem = "trouble", view.problem or problem
        return self._render(texts_for(request), request, step, view, users, status)

    def _choices(self) -> list[tuple[str, bool]]:
        with self._lock:
            names = self._users if self._users is not None else self._read_users(self._settings_with())
            excluded = self._settings_with().exclude_users
        return [(name, name not in excluded) for name in names]

    def _render(
        self, _: Texts, request: Request, step: str, view: View, users: Sequence[tuple[str, bool]], status: int
    ) -> Response:
        def said(problem: Problem | None) -> str:
            return "" if problem is None else _(problem.text, **problem.values)

        values, given = self._progress.values, defaultdict(str, view.given)
        number = STEPS.index(step) + 1 if step in STEPS else 0
        zone = values.get(ZONE) or host_timezone()
        if not view.given:
            paths = json.loads(values.get(PATH_MAP, "{}"))
            given["url"] = values.get(URL, self._settings.media_server_url or "")
            given |= {"zone": zone, "folder": values.get(ROOT, ""), "server_folder": paths.get(values.get(ROOT), "")}
        accepted = {
            offer.name: next((self._outside[one] for one in self._outside if self._outside[one] in offer.fields), "")
            for offer in OFFERS
            if all(name in values or name in self._outside.values() for name in offer.fields)
        }
        query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
        text = self._renderer.text(
            "set_up.html", _,
            heading=_(HEADINGS[step]), text=_(ABOUT[step]) if step in ABOUT else "",
            step=step, number=number, count=len(STEPS), server=self._progress.shown.get("server", ""),
            back=STEPS[number - 2] if number > 1 else "", problem=said(view.problem),
            other=view.problem.other if view.problem is not None else "", csrf=self._csrf, given=given,
            outside=defaultdict(str, self._outside), may_demo=self._start.demo is not None, users=users,
            zones=_zones() if step == "timezone" else (), offers_zone=ZONE not in values and not view.given,
            offers=OFFERS, accepted=accepted, usual_folder=checks.usual_folder(),
            problems=defaultdict(str, {name: said(problem) for name, problem in view.problems.items()}),
            facts=self._facts(_, accepted) if step == "finish" else (), this_page=f"{self._prefix}/{query}",
        )  # fmt: skip
        return as_page(text, status)

    def _facts(self, _: Texts, accepted: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return what was chosen, without secrets."""
        values = self._progress.values
        settings = self._settings_with()
        server = self._progress.shown.get("server", "")
        return [
            (_("Media server"), f"{server}, {settings.media_server_url}"),
            (_("Left out"), ", ".join(settings.exclude_users) or _("nobody")),
            (_("Time zone"), values.get(ZONE) or settings.schedule_timezone),
            (_("Services"), ", ".join(accepted) or _("none")),
            (_("Lists"), str(settings.publish_root) if settings.publish else _("On the pages of this program only")),
        ]


def _text(form: Form, name: str) -> str:
    return next(iter(form.get(name, ())), "").strip()


async def _read_form(request: Request) -> Form:
    """Read a form. Raises HTTPException if it is no form, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, marked("This is no form."))
    body = await read_body(request, LARGEST_FORM)
    try:
        return parse_qs((body or b"").decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(413, marked("This form has too many fields.")) from None


@functools.cache
def _zones() -> tuple[str, ...]:
    return tuple(sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone or zone == "UTC"))
