"""The pages on which members sign in, with their account on the media server, sign out, and choose a language."""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.front_door.gate import Gate, cookie_of
from aperture_dagster.front_door.language import LANGUAGE_COOKIE, texts_for
from aperture_dagster.front_door.sessions import COOKIE, QUICK_COOKIE, QUICK_SECONDS, SESSION_SECONDS, Throttle
from aperture_dagster.http.errors import ServiceError, ServiceNotConfigured
from aperture_dagster.http.home_network import route_to_media_server
from aperture_dagster.maintenance.status import server_identity
from aperture_dagster.media_server.accounts import Account, ServerAccounts, WrongAccount
from aperture_dagster.media_server.detect import detect_server_type
from aperture_dagster.postgres.database import NothingYet, ReadOnlyDatabase
from aperture_dagster.settings import Settings
from aperture_dagster.texts.translations import LANGUAGES, marked

_LOG = logging.getLogger(__name__)
LARGEST_FORM = 10_000
LONGEST_FIELD = 500
LANGUAGE_SECONDS = 365 * 86_400
WRONG = marked("The media server does not accept this name and password.")
SILENT = marked("The media server does not answer at the moment. Try again in a minute.")
TOO_OFTEN = marked("There were too many attempts. Try again in a quarter of an hour.")
OTHER_SERVER = marked("This account is of another media server than the one whose lists are here.")
NO_MEMBER = marked("You do not take part, so no lists are made for you.")
Render = Callable[..., Response]


class SignIn:
    """The endpoints.

    Args:
        settings: the media server.
        database: which server the lists are of.
        gate: makes sessions.
        render: makes a page from a request, a template and its values.
        prefix: path below which everything is served.
    """

    def __init__(
        self, settings: Settings, database: ReadOnlyDatabase, gate: Gate, render: Render, prefix: str = ""
    ) -> None:
        self._settings, self._database, self._gate, self._render = settings, database, gate, render
        self._prefix, self._throttle = prefix, Throttle()

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/sign-in", self._page, methods=["GET"]),
            Route("/sign-in", self._with(self._check), methods=["POST"]),
            Route("/sign-in/quick-connect", self._with(self._quick_connect), methods=["POST"]),
            Route("/sign-out", self._with(self._sign_out), methods=["POST"]),
            Route("/language", self._with(self._choose_language), methods=["POST"]),
        ]

    def _with(self, handle: Callable[[Request, dict[str, str]], Response]) -> Callable[[Request], Any]:
        """Return an endpoint that reads a form and handles it in a thread."""

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(handle, request, await read_form(request))

        return endpoint

    def _page(self, request: Request) -> Response:
        return self._form(request, safe_path(request.query_params.get("next"), self._prefix))

    def _form(self, request: Request, target: str, problem: str = "", status: int = 200, code: str = "") -> Response:
        type_of = self._settings.media_server_type
        _ = texts_for(request.scope)
        values = {"next": target, "problem": problem and _(problem), "code": code, "has_codes": type_of != "emby"}
        return self._render(request, "sign_in.html", status, heading=_("Sign in"), **values)

    def _check(self, request: Request, form: dict[str, str]) -> Response:
        target = safe_path(form.get("next"), self._prefix)
        name = form.get("name", "")
        address = request.client.host if request.client else ""
        if not self._throttle.take(name, address):
            return self._form(request, target, TOO_OFTEN, 429)
        try:
            with self._accounts() as server:
                account = server.sign_in(name, form.get("password", ""))
        except WrongAccount:
            return self._form(request, target, WRONG, 403)
        except ServiceError as error:
            self._throttle.forgive(name, address)
            _LOG.warning("nobody can sign in: %s", error)
            return self._form(request, target, SILENT, 503)
        self._throttle.forgive(name, address)
        return self._welcome(request, account, target)

    def _quick_connect(self, request: Request, form: dict[str, str]) -> Response:
        """Show a new code, or see whether the one of this browser was entered."""
        target = safe_path(form.get("next"), self._prefix)
        address = request.client.host if request.client else ""
        pending = self._gate.sessions.read_quick_connect(cookie_of(request.scope, QUICK_COOKIE))
        try:
            with self._accounts() as server:
                if pending is None or "again" in form:
                    if not self._throttle.take(f"quick connect at {address}", address):
                        return self._form(request, target, TOO_OFTEN, 429)
                    begun = server.begin_quick_connect()
                    answer = self._form(request, target, code=begun.code)
                    kept = self._gate.sessions.keep_quick_connect(begun.secret, begun.code)
                    self._set_cookie(request, answer, QUICK_COOKIE, kept, QUICK_SECONDS)
                    return answer
                account = server.finish_quick_connect(pending[0])
        except WrongAccount:
            answer = self._form(request, target, marked("The code has expired. Ask for another one."), 403)
            self._set_cookie(request, answer, QUICK_COOKIE, "", 0)
            return answer
        except ServiceError as error:
            _LOG.warning("Quick Connect is not possible: %s", error)
            return self._form(request, target, marked("The media server offers no codes at the moment."), 503)
        if account is None:
            return self._form(request, target, marked("The code has not been entered yet."), code=pending[1])
        return self._welcome(request, account, target)

    def _welcome(self, request: Request, account: Account, target: str) -> Response:
        """Begin the session of an account, unless it is one of another server."""
        try:
            with self._database.connection() as connection:
                known = server_identity(connection)
        except NothingYet:
            known = None
        if known is not None and account.server_id is not None and known["server_id"] != account.server_id:
            return self._form(request, target, OTHER_SERVER, 403)
        cookie = self._gate.sessions.begin(account.user_id, is_administrator=account.is_administrator)
        answer = RedirectResponse(target, 303, {"cache-control": "no-store"})
        self._set_cookie(request, answer, COOKIE, cookie, SESSION_SECONDS)
        self._set_cookie(request, answer, QUICK_COOKIE, "", 0)
        return answer

    def _sign_out(self, request: Request, form: dict[str, str]) -> Response:
        require_csrf(self._gate, request, form)
        answer = RedirectResponse(f"{self._prefix}/sign-in", 303, {"cache-control": "no-store"})
        self._set_cookie(request, answer, COOKIE, "", 0)
        return answer

    def _choose_language(self, request: Request, form: dict[str, str]) -> Response:
        answer = RedirectResponse(safe_path(form.get("next"), self._prefix), 303, {"cache-control": "no-store"})
        if (language := form.get("language", "")) in LANGUAGES:
            self._set_cookie(request, answer, LANGUAGE_COOKIE, language, LANGUAGE_SECONDS)
        return answer

    def _set_cookie(self, request: Request, answer: Response, name: str, value: str, seconds: int) -> None:
        # Behind a proxy on this machine that encrypts, uvicorn takes the scheme from X-Forwarded-Proto.
        answer.set_cookie(
            name, value, max_age=seconds, path=f"{self._prefix}/", secure=request.url.scheme == "https", httponly=True,
            samesite="lax",
        )  # fmt: skip

    @contextmanager
    def _accounts(self) -> Iterator[ServerAccounts]:
        settings = self._settings
        if settings.media_server_url is None:
            raise ServiceNotConfigured("APERTURE_MEDIA_SERVER_URL is not set")
        route, server_type = route_to_media_server(settings), settings.media_server_type
        if server_type == "auto":
            server_type = detect_server_type(settings.media_server_url, route, attempts=1)
        with closing(ServerAccounts(server_type, settings.media_server_url, route=route)) as server:
            yield server


def require_csrf(gate: Gate, request: Request, form: dict[str, str]) -> None:
    """Raise HTTPException 403 unless a form comes from a page of the session's owner."""
    session = gate.sessions.read(cookie_of(request.scope, COOKIE))
    if session is None or not hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
        raise HTTPException(403, marked("This form is too old: reload the page, and try again."))


async def read_form(request: Request) -> dict[str, str]:
    """Read a form, each field once. Raises HTTPException if it is no form, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, marked("This is no form."))
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise HTTPException(413, marked("This form is too large."))
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise HTTPException(413, marked("This form has too many fields.")) from None
    return {name: values[0][:LONGEST_FIELD] for name, values in fields.items()}


def safe_path(target: str | None, prefix: str) -> str:
    """Return a path to go to after the sign-in: one of ours, whatever a link named."""
    own = target is not None and target.startswith(f"{prefix}/") and re.fullmatch(r"/(?!/)[!-\[\]-~]*", target)
    return target if own and target is not None else f"{prefix}/"
