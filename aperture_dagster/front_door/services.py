"""What members do on their pages that asks another service, and shows its answer: requests through Seerr, and Trakt."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.responses import Response

from aperture_dagster.discovery.requests import NoSeerrUser, open_desk
from aperture_dagster.discovery.seerr import RequestRefused, why_not_configured
from aperture_dagster.discovery.suggestions import wish_for
from aperture_dagster.front_door.changes import Asked
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.ratings.accounts import TraktAccounts, why_off
from aperture_dagster.ratings.connecting import disconnect
from aperture_dagster.ratings.records import AccountShared, SignInFailed
from aperture_dagster.texts.translations import marked

_LOG = logging.getLogger(__name__)
# The job uses Seerr for seconds.
PATIENCE_SECONDS = 10.0
NO_ACCOUNT = marked("You have no account on Seerr yet: sign in there once with your account of the media server.")
CHANGED = marked("This has changed on Seerr meanwhile, so nothing was sent. Look again before you send it.")
SILENT = marked("Seerr gives no usable answer at the moment. What was sent, if anything, is below “Requested” later.")
NOT_YET = marked("Trakt has not seen the code yet. Enter it there, confirm it, wait a few seconds, and try again.")
SHARED = marked("Somebody else here uses this account on Trakt. Sign in there as yourself, and connect again.")
NOT_REVOKED = marked("You are disconnected here, but Trakt could not be told: end the access there (Connected Apps).")
TRAKT_SILENT = marked("Trakt cannot be used at the moment, and nothing was changed. Try again in a few minutes.")


def request_title(asked: Asked) -> Response:
    """Show what a request for a suggested title would be, and send it once its member has seen just that."""
    if why_not_configured(asked.settings) is not None:
        raise HTTPException(404)
    with asked.database.transaction() as connection:
        title = asked.title(connection)
        wish = wish_for(connection, asked.member.user_id, asked.work_id)
    if wish is None:
        raise HTTPException(404)
    problem, planned, seen = "", None, asked.form.get("plan")
    try:
        with open_desk(asked.settings, asked.database, asked.clock, patience_seconds=PATIENCE_SECONDS) as desk:
            planned = desk.offer(asked.member, wish)
            if planned.obstacle is not None:
                problem = planned.obstacle.message
            elif seen is not None and hmac.compare_digest(seen.encode(), planned.digest.encode()):
                desk.send(asked.member, planned)
                return asked.back()
            elif seen is not None:
                problem = CHANGED
    except NoSeerrUser:
        problem = NO_ACCOUNT
    except RequestRefused as refusal:
        problem, planned = str(refusal), None
    except ServiceError as error:
        _LOG.warning("a request of %s was not possible: %s", asked.member.name, error)
        problem, planned = SILENT, None
    _ = asked.texts
    return asked.render(
        "request.html", heading=_("Request %(title)s", title=title), asked=asked, problem=_(problem) if problem else "",
        planned=planned if planned is not None and planned.obstacle is None else None,
    )  # fmt: skip


def connect_trakt(asked: Asked) -> Response:
    """Show a code for a member to confirm on Trakt, and connect them once they have."""
    if why_off(asked.settings) is not None:
        raise HTTPException(404)
    accounts, user_id, problem, code = _accounts(asked), asked.member.user_id, "", None
    try:
        if "confirmed" in asked.form:
            if asked.connecting.finish(accounts, user_id) is not None:
                return asked.back()
            # Pressed twice, or in two windows.
            account = accounts.account(user_id)
            if account is not None and account.state == "connected":
                return asked.back()
            problem = NOT_YET
        code = asked.connecting.begin(accounts, user_id)
    except SignInFailed as error:
        problem = str(error)
    except AccountShared:
        problem = SHARED
    except ServiceError as error:
        _LOG.warning("%s cannot be connected to Trakt: %s", asked.member.name, error)
        problem = TRAKT_SILENT
    _ = asked.texts
    shown = _(problem) if problem else ""
    return asked.render("trakt.html", heading=_("Connect Trakt"), asked=asked, problem=shown, code=code)


def disconnect_trakt(asked: Asked) -> Response:
    """Disconnect a member from Trakt; all ratings are kept."""
    _ = asked.texts
    try:
        if not disconnect(_accounts(asked), asked.member.user_id):
            return asked.render("message.html", heading=_("Trakt"), text=_(NOT_REVOKED))
    except ServiceError as error:
        _LOG.warning("%s cannot be disconnected from Trakt: %s", asked.member.name, error)
        return asked.render("message.html", 503, heading=_("Sorry"), text=_(TRAKT_SILENT))
    return asked.back()


def _accounts(asked: Asked) -> TraktAccounts:
    return TraktAccounts(asked.settings, asked.database, asked.clock)


Service = Callable[[Asked], Response]
SERVICES: Mapping[str, Service] = {
    "/request": request_title,
    "/trakt": connect_trakt,
    "/trakt/disconnect": disconnect_trakt,
}
"""Paths of forms, each with what answers it."""
