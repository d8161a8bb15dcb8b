"""What a member sends with "Not for me", and how they take it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.catalogue.people import User, read_users, who_takes_part
from aperture_dagster.discovery.suggestions import undo_dismissal
from aperture_dagster.front_door.content import hide
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.sign_in import NO_MEMBER, read_form, require_csrf, safe_path
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.settings import Settings

Change = Callable[[Connection, User, int], bool]
LARGEST_ID = 2**63


class Hiding:
    """The endpoints. A member changes their own lists only, an administrator's included.

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

        def hidden(connection: Connection, member: User, work_id: int) -> bool:
            return hide(connection, member, work_id, self._clock.now())

        def shown(connection: Connection, member: User, work_id: int) -> bool:
            # What is shown already needs no answer of its own: the page says so.
            return undo_dismissal(connection, member.user_id, work_id) >= 0

        return [
            Route("/not-for-me", self._with(hidden), methods=["POST"]),
            Route("/not-for-me/undo", self._with(shown), methods=["POST"]),
        ]

    def _with(self, change: Change) -> Callable[[Request], Any]:
        """Return an endpoint that changes something for the member whose form it gets."""

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._change, change, request, await read_form(request))

        return endpoint

    def _change(self, change: Change, request: Request, form: dict[str, str]) -> Response:
        require_csrf(self._gate, request, form)
        work = form.get("work", "")
        work_id = int(work) if work.isascii() and work.isdigit() and len(work) < 20 else LARGEST_ID
        # The pages' own database has to be there first, so that no page creates or upgrades one.
        with self._database.connection() as connection:
            member = self._member(request, who_takes_part(self._settings, read_users(connection)))
        with self._written.transaction() as connection:
            if work_id >= LARGEST_ID or not change(connection, member, work_id):
                raise HTTPException(404)
        return RedirectResponse(safe_path(form.get("next"), self._prefix), 303, {"cache-control": "no-store"})

    def _member(self, request: Request, people: list[User]) -> User:
        """Return who sent a form. Raises HTTPException if they do not take part, or may not any more."""
        visitor = self._gate.visitor(request.scope)
        own = visitor.user.user_id if visitor is not None and visitor.user is not None else None
        member = next((one for one in people if one.user_id == own), None)
        if member is None:
            raise HTTPException(403, NO_MEMBER)
        return member
