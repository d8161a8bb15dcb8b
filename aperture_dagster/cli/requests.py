"""``aperture request`` and ``aperture requests``: ask Seerr for a title as a user, and see what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich.table import Table
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.references import find_title, find_user
from aperture_dagster.cli.terminal import Console
from aperture_dagster.errors import OperatorError
from aperture_dagster.library.people import User
from aperture_dagster.library.references import KnownTitle
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import ServiceError
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.sources.requests import NoSeerrUser, PlannedRequest, RequestDesk
from aperture_dagster.sources.seerr import SEERR, why_not_configured
from aperture_dagster.sources.services import Services
from aperture_dagster.storage.people import read_users
from aperture_dagster.storage.requests import (
    MISATTRIBUTED,
    StoredRequest,
    read_request,
    read_requests,
    unsettled_requests,
)

# The job uses Seerr for seconds.
PATIENCE_SECONDS = 60.0
_RANGE = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")
_CLOSED = ("declined", "refused", "completed")


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
            before = read_request(connection, person.user_id, found.work_id)
        if found.in_library and (found.media_type == "movie" or seasons is None):
            advice = "" if found.media_type == "movie" else " Name seasons that it lacks with --seasons."
            console.print(Text(f"{found.label} is in the library already; nothing was sent.{advice}"))
            return
        if found.ids.tmdb_id is None:
            raise OperatorError(f"Seerr needs the id of {found.label} on TMDb: name it by that, as in tmdb:movie:603.")
        if seasons is not None and found.media_type == "movie":
            raise OperatorError(f"{found.label} is a film, and has no seasons.", exit_code=2)
        with _desk(settings, database, clock) as desk:
            warning = desk.misattributed()
            planned = _plan(console, desk, database, person, found, seasons)
        sent = None
        while planned is not None and sent is None:
            _show_plan(console, person, planned, before, warning)
            if not yes:
                click.confirm("Send it?", abort=True)
            with _desk(settings, database, clock) as desk:
                # Somebody may have requested it, used the quota or changed a right while this one was read.
                again = _plan(console, desk, database, person, found, seasons)
                is_as_shown = again is not None and _shown(again) == _shown(planned)
                if again is not None and not is_as_shown:
                    console.print(Text("This has changed meanwhile:", "yellow"))
                    if yes:
                        _show_plan(console, person, again, before, warning)
                if again is not None and (yes or is_as_shown):
                    sent = desk.send(person, again)
            planned = again
    if sent is None:
        return
    console.print(Text(f"Requested: {sent.title}, request {sent.request_id} on Seerr, {sent.state}."))


@click.command()
@click.argument("user", required=False)
def requests(user: str | None) -> None:
    """List what was requested for USER, or for everybody, and what became of it."""
    console = Console()
    with operator_errors():
        settings = load_settings()
        database, clock = Database(settings), Clock()
        with database.transaction() as connection:
            people = [find_user(connection, user)] if user is not None else read_users(connection)
            now = clock.now()
            # Those who have left the media server wait for nothing any more.
            asked = {
                one.user_id for one in people if not one.gone and unsettled_requests(connection, one.user_id, now=now)
            }
            are_misattributed = bool(read_requests(connection, states=[MISATTRIBUTED]))
        if asked or are_misattributed:
            try:
                with _desk(settings, database, clock) as desk:
                    for person in (one for one in people if one.user_id in asked):
                        try:
                            desk.read_back(person, desk.account_of(person))
                        except NoSeerrUser as error:
                            console.print(Text(str(error), "yellow"))
                    warning = desk.misattributed()
                    if warning is not None:
                        console.print(Text(warning, "yellow"))
            except (ServiceError, OperatorError) as error:
                said = f"Seerr could not be reached; the states are from the last check: {error}"
                console.print(Text(said, "yellow"))
        with database.transaction() as connection:
            stored = read_requests(connection, [one.user_id for one in people])
    names = {one.user_id: one.name for one in people}
    if not stored:
        console.print("Nothing was requested.")
        return
    table = Table(box=None, padding=(0, 1))
    for column in ("user", "title", "state", "requested", "by", "remark"):
        table.add_column(column)
    for one in stored:
        by = "job" if one.is_automatic else "command"
        cells = (names[one.user_id], one.title, one.state, f"{one.requested_at:%Y-%m-%d}", by, one.detail or "")
        table.add_row(*map(Text, cells))
    console.print(table)


@contextmanager
def _desk(settings: Settings, database: Database, clock: Clock) -> Iterator[RequestDesk]:
    missing = why_not_configured(settings)
    if missing is not None:
        raise OperatorError(missing)
    with Services(settings, database, clock).get(SEERR).open(patience_seconds=PATIENCE_SECONDS) as client:
        yield RequestDesk(client, database, clock)


def _plan(
    console: Console,
    desk: RequestDesk,
    database: Database,
    person: User,
    found: KnownTitle,
    seasons: Sequence[int] | None,
) -> PlannedRequest | None:
    """Say what would be requested; None, with the reason on the console, if there is nothing to send.

    Raises:
        OperatorError: the user may not request it.
        ServiceError: see :class:`RequestDesk`.
    """
    account = desk.account_of(person)
    desk.read_back(person, account)
    with database.transaction() as connection:
        stored = read_request(connection, person.user_id, found.work_id)
    # Of a series, other seasons can be requested; but the note of what is to be deleted on Seerr must not be lost.
    is_open = stored is not None and stored.state not in _CLOSED
    if stored is not None and is_open and (found.media_type == "movie" or stored.state == MISATTRIBUTED):
        when = f"{stored.requested_at:%Y-%m-%d}"
        advice = " Retry it on Seerr." if stored.state == "failed" else ""
        said = f"{stored.title} was requested on {when} already: {stored.state}. Nothing was sent.{advice}"
        console.print(Text(said))
        return None
    assert found.ids.tmdb_id is not None
    planned = desk.plan(account, found.work_id, found.media_type, found.ids.tmdb_id, found.label, seasons=seasons)
    if planned.obstacle is None:
        return planned
    if planned.obstacle.kind == "title":
        console.print(Text(f"{planned.obstacle.message} Nothing was sent."))
        return None
    raise OperatorError(f"{planned.obstacle.message} Nothing was sent.")


def _shown(planned: PlannedRequest) -> tuple[object, ...]:
    """Return what somebody agrees to who confirms a request."""
    return (planned.account.seerr_id, planned.season_text, planned.quota_text, planned.approval_text)


def _show_plan(
    console: Console, person: User, planned: PlannedRequest, before: StoredRequest | None, warning: str | None
) -> None:
    if warning is not None:
        console.print(Text(warning, "yellow"))
    lines = [
        f"Request for {person.name}, as {planned.account.name} (user {planned.account.seerr_id} on Seerr):",
        f"  tmdb:{planned.media_type}:{planned.tmdb_id}  {planned.title}",
    ]
    if planned.seasons is not None:
        lines.append(f"  seasons:  {planned.season_text}")
    lines += [f"  quota:    {planned.quota_text}", f"  approval: {planned.approval_text}"]
    if planned.was_declined or (before is not None and before.state == "declined"):
        lines.append("  note:     a request for it was declined before")
    for line in lines:
        console.print(Text(line))
