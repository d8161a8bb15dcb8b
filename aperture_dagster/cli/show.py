"""``aperture show``: one user's list and taste, on one screen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.text import Text

from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.common import echo, echo_json, operator_errors
from aperture_dagster.cli.demo import home_option, settings_of_home
from aperture_dagster.cli.heartbeats import up_is_running
from aperture_dagster.cli.references import find_user
from aperture_dagster.cli.summary import next_episode, noun, print_titles, progress_in
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.maintenance.overview import recently_watched, taste_of
from aperture_dagster.maintenance.status import why_no_list
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.model.wording import titled
from aperture_dagster.popularity.queries import shows_table
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.postgres.read_only import NothingYet, read_only
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import reason_of, recommendation_table

SHOWN_GENRES, SHOWN_WATCHED, SHOWN_SERIES = 4, 4, 4


@click.command()
@click.argument("user", required=False)
@click.option("--count", type=click.IntRange(1, 500), default=10, show_default=True, help="Titles per media type.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON, for programs.")
@home_option
def show(user: str | None, count: int, as_json: bool, home: str | None) -> None:
    """Show USER's list with reasons, their taste, and what they are watching; without USER, the names of all users.

    Example: aperture show Anna
    """
    console = Terminal()
    with operator_errors():
        settings = settings_of_home(home)
        if user is None:
            names = read_names(settings)
            if as_json:
                echo_json(json.dumps(names, ensure_ascii=False, indent=1))
            else:
                echo("\n".join(names))
            return
        page = read_page(settings, user, count=count)
    if as_json:
        echo_json(json.dumps(page, ensure_ascii=False, indent=1, default=_text))
    else:
        _print(page, console)


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
            tastes = taste_of(connection, user.user_id)
            watched = recently_watched(connection, user.user_id, count=count)
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
            # On a database of its own, the parts may be services, on other hosts, too.
            up_is_running=settings.database_url is not None or up_is_running(settings.home_path),
        ),
        "films": _entries(listed, "movie", count),
        "series": _entries(listed, "series", count),
        "taste": {noun(row, plural=True): _taste(row) for row in tastes},
        "recently_watched": [
            {key: row[key] for key in ("media_type", "title", "year")}
            | {"episode": episode_label(row["season"], row["number"]), "played_at": row["played_at"]}
            for row in watched
        ],
        "watching": [
            {key: row[key] for key in ("title", "behind", "next_air_date", "days_until")}
            | {"next_episode": next_episode(row)}
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


def _taste(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("titles", "liked", "disliked", "sentence", "genres")}


def _print(page: Mapping[str, Any], console: Terminal) -> None:
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
    for key, taste in page["taste"].items():
        if taste["liked"]:
            console.print()
            console.print_hanging(
                Text.assemble(
                    (f"Taste in {key}", "bold"), f": {taste['liked']:,} liked, {taste['disliked']:,} disliked"
                )
            )
            figures = "{titles:,} of {liked:,}, {lift:.1f}x the library's share"
            rows = [
                ("", one["name"], figures.format(liked=taste["liked"], **one)) for one in taste["genres"][:SHOWN_GENRES]
            ]
            print_titles(rows, console)
    if page["recently_watched"]:
        console.print()
        console.print_hanging("Recently watched", "bold")
        rows = [
            (_day(row["played_at"], zone), titled(row), row["episode"] or "")
            for row in page["recently_watched"][:SHOWN_WATCHED]
        ]
        print_titles(rows, console)
    if page["watching"]:
        console.print()
        console.print_hanging("In the middle of", "bold")
        print_titles([("", row["title"], progress_in(row)) for row in page["watching"][:SHOWN_SERIES]], console)


def _day(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d}"


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
