"""Titles outside the library on the command line: see suggestions, refuse one, and ask Seerr for one as a user."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.references import find_title, find_user
from aperture_dagster.cli.terminal import Console, Terminal, echo, echo_json, json_option
from aperture_dagster.discovery.requests import PlannedRequest, RequestDesk, open_desk
from aperture_dagster.discovery.seerr import why_not_configured
from aperture_dagster.discovery.suggestions import (
    Wish,
    candidate_table,
    dismiss_title,
    read_requests,
    undo_dismissal,
    unsettled_requests,
    where_to_stream,
    why_suggested,
)
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.members.hidden import dismissed_titles
from aperture_dagster.model import Clock, titled
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings, load_settings

HEADINGS = (("movie", "Films"), ("series", "Series"))
NOTHING = "Nothing is suggested yet: run the job generate_discovery_suggestions, which needs a TMDb key."
# TMDb's terms ask for both.
ATTRIBUTION = "Data from TMDb, which does not endorse or certify this product; where to stream from JustWatch."
# The job uses Seerr for seconds.
PATIENCE_SECONDS = 60.0
_RANGE = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")


@click.command()
@click.argument("user")
@click.option("--count", type=click.IntRange(1, 500), default=15, show_default=True, help="Titles per media type.")
@click.option("--dismissed", is_flag=True, help="Show what USER has dismissed instead.")
def discover(user: str, count: int, dismissed: bool) -> None:
    """Show what USER may like of what is not in the library.

    Example: aperture discover Anna --count 5
    """
    console = Terminal()
    with operator_errors():
        settings = load_settings()
        with Database(settings).transaction() as connection:
            person = find_user(connection, user)
            if dismissed:
                _show_dismissed(console, dismissed_titles(connection, person.user_id))
                return
            rows = candidate_table(connection, person.user_id, country=settings.country)
    if not rows:
        console.print_hanging(NOTHING)
        return
    for media_type, heading in HEADINGS:
        own = [row for row in rows if row["media_type"] == media_type][:count]
        if own:
            table = Table(title=heading, title_justify="left", title_style="bold", box=None, padding=(0, 1))
            for name in ("", "Title", "Why", f"Where to stream ({settings.country})"):
                table.add_column(name, justify="left" if name else "right")
            for row in own:
                table.add_row(
                    str(row["rank"]), *map(Text, (titled(row), why_suggested(row), where_to_stream(row["providers"])))
                )
            console.print(table)
    console.print_hanging(ATTRIBUTION, "dim")


@click.command()
@click.argument("user")
@click.argument("title")
@click.option("--undo", is_flag=True, help="Let TITLE be suggested again.")
def dismiss(user: str, title: str, undo: bool) -> None:
    """Never suggest TITLE to USER again, be it in the library or not; it leaves their lists, and others take its place.

    TITLE is a title, 'title (year)', or an id such as tmdb:movie:603, tmdb:series:1396 or imdb:tt0133093.

    Example: aperture dismiss Anna "The Matrix (1999)"
    """
    console = Terminal()
    with operator_errors(), Database(settings := load_settings()).transaction() as connection:
        person = find_user(connection, user)
        found = find_title(connection, title, create=not undo)
        if undo:
            changed = undo_dismissal(connection, person.user_id, found.work_id) > 0
            said = f"may be suggested to {person.name} again." if changed else f"was not dismissed by {person.name}."
            console.print_hanging(f"{found.label} {said}")
        elif dismiss_title(connection, person.user_id, found.work_id, found.title or found.label, now=Clock().now()):
            published = ", and leaves the published one with the next publication" if settings.publish else ""
            here = f" It has left their list{published}." if found.in_library else ""
            console.print_hanging(f"{found.label} is not suggested to {person.name} any more.{here}")
        else:
            console.print_hanging(f"{found.label}: {person.name} dismissed it before.")


def parse_seasons(
    context: click.Context | None, parameter: click.Parameter | None, value: str | None
) -> list[int] | None:
    """Parse ``1,3-5``; None for ``all``, which leaves out the specials."""
    if value is None or value.strip().lower() == "all":
        return None
    seasons: set[int] = set()
    for part in value.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or int(match[1]) == 0 or int(match[2] or match[1]) < int(match[1]):
            raise click.BadParameter("expected numbers of seasons, such as 1 or 1,3-5, or all", context, parameter)
        seasons |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(seasons)


@click.command()
@click.argument("user")
@click.argument("title")
@click.option("--seasons", callback=parse_seasons, help="Of a series, such as 1,3-5. Default: all but the specials.")
@click.option("--yes", is_flag=True, help="Send without asking.")
def request(user: str, title: str, seasons: list[int] | None, yes: bool) -> None:
    """Request TITLE on Seerr as USER: show what will be sent, ask, and send it.

    TITLE is a title, 'title (year)', or an id such as tmdb:movie:603, tmdb:series:1396 or imdb:tt0133093.

    Example: aperture request Anna tmdb:series:1396 --seasons 1-2
    """
    console = Console(soft_wrap=True)
    with operator_errors():
        settings = load_settings()
        database, clock = Database(settings), Clock()
        with database.transaction() as connection:
            person = find_user(connection, user)
            found = find_title(connection, title, create=True)
        if found.in_library and (found.media_type == "movie" or seasons is None):
            advice = "" if found.media_type == "movie" else " Name seasons that it lacks with --seasons."
            console.print(Text(f"{found.label} is in the library already; nothing was sent.{advice}"))
            return
        if found.ids.tmdb_id is None:
            raise OperatorError(f"Seerr needs the id of {found.label} on TMDb: name it by that, as in tmdb:movie:603.")
        if seasons is not None and found.media_type == "movie":
            raise OperatorError(f"{found.label} is a film, and has no seasons.", exit_code=2)
        wish = Wish(found.work_id, found.media_type, found.ids.tmdb_id, found.label)
        with _desk(settings, database, clock) as desk:
            planned = _plan(console, desk, person, wish, seasons)
        if planned is None:
            return
        _show_plan(console, person, planned)
        if not yes:
            click.confirm("Send it?", abort=True)
        with _desk(settings, database, clock) as desk:
            # Somebody may have requested it, used the quota or changed a right while this one was read.
            again = _plan(console, desk, person, wish, seasons)
            if again != planned:
                raise OperatorError("This has changed on Seerr meanwhile; nothing was sent. Repeat the command.")
            sent = desk.send(person, planned)
    if sent is not None:
        console.print(Text(f"Requested: {sent.title}, request {sent.request_id} on Seerr, {sent.state}."))


@click.command()
@click.argument("user", required=False)
@json_option
def requests(user: str | None, as_json: bool) -> None:
    """List what was requested for USER, or for everybody, and what became of it."""
    console = Console()
    with operator_errors():
        settings = load_settings()
        database, clock = Database(settings), Clock()
        with database.transaction() as connection:
            people = [find_user(connection, user)] if user is not None else read_users(connection)
            # Those who have left the media server wait for nothing any more.
            here = [one.user_id for one in people if not one.gone]
            asked = {one.user_id for one in unsettled_requests(connection, here, now=clock.now())}
        if asked:
            try:
                with _desk(settings, database, clock) as desk:
                    for person in (one for one in people if one.user_id in asked):
                        desk.read_back(person)
            except (ServiceError, OperatorError) as error:
                said = f"Seerr could not be reached; the states are from the last check: {error}"
                echo(said, err=True)
        with database.transaction() as connection:
            stored = read_requests(connection, [one.user_id for one in people])
    names = {one.user_id: one.name for one in people}
    if as_json:
        echo_json([asdict(one) | {"user": names[one.user_id]} for one in stored])
        return
    if not stored:
        console.print("Nothing was requested.")
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("user", "title", "state", "requested", "remark"):
        table.add_column(column)
    for one in stored:
        cells = (names[one.user_id], one.title, one.state, f"{one.requested_at:%Y-%m-%d}", one.detail or "")
        table.add_row(*map(Text, cells))
    console.print(table)


def _show_dismissed(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        console.print("Nothing is dismissed.")
    for row in rows:
        name = f"tmdb:{row['media_type']}:{row['tmdb_id']}" if row["tmdb_id"] else f"imdb:{row['imdb_id']}"
        console.print(Text(f"{row['dismissed_at']:%Y-%m-%d}  {row['title']}  {name}"))


@contextmanager
def _desk(settings: Settings, database: Database, clock: Clock) -> Iterator[RequestDesk]:
    missing = why_not_configured(settings)
    if missing is not None:
        raise OperatorError(missing)
    with open_desk(settings, database, clock, patience_seconds=PATIENCE_SECONDS) as desk:
        yield desk


def _plan(
    console: Console, desk: RequestDesk, person: User, wish: Wish, seasons: Sequence[int] | None
) -> PlannedRequest | None:
    """Say what would be requested; None, with the reason on the console, if there is nothing to send.

    Raises:
        OperatorError: the user may not request it.
        ServiceError: see :class:`RequestDesk`.
    """
    planned = desk.offer(person, wish, seasons)
    if planned.obstacle is None:
        return planned
    if planned.obstacle.kind != "title":
        raise OperatorError(f"{planned.obstacle.message} Nothing was sent.")
    console.print(Text(f"{planned.obstacle.message} Nothing was sent."))
    return None


def _show_plan(console: Console, person: User, planned: PlannedRequest) -> None:
    wish = planned.wish
    lines = [
        f"Request for {person.name}, as {planned.account.name} (user {planned.account.seerr_id} on Seerr):",
        f"  tmdb:{wish.media_type}:{wish.tmdb_id}  {wish.title}",
    ]
    lines += [f"  {name + ':':<9} {text}" for name, text in planned.facts]
    for line in lines:
        console.print(Text(line))
