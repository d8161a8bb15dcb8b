"""``aperture trakt``: connect users to Trakt with a code, see how their accounts stand, and disconnect them."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.references import find_user
from aperture_dagster.errors import OperatorError
from aperture_dagster.library.people import User
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import ServiceError, ServiceNotConfigured
from aperture_dagster.resources.trakt.records import DeviceCode
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.sources.trakt import TraktAccount, TraktAccounts

POLICY = """\
This connects {user}'s own Trakt account through your own Trakt app, as a personal tool: ratings are kept in step both \
ways. Trakt's API Use Policy allows a personal tool for a user's own data; it does not allow feeding ratings into \
another service's recommendation engine. {sync_only}"""
ON = "APERTURE_TRAKT_SYNC_ONLY is on: ratings from Trakt have no influence on tastes and suggestions."
OFF = "With APERTURE_TRAKT_SYNC_ONLY=true, ratings from Trakt have no influence on tastes and suggestions."
STYLES = {"connected": "green", "reconnect": "red", "parked": "yellow"}
STATES = {"connected": "connected", "reconnect": "connect again", "parked": "parked"}


@click.group()
def trakt() -> None:
    """Keep users' ratings in step with Trakt."""


@trakt.command()
@click.argument("user")
def connect(user: str) -> None:
    """Connect USER to Trakt: shows a link with a code, and waits until it was opened and confirmed."""
    console = Console(highlight=False)
    with _errors():
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
        owner = accounts.connect(found.user_id, tokens)
        console.print(f"{found.name} is connected to the account {owner.name} on Trakt.", markup=False)
        for other in accounts.accounts():
            if other.user_id != found.user_id and (other.trakt_user or "").casefold() == owner.name.casefold():
                console.print(
                    Text(
                        f"{other.name} is connected to the same account. If that is not meant, disconnect one of them, "
                        "sign out of Trakt in the browser, and connect again.",
                        "yellow",
                    )
                )


@trakt.command()
def status() -> None:
    """Show how everybody's account stands, and whether Trakt accepts the app; exit code 1 if something is wrong."""
    console = Console(highlight=False)
    with _errors():
        settings = load_settings()
        accounts = TraktAccounts(settings, Database(settings), Clock())
        reason = accounts.why_off()
        rows = accounts.accounts()
        if rows:
            console.print(_table(rows))
        else:
            console.print("Nobody has connected Trakt: run `aperture trakt connect USER`.", markup=False)
        if reason is not None:
            raise OperatorError(reason)
        accounts.check_app()
        console.print(f"Trakt accepts the app at {settings.trakt_url}.", markup=False)
    sys.exit(any(one.state != "connected" for one in rows))


@trakt.command()
@click.argument("user")
def disconnect(user: str) -> None:
    """Disconnect USER from Trakt: revokes and deletes the tokens, and keeps the ratings here and there."""
    console = Console(highlight=False)
    with _errors():
        _, accounts, found = _find(user)
        try:
            left = accounts.disconnect(found.user_id)
        except ServiceNotConfigured:
            raise OperatorError(f"{found.name} has not connected Trakt.") from None
    console.print(f"{found.name} is disconnected from Trakt. All ratings are kept.", markup=False)
    if left is not None:
        console.print(Text(left, "yellow"))


@contextmanager
def _errors() -> Iterator[None]:
    try:
        with operator_errors():
            yield
    except ServiceError as error:
        raise OperatorError(str(error)) from None


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


def _table(accounts: list[TraktAccount]) -> Table:
    table = Table("User", "On Trakt", "State", "Since", "Last sync", "Waiting", "Trouble", box=None, padding=(0, 1))
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
        )
    return table


def _moment(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="minutes")[:16]
