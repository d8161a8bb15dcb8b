"""What members do on their pages: each change is a form that is sent to its path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.catalogue.people import User, read_users, who_takes_part
from aperture_dagster.discovery.suggestions import dismiss_title, dismissed_titles, undo_dismissal
from aperture_dagster.front_door.content import find_card
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.sign_in import read_form, require_csrf, safe_path
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.ratings.merge import HIGHEST, LOWEST
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.settings import Settings
from aperture_dagster.taste.more_like_this import want_more, want_no_more

LARGEST_ID = 2**63
RATINGS = {"": None} | {str(step): step for step in range(LOWEST, HIGHEST + 1)}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a member sent: a change of their own for one title."""

    member: User
    work_id: int
    form: Mapping[str, str]
    settings: Settings
    now: datetime

    def title(self, connection: Connection) -> str:
        """Return what the title is called. Raises HTTPException 404 if it is none that the member could find."""
        card = find_card(connection, self.member, self.settings, self.now, self.work_id)
        if card is None:
            raise HTTPException(404, "There is no such title.")
        return card.title


def hide(connection: Connection, asked: Asked) -> None:
    """Take a title off all lists of a member."""
    user_id = asked.member.user_id
    if all(row["work_id"] != asked.work_id for row in dismissed_titles(connection, user_id)):
        dismiss_title(connection, user_id, asked.work_id, asked.title(connection), now=asked.now)


def show_again(connection: Connection, asked: Asked) -> None:
    """Take back that a title was hidden."""
    undo_dismissal(connection, asked.member.user_id, asked.work_id)


def rate(connection: Connection, asked: Asked) -> None:
    """Rate a title from 1 to 10, or take the rating back."""
    given = asked.form.get("rating", "?")
    if given not in RATINGS:
        raise HTTPException(400, f"A rating is a whole number from {LOWEST} to {HIGHEST}.")
    asked.title(connection)
    rate_here(connection, asked.member.user_id, asked.work_id, RATINGS[given], now=asked.now)


def follow(connection: Connection, asked: Asked) -> None:
    """Ask for more like a title."""
    want_more(connection, asked.member.user_id, asked.work_id, asked.title(connection), now=asked.now)


def unfollow(connection: Connection, asked: Asked) -> None:
    """Take back that more like a title was asked for."""
    want_no_more(connection, asked.member.user_id, asked.work_id)


CHANGES: Mapping[str, Callable[[Connection, Asked], None]] = {
    "/not-for-me": hide,
    "/not-for-me/undo": show_again,
    "/rate": rate,
    "/more-like-this": follow,
    "/more-like-this/undo": unfollow,
}


class Actions:
    """The endpoints. A member changes what is theirs only, an administrator's included.

    Args:
        settings: who takes part, and the database that is written to.
        database: the users; without it, or in another version, nothing is written.
        gate: who asks.
        prefix: path below which everything is served.
        clock: the time.
    """

    def __init__(
        self, settings: Settings, database: ReadOnlyDatabase, gate: Gate, prefix: str = "", clock: Clock | None = None
    ) -> None:
        self._settings, self._database, self._gate, self._prefix = settings, database, gate, prefix
        self._clock, self._written = clock or Clock(), Database(settings)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [Route(path, self._with(change), methods=["POST"]) for path, change in CHANGES.items()]

    def _with(self, change: Callable[[Connection, Asked], None]) -> Callable[[Request], Any]:
        """Return an endpoint that changes something for the member whose form it gets."""

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._change, change, request, await read_form(request))

        return endpoint

    def _change(self, change: Callable[[Connection, Asked], None], request: Request, form: dict[str, str]) -> Response:
        asked = self._asked(request, form)
        with self._written.transaction() as connection:
            change(connection, asked)
        return RedirectResponse(safe_path(form.get("next"), self._prefix), 303, {"cache-control": "no-store"})

    def _asked(self, request: Request, form: dict[str, str]) -> Asked:
        """Return what a form asks for. Raises HTTPException if it is forged, or its sender does not take part."""
        require_csrf(self._gate, request, form)
        work = form.get("work", "")
        if not (work.isascii() and work.isdigit() and len(work) < 20 and int(work) < LARGEST_ID):
            raise HTTPException(404, "There is no such title.")
        # The pages' own database has to be there first, so that no page creates or upgrades one.
        with self._database.connection() as connection:
            people = who_takes_part(self._settings, read_users(connection))
        visitor = self._gate.visitor(request.scope)
        own = visitor.user.user_id if visitor is not None and visitor.user is not None else None
        member = next((one for one in people if one.user_id == own), None)
        if member is None:
            raise HTTPException(403, "You do not take part, so no lists are made for you.")
        return Asked(member, int(work), form, self._settings, self._clock.now())
