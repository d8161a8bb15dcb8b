"""Examine whether lists can be published."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.media_server.jellyfin.home_screen import HomeScreen
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.disk.roots import Roots, root_choice
from aperture_dagster.publishing.manifest import Manifest
from aperture_dagster.publishing.server import preflight
from aperture_dagster.publishing.server.home_rows import examine_rows
from aperture_dagster.settings import Settings


def examine_publishing(settings: Settings, database: Database) -> Iterator[Finding]:
    """Whether lists can be published: the folder, how the media server sees it, and what would not play."""
    if not settings.publish:
        yield Finding("publishing", "off", "APERTURE_PUBLISH is off: nothing is written to the media server")
        return
    if settings.publish_as == "rows":
        yield _home_rows(settings, database)
        return
    if settings.publish_root is None:
        raise OperatorError("APERTURE_PUBLISH is on, but APERTURE_PUBLISH_ROOT is not set")
    with MediaServers(settings, database).open_writer() as writer:
        manifest = Manifest(database.transaction, database.connection)
        found = preflight.examine_publishing(
            settings, writer, Roots(manifest, root_choice(settings, database), dry_run=True)
        )
    if found.problems:
        yield Finding("publishing", "failed", " ".join(found.problems))
    else:
        yield Finding("publishing", "warning" if found.warnings else "ok", " ".join(found.warnings) or found.about)


def _home_rows(settings: Settings, database: Database) -> Finding:
    """Whether the media server has the plugin for rows, and gets their titles."""
    today = Clock().now().astimezone(ZoneInfo(settings.schedule_timezone)).date()
    with MediaServers(settings, database).open() as server, database.transaction() as connection:
        users = who_takes_part(settings, read_users(connection))
        is_well, message = examine_rows(connection, HomeScreen(server.transport), users, today)
    return Finding("home rows", "ok" if is_well else "failed", message)
