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
    is_plain_email,
    is_taken,
    read_choices,
    write_choices,
)
from aperture_dagster.catalogue.people import User, read_users, who_takes_part
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.language import texts_for
from aperture_dagster.front_door.sign_in import NO_MEMBER, Render, read_form, require_csrf, safe_path
from aperture_dagster.newsletter.sending import unsubscribe, why_no_newsletter
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.postgres.queries import read_value
from aperture_dagster.publishing.publication import why_own_lists_are_not_published
from aperture_dagster.settings import Settings
from aperture_dagster.texts.translations import marked

TAKEN = marked("Somebody else has this name. Choose another one.")
NO_ADDRESS = marked("This is no e-mail address that letters can be sent to.")


class Offer(NamedTuple):
    """What a member can choose, with what they chose. What the operator's settings forbid is False."""

    chosen: Choices
    name: str
    publishing: bool
    letters: bool
    known_address: str
    longest_name: int = LONGEST_NAME

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to choose."""
        return not (self.publishing or self.letters)


def offer_to(connection: Connection, member: User, settings: Settings) -> Offer | None:
    """Return what a member can choose; None if that is nothing."""
    publishing, letters = why_own_lists_are_not_published(settings) is None, why_no_newsletter(settings) is None
    known = read_value(connection, "SELECT coalesce(email, '') FROM users WHERE user_id = :user", user=member.user_id)
    offer = Offer(choices_of(connection, member.user_id), member.name, publishing, letters, known or "")
    return None if offer.is_empty else offer


class ChoosingForm:
    """The endpoint. A member chooses for themselves only.

    Args:
        settings: what is offered, and the database that is written to.
        database: the users; without it, or in another version, nothing is written.
        gate: who asks.
        render: makes a page from a request, a template and its values.
        prefix: path below which everything is served.
    """

    def __init__(
        self, settings: Settings, database: ReadOnlyDatabase, gate: Gate, render: Render, prefix: str = ""
    ) -> None:
        self._render = render
        self._settings, self._database, self._gate, self._prefix = settings, database, gate, prefix
        self._written = Database(settings)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""

        async def choose(request: Request) -> Response:
            return await run_in_threadpool(self._choose, request, await read_form(request))

        return [
            Route("/choices", choose, methods=["POST"]),
            Route("/unsubscribe/{key}", self._unsubscribe, methods=["GET", "POST"]),
        ]

    def _unsubscribe(self, request: Request) -> Response:
        """End somebody's letters, without a sign-in; a link alone does not, since programs for mail look at links.

        Nobody learns whether a key is one.
        """
        if request.method == "POST":
            # The pages' own database has to be there first.
            with self._database.connection(), self._written.transaction() as connection:
                unsubscribe(connection, request.path_params["key"])
        _ = texts_for(request.scope)
        return self._render(request, "unsubscribe.html", heading=_("No more letters"), is_done=request.method == "POST")

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
            write_choices(
                connection, member.user_id, self._chosen(connection, offer, (request, form), (member, people))
            )
        return RedirectResponse(safe_path(form.get("next"), self._prefix), 303, {"cache-control": "no-store"})

    def _chosen(
        self,
        connection: Connection,
        offer: Offer,
        sent: tuple[Request, dict[str, str]],
        whose: tuple[User, Sequence[User]],
    ) -> Choices:
        """Read the choices in a form; those that are not offered stay. Raises HTTPException if one cannot be."""
        chosen, (request, form), (member, people) = offer.chosen, sent, whose
        if offer.publishing:
            name = clean_name(form.get("list_name", ""))
            if name is not None and is_taken(name, member.user_id, people, read_choices(connection)):
                raise HTTPException(400, TAKEN)
            chosen = replace(chosen, publish="publish" in form, list_name=None if name == member.name else name)
        if offer.letters:
            address = form.get("address", "").strip() or None
            wanted = "newsletter" in form
            if wanted and not is_plain_email(address or offer.known_address):
                raise HTTPException(400, NO_ADDRESS)
            chosen = replace(chosen, newsletter=wanted, address=address, language=str(texts_for(request.scope).locale))
        return chosen
