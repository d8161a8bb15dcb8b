"""The pages on which members sign in, with their account on the media server, sign out, and choose a language."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.alerts import Message, Notifier
from aperture_dagster.catalogue.servers import open_accounts
from aperture_dagster.catalogue.stored_users import server_identity
from aperture_dagster.front_door.gate import AGAIN, LANGUAGE_COOKIE
from aperture_dagster.front_door.house import TOO_OFTEN, House, Visit, read_form
from aperture_dagster.front_door.sessions import (
    COOKIE,
    DEVICE_COOKIE,
    DEVICE_SECONDS,
    QUICK_COOKIE,
    QUICK_SECONDS,
    SESSION_SECONDS,
    device_of,
)
from aperture_dagster.http.errors import Redirected, ServiceError, ServiceRefused
from aperture_dagster.http.home_network import is_private
from aperture_dagster.media_server.accounts import Account, WrongAccount
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.settings.types import is_address
from aperture_dagster.texts import LANGUAGES, marked

_LOG = logging.getLogger(__name__)
LANGUAGE_SECONDS = 365 * 86_400
_FORWARDED_FOR = re.compile(r'\bfor="?\[?([^\s\]";,]+)', re.I)
LONGEST_NAME = 64
"""Characters of a name in the log."""
WRONG = marked("The media server does not accept this name and password.")
SILENT = marked("The media server does not answer at the moment. Try again in a minute.")
MISPLACED = marked(
    "Nobody can sign in, because the address of the media server is not set correctly. The operator of these pages "
    "finds the reason in the log."
)
OTHER_SERVER = marked("This account is of another media server than the one whose lists are here.")
NO_PASSWORD = marked("An account without a password cannot sign in from here. Give it one on the media server.")
OPERATOR_WITHOUT = marked("An administrator cannot sign in without a password. Set one on the media server.")


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        house.page("/sign-in", begin),
        Route("/sign-in", partial(check, house), methods=["POST"]),
        Route("/sign-in/quick-connect", partial(quick_connect, house), methods=["POST"]),
        house.form("/sign-out", sign_out),
        house.form("/language", choose_language),
    ]


def address(target: str, *, again: bool = False) -> str:
    """Return the address of the page to sign in, below the prefix, from which one gets to a path of ours.

    ``again``: the page says that its visitor is signed in, but too long for what is there.
    """
    return f"/sign-in?{urlencode({'next': quote(target, safe='/%?=&'), **({'again': 1} if again else {})})}"


def begin(visit: Visit) -> Response:
    """Show the form, and why the media server cannot be used, or why one has to sign in again, if so."""
    notice = AGAIN if "again" in visit.request.query_params else ""
    with suppress(DatabaseError), visit.house.database.connection() as connection:
        notice = visit.house.watch.trouble(connection) or notice
    return show(visit, notice=notice)


def show(visit: Visit, problem: str = "", status: int = 200, *, notice: str = "") -> Response:
    """Show the form."""
    _, has_codes = visit.texts, visit.settings.media_server_type != "emby"
    texts = {"heading": _("Sign in"), "problem": problem and _(problem), "notice": notice and _(notice)}
    return visit.render("sign_in.html", status, has_codes=has_codes, **texts)


def _show_code(visit: Visit, code: str, problem: str = "") -> Response:
    _ = visit.texts
    text = _("Enter this code in Jellyfin, where you are signed in, under Quick Connect in your settings:")
    button, other, problem = _("I have entered it"), _("Another code"), problem and _(problem)
    return visit.step(_("Sign in"), problem=problem, text=text, code=code, button=button, other=other)


async def check(house: House, request: Request) -> Response:
    """Ask the media server whether a name and password are right, once it is this attempt's turn."""
    visit = Visit(house, request, await read_form(request))
    name = visit.form.get("name", "")
    device = house.gate.sessions.device(request.cookies.get(DEVICE_COOKIE), name)
    turn = house.throttle.sign_in(name, visit.address, device)
    if turn.seconds and device is None:
        _tell_operator(visit, name)
    if not turn.is_granted:
        return refuse(visit, name, "too many attempts", TOO_OFTEN, 429)
    await asyncio.sleep(turn.seconds)
    is_wrong = False
    try:
        # Strangers may keep the media server busy, but not for those who are known.
        lane = house.strangers if device is None else house.known
        answer, is_wrong = await house.answer(lane, _check, visit)
    finally:
        if not is_wrong:
            house.throttle.forgive(turn)
    return answer


def _check(visit: Visit) -> tuple[Response, bool]:
    """Return the answer, and whether name and password were wrong."""
    name, password = visit.form.get("name", ""), visit.form.get("password", "")
    # The media server sees our address, so its own rules about the home network would let anybody in.
    if not password and not (visit.settings.ui_empty_passwords and _is_at_home(visit.request)):
        return refuse(visit, name, "no password", NO_PASSWORD), True
    try:
        with open_accounts(visit.settings) as server:
            account = server.sign_in(name, password)
    except WrongAccount:
        return refuse(visit, name, "wrong password", WRONG), True
    except ServiceError as error:
        _LOG.warning("nobody can sign in: %s", error)
        return show(visit, _why_nobody(error), 503), False
    if not password and account.is_administrator:
        return refuse(visit, name, "an administrator without a password", OPERATOR_WITHOUT), True
    return _welcome(visit, account, name), False


def _why_nobody(error: ServiceError) -> str:
    """Return the sentence for members: whether it is worth trying again."""
    return MISPLACED if isinstance(error, (Redirected, ServiceRefused)) else SILENT


def _is_at_home(request: Request) -> bool:
    """Tell whether a request comes from the home network, also by what proxies say of it, trusted or not."""
    headers = request.headers
    said = [*headers.getlist("x-forwarded-for"), *headers.getlist("x-real-ip")]
    addresses = [one.strip() for value in said for one in value.split(",")]
    addresses += [one for value in headers.getlist("forwarded") for one in _FORWARDED_FOR.findall(value)]
    addresses.append(request.client.host if request.client is not None else "")
    return all(is_address(one) and is_private(one) for one in addresses)


def refuse(visit: Visit, name: str, reason: str, problem: str, status: int = 403) -> Response:
    """Refuse a sign-in, with a line in the log that fail2ban understands."""
    _LOG.warning("Refused a sign-in from %s for %s: %s", *_who(visit, name), reason)
    answer = show(visit, problem, status)
    if status == 429:
        answer.headers["retry-after"] = "120"
    return answer


def _who(visit: Visit, name: str) -> tuple[str, str]:
    """Return an address and a name for people and logs: as JSON, since it is whatever somebody typed."""
    return visit.address if is_address(visit.address) else "unknown", json.dumps(name[:LONGEST_NAME])


def _tell_operator(visit: Visit, name: str) -> None:
    """Send a message that somebody guesses passwords, once an hour at most."""
    if not visit.house.throttle.take("alerts", ""):
        return
    address, named = _who(visit, name)
    body = (
        f"So many attempts to sign in have failed, the last one from {address} for {named}, that further ones are "
        "slowed down. Devices on which members have signed in before are not affected. If the address is that of your "
        "proxy, name it in APERTURE_UI_TRUSTED_PROXIES (docs/remote-access.md, Trusted proxies)."
    )
    _LOG.warning("%s", body)
    message = Message("Aperture: somebody guesses passwords", body, is_good=False)
    threading.Thread(target=_send, args=(visit.settings, message), daemon=True).start()


def _send(settings: Settings, message: Message) -> None:
    for to, why in Notifier(settings).send_to_all(message):
        if why is not None:
            _LOG.warning("%s was not told that somebody guesses passwords: %s", to.shown, why)


async def quick_connect(house: House, request: Request) -> Response:
    """Show a new code, or see whether the one of this browser was entered."""
    visit, sessions = Visit(house, request, await read_form(request)), house.gate.sessions
    pending = sessions.signed(QUICK_COOKIE, request.cookies.get(QUICK_COOKIE), QUICK_SECONDS)
    if "again" in visit.form:
        pending = None
    if not house.throttle.take("codes" if pending is None else "polls", visit.address):
        return refuse(visit, "", "too many codes", TOO_OFTEN, 429)
    return await house.answer(house.strangers, partial(_quick_connect, pending), visit)


def _quick_connect(pending: list[Any] | None, visit: Visit) -> Response:
    try:
        with open_accounts(visit.settings) as server:
            if pending is None:
                begun = server.begin_quick_connect()
                answer = _show_code(visit, begun.code)
                kept = visit.house.gate.sessions.sign(QUICK_COOKIE, begun.secret, begun.code)
                _set_cookie(visit, answer, QUICK_COOKIE, kept, QUICK_SECONDS)
                return answer
            account = server.finish_quick_connect(pending[0])
    except WrongAccount:
        answer = refuse(visit, "", "expired code", marked("The code has expired. Ask for another one."))
        _set_cookie(visit, answer, QUICK_COOKIE, "", 0)
        return answer
    except ServiceError as error:
        _LOG.warning("Quick Connect is not possible: %s", error)
        return show(visit, marked("The media server offers no codes at the moment."), 503)
    if account is None:
        return _show_code(visit, pending[1], marked("The code has not been entered yet."))
    return _welcome(visit, account)


def _welcome(visit: Visit, account: Account, *names: str) -> Response:
    """Begin the session of an account, unless it is one of another server; ``names`` were typed for it."""
    # The pages' own database has to be there first, so that no page creates or upgrades one.
    with visit.house.database.connection() as connection:
        known = server_identity(connection)
    if known is not None and known["server_id"] != account.server_id:
        return refuse(visit, account.name, "account of another server", OTHER_SERVER)
    sessions, cookies = visit.house.gate.sessions, visit.request.cookies
    sessions.end(cookies.get(COOKIE))
    on = device_of(visit.request.headers.get("user-agent", ""))
    session = sessions.begin(account.user_id, is_administrator=account.is_administrator, device=on)
    device = sessions.remember(cookies.get(DEVICE_COOKIE), account.name, *names)
    answer = visit.back()
    _set_cookie(visit, answer, DEVICE_COOKIE, device, DEVICE_SECONDS)
    _set_cookie(visit, answer, COOKIE, session, SESSION_SECONDS)
    _set_cookie(visit, answer, QUICK_COOKIE, "", 0)
    return answer


def sign_out(visit: Visit) -> Response:
    """End the session of this browser."""
    visit.require_csrf()
    with visit.house.database.connection():
        visit.house.gate.sessions.end(visit.request.cookies.get(COOKIE))
    return signed_out(visit)


def signed_out(visit: Visit) -> Response:
    """Lead to the page to sign in, without the cookie of a session that has ended."""
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
    path, secure = f"{visit.house.prefix}/", visit.is_encrypted
    answer.set_cookie(name, value, max_age=seconds, path=path, secure=secure, httponly=True, samesite="lax")
