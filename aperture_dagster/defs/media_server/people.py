"""Who uses the media server."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.markdown import markdown_table
from aperture_dagster.defs.media_server.server import media_server
from aperture_dagster.defs.reporting import materialized, problems_table, table, warn_of_unreadable, warn_unless
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.library.people import (
    User,
    as_listed,
    email_of,
    is_email,
    operators_emails,
    partition_key,
    users_named,
)
from aperture_dagster.partitions import add_user_partitions
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import BadAnswer
from aperture_dagster.resources.media_server.records import Page, ServerUser
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings
from aperture_dagster.storage.people import read_users, users_differ, write_users
from aperture_dagster.storage.published import published_library_ids
from aperture_dagster.storage.versions import content_version

# What decides which titles a user may see. Everything else that the server says of a user changes no list.
ACCESS_COLUMNS = (
    "user_id", "is_disabled", "max_parental_rating", "all_libraries", "library_ids", "blocked_tags", "allowed_tags",
    "open_library_ids", "excluded_folders", "removed_at",
)  # fmt: skip


@dg.asset(
    group_name="media_server",
    deps=[media_server],
    kinds={"jellyfin", "emby", "postgres"},
    pool=MEDIA_SERVER,
    metadata={"dagster/table_name": "users"},
)
def users(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    media_servers: dg.ResourceParam[MediaServers],
) -> dg.MaterializeResult:
    """The users of the media server, and which of them take part: one row per user ever seen.

    Read whole from the media server, within half an hour of a change. A user who is gone is kept, with the date, and
    comes back as the same record; one who is renamed stays the same person, also for the settings. Each user who takes
    part has a partition in all per-user assets.
    """
    with operator_errors(context, settings), media_servers.open() as server:
        page = server.users()
        if not page.records:
            raise BadAnswer("The media server lists no users; it always has one. Nothing was changed.")
        warn_of_unreadable(context, "users", page.problems, read=len(page.records))
        with database.transaction() as connection:
            rows = user_rows(page, settings, published_library_ids(connection), known=read_users(connection))
            counts = write_users(connection, rows, still_there=ids_on_server(page), key_for=partition_key)
            stored = read_users(connection)
            version = content_version(connection, "users", columns=ACCESS_COLUMNS)
        taking_part = settings.participants(stored)
        partaking = [user.partition_key for user in taking_part]
        add_user_partitions(context.instance, partaking)
    sources = {row["user_id"]: row["email_source"] for row in rows}
    shown = [
        {
            "name": user.name,
            "takes part": "yes" if user.partition_key in partaking else "no",
            "limit": user.max_parental_rating,
            "e-mail": sources.get(user.user_id),
            "remarks": _remarks(user),
        }
        for user in stored
    ]
    metadata = {
        "dagster/row_count": len(page.records),
        "taking_part": len(partaking),
        "rows_written": counts.written,
        "requests": server.requests,
        "users": table(shown),
    }
    return materialized(context, metadata | problems_table(page.problems), version=version)


def _remarks(user: User) -> str:
    """Say what sets a user apart from the others."""
    return ", ".join(
        remark
        for applies, remark in (
            (user.is_administrator, "administrator"),
            (user.is_disabled, "disabled"),
            (user.gone, "gone"),
            (user.partition_key != user.name, f"partition {user.partition_key}"),
            (user.former_names, f"formerly {', '.join(user.former_names)}"),
        )
        if applies
    )


def user_rows(
    page: Page[ServerUser], settings: Settings, published: Collection[str], *, known: Sequence[User]
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


def read_users_once(settings: Settings, database: Database) -> Page[ServerUser]:
    """Ask the server for its users, without retries, because a schedule is waiting for the answer."""
    with MediaServers(settings.model_copy(update={"http_attempts": 1}), database).open() as server:
        return server.users()


def no_user_changed(settings: Settings, clock: Clock) -> str | None:
    """Look at the server's users, and say why there is no need to sync them; None if there may be."""
    database = Database(settings)
    page = read_users_once(settings, database)
    with database.transaction() as connection:
        rows = user_rows(page, settings, published_library_ids(connection), known=read_users(connection))
        changed = users_differ(connection, rows, on_server=ids_on_server(page))
    return None if changed or page.problems else "No user changed since the last run."


@dg.asset_check(
    asset=users,
    description="The settings about users name users of the server, and somebody takes part. A name that matches "
    "nobody is ignored: correct APERTURE_INCLUDE_USERS, APERTURE_EXCLUDE_USERS or APERTURE_USER_EMAILS.",
)
def match_the_settings(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of names that no user ever had, of addresses that are none, and when nobody takes part."""
    with database.transaction() as connection:
        stored = read_users(connection)
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
            notes += [_note(setting, name, user) for user in meant if _note(setting, name, user)]
    problems += [
        f"APERTURE_USER_EMAILS: {email!r} of {name!r} is not an e-mail address."
        for name, email in settings.user_emails.items()
        if not is_email(email)
    ]
    taking_part = settings.participants(stored)
    if not taking_part:
        problems.append("Nobody takes part: all users are disabled, gone, excluded or not included.")
    metadata = {
        "taking_part": len(taking_part),
        "names": markdown_table([{"problem": one} for one in problems] + [{"note": one} for one in notes]),
    }
    return warn_unless(not problems, " ".join(problems or notes), metadata)


def _note(setting: str, name: str, user: User) -> str:
    """Say what an operator may want to change in a setting that means this user; empty if nothing."""
    if user.gone:
        return f"{setting} names {name!r}, who is no longer on the server."
    if user.name.casefold() != name.casefold():
        return f"{setting} names {name!r}, who is called {user.name!r} now."
    return ""
