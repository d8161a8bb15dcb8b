"""The endpoints of the forms on members' pages: who sends them, and for what."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.catalogue.people import read_users, who_takes_part
from aperture_dagster.front_door.changes import CHANGES, Asked, Change
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.language import texts_for
from aperture_dagster.front_door.services import SERVICES
from aperture_dagster.front_door.sign_in import NO_MEMBER, Render, read_form, require_csrf, safe_path
from aperture_dagster.model.clock import Clock
from aperture_dagster.newsletter.sending import unsubscribe
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.ratings.connecting import Connecting
from aperture_dagster.settings import Settings

LARGEST_ID = 2**63


class Actions:
    """The endpoints. A member changes what is theirs only, an administrator's included.

    Args:
        settings: who takes part, and the database that is written to.
        database: the users; without it, or in another version, nothing is written.
        gate: who asks.
        render: makes a page from a template and its values.
        prefix: path below which everything is served.
    """

    def __init__(
        self, settings: Settings, database: ReadOnlyDatabase, gate: Gate, render: Render, prefix: str = ""
    ) -> None:
        self._settings, self._database, self._gate, self._prefix = settings, database, gate, prefix
        self._render, self._written, self._connecting = render, Database(settings), Connecting()

    def routes(self, clock: Clock) -> list[BaseRoute]:
        """Return the routes."""
        changes = {path: partial(self._change, change) for path, change in CHANGES.items()}
        answers = {**changes, **SERVICES}
        routes = [Route(path, self._with(clock, answer), methods=["POST"]) for path, answer in answers.items()]
        return [*routes, Route("/unsubscribe/{key}", self._unsubscribe, methods=["GET", "POST"])]

    def _unsubscribe(self, request: Request) -> Response:
        """End somebody's letters, without a sign-in; a link alone does not, since programs for mail look at links.

        Nobody learns whether a key is one.
        """
        is_done = request.method == "POST"
        if is_done and request.path_params["key"].isprintable():
            # The pages' own database has to be there first.
            with self._database.connection(), self._written.transaction() as connection:
                unsubscribe(connection, request.path_params["key"])
        _ = texts_for(request.scope)
        return self._render(request, "unsubscribe.html", heading=_("No more letters"), is_done=is_done)

    def _with(self, clock: Clock, answer: Callable[[Asked], Response]) -> Callable[[Request], Any]:
        """Return an endpoint that answers the form of a member."""

        async def endpoint(request: Request) -> Response:
            form = await read_form(request)
            return await run_in_threadpool(lambda: answer(self._asked(request, form, clock)))

        return endpoint

    def _change(self, change: Change, asked: Asked) -> Response:
        with self._written.transaction() as connection:
            change(connection, asked)
        return asked.back()

    def _asked(self, request: Request, form: dict[str, str], clock: Clock) -> Asked:
        """Return what a form asks for. Raises HTTPException if it is forged, or its sender does not take part."""
        require_csrf(self._gate, request, form)
        work = form.get("work", "")
        is_id = work.isascii() and work.isdigit() and len(work) < 20 and int(work) < LARGEST_ID
        # The pages' own database has to be there first, so that no page creates or upgrades one.
        with self._database.connection() as connection:
            people = who_takes_part(self._settings, read_users(connection))
        visitor = self._gate.visitor(request.scope)
        own = visitor.user.user_id if visitor is not None and visitor.user is not None else None
        member = next((one for one in people if one.user_id == own), None)
        if member is None:
            raise HTTPException(403, NO_MEMBER)
        return Asked(
            member,
            int(work) if is_id else 0,
            form,
            safe_path(form.get("next"), self._prefix),
            self._settings,
            self._written,
            clock,
            self._connecting,
            texts_for(request.scope),
            partial(self._render, request),
        )
