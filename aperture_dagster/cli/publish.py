"""``aperture publish`` and ``aperture unpublish``: publish now, show what would change, or take everything back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.homes import home_option, settings_to_act_with
from aperture_dagster.cli.terminal import Terminal
from aperture_dagster.enrichment.tmdb.logos import TMDB_IMAGES
from aperture_dagster.model import Clock, counted
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.server.outcomes import PublishingOutcome, explain_failures
from aperture_dagster.publishing.server.publication import Publication, PublishingResult
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.services import MeteredService

SHOWN_LINES = 60
SHOWN_IN_TERMINAL = 5
log = logging.getLogger(__name__)


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--accept-root", is_flag=True, help="Accept a new or emptied APERTURE_PUBLISH_ROOT.")
@home_option
def publish(dry_run: bool, accept_root: bool, home: str | None) -> None:
    """Publish all lists on the media server now."""
    console = Terminal()
    with _errors(), settings_to_act_with(home) as settings:
        if settings.publish_as == "rows":
            raise OperatorError(
                "APERTURE_PUBLISH_AS is rows: `aperture up` shows the lists on the home screen, and nothing is left to "
                "publish. `aperture unpublish` removes what was published before."
            )
        if not settings.publish or settings.publish_root is None:
            raise OperatorError("Publishing is off: set APERTURE_PUBLISH and APERTURE_PUBLISH_ROOT.")
        with _publication(settings, console, dry_run=dry_run, accept_root=accept_root) as publication:
            published = publication.publish_all()
    _show(console, published, dry_run=dry_run, if_none="There is no list to publish yet: `aperture up` makes them.")


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@home_option
def unpublish(dry_run: bool, yes: bool, home: str | None) -> None:
    """Remove everything that was published on the media server: libraries, collections, playlists and files.

    It is found wherever it was published, also if APERTURE_PUBLISH_ROOT is another folder now. While the folder is not
    mounted, no library is removed.

    Do so before an upgrade from Jellyfin 10.10 to 10.11, which would move what was watched from originals to published
    copies; publish again afterwards.
    """
    console = Terminal()
    with _errors(), settings_to_act_with(home) as settings:
        if not dry_run and not yes:
            click.confirm("Remove everything that was published on the media server?", abort=True)
        with _publication(settings, console, dry_run=dry_run) as publication:
            published = publication.unpublish()
    _show(console, published, dry_run=dry_run, if_none="Nothing is published.")


@contextmanager
def _errors() -> Iterator[None]:
    # Dagster's part of the package, which no other command of this module needs.
    from aperture_dagster.instance.failures import EXPECTED

    try:
        with operator_errors():
            yield
    except EXPECTED as error:
        raise OperatorError(str(error)) from None


@contextmanager
def _publication(settings: Settings, console: Terminal, *, dry_run: bool, **options: Any) -> Iterator[Publication]:
    database = Database(settings)
    handler = ConsoleHandler(console)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with MediaServers(settings, database).open_writer(dry_run=dry_run) as writer:
            tmdb_images = MeteredService(TMDB_IMAGES, settings, database, Clock())
            yield Publication(settings, database, writer, Clock(), log, tmdb_images=tmdb_images, **options)
    except KeyboardInterrupt:
        if dry_run:
            raise
        raise OperatorError("Interrupted. What was done is kept; run this again to go on from there.") from None
    finally:
        log.removeHandler(handler)


class ConsoleHandler(logging.Handler):
    """Shows what publishing says."""

    def __init__(self, console: Terminal) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message."""
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self._console.print_hanging(record.getMessage(), style)


def _show(console: Terminal, published: PublishingResult, *, dry_run: bool, if_none: str) -> None:
    if not published.outcomes:
        console.print_hanging(if_none)
        return
    # Whoever publishes for the first time would see nothing but titles.
    most = SHOWN_LINES if dry_run or not console.is_terminal else SHOWN_IN_TERMINAL
    for outcome in published.outcomes:
        is_news = outcome.changes or outcome.retired
        console.print_hanging(_headline(outcome, dry_run=dry_run), "bold" if is_news else "")
        if outcome.error is not None:
            # Its plan was not carried out, and the reason comes last.
            continue
        for line in outcome.plan[:most]:
            console.print_hanging(line, indent=2, hang=9)
        if len(outcome.plan) > most:
            console.print_hanging(f"… and {len(outcome.plan) - most} more", "dim", indent=2)
        for reason in outcome.skipped:
            console.print_hanging(f"skipped: {reason}", "dim", indent=2)
    if published.access:
        console.print_hanging(f"Access to libraries, which {'would change' if dry_run else 'changed'}:", "bold")
        for sentence in published.access:
            console.print_hanging(sentence, indent=2)
    failed = [outcome for outcome in published.outcomes if outcome.error is not None]
    done = [outcome for outcome in published.outcomes if outcome.error is None]
    console.print_hanging(_summary(done, len(failed), sum(published.writes.values()), dry_run=dry_run))
    if failed:
        raise OperatorError(explain_failures(published.outcomes))


def _summary(done: Sequence[PublishingOutcome], failed: int, sent: int, *, dry_run: bool) -> str:
    """Count what was done; ``sent`` are the changes on the media server."""
    retired = [one for one in done if one.retired]
    parts = []
    if retired:
        parts.append(f"{counted(len(retired), 'lists')} {'would be removed' if dry_run else 'removed'}")
    if len(done) > len(retired) or not retired:
        changes = counted(sum(one.changes for one in done), "entries")
        lists = counted(len(done) - len(retired), "lists")
        parts.append(f"{lists}, {changes} {'would change' if dry_run else 'changed'}")
    parts += [] if dry_run else [f"{counted(sent, 'changes')} on the media server"]
    failures = f"; {failed:,} failed" if failed else ""
    return f"{', '.join(parts)}{failures}.{' Nothing was changed.' if dry_run else ''}"


def _headline(outcome: PublishingOutcome, *, dry_run: bool) -> str:
    if outcome.error is not None:
        return f"{outcome.label}: failed"
    if outcome.retired:
        return f"{outcome.label}: {'would be removed' if dry_run else 'removed'}"
    parts = [
        f"{count} {what}"
        for count, what in (
            (outcome.added, "added"),
            (outcome.changed, "changed"),
            (outcome.removed, "removed"),
            (outcome.waiting, "waiting"),
        )
        if count
    ]
    return f"{outcome.label}: {', '.join(parts) or 'unchanged'} ({counted(outcome.entries, 'titles')})"
