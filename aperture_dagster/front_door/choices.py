"""The switches of a member's own below *My taste*: what they are offered, and what they send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection
from starlette.exceptions import HTTPException

from aperture_dagster.catalogue.people import User
from aperture_dagster.front_door.house import Visit
from aperture_dagster.members.choices import (
    LONGEST_NAME,
    Choices,
    choices_of,
    clean_name,
    genres_to_choose,
    is_taken,
    write_choices,
)
from aperture_dagster.newsletter import chosen_address, mail_sender, services, shown, why_no_newsletter
from aperture_dagster.postgres.queries import read_value
from aperture_dagster.publishing.server.publication import why_own_lists_are_not_published
from aperture_dagster.settings import Settings
from aperture_dagster.texts import marked

TAKEN = marked("Somebody else has this name. Choose another one.")
NO_ADDRESS = marked("This is no address that letters can be sent to.")


class Offer(NamedTuple):
    """What a member can choose, with what they chose. What the operator's settings forbid is False, or absent.

    ``services`` are schemes of addresses for letters, beside e-mail, and ``address`` is theirs as it is shown.
    """

    chosen: Choices
    name: str
    publishing: bool
    letters: bool
    services: Sequence[str]
    address: str
    known_address: str
    takes_mail: bool
    longest_name: int = LONGEST_NAME


def offer_to(connection: Connection, member: User, settings: Settings) -> Offer | None:
    """Return what a member can choose; None if that is nothing."""
    publishing = why_own_lists_are_not_published(settings) is None
    letters = why_no_newsletter(settings) is None
    if not (publishing or letters):
        return None
    known = ""
    if takes_mail := mail_sender(settings) is not None:
        known = read_value(
            connection, "SELECT coalesce(email, '') FROM users WHERE user_id = :user", user=member.user_id
        )
    chosen = choices_of(connection, member.user_id)
    address = shown(chosen.address, settings) if chosen.address is not None else ""
    return Offer(chosen, member.name, publishing, letters, services(settings), address, known or "", takes_mail)


def exclude_genres(connection: Connection, visit: Visit) -> None:
    """Store the genres of which a member wants no titles: those whose boxes are ticked."""
    chosen = choices_of(connection, visit.member.user_id)
    genres = genres_to_choose(connection, chosen.excluded_genres)
    ticked = [one for one in genres if f"without {one}" in visit.form]
    write_choices(connection, visit.member.user_id, replace(chosen, excluded_genres=tuple(ticked)))


def join_evenings(connection: Connection, visit: Visit) -> None:
    """Store whether others may count a member in for evenings together."""
    chosen = choices_of(connection, visit.member.user_id)
    write_choices(connection, visit.member.user_id, replace(chosen, together="together" in visit.form))


def share_favourites(connection: Connection, visit: Visit) -> None:
    """Store whether what a member liked counts for the household's favourites of a year."""
    chosen = choices_of(connection, visit.member.user_id)
    write_choices(connection, visit.member.user_id, replace(chosen, favourites="favourites" in visit.form))


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
        if name and is_taken(connection, name, member.user_id):
            raise HTTPException(400, TAKEN)
        chosen = replace(chosen, publish="publish" in form, list_name=name)
    if offer.letters and "address" in form:
        wanted, given = "newsletter" in form, form["address"].strip()
        can_be_sent, own = chosen_address(given, chosen.address, offer.known_address, visit.settings)
        if wanted and not can_be_sent:
            raise HTTPException(400, NO_ADDRESS)
        chosen = replace(chosen, newsletter=wanted, address=own, language=str(visit.texts.locale))
    write_choices(connection, member.user_id, chosen)
