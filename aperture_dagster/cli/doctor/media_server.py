"""Examine the media server: its libraries, its users, its clock, and who may see what."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime

from aperture_dagster.catalogue.people import User, as_listed, users_named, who_takes_part
from aperture_dagster.catalogue.references import nearest_users
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.catalogue.sync.libraries import choose_libraries
from aperture_dagster.catalogue.visibility import hidden_from
from aperture_dagster.cli.doctor.database import describe_apart
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.http.home_network import describe_route
from aperture_dagster.http.messages import Request
from aperture_dagster.maintenance.status import State
from aperture_dagster.media_server.records import ServerLibrary, ServerUser
from aperture_dagster.model import SKEW, Clock, listed
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.publishing.manifest import published_library_ids
from aperture_dagster.publishing.server.outcomes import some
from aperture_dagster.settings import Settings, environment_names


def examine_media_server(settings: Settings, database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether the server answers, what it has, whether its clock is right, and who may see what is read."""
    servers = MediaServers(settings, database)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(servers.open())
        except DatabaseError:
            # Reported already, and the server can be examined without it.
            server = stack.enter_context(servers.open_without_database())
        identity = server.identity()
        users, libraries = server.users(), server.libraries()
        dated = server.transport.send(Request("GET", "/System/Info/Public")).headers.get("date")
    with contextlib.suppress(ValueError, TypeError):
        apart = clock.now() - parsedate_to_datetime(dated or "")
        if abs(apart) > SKEW:
            yield Finding("clock", "failed", describe_apart("the media server", apart))
    names = (
        ", ".join(library.name if library.library_id else f"{library.name} (not scanned yet)" for library in libraries)
        or "none"
    )
    about = f"{identity.product} {identity.version} {identity.name!r}, {len(users.records)} users, libraries: {names}"
    yield Finding("media server", "ok" if libraries else "warning", "; ".join([about, *describe_route(settings)]))
    yield from _named_libraries(settings, [library.name for library in libraries])
    people = {record.user_id: record.name for record in users.records}
    known: list[User] = []
    ours: set[str] = set()
    with contextlib.suppress(DatabaseError), database.transaction() as connection:
        known, ours = read_users(connection), published_library_ids(connection)
    everybody = as_listed(known, people, people)
    yield from _named_users(settings, everybody)
    takes_part = {one.user_id for one in who_takes_part(settings, everybody)}
    members = [record for record in users.records if record.user_id in takes_part and not record.is_disabled]
    yield from _unseen_libraries(
        settings, [library for library in libraries if library.library_id not in ours], members
    )


def _unseen_libraries(
    settings: Settings, libraries: Sequence[ServerLibrary], members: Sequence[ServerUser]
) -> Iterator[Finding]:
    """Find what is read, and may be seen by none of those who take part, or only by some."""
    read: dict[str, ServerLibrary] = {}
    for item_type in ("movie", "series"):
        # A wrong name has been reported.
        with contextlib.suppress(ServiceError, MissingPrerequisite):
            read |= {one.library_id: one for one in choose_libraries(libraries, settings, item_type).chosen}
    blind = {what: users for one in read.values() for what, users in hidden_from(members, one).items() if users}
    for what in [what for what, users in blind.items() if len(users) == len(members)]:
        del blind[what]
        message = (
            f"{what} is read, but nobody who takes part may see it: let them, on the media server, or name the library "
            "in APERTURE_EXCLUDE_LIBRARIES"
        )
        yield Finding("libraries", "warning", message)
    if not blind:
        return
    # Rows of the home screen show each user what they may see.
    is_shared = settings.publish and settings.publish_as != "rows" and "top_picks" in "".join(settings.publish_lists)
    # What children may see is limited on purpose, and so is much else that no setting of ours is about.
    adults = any(user.max_parental_rating is None for users in blind.values() for user in users)
    hidden = "; ".join(f"{what} is hidden from {some([user.name for user in users])}" for what, users in blind.items())
    everybody = ", and published Top Picks leave it out for everybody" if is_shared else ""
    message = (
        f"{hidden}. Nothing of it is recommended to them{everybody}. If that is not intended, change what they may see "
        "on the media server"
    )
    yield Finding("libraries", "warning" if adults and (is_shared or settings.libraries) else "ok", message)


def _named_libraries(settings: Settings, names: list[str]) -> Iterator[Finding]:
    """Find libraries in the settings that the server does not have; without a chosen one, films cannot be read."""
    by_name = {name.casefold(): name for name in names}
    chosen: tuple[tuple[str, State], ...] = (("libraries", "failed"), ("exclude_libraries", "warning"))
    for setting, state in chosen:
        for name in getattr(settings, setting):
            if name.casefold() not in by_name:
                near = [by_name[match] for match in difflib.get_close_matches(name.casefold(), by_name, 1)]
                yield Finding("libraries", state, _unknown(setting, name, "library on the server has", near or names))


def _named_users(settings: Settings, users: list[User]) -> Iterator[Finding]:
    """Find users in the settings whom the server does not have, and who never had that name."""
    for setting in ("include_users", "exclude_users", "user_emails"):
        for name, meant in users_named(users, getattr(settings, setting)).items():
            if not meant:
                near = [user.name for user in nearest_users(name, users)[:1]]
                yield Finding("users", "warning", _unknown(setting, name, "user has or had", near))


def _unknown(setting: str, name: str, whose: str, near: list[str]) -> str:
    hint = f"; did you mean {listed([repr(one) for one in near], conjunction='or')}?" if near else ""
    return f"{environment_names(setting)[0]} names {name!r}, but no {whose} that name{hint}"
