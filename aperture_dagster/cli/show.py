"""``aperture show``: one user's list, on one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from aperture_dagster.catalogue.items import works_for
from aperture_dagster.catalogue.members import add_key, read_keys, remove_key
from aperture_dagster.catalogue.people import User, read_users, who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size, read_titles_to_name
from aperture_dagster.catalogue.references import (
    KnownTitle,
    TitleId,
    match_titles,
    match_users,
    nearest_titles,
    nearest_users,
    parse_title_reference,
)
from aperture_dagster.cli.common import Terminal, echo, echo_json, json_option, operator_errors, print_titles
from aperture_dagster.cli.demo import home_option, settings_of_home
from aperture_dagster.cli.heartbeats import up_is_running
from aperture_dagster.front_door.secrets import end_all_sessions
from aperture_dagster.maintenance.status import why_no_list
from aperture_dagster.model import Clock, counted, titled
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.popularity.queries import shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.postgres.database import Database, NothingYet, read_only
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.taste.lists import reason_of, recommendation_table

# USER and TITLE on the command line: exactly one, or a message that says how to name it.


AMBIGUOUS, UNKNOWN = 2, 1
SHOWN_MATCHES = 20


def find_user(connection: Connection, text: str) -> User:
    """Find the user whom a text names by name, partition key or id; a former user only if no present one matches.

    Raises:
        OperatorError: several match (exit code 2), or none (exit code 1).
    """
    users = sorted(read_users(connection), key=lambda user: user.gone)
    found = match_users(text, users)
    if len(found) == 1:
        return found[0]
    if found:
        raise OperatorError(
            "\n".join(
                [f"Several users are called {text!r}. Repeat the command with the id of one:", *_user_lines(found)]
            ),
            exit_code=AMBIGUOUS,
        )
    if not users:
        raise OperatorError(f"No user is called {text!r}: no users were read from the media server yet.")
    names = ", ".join(user.name for user in nearest_users(text, users))
    hint = f"Did you mean {names}?" if names else "`aperture show` lists their names."
    raise OperatorError(f"No user is called {text!r}. {hint}", exit_code=UNKNOWN)


def find_title(connection: Connection, text: str, *, create: bool = False) -> KnownTitle:
    """Find the title that a text names, in the library or outside it; its title is an id if nothing else is known.

    ``create``: make a work for an id that is not known yet; the connection must be inside a transaction, and holds the
    lock of the catalogue until its end.

    Raises:
        OperatorError: several match (exit code 2), none does (exit code 1), or the text is no id (exit code 2).
    """
    reference = parse_title_reference(text)
    known = read_titles_to_name(connection)
    found = match_titles(reference, known)
    if len(found) == 1:
        return replace(found[0], title=found[0].title or found[0].reference)
    if found:
        lines = [f"{one.reference}  {one.label}{', in the library' if one.in_library else ''}" for one in found]
        if len(lines) > SHOWN_MATCHES:
            lines[SHOWN_MATCHES:] = [f"… and {len(lines) - SHOWN_MATCHES} more: name the year, too."]
        raise OperatorError(
            "\n".join([f"{text!r} may be any of these titles. Repeat the command with one:", *lines]),
            exit_code=AMBIGUOUS,
        )
    if isinstance(reference, TitleId):
        return _create(connection, reference, text, create=create)
    near = nearest_titles(text, known)
    if near:
        lines = [f"{one.reference}  {one.label}" for one in near]
        raise OperatorError("\n".join([f"No title is called {text!r}. Did you mean one of these?", *lines]))
    raise OperatorError(
        f"No title is called {text!r}. A title that is not known yet needs an id, such as tmdb:movie:603."
    )


def _create(connection: Connection, reference: TitleId, text: str, *, create: bool) -> KnownTitle:
    if not create or reference.work_id is not None:
        raise OperatorError(f"No title with the id {text!r} is known.", exit_code=UNKNOWN)
    media_type = reference.media_type
    if media_type is None:
        (_, value), *_ = reference.ids.present()
        source = "imdb" if reference.ids.imdb_id else "tmdb"
        raise OperatorError(
            f"No title with the id {text!r} is known: say whether it is {source}:movie:{value} or "
            f"{source}:series:{value}."
        )
    (work_id,) = works_for(connection, media_type, [reference.ids])
    if work_id is None:
        raise OperatorError(f"The id {text!r} belongs to several titles here.")
    known = KnownTitle(work_id, media_type, None, None, reference.ids, in_library=False)
    return replace(known, title=known.reference)


def _user_lines(users: list[User]) -> list[str]:
    return [f"{user.user_id}  {user.name}{' (no longer on the media server)' if user.gone else ''}" for user in users]


SHOWN_SERIES = 4


@click.command()
@click.argument("user", required=False)
@click.option("--count", type=click.IntRange(1, 500), default=10, show_default=True, help="Titles per media type.")
@json_option
@home_option
def show(user: str | None, count: int, as_json: bool, home: str | None) -> None:
    """Show USER's list with reasons, and the series they are watching; without USER, the names of all users.

    Example: aperture show Anna
    """
    console = Terminal()
    with operator_errors():
        settings = settings_of_home(home)
        if user is None:
            names = read_names(settings)
            if as_json:
                echo_json(names)
            else:
                echo("\n".join(names))
            return
        page = read_page(settings, user, count=count)
    if as_json:
        echo_json(page)
    else:
        print_page(page, console)


def read_names(settings: Settings) -> list[str]:
    """Read the names of the users who are on the media server.

    Raises:
        OperatorError: nobody is known yet.
    """
    try:
        with read_only(settings) as connection:
            names = sorted(user.name for user in read_users(connection) if not user.gone)
    except NothingYet as error:
        raise OperatorError(f"{error} {how_to_begin(settings)}") from None
    if not names:
        raise OperatorError(f"No users were read from the media server yet. {how_to_begin(settings)}")
    return names


def read_page(settings: Settings, name: str, *, count: int = 10) -> dict[str, Any]:
    """Read everything about a user that :func:`show` prints; its keys are documented in ``docs/status.md``.

    Raises:
        OperatorError: nobody has that name, or nothing was ever stored.
    """
    now = Clock().now()
    today = now.astimezone(ZoneInfo(settings.schedule_timezone)).date()
    try:
        with read_only(settings) as connection:
            user = find_user(connection, name)
            taking_part = who_takes_part(settings, read_users(connection))
            listed = recommendation_table(connection, user.user_id)
            watching = shows_table(connection, user.user_id, today=today)
            size = catalogue_size(connection)
    except NothingYet as error:
        raise OperatorError(f"{error} {how_to_begin(settings)}") from None
    takes_part = user.user_id in {one.user_id for one in taking_part}
    return {
        "user": user.name,
        "user_id": user.user_id,
        "takes_part": takes_part,
        "listed_at": max((row["generated_at"] for row in listed), default=None),
        "no_list_because": None
        if listed
        else why_no_list(
            user,
            takes_part=takes_part,
            titles=size["movies"] + size["series"],
            is_demo=settings.media_server_url is None,
            # On a database of its own, the parts may be services.
            up_is_running=settings.database_url is not None or up_is_running(settings.home_path),
        ),
        "films": _entries(listed, "movie", count),
        "series": _entries(listed, "series", count),
        "watching": [
            {key: row[key] for key in ("title", "behind", "next_air_date", "days_until")}
            | {"next_episode": _next_episode(row)}
            for row in watching
        ],
        "timezone": settings.schedule_timezone,
    }


def how_to_begin(settings: Settings) -> str:
    """Say how to fill an empty home."""
    if settings.media_server_url is not None:
        return "Start `aperture up`, which reads the media server."
    return "Run `aperture demo`, or set APERTURE_MEDIA_SERVER_URL and start `aperture up`."


def _entries(rows: Sequence[Mapping[str, Any]], media_type: str, count: int) -> list[dict[str, Any]]:
    kept = ("rank", "title", "year", "tmdb_id", "imdb_id")
    return [
        {key: row[key] for key in kept} | {"score": round(row["score"], 4), "reason": reason_of(row)}
        for row in rows
        if row["media_type"] == media_type
    ][:count]


def print_page(page: Mapping[str, Any], console: Terminal) -> None:
    """Print what :func:`read_page` has read."""
    zone = ZoneInfo(page["timezone"])
    about = f"list of {_day(page['listed_at'], zone)}" if page["listed_at"] else page["no_list_because"]
    console.print_hanging(Text.assemble((page["user"], "bold"), f": {about}"))
    if page["listed_at"] and not page["takes_part"]:
        console.print_hanging("No longer takes part; this is the last list.", "yellow")
    for key, heading in (("films", "Films"), ("series", "Series")):
        if page[key]:
            console.print()
            console.print_hanging(heading, "bold")
            print_titles([(f"{row['rank']:>2}", titled(row), row["reason"]) for row in page[key]], console)
    if page["watching"]:
        console.print()
        console.print_hanging("In the middle of", "bold")
        print_titles([("", row["title"], _progress_in(row)) for row in page["watching"][:SHOWN_SERIES]], console)


def _next_episode(row: Mapping[str, Any]) -> str | None:
    """Name the episode of ``shows_you_watch`` that a user watches next; None if there is none."""
    return episode_label(row["next_season"], row["next_number"]) or row["next_title"]


def _progress_in(row: Mapping[str, Any]) -> str:
    """Say in a line what is next in a series of ``shows_you_watch``."""
    parts = [f"next: {row['next_episode']}, {row['behind']} to watch" if row["next_episode"] else "all watched"]
    if row["days_until"] is not None:
        when = f"in {counted(row['days_until'], 'days')}" if row["days_until"] else "today"
        parts.append(f"new episode {when}")
    return "; ".join(parts)


def _day(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d}"


# ``aperture api-key``, and ``aperture sign-out-everybody``: what programs and members are admitted with.


@click.command("sign-out-everybody")
def sign_out_everybody() -> None:
    """End the sessions of all members on the web pages, at once; everybody has to sign in again."""
    with operator_errors():
        end_all_sessions(load_settings())
    echo("All sessions have ended.")


@click.group("api-key")
def api_key() -> None:
    """The keys with which programs, such as dashboards, read lists."""


@api_key.command()
@click.argument("name")
@click.option("--user", help="The one user whose lists it may read. Default: all.")
def add(name: str, user: str | None) -> None:
    """Make a key for the program NAME, and print it: it is shown this once, and not stored.

    Example: aperture api-key add "Home Assistant" --user Anna
    """
    with operator_errors(), Database(load_settings()).transaction() as connection:
        whose = find_user(connection, user) if user is not None else None
        key = add_key(connection, name, whose.user_id if whose is not None else None)
        if key is None:
            raise OperatorError(f"There is a key named {name!r}. Choose another name, or remove that one first.")
    echo(f"{name} reads the lists of {whose.name if whose is not None else 'all users'} with this key:", err=True)
    echo(key)


@api_key.command("list")
def list_keys() -> None:
    """Show which programs have a key, and for whose lists."""
    with operator_errors(), Database(load_settings()).transaction() as connection:
        rows = read_keys(connection)
    table = Table("Program", "Lists of", "Since", box=None, padding=(0, 1))
    for row in rows:
        table.add_row(Text(row["name"]), Text(row["user"] or "all users"), f"{row['created_at']:%Y-%m-%d}")
    Terminal().print(table if rows else "No program has a key: run `aperture api-key add NAME`.")


@api_key.command()
@click.argument("name")
def remove(name: str) -> None:
    """End the key of the program NAME, at once."""
    with operator_errors(), Database(load_settings()).transaction() as connection:
        if not remove_key(connection, name):
            raise OperatorError(f"There is no key named {name!r}: see `aperture api-key list`.")
    echo(f"The key of {name} is worth nothing from now on.")
