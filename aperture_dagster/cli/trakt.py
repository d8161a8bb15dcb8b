"""``aperture trakt``: connect users to Trakt with a code, see how their accounts stand, and disconnect them."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.references import find_user
from aperture_dagster.cli.terminal import Console
from aperture_dagster.errors import OperatorError
from aperture_dagster.library.people import User
from aperture_dagster.ratings.accounts import TraktAccount, TraktAccounts
from aperture_dagster.ratings.errors import AccountShared, NotConnected
from aperture_dagster.ratings.guard import HeldRemoval, describe_held
from aperture_dagster.ratings.records import DeviceCode
from aperture_dagster.ratings.removals import accept_removals, held_by_user, held_removals, undo_removals
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.wording import counted

POLICY = """\
This connects {user}'s own Trakt account through your own Trakt app, as a personal tool: ratings are kept in step both \
ways. Trakt's API Use Policy allows a personal tool for a user's own data; it does not allow feeding ratings into \
another service's recommendation engine. {sync_only}"""
ON = "APERTURE_TRAKT_SYNC_ONLY is on: ratings from Trakt do not shape tastes."
OFF = "With APERTURE_TRAKT_SYNC_ONLY=true, ratings from Trakt do not shape tastes."
STYLES = {"connected": "green", "reconnect": "red", "parked": "yellow"}
STATES = {"connected": "connected", "reconnect": "connect again", "parked": "parked"}


@click.group()
def trakt() -> None:
    """Keep users' ratings in step with Trakt."""


@trakt.command()
@click.argument("user")
@click.option("--shared", is_flag=True, help="Allow an account on Trakt that another user here is connected to.")
def connect(user: str, shared: bool) -> None:
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
            with _countdown(console) as waiting:
                tokens = client.wait(code, waiting=waiting)
        try:
            owner = accounts.connect(found.user_id, tokens, shared=shared, waiting=_once(console, found.name))
        except AccountShared as error:
            raise OperatorError(
                f"{error} Sign out of Trakt in the browser, sign in as {found.name}, and connect again. If both are "
                f"to share the account, run `aperture trakt connect --shared {shlex.quote(found.name)}`."
            ) from None
        console.print(f"{found.name} is connected to the account {owner.name} on Trakt.")
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
        accounts = TraktAccounts(settings, Database(settings), Clock())
        reason = accounts.why_off()
        rows = accounts.accounts()
        if rows:
            console.print(_table(rows))
        else:
            console.print("Nobody has connected Trakt: run `aperture trakt connect USER`.")
        with Database(settings).transaction() as connection:
            held = held_by_user(connection)
        for one in held:
            console.print(Text(describe_held(one), "yellow"))
        if reason is not None:
            raise OperatorError(reason)
        accounts.check_app()
        console.print(f"Trakt accepts the app at {settings.trakt_url}.")
    sys.exit(bool(held) or any(one.state != "connected" and not one.gone for one in rows))


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
        database, clock = Database(settings), Clock()
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
                undone = undo_removals(connection, user_id, works, now=clock.now())
                said = f"{counted(undone, 'ratings')} kept. The next sync pushes those that Trakt lacks."
            else:
                accept_removals(connection, user_id, works=works)
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
            left = accounts.disconnect(found.user_id, waiting=_once(console, found.name))
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
    if console.is_terminal:
        import segno

        drawn = io.StringIO()
        segno.make(code.link, error="l").terminal(out=drawn, border=2, compact=True)
        console.print()
        console.file.write(drawn.getvalue())


@contextmanager
def _countdown(console: Console) -> Iterator[Callable[[float], None]]:
    """Show how much time is left; without a terminal, nothing."""
    shown = console.status("Waiting") if console.is_terminal else nullcontext()
    with shown as display:

        def waiting(seconds: float) -> None:
            if display is not None:
                minutes, left = divmod(max(int(seconds), 0), 60)
                display.update(f"Waiting for the confirmation on Trakt, {minutes}:{left:02} left")

        yield waiting


def _once(console: Console, user: str) -> Callable[[float], None]:
    """Say once that a sync is waited for."""
    said: list[float] = []

    def waiting(seconds: float) -> None:
        if not said:
            console.print(Text(f"Waiting until the run that syncs the ratings of {user} has ended …", "dim"))
        said.append(seconds)

    return waiting


def _table(accounts: list[TraktAccount]) -> Table:
    table = Table(
        "User", "On Trakt", "State", "Since", "Last sync", "Waiting", "Trouble", "What to do", box=None, padding=(0, 1)
    )
    for one in accounts:
        name = f"{one.name} (gone)" if one.gone else one.name
        table.add_row(
            Text(name),
            Text(one.trakt_user or ""),
            Text(STATES[one.state], STYLES[one.state]),
            _moment(one.connected_at),
            _moment(one.read_at) if one.read_at else "never",
            f"{one.waiting:,}",
            Text(one.trouble or ""),
            Text(_advice(one)),
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


def _advice(account: TraktAccount) -> str:
    name = shlex.quote(account.name)
    if account.gone:
        return f"aperture trakt disconnect {name}"
    return {"reconnect": f"aperture trakt connect {name}", "parked": "tried once a day"}.get(account.state, "")


def _moment(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="minutes")[:16]
