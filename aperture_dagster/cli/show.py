"""``aperture show``: one user's list, on one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import home_option, settings_of_home
from aperture_dagster.cli.references import find_user
from aperture_dagster.cli.terminal import Terminal, echo, echo_json, json_option, print_titles
from aperture_dagster.maintenance.status import why_no_list
from aperture_dagster.model import Clock, counted, titled
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.popularity.shows import shows_table
from aperture_dagster.postgres.database import NothingYet, read_only
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import reason_of, recommendation_table
from aperture_dagster.up.files import up_is_running

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
