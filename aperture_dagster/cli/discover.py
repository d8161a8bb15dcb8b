"""``aperture discover`` and ``aperture dismiss``: see the suggestions of titles outside the library, and refuse one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.references import find_title, find_user
from aperture_dagster.cli.terminal import Console
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import load_settings
from aperture_dagster.storage.suggestions import (
    candidate_table,
    dismissed_titles,
    household_table,
    undo_dismissal,
    where_to_stream,
    why_suggested,
)
from aperture_dagster.storage.suggestions import (
    dismiss as dismiss_title,
)
from aperture_dagster.wording import titled

SHOWN_USERS = 3
HEADINGS = (("movie", "Films"), ("series", "Series"))
NOTHING = "Nothing is suggested yet: run the job generate_discovery_suggestions, which needs a TMDb key."
# TMDb's terms ask for both.
ATTRIBUTION = "Data from TMDb, which does not endorse or certify this product; where to stream from JustWatch."


@click.command()
@click.argument("user", required=False)
@click.option("--count", type=click.IntRange(1, 500), default=15, show_default=True, help="Titles per media type.")
@click.option("--dismissed", is_flag=True, help="Show what USER has dismissed instead.")
def discover(user: str | None, count: int, dismissed: bool) -> None:
    """Show what USER may like of what is not in the library, or without USER what would please most people.

    Example: aperture discover Anna --count 5
    """
    console = Console()
    if dismissed and user is None:
        raise click.UsageError("--dismissed needs a USER.")
    with operator_errors():
        settings = load_settings()
        with Database(settings).transaction() as connection:
            if user is None:
                rows = household_table(connection, country=settings.country)
                last = [("Would please", _pleased)]
            else:
                person = find_user(connection, user)
                if dismissed:
                    _show_dismissed(console, dismissed_titles(connection, person.user_id))
                    return
                rows = candidate_table(connection, person.user_id, country=settings.country)
                last = [("Why", why_suggested)]
    if not rows:
        console.print(NOTHING)
        return
    columns = [*last, (f"Where to stream ({settings.country})", lambda row: where_to_stream(row["providers"]))]
    for media_type, heading in HEADINGS:
        own = [row for row in rows if row["media_type"] == media_type][:count]
        if own:
            table = Table(title=heading, title_justify="left", title_style="bold")
            for name in ("", "Title", *(name for name, _ in columns)):
                table.add_column(name, justify="left" if name else "right")
            for row in own:
                cells = [Text(str(value(row))) for _, value in columns]
                table.add_row(str(row["rank"]), _title(row), *cells)
            console.print(table)
    console.print(Text(ATTRIBUTION, "dim"))


@click.command()
@click.argument("user")
@click.argument("title")
@click.option("--undo", is_flag=True, help="Let TITLE be suggested again.")
def dismiss(user: str, title: str, undo: bool) -> None:
    """Never suggest TITLE to USER again; it leaves their list at once, and another one takes its place at night.

    TITLE is a title, 'title (year)', or an id such as tmdb:movie:603, tmdb:series:1396 or imdb:tt0133093.

    Example: aperture dismiss Anna "The Matrix (1999)"
    """
    console = Console(soft_wrap=True)
    with operator_errors(), Database(load_settings()).transaction() as connection:
        person = find_user(connection, user)
        found = find_title(connection, title, create=not undo)
        if undo:
            changed = undo_dismissal(connection, person.user_id, found.work_id) > 0
        else:
            changed = dismiss_title(
                connection, person.user_id, found.work_id, found.title or found.label, now=Clock().now()
            )
    if undo:
        said = f"{found.label} may be suggested to {person.name} again."
        console.print(Text(said if changed else f"{found.label} was not dismissed by {person.name}."))
        return
    console.print(
        Text(
            f"{found.label} is not suggested to {person.name} any more."
            + (" It is in the library: recommendations of what is there do not change." if found.in_library else "")
            if changed
            else f"{found.label}: {person.name} dismissed it before."
        )
    )


def _show_dismissed(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        console.print("Nothing is dismissed.")
    for row in rows:
        name = f"tmdb:{row['media_type']}:{row['tmdb_id']}" if row["tmdb_id"] else f"imdb:{row['imdb_id']}"
        console.print(Text(f"{row['dismissed_at']:%Y-%m-%d}  {row['title']}  {name}"))


def _pleased(row: Mapping[str, Any]) -> str:
    """Name those whom a title would please most, and count the others."""
    names, others = row["users"][:SHOWN_USERS], len(row["users"]) - SHOWN_USERS
    return ", ".join(names) + (f" and {others} more" if others > 0 else "")


def _title(row: Mapping[str, Any]) -> Text:
    return Text(titled(row))
