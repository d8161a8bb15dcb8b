"""``aperture publish`` and ``aperture unpublish``: publish now, show what would change, or take everything back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.text import Text

from aperture_dagster.cli.common import operator_errors
from aperture_dagster.cli.terminal import Console
from aperture_dagster.errors import OperatorError
from aperture_dagster.publishing.outcome import explain_failures
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.sources.services import Services

if TYPE_CHECKING:
    from aperture_dagster.defs.publishing.publication import Publication, Published
    from aperture_dagster.publishing.outcome import Outcome

SHOWN_LINES = 60
log = logging.getLogger(__name__)


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
def publish(dry_run: bool) -> None:
    """Publish all lists on the media server now."""
    console = Console()
    with _errors():
        settings = load_settings()
        if not settings.publish:
            raise OperatorError("Publishing is off: set APERTURE_PUBLISH and APERTURE_PUBLISH_ROOT.")
        with _publication(settings, console, dry_run=dry_run) as publication:
            published = publication.publish_all()
    _show(console, published, dry_run=dry_run)


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.confirmation_option(prompt="Remove everything that was published on the media server?")
def unpublish(dry_run: bool) -> None:
    """Remove everything that was published on the media server: libraries, collections, playlists and files.

    Do so before an upgrade from Jellyfin 10.10 to 10.11, which would move what was watched from originals to published
    copies; publish again afterwards.
    """
    console = Console()
    with _errors():
        settings = load_settings()
        if settings.publish_root is None:
            raise OperatorError("APERTURE_PUBLISH_ROOT is not set: set it to the folder that was published to.")
        with _publication(settings, console, dry_run=dry_run) as publication:
            published = publication.unpublish()
    _show(console, published, dry_run=dry_run)


@contextmanager
def _errors() -> Iterator[None]:
    # Dagster's part of the package, which no other command of this module needs.
    from aperture_dagster.defs.failures import EXPECTED

    try:
        with operator_errors():
            yield
    except EXPECTED as error:
        raise OperatorError(str(error)) from None


@contextmanager
def _publication(settings: Settings, console: Console, *, dry_run: bool) -> Iterator[Publication]:
    from aperture_dagster.defs.publishing.publication import Publication, why_not_published
    from aperture_dagster.defs.publishing.user_libraries import tmdb_picture

    why_not_published(settings)
    database, clock = Database(settings), Clock()
    services = Services(settings, database, clock)
    handler = _ConsoleHandler(console)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with MediaServers(settings, database).open_writer(dry_run=dry_run) as writer:
            yield Publication(
                settings, database, writer, clock, log, fetch_from_tmdb=tmdb_picture(services), dry_run=dry_run
            )
    finally:
        log.removeHandler(handler)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Show a message."""
        style = "yellow" if record.levelno >= logging.WARNING else "dim"
        self._console.print(Text(record.getMessage(), style))


def _show(console: Console, published: Published, *, dry_run: bool) -> None:
    for outcome in published.outcomes:
        console.print(Text(_headline(outcome, dry_run=dry_run), "bold" if outcome.changes or outcome.retired else ""))
        for line in outcome.plan[:SHOWN_LINES]:
            console.print(Text(f"  {line}"))
        if len(outcome.plan) > SHOWN_LINES:
            console.print(Text(f"  … and {len(outcome.plan) - SHOWN_LINES} more", "dim"))
        for reason in outcome.skipped:
            console.print(Text(f"  skipped: {reason}", "dim"))
    sent = sum(published.writes.values())
    console.print(
        f"{len(published.outcomes):,} lists, {sum(one.changes for one in published.outcomes):,} entries "
        f"{'would change' if dry_run else 'changed'}, {0 if dry_run else sent:,} changes on the media server."
    )
    if any(outcome.error is not None for outcome in published.outcomes):
        raise OperatorError(explain_failures(published.outcomes))


def _headline(outcome: Outcome, *, dry_run: bool) -> str:
    if outcome.retired:
        return f"{outcome.name}: {'would be removed' if dry_run else 'removed'}"
    if outcome.error is not None:
        return f"{outcome.name}: failed"
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
    return f"{outcome.name}: {', '.join(parts) or 'unchanged'} ({outcome.entries} titles)"
