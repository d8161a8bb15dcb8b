"""The pages on which members sign in, with their account on the media server, sign out, and choose a language."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.catalogue.people import server_identity
from aperture_dagster.catalogue.servers import open_accounts
from aperture_dagster.front_door.gate import LANGUAGE_COOKIE
from aperture_dagster.front_door.house import House, Visit
from aperture_dagster.front_door.sessions import COOKIE, QUICK_COOKIE, QUICK_SECONDS, SESSION_SECONDS
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.media_server.accounts import Account, WrongAccount
from aperture_dagster.postgres.database import NothingYet
from aperture_dagster.texts import LANGUAGES, marked

_LOG = logging.getLogger(__name__)
LANGUAGE_SECONDS = 365 * 86_400
WRONG = marked("The media server does not accept this name and password.")
SILENT = marked("The media server does not answer at the moment. Try again in a minute.")
TOO_OFTEN = marked("There were too many attempts. Try again in a quarter of an hour.")
OTHER_SERVER = marked("This account is of another media server than the one whose lists are here.")


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        house.page("/sign-in", show),
        house.form("/sign-in", check, house.strangers),
        house.form("/sign-in/quick-connect", quick_connect, house.strangers),
        house.form("/sign-out", sign_out),
        house.form("/language", choose_language),
    ]


def address(target: str) -> str:
    """Return the address of the page to sign in, below the prefix, from which one gets to a path of ours."""
    return f"/sign-in?{urlencode({'next': quote(target, safe='/%')})}"


def show(visit: Visit, problem: str = "", status: int = 200) -> Response:
    """Show the form."""
    _, has_codes = visit.texts, visit.settings.media_server_type != "emby"
    heading, problem = _("Sign in"), problem and _(problem)
    return visit.render("sign_in.html", status, heading=heading, problem=problem, has_codes=has_codes)


def _show_code(visit: Visit, code: str, problem: str = "") -> Response:
    _ = visit.texts
    text = _("Enter this code in Jellyfin, where you are signed in, under Quick Connect in your settings:")
    button, other, problem = _("I have entered it"), _("Another code"), problem and _(problem)
    return visit.step(_("Sign in"), problem=problem, text=text, code=code, button=button, other=other)


def check(visit: Visit) -> Response:
    """Ask the media server whether a name and password are right."""
    name, throttle = visit.form.get("name", ""), visit.house.throttle
    if not throttle.take(name, visit.address):
        return show(visit, TOO_OFTEN, 429)
    try:
        with open_accounts(visit.settings) as server:
            account = server.sign_in(name, visit.form.get("password", ""))
    except WrongAccount:
        return show(visit, WRONG, 403)
    except ServiceError as error:
        throttle.forgive(name, visit.address)
        _LOG.warning("nobody can sign in: %s", error)
        return show(visit, SILENT, 503)
    throttle.forgive(name, visit.address)
    return _welcome(visit, account)


def quick_connect(visit: Visit) -> Response:
    """Show a new code, or see whether the one of this browser was entered."""
    sessions = visit.house.gate.sessions
    pending = sessions.signed(QUICK_COOKIE, visit.request.cookies.get(QUICK_COOKIE), QUICK_SECONDS)
    try:
        with open_accounts(visit.settings) as server:
            if pending is None or "again" in visit.form:
                if not visit.house.throttle.take(f"quick connect at {visit.address}", visit.address):
                    return show(visit, TOO_OFTEN, 429)
                begun = server.begin_quick_connect()
                answer = _show_code(visit, begun.code)
                kept = sessions.sign(QUICK_COOKIE, begun.secret, begun.code)
                _set_cookie(visit, answer, QUICK_COOKIE, kept, QUICK_SECONDS)
                return answer
            account = server.finish_quick_connect(pending[0])
    except WrongAccount:
        answer = show(visit, marked("The code has expired. Ask for another one."), 403)
        _set_cookie(visit, answer, QUICK_COOKIE, "", 0)
        return answer
    except ServiceError as error:
        _LOG.warning("Quick Connect is not possible: %s", error)
        return show(visit, marked("The media server offers no codes at the moment."), 503)
    if account is None:
        return _show_code(visit, pending[1], marked("The code has not been entered yet."))
    return _welcome(visit, account)


def _welcome(visit: Visit, account: Account) -> Response:
    """Begin the session of an account, unless it is one of another server."""
    try:
        with visit.house.database.connection() as connection:
            known = server_identity(connection)
    except NothingYet:
        known = None
    if known is not None and account.server_id is not None and known["server_id"] != account.server_id:
        return show(visit, OTHER_SERVER, 403)
    session = visit.house.gate.sessions.begin(account.user_id, is_administrator=account.is_administrator)
    answer = visit.back()
    _set_cookie(visit, answer, COOKIE, session, SESSION_SECONDS)
    _set_cookie(visit, answer, QUICK_COOKIE, "", 0)
    return answer


def sign_out(visit: Visit) -> Response:
    """End the session in this browser."""
    visit.require_csrf()
    answer = visit.back(f"{visit.house.prefix}/sign-in")
    _set_cookie(visit, answer, COOKIE, "", 0)
    return answer


def choose_language(visit: Visit) -> Response:
    """Remember a language in this browser."""
    answer, language = visit.back(), visit.form.get("language", "")
    if language in LANGUAGES:
        _set_cookie(visit, answer, LANGUAGE_COOKIE, language, LANGUAGE_SECONDS)
    return answer


def _set_cookie(visit: Visit, answer: Response, name: str, value: str, seconds: int) -> None:
    # Behind a proxy on this machine that encrypts, uvicorn takes the scheme from X-Forwarded-Proto.
    is_encrypted = visit.request.url.scheme == "https"
    answer.set_cookie(
        name, value, max_age=seconds, path=f"{visit.house.prefix}/", secure=is_encrypted, httponly=True, samesite="lax"
    )
