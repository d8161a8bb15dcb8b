"""The switches of a member's own below *My taste*: what they are offered, and what they send."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection
from starlette.exceptions import HTTPException

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
from aperture_dagster.catalogue.people import User, read_users
from aperture_dagster.front_door.house import Visit
from aperture_dagster.newsletter.sending import why_no_newsletter
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


def offer_to(connection: Connection, member: User, settings: Settings) -> Offer | None:
    """Return what a member can choose; None if that is nothing."""
    publishing = why_own_lists_are_not_published(settings) is None
    letters = why_no_newsletter(settings) is None
    if not (publishing or letters):
        return None
    known = read_value(connection, "SELECT coalesce(email, '') FROM users WHERE user_id = :user", user=member.user_id)
    return Offer(choices_of(connection, member.user_id), member.name, publishing, letters, known or "")


def choose(connection: Connection, visit: Visit) -> None:
    """Store what a member chose; what they are not offered, or were not when the form was opened, stays.

    Raises:
        HTTPException: 404, nothing is offered; 400, one of the choices cannot be.
    """
    form, member = visit.form, visit.member
    offer = offer_to(connection, member, visit.settings)
    if offer is None:
        raise HTTPException(404)
    chosen = offer.chosen
    # A box that is not ticked is not sent; the field beside it always is.
    if offer.publishing and "list_name" in form:
        name = clean_name(form["list_name"])
        name = None if name == clean_name(member.name) else name
        present = [one for one in read_users(connection) if not one.gone]
        if name and is_taken(name, member.user_id, present, read_choices(connection)):
            raise HTTPException(400, TAKEN)
        chosen = replace(chosen, publish="publish" in form, list_name=name)
    if offer.letters and "address" in form:
        # The known address is that of the server or the operator, and may change.
        address = form["address"].strip()
        address = None if address in ("", offer.known_address) else address
        wanted = "newsletter" in form
        if wanted and not is_plain_email(address or offer.known_address):
            raise HTTPException(400, NO_ADDRESS)
        chosen = replace(chosen, newsletter=wanted, address=address, language=str(visit.texts.locale))
    write_choices(connection, member.user_id, chosen)
