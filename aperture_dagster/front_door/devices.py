"""The page on which members see where they are signed in, and sign out there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from aperture_dagster.discovery.suitability import today_of
from aperture_dagster.front_door import sign_in
from aperture_dagster.front_door.house import TOO_OLD, House, Visit
from aperture_dagster.members.sessions import Session

PATH = "/devices"


def routes(house: House) -> Sequence[BaseRoute]:
    """Return the routes."""
    return [
        house.page(PATH, show),
        house.form(f"{PATH}/sign-out", end_one),
        house.form(f"{PATH}/sign-out-everywhere", end_all),
    ]


def show(visit: Visit) -> Response:
    """Show the devices of whoever visits: members and others, who may have been signed in before they left."""
    house, _ = visit.house, visit.texts
    if visit.visitor is None:
        return visit.back(house.prefix + sign_in.address(house.prefix + PATH))
    here = _session(visit)
    with house.database.connection() as connection:
        sessions = house.gate.sessions.of_user(connection, here.user_id)

    def day(moment: datetime) -> str:
        return _.day(today_of(moment, visit.settings))

    devices = [(one, day(one.created_at), day(one.seen_at), one.session_id == here.session_id) for one in sessions]
    return visit.render("devices.html", heading=_("My devices"), devices=devices, csrf=house.gate.csrf(visit.request))


def end_one(visit: Visit) -> Response:
    """Sign out on one device."""
    here = _checked(visit)
    ended = visit.number("device")
    visit.house.gate.sessions.end_one(here.user_id, ended)
    return sign_in.signed_out(visit) if ended == here.session_id else visit.back(visit.house.prefix + PATH)


def end_all(visit: Visit) -> Response:
    """Sign out everywhere."""
    visit.house.gate.sessions.end_all(_checked(visit).user_id)
    return sign_in.signed_out(visit)


def _checked(visit: Visit) -> Session:
    visit.require_csrf()
    return _session(visit)


def _session(visit: Visit) -> Session:
    """Return the session of whoever visits. Raises HTTPException 403 if it has ended, and 404 in a demo."""
    if visit.visitor is None:
        raise HTTPException(403, TOO_OLD)
    if visit.visitor.session is None:
        raise HTTPException(404)
    return visit.visitor.session
