"""``aperture rate``, and ``aperture trakt``: rate a title, and keep ratings in step with Trakt."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.catalogue.people import User, who_takes_part
from aperture_dagster.catalogue.references import KnownTitle
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.references import find_title, find_user
from aperture_dagster.cli.terminal import Console
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.model import Clock, counted
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.merge import HIGHEST, LOWEST, HeldRemoval, describe_held
from aperture_dagster.ratings.outbox import rate_here
from aperture_dagster.ratings.removals import accept_removals, held_by_user, held_removals, undo_removals
from aperture_dagster.ratings.server import lacks_ratings, rate_on_server
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.errors import AccountShared, NotConnected
from aperture_dagster.trakt.records import DeviceCode
from aperture_dagster.trakt.stored import TraktAccount

POLICY = """\
This connects {user}'s own Trakt account through your own Trakt app, as a personal tool: ratings are kept in step both \
ways. Trakt's API Use Policy allows a personal tool for a user's own data; it does not allow feeding ratings into \
another service's recommendation engine. {sync_only}"""
ON = "APERTURE_TRAKT_SYNC_ONLY is on: ratings from Trakt do not shape tastes."
OFF = "With APERTURE_TRAKT_SYNC_ONLY=true, ratings from Trakt do not shape tastes."
STATES = {"connected": ("connected", "green"), "reconnect": ("connect again", "red"), "waiting": ("waits", "yellow")}
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
        console.print(
            Text(_trakt_news(settings, database, TraktAccounts(settings, database, clock), found_user), "dim")
        )
        if settings.ratings_to_server:
            console.print(Text(_server_news(settings, database, clock, found_user, found_title), "dim"))


def _trakt_news(settings: Settings, database: Database, trakt: TraktAccounts, user: User) -> str:
    """Say when Trakt gets it."""
    account = trakt.account(user.user_id)
    if account is None:
        return f"{user.name} is not connected to Trakt; it stays here."
    with database.transaction() as connection:
        takes_part = any(one.user_id == user.user_id for one in who_takes_part(settings, read_users(connection)))
    if not takes_part:
        return f"{user.name} does not take part, so Trakt does not get it; it stays here."
    reason = trakt.why_left_out(user.user_id, user.name) or trakt.pause()
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
            written = rate_on_server(database, writer, user, log=log, works=[title.work_id])
    except ServiceError as error:
        return f"Not on the media server yet: {error}. The next run of sync_trakt_ratings tries again."
    if written.note is not None:
        return written.note
    left = f", left alone: {written.left}" if written.left else ""
    return f"Copies rated on the media server: {written.written}{left}."


@click.group()
def trakt() -> None:
    """Keep users' ratings in step with Trakt."""


@trakt.command()
@click.argument("user")
def connect(user: str) -> None:
    """Connect USER to Trakt: shows a link with a code, and waits until it was opened and confirmed."""
    console = Console()
    with operator_errors():
        settings, accounts, found = _find(user)
        reason = accounts.why_off()
        if reason is not None:
            raise OperatorError(reason)
        if found.gone:
            raise OperatorError(f"{found.name} is no longer on the media server.")
        sync_only = ON if settings.trakt_sync_only else OFF
        console.print(Text(POLICY.format(user=found.name, sync_only=sync_only), "dim"))
        with accounts.sign_in() as client:
            code = client.start()
            _show_code(console, found.name, code)
            console.print(
                Text(f"Waiting for the confirmation on Trakt, {code.expires_in / 60:.0f} minutes at most …", "dim")
            )
            tokens = client.wait(code)
        try:
            owner = accounts.connect(found.user_id, tokens)
        except AccountShared as error:
            raise OperatorError(
                f"{error} Sign out of Trakt in the browser, sign in as {found.name}, and connect again."
            ) from None
        console.print(f"{found.name} is connected to the account {owner} on Trakt.")
        first = (
            "within two hours, while `aperture up` is running" if settings.schedules_enabled else "when you start it"
        )
        console.print(Text(f"The first sync comes with the next run of sync_trakt_ratings: {first}.", "dim"))


@trakt.command()
def status() -> None:
    """Show how everybody's account stands, and whether Trakt accepts the app; exit code 1 if something is wrong."""
    console = Console()
    with operator_errors():
        settings = load_settings()
        database = Database(settings)
        accounts = TraktAccounts(settings, database, Clock())
        rows = accounts.accounts()
        if rows:
            console.print(_accounts_table(rows))
        else:
            console.print("Nobody has connected Trakt: run `aperture trakt connect USER`.")
        with database.transaction() as connection:
            held = held_by_user(connection)
        for one in held:
            console.print(Text(describe_held(one), "yellow"))
        reason = accounts.why_off()
        if reason is not None:
            raise OperatorError(reason)
        accounts.check_app()
        console.print(f"Trakt accepts the app at {settings.trakt_url}.")
    sys.exit(bool(held) or any(not account.works and not account.gone for account in rows))


@trakt.command()
@click.argument("user", required=False)
@click.option("--accept", "decision", flag_value="accept", help="Remove these ratings on both sides.")
@click.option("--undo", "decision", flag_value="undo", help="Keep these ratings on both sides.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def removals(user: str | None, decision: str | None, yes: bool) -> None:
    """Show removed ratings that are held back, because a user lost many or all; accept or undo those of USER."""
    if user is None and decision is not None:
        raise click.UsageError(f"Name the user: aperture trakt removals USER --{decision}")
    console = Console()
    with operator_errors():
        settings = load_settings()
        database = Database(settings)
        with database.transaction() as connection:
            user_id = find_user(connection, user).user_id if user is not None else None
            held = held_removals(connection, user_id)
        if not held:
            console.print(Text("No removal of a rating is held back."))
            return
        console.print(_held_table(held))
        if user_id is None or decision is None:
            console.print(Text("\nTo decide: aperture trakt removals USER --accept, or --undo", "dim"))
            return
        count, works = counted(len(held), "ratings"), [one.work_id for one in held]
        if not yes:
            click.confirm(f"{'Remove' if decision == 'accept' else 'Keep'} {count} on both sides?", abort=True)
        with database.transaction() as connection:
            if decision == "undo":
                undone = undo_removals(connection, user_id, works, now=Clock().now())
                said = f"{counted(undone, 'ratings')} kept. The next sync pushes those that Trakt lacks."
            else:
                accept_removals(connection, user_id, works)
                said = f"The next run of sync_trakt_ratings removes {count}, and starts counting again."
    console.print(Text(said))
    if settings.schedules_enabled:
        console.print(Text("It comes within two hours, while `aperture up` is running.", "dim"))


@trakt.command()
@click.argument("user")
def disconnect(user: str) -> None:
    """Disconnect USER from Trakt: revokes and deletes the tokens, and keeps the ratings here and there."""
    console = Console()
    with operator_errors():
        _, accounts, found = _find(user)
        try:
            left = accounts.disconnect(found.user_id)
        except NotConnected:
            raise OperatorError(f"{found.name} has not connected Trakt.") from None
    console.print(f"{found.name} is disconnected from Trakt. All ratings are kept.")
    if left is not None:
        console.print(Text(left, "yellow"))


def _find(user: str) -> tuple[Settings, TraktAccounts, User]:
    settings = load_settings()
    database = Database(settings)
    with database.transaction() as connection:
        found = find_user(connection, user)
    return settings, TraktAccounts(settings, database, Clock()), found


def _show_code(console: Console, user: str, code: DeviceCode) -> None:
    console.print(Text(f"\nIn a browser in which {user} is signed in to Trakt, open\n\n  {code.link}\n"))
    console.print(Text(f"or enter the code {code.user_code} at {code.verification_url}."))


def _accounts_table(accounts: Sequence[TraktAccount]) -> Table:
    columns = ("User", "On Trakt", "State", "Since", "Last sync", "Waiting", "Trouble", "What to do")
    table = Table(*columns, box=None, padding=(0, 1))
    for account in accounts:
        name, state = shlex.quote(account.name), account.state
        advice = f"aperture trakt connect {name}" if state.name == "reconnect" else ""
        if state.until is not None:
            advice = f"tried once a day, again at {_moment(state.until)}"
        table.add_row(
            Text(f"{account.name} (gone)" if account.gone else account.name),
            Text(account.trakt_user or ""),
            Text(*STATES[state.name]),
            _moment(account.connected_at),
            _moment(account.read_at) if account.read_at else "never",
            f"{account.waiting:,}",
            Text(state.reason or ""),
            Text(f"aperture trakt disconnect {name}" if account.gone else advice),
        )
    return table


def _held_table(held: Sequence[HeldRemoval]) -> Table:
    table = Table("User", "Rating of", "Removed", "Noticed", "", box=None, padding=(0, 1))
    for one in held:
        table.add_row(
            Text(one.user),
            Text(one.title),
            "on Trakt" if one.removed_on == "trakt" else "here or on the media server",
            _moment(one.noticed_at),
            "accepted" if one.is_accepted else "",
        )
    return table


def _moment(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="minutes")[:16]
