"""Pages of the operator: who may see them, and who does something there."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.responses import Response

from aperture_dagster.front_door import sign_in
from aperture_dagster.front_door.gate import AGAIN, Refused
from aperture_dagster.front_door.house import TOO_OLD, Visit
from aperture_dagster.texts import Texts


def for_operators(visit: Visit, target: str) -> Response | None:
    """Return where somebody has to go first; None if they may see what operators see. Raises Refused if they may not.

    ``target`` is where they go from there, below the prefix.
    """
    try:
        visit.house.gate.admit_operator(visit.request)
    except Refused as refusal:
        if refusal.status_code != 401:
            raise
        return _sign_in(visit, target, again=refusal.detail == AGAIN)
    return None


def after_password(visit: Visit, target: str) -> Response | None:
    """Return where somebody has to enter their password; None if they have done so within the last minutes."""
    return None if visit.house.gate.has_just_signed_in(visit.visitor) else _sign_in(visit, target, again=True)


def _sign_in(visit: Visit, target: str, *, again: bool) -> Response:
    prefix = visit.house.prefix
    return visit.back(prefix + sign_in.address(prefix + target, again=again))


def author_of(visit: Visit) -> tuple[str, str]:
    """Return the id and the name of who sends a form."""
    visitor = visit.visitor
    if visitor is None or visitor.session is None:
        raise HTTPException(403, TOO_OLD)
    return visitor.session.user_id, visitor.user.name if visitor.user is not None else visitor.session.user_id


def moment_in_words(_: Texts, zone: ZoneInfo, moment: datetime) -> str:
    """Say when something was or will be, in the operator's time zone."""
    local = moment.astimezone(zone)
    return f"{_.day(local.date())}, {local:%H:%M}"
