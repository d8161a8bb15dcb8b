"""Read the server's users, and compare them with the settings that name users."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from operator import attrgetter
from typing import Any

from aperture_dagster.catalogue.people import (
    User,
    as_listed,
    email_of,
    is_email,
    operators_emails,
    users_named,
    who_takes_part,
)
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.media_server.items import parse_user
from aperture_dagster.media_server.records import ParsedPage, ServerUser
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.settings.services import MediaServerSettings


def user_rows(
    page: ParsedPage[ServerUser], settings: MediaServerSettings, published: Collection[str], *, known: Sequence[User]
) -> list[dict[str, Any]]:
    """Return the rows of the users that could be read; ``known`` are all that were stored so far.

    Published libraries do not count among a user's libraries: who may see them follows from the lists, and must not
    change the lists.
    """
    listed = as_listed(known, {user.user_id: user.name for user in page.records}, ids_on_server(page))
    emails = operators_emails(listed, settings.user_emails)
    rows = []
    for user in page.records:
        row = asdict(user)
        email, source = email_of(emails.get(user.user_id), row.pop("email_hint"))
        lists = {name: list(value) for name, value in row.items() if isinstance(value, tuple)}
        lists["library_ids"] = [one for one in user.library_ids if one not in published]
        rows.append(row | lists | {"email": email, "email_source": source})
    return rows


def ids_on_server(page: ParsedPage[ServerUser]) -> set[str] | None:
    """Return the ids of all users on the server; None if one of them cannot be read: that one may be anybody."""
    if len(page.problems) != len(page.unreadable_ids):
        return None
    return {user.user_id for user in page.records} | set(page.unreadable_ids)


def has_left(page: ParsedPage[ServerUser], user_id: str) -> bool:
    """Tell whether the server lists its users without this one; a list that is empty, or not whole, says nothing."""
    there = ids_on_server(page)
    return bool(there) and user_id not in there


def read_users_once(settings: Settings, database: Database) -> ParsedPage[ServerUser]:
    """Ask the server for its users, without retries, because a schedule is waiting for the answer."""
    with MediaServers(settings.model_copy(update={"http_attempts": 1}), database).open() as server:
        return server.users()


def read_activity_once(settings: Settings, database: Database) -> dict[str, datetime | None]:
    """Return when each user was last active or a client of theirs asked for anything, likewise."""
    with MediaServers(settings.model_copy(update={"http_attempts": 1}), database).open() as server:
        active_at = {user.user_id: user.last_activity_at for user in server.users().records}
        asked_at = server.last_requests()
    dates = {user_id: [at, asked_at.get(user_id)] for user_id, at in active_at.items()}
    return {user_id: max(filter(None, found), default=None) for user_id, found in dates.items()}


def read_accounts(settings: Settings, database: Database) -> ParsedPage[ServerUser]:
    """Ask the server for its users and their rights, but not for what they may see. Raises as MediaServers.open."""
    with MediaServers(settings, database).open() as server:
        return server.user_page(parse_user, attrgetter("user_id"))


def check_names(settings: MediaServerSettings, stored: Sequence[User]) -> tuple[list[str], list[str]]:
    """Compare the settings that name users with the users ever seen; return what is wrong, and what should be changed.

    Wrong are names that no user ever had, addresses that are none, and settings with which nobody takes part.
    """
    given = {
        "APERTURE_INCLUDE_USERS": settings.include_users,
        "APERTURE_EXCLUDE_USERS": settings.exclude_users,
        "APERTURE_USER_EMAILS": tuple(settings.user_emails),
    }
    problems, notes = [], []
    for setting, names in given.items():
        for name, meant in users_named(stored, names).items():
            if not meant:
                nearest = difflib.get_close_matches(name, [user.name for user in stored], 1)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
                problems.append(f"{setting} names {name!r}, but no user has or had that name{hint}")
            for user in meant:
                if user.gone:
                    notes.append(f"{setting} names {name!r}, who is no longer on the server.")
                elif user.name.casefold() != name.casefold():
                    notes.append(f"{setting} names {name!r}, who is called {user.name!r} now.")
    problems += [
        f"APERTURE_USER_EMAILS: {email!r} of {name!r} is not an e-mail address."
        for name, email in settings.user_emails.items()
        if not is_email(email)
    ]
    if not who_takes_part(settings, stored):
        problems.append("Nobody takes part: all users are disabled, gone, excluded or not included.")
    return problems, notes
