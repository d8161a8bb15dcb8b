"""``aperture rate``: rate a film or series, or take a rating back."""

from __future__ import annotations

import logging
import shlex

import click
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.references import find_title, find_user
from aperture_dagster.cli.terminal import Console
from aperture_dagster.library.people import User
from aperture_dagster.library.ratings import HIGHEST, LOWEST
from aperture_dagster.library.references import KnownTitle
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import ServiceError
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.sources.server_ratings import ServerWrites, lacks_ratings, rate_on_server
from aperture_dagster.sources.trakt import TraktAccounts
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.trakt_ratings import rate_here

log = logging.getLogger(__name__)


@click.command()
@click.argument("user")
@click.argument("title")
@click.argument("rating", type=click.IntRange(LOWEST, HIGHEST), required=False)
@click.option("--remove", is_flag=True, help="Take the rating back.")
def rate(user: str, title: str, rating: int | None, remove: bool) -> None:
    """Rate TITLE as USER, from 1 to 10; titles outside the library are named by an id, such as tmdb:movie:603.

    Example: aperture rate Anna "The Matrix (1999)" 9
    """
    if (rating is None) != remove:
        raise click.UsageError("Give either a rating from 1 to 10, or --remove.")
    console = Console()
    with operator_errors():
        settings, clock = load_settings(), Clock()
        database = Database(settings)
        with database.transaction() as connection:
            found_user = find_user(connection, user)
            found_title = find_title(connection, title, create=not remove)
        # Another transaction: the lock of the catalogue, under which a title is found, comes after that of ratings.
        with database.transaction() as connection:
            rated = rate_here(connection, found_user.user_id, found_title.work_id, rating, now=clock.now())
        if not rated:
            console.print(f"{found_user.name} has not rated {found_title.label}.")
            return
        what = "no longer rates" if rating is None else "rates"
        given = "" if rating is None else f": {rating} of {HIGHEST}"
        console.print(f"{found_user.name} {what} {found_title.label}{given}.")
        console.print(Text(_trakt_news(settings, database, clock, found_user), "dim"))
        if settings.ratings_to_server:
            console.print(Text(_server_news(settings, database, clock, found_user, found_title), "dim"))


def _trakt_news(settings: Settings, database: Database, clock: Clock, user: User) -> str:
    """Say when Trakt gets it."""
    trakt = TraktAccounts(settings, database, clock)
    account = trakt.account(user.user_id)
    if account is None:
        return f"{user.name} is not connected to Trakt; it stays here."
    with database.transaction() as connection:
        people = settings.participants(read_users(connection))
    if user.user_id not in {one.user_id for one in people}:
        why = (
            "is no longer on the media server"
            if user.gone
            else "does not take part (APERTURE_INCLUDE_USERS, APERTURE_EXCLUDE_USERS)"
        )
        return f"{user.name} {why}, so Trakt does not get it; it stays here."
    reason = trakt.why_off()
    if reason is None and account.state != "connected":
        reason = f"{account.trouble}. Run `aperture trakt connect {shlex.quote(user.name)}`."
        if account.state == "parked":
            reason = f"{account.trouble}; it is tried once a day."
    pause = trakt.pause()
    if reason is None and pause is not None:
        reason = str(pause)
    if reason is not None:
        return f"It waits for Trakt: {reason}"
    if account.read_at is None:
        return "It will reach Trakt with the first sync, which may need your consent: see the asset trakt_ratings."
    if not settings.schedules_enabled:
        return "It waits for Trakt: schedules are off, so run sync_trakt_ratings."
    return "It will reach Trakt within a minute, while `aperture up` is running."


def _server_news(settings: Settings, database: Database, clock: Clock, user: User, title: KnownTitle) -> str:
    """Write the rating to the media server, and say how that went."""
    if not title.in_library or not lacks_ratings(database, user, works=[title.work_id]):
        return "Nothing to change on the media server."
    try:
        with MediaServers(settings, database).open_writer() as writer:
            written = rate_on_server(database, clock, writer, user, log=log, works=[title.work_id])
    except ServiceError as error:
        return f"Not on the media server yet: {error}. The next run of sync_trakt_ratings tries again."
    if written.note is not None:
        return written.note
    return f"{_rated_on_server(written, user)}."


def _rated_on_server(written: ServerWrites, user: User) -> str:
    parts = [f"Copies rated on the media server: {written.written}"]
    if written.rated_there:
        parts.append(f"{written.rated_there} left alone, as they were rated there meanwhile")
    if written.hidden:
        parts.append(f"{written.hidden} that {user.name} does not see there")
    if written.refused:
        parts.append(f"{written.refused} refused by the server, see the log")
    return "; ".join(parts)
