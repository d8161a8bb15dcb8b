"""The front door, with the options of Dagster's webserver: ``python -m aperture_dagster.front_door``."""

from __future__ import annotations

import functools
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from aperture_dagster.catalogue.servers import known_server
from aperture_dagster.front_door import jobs_page
from aperture_dagster.front_door.app import OPERATE, FrontDoor, members_pages
from aperture_dagster.front_door.clients.any_origin import open_paths
from aperture_dagster.front_door.dagster_queries import DagsterQueries
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.home_rows import HomeRows
from aperture_dagster.front_door.house import House
from aperture_dagster.front_door.not_set_up import not_set_up_page
from aperture_dagster.front_door.proxies import Proxies
from aperture_dagster.front_door.secrets import ROWS, read_secret
from aperture_dagster.front_door.server import serve
from aperture_dagster.instance.private import webserver, webserver_options
from aperture_dagster.instance.terminal import PlainFormatter
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.publishing.server.row_keeper import RowKeeper, first_member, reachable_address
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.settings.types import is_loopback_only

_LOG = logging.getLogger(__name__)
DEFAULT_PORT = 3000
"""The default of Dagster's command."""
DEMO_OPTION = click.Option(
    ["--demo"],
    is_flag=True,
    help="Show everything to everybody, without a sign-in: for the stand-ins of a demo.",
)
LISTENING_OPTION = click.Option(
    ["--listening"], type=int, hidden=True, help="Descriptor of a socket that listens at the address already."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pages are served: host and port, the path before all of them, and whether it is a demo."""

    host: str
    port: int = DEFAULT_PORT
    path_prefix: str = ""
    is_demo: bool = False


def create_app(place: Place, settings: Settings, create_operate: Callable[[str], ASGIApp]) -> ASGIApp:
    """Create the application that the server runs: Dagster's below ``/operate`` and the pages, all guarded.

    ``create_operate`` creates Dagster's application for a path.

    Raises:
        click.UsageError: other machines would reach a demo, which asks nobody who they are.
    """
    if not is_loopback_only(place.host):
        if place.is_demo:
            raise click.UsageError("A demo has no sign-in: --demo needs a --host that only this machine reaches.")
        if settings.media_server_url is None:
            _LOG.warning("No media server is configured: only a page that says what to set is served.")
            return not_set_up_page(place.path_prefix)
    operate = create_operate(f"{place.path_prefix}{OPERATE}")
    database = ReadOnlyDatabase(settings)
    gate = Gate(settings, database, is_open=place.is_demo)
    rows = _rows(settings, database, (place.host, place.port), place.path_prefix)
    house = House(settings, database, gate, place.path_prefix)
    graphql = f"{place.path_prefix}{OPERATE}/graphql"
    pages = members_pages(house, *rows, *jobs_page.routes(house, DagsterQueries(operate, graphql)))
    door = FrontDoor(operate, pages, gate, place.path_prefix)
    allowed = AllowedHosts(place.host, settings.ui_allowed_hosts)
    return Guard(door, allowed, graphql, open_paths(place.path_prefix))


def _rows(
    settings: Settings, database: ReadOnlyDatabase, listening: tuple[str, int], prefix: str
) -> Iterator[BaseRoute]:
    """Yield the route of the home screen's rows, and keep them registered; nothing unless they are turned on."""
    if not settings.publish or settings.publish_as != "rows" or settings.media_server_url is None:
        return
    server, rows = settings.media_server_url, HomeRows(settings, database, read_secret(settings, ROWS))

    def endpoint(row_id: str) -> str:
        return f"{reachable_address(server, *listening)}{prefix}{rows.path(row_id)}"

    opened = functools.partial(known_server, settings, database)
    RowKeeper(lambda: rows.answered, opened, endpoint, functools.partial(first_member, settings, database)).start()
    yield rows.route()


def _log_with_time() -> None:
    """Date what this program logs, as fail2ban needs it; Dagster has handlers for its own loggers only."""
    handler = logging.StreamHandler()
    dated = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    handler.setFormatter(PlainFormatter(dated))
    logging.getLogger("aperture_dagster").addHandler(handler)


def run(
    *,
    host: str,
    port: int | None,
    path_prefix: str,
    demo: bool,
    listening: int | None,
    uvicorn_log_level: str,
    **options: Any,
) -> None:
    """Serve Dagster's UI and the members' pages until a signal arrives."""
    settings, place = load_settings(), Place(host, port or DEFAULT_PORT, path_prefix, demo)
    _log_with_time()
    with webserver(options) as create_operate:
        app = create_app(place, settings, create_operate)
        passed_on = None if listening is None else socket.socket(fileno=listening)
        where = {"host": place.host, "port": place.port}
        serve(app, Proxies(settings), listening=passed_on, **where, log_level=uvicorn_log_level)


command = click.Command(
    "aperture_dagster.front_door", params=[*webserver_options(), DEMO_OPTION, LISTENING_OPTION], callback=run
)


if __name__ == "__main__":
    command(auto_envvar_prefix="DAGSTER_WEBSERVER")
