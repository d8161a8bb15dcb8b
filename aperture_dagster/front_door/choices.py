"""The switches of a member's own below *My taste*: what they are offered, and what they send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from aperture_dagster.catalogue.choices import (
    LONGEST_NAME,
    Choices,
    choices_of,
    clean_name,
    is_taken,
    read_choices,
    write_choices,
)
from aperture_dagster.catalogue.people import User, read_users, who_takes_part
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.sign_in import NO_MEMBER, read_form, require_csrf, safe_path
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.publishing.publication import why_own_lists_are_not_published
from aperture_dagster.settings import Settings
from aperture_dagster.texts.translations import marked

TAKEN = marked("Somebody else has this name. Choose another one.")


class Offer(NamedTuple):
    """What a member can choose, with what they chose. What the operator's settings forbid is False."""

    chosen: Choices
    name: str
    publishing: bool
    longest_name: int = LONGEST_NAME

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to choose."""
        return not self.publishing


def offer_to(connection: Connection, member: User, settings: Settings) -> Offer | None:
    """Return what a member can choose; None if that is nothing."""
    offer = Offer(
        choices_of(connection, member.user_id), member.name, why_own_lists_are_not_published(settings) is None
    )
    return None if offer.is_empty else offer


class ChoosingForm:
    """The endpoint. A member chooses for themselves only.

    Args:
        settings: what is offered, and the database that is written to.
        database: the users; without it, or in another version, nothing is written.
        gate: who asks.
        prefix: path below which everything is served.
    """

    def __init__(self, settings: Settings, database: ReadOnlyDatabase, gate: Gate, prefix: str = "") -> None:
        self._settings, self._database, self._gate, self._prefix = settings, database, gate, prefix
        self._written = Database(settings)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""

        async def choose(request: Request) -> Response:
            return await run_in_threadpool(self._choose, request, await read_form(request))

        return [Route("/choices", choose, methods=["POST"])]

    def _choose(self, request: Request, form: dict[str, str]) -> Response:
        require_csrf(self._gate, request, form)
        with self._database.connection() as connection:
            people = read_users(connection)
        visitor = self._gate.visitor(request.scope)
        own = visitor.user.user_id if visitor is not None and visitor.user is not None else None
        member = next((one for one in who_takes_part(self._settings, people) if one.user_id == own), None)
        if member is None:
            raise HTTPException(403, NO_MEMBER)
        with self._written.transaction() as connection:
            offer = offer_to(connection, member, self._settings)
            if offer is None:
                raise HTTPException(404)
            write_choices(connection, member.user_id, self._chosen(connection, offer, form, (member, people)))
        return RedirectResponse(safe_path(form.get("next"), self._prefix), 303, {"cache-control": "no-store"})

    def _chosen(
        self, connection: Connection, offer: Offer, form: dict[str, str], whose: tuple[User, Sequence[User]]
    ) -> Choices:
        """Read the choices in a form; those that are not offered stay. Raises HTTPException if one cannot be."""
        chosen, (member, people) = offer.chosen, whose
        if offer.publishing:
            name = clean_name(form.get("list_name", ""))
            if name is not None and is_taken(name, member.user_id, people, read_choices(connection)):
                raise HTTPException(400, TAKEN)
            chosen = replace(chosen, publish="publish" in form, list_name=None if name == member.name else name)
        return chosen
