"""The media server of the settings, verified to be the one that this home belongs to; and its users, as it has them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
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
    remember_server,
    server_identity,
    users_named,
    who_takes_part,
)
from aperture_dagster.catalogue.server_trouble import note_trouble
from aperture_dagster.http import errors
from aperture_dagster.http.home_network import Route, route_to_media_server
from aperture_dagster.media_server.accounts import SECONDS, ServerAccounts, ServerType, detect_server_type
from aperture_dagster.media_server.emby import EmbyReader, EmbyWriter
from aperture_dagster.media_server.items import parse_user
from aperture_dagster.media_server.jellyfin import JellyfinReader, JellyfinWriter
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.media_server.records import Page, ServerIdentity, ServerUser
from aperture_dagster.media_server.writer import MediaServerWriter
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import Settings
from aperture_dagster.settings.services import MediaServerSettings


class MediaServers:
    """The media server of the settings."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @contextmanager
    def open(self, *, dry_run: bool = False) -> Iterator[MediaServerReader]:
        """Connect to the server for reading, and verify that it is the one that this home belongs to.

        Unless in a dry run, which server it is will be remembered, and so will the reason if it cannot be used.

        Raises:
            ServiceNotConfigured: address or key is not set.
            AccessDenied: the key is refused.
            ServiceRefused: the address leads to no media server, or to another than before.
            ServiceUnavailable: it does not answer.
        """
        with ExitStack() as stack:
            try:
                server = stack.enter_context(self.open_without_database())
                self._verify(server, dry_run=dry_run)
            except errors.ServiceError as error:
                if not dry_run and self._settings.media_server_url is not None:
                    # That the server cannot be used matters more than that this cannot be noted.
                    with suppress(DatabaseError), self._database.transaction() as connection:
                        note_trouble(connection, error)
                raise
            yield server

    def _verify(self, server: MediaServerReader, *, dry_run: bool) -> None:
        """Remember which server it is, and that it can be used. Raises ServiceRefused for another one than before."""
        settings = self._settings
        identity = _identity(server, settings.media_server_url or "")
        with self._database.transaction() as connection:
            before = remember_server(connection, asdict(identity), dry_run=dry_run)
            is_known = before is None or before["server_id"] == identity.server_id
            if is_known and not dry_run:
                note_trouble(connection, None)
        if before is not None and not is_known:
            raise errors.ServiceRefused(
                f"APERTURE_MEDIA_SERVER_URL leads to {identity.name!r}, but {settings.home_path} holds the "
                f"library of {before['name']!r}; nothing was changed. "
                "Set APERTURE_HOME to another folder for another server."
            )

    @contextmanager
    def open_writer(self, *, dry_run: bool = False) -> Iterator[MediaServerWriter]:
        """Connect to the server for changes, which a dry run only counts and logs. Raises as :meth:`open`."""
        with self.open(dry_run=dry_run) as reader:
            writer_type = EmbyWriter if isinstance(reader, EmbyReader) else JellyfinWriter
            yield writer_type(reader, dry_run=dry_run)

    @contextmanager
    def open_without_database(self) -> Iterator[MediaServerReader]:
        """Connect to whichever server answers, without the database.

        Raises:
            ServiceNotConfigured: address or key is not set.
            ServiceUnavailable: it does not answer.
        """
        settings = self._settings
        url, key = settings.media_server_url, settings.media_server_api_key
        if url is None:
            raise errors.ServiceNotConfigured(
                "APERTURE_MEDIA_SERVER_URL is not set: set it to the address of the Jellyfin or Emby server, "
                "or look at the demo with `aperture up --demo`."
            )
        if key is None or not key.get_secret_value():
            raise errors.ServiceNotConfigured(
                "APERTURE_MEDIA_SERVER_API_KEY is not set: make a key on the server "
                "(Jellyfin: Dashboard, API Keys; Emby: Settings, API Keys)."
            )
        options: dict[str, Any] = {
            "timeout_seconds": settings.media_server_timeout_seconds,
            "attempts": settings.http_attempts,
            "first_wait_seconds": settings.http_retry_wait_seconds,
        }
        server_type, route = _reach(settings, url, **options)
        reader_type = {"jellyfin": JellyfinReader, "emby": EmbyReader}[server_type]
        with closing(reader_type(url, key.get_secret_value(), route=route, **options)) as server:
            yield server


@contextmanager
def known_server(settings: Settings, database: ReadOnlyDatabase) -> Iterator[MediaServerReader]:
    """Connect to the media server for reading, without writing to the database, if it is the one that is stored.

    Raises:
        ServiceError: it is not configured, does not answer, refuses, or is another one.
        DatabaseError: no server was read yet, or the database cannot be read.
    """
    with MediaServers(settings, Database(settings)).open_without_database() as server:
        found = server.identity()
        with database.connection() as connection:
            known = server_identity(connection)
        if known is None or known["server_id"] != found.server_id:
            raise errors.ServiceRefused(
                f"APERTURE_MEDIA_SERVER_URL leads to {found.name!r}, whose lists are not stored here."
            )
        yield server


@contextmanager
def open_accounts(settings: Settings) -> Iterator[ServerAccounts]:
    """Connect to the sign-in of the media server, which needs no key. Raises ServiceError if it does not answer."""
    url = settings.media_server_url
    if url is None:
        raise errors.ServiceNotConfigured("APERTURE_MEDIA_SERVER_URL is not set")
    server_type, route = _reach(settings, url, attempts=1, timeout_seconds=SECONDS)
    with closing(ServerAccounts(server_type, url, route=route)) as server:
        yield server


def _reach(settings: Settings, url: str, **options: Any) -> tuple[ServerType, Route]:
    """Return which server it is, and how to reach it."""
    route, server_type = route_to_media_server(settings), settings.media_server_type
    return detect_server_type(url, route, **options) if server_type == "auto" else server_type, route


def _identity(server: MediaServerReader, url: str) -> ServerIdentity:
    try:
        return server.identity()
    except errors.Redirected:
        raise
    except (errors.NotFound, errors.RequestRejected, errors.BadAnswer) as error:
        raise errors.ServiceRefused(
            f"What answers at APERTURE_MEDIA_SERVER_URL ({url}) is neither Jellyfin nor Emby ({error}): set it to the "
            "server's address as a browser shows it, such as http://192.168.1.10:8096, without /web and what follows."
        ) from None


# Read the server's users, and compare them with the settings that name users.


def user_rows(
    page: Page[ServerUser], settings: MediaServerSettings, published: Collection[str], *, known: Sequence[User]
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


def ids_on_server(page: Page[ServerUser]) -> set[str] | None:
    """Return the ids of all users on the server; None if one of them cannot be read: that one may be anybody."""
    if len(page.problems) != len(page.unreadable_ids):
        return None
    return {user.user_id for user in page.records} | set(page.unreadable_ids)


def has_left(page: Page[ServerUser], user_id: str) -> bool:
    """Tell whether the server lists its users without this one; a list that is empty, or not whole, says nothing."""
    there = ids_on_server(page)
    return bool(there) and user_id not in there


def read_users_once(settings: Settings, database: Database) -> Page[ServerUser]:
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


def read_accounts(settings: Settings, database: Database) -> Page[ServerUser]:
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
