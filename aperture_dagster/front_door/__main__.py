"""The front door, with the options of Dagster's webserver: ``python -m aperture_dagster.front_door``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import click
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from aperture_dagster.catalogue.servers import known_server
from aperture_dagster.front_door.app import OPERATE, FrontDoor, members_pages
from aperture_dagster.front_door.gate import Gate
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.home_rows import HomeRows
from aperture_dagster.front_door.house import House
from aperture_dagster.front_door.proxies import Proxies
from aperture_dagster.front_door.secrets import ROWS, read_secret
from aperture_dagster.front_door.server import serve
from aperture_dagster.front_door.set_up import set_up_page
from aperture_dagster.instance.private import webserver
from aperture_dagster.instance.terminal import PlainFormatter
from aperture_dagster.postgres.database import ReadOnlyDatabase
from aperture_dagster.publishing.server.home_rows import RowKeeper, first_member, reachable_address
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.settings.types import is_loopback_only

_LOG = logging.getLogger(__name__)
DEFAULT_PORT = 3000
"""That of Dagster's command."""
DEMO = "aperture.demo"
DEMO_OPTION = click.Option(
    ["--demo"],
    is_flag=True,
    expose_value=False,
    callback=lambda context, _, value: context.meta.update({DEMO: value}),
    help="Show everything to everybody, without a sign-in: for the stand-ins of a demo.",
)

_command, _create_dagster_app = webserver()


def create_app(process_context: Any, path_prefix: str = "", *arguments: Any, **options: Any) -> ASGIApp:
    """Create the application that the server runs: Dagster's below ``/operate`` and the pages, all guarded.

    Raises:
        click.UsageError: other machines would reach a demo, which asks nobody who they are.
    """
    context = click.get_current_context()
    given, is_demo, settings = context.params, context.meta.get(DEMO, False), load_settings()
    listening = given["host"]
    if not is_loopback_only(listening):
        if is_demo:
            raise click.UsageError("A demo has no sign-in: --demo needs a --host that only this machine reaches.")
        if settings.media_server_url is None:
            _LOG.warning("No media server is configured: only a page that says what to set is served.")
            return set_up_page(path_prefix)
    operate = _create_dagster_app(process_context, f"{path_prefix}{OPERATE}", *arguments, **options)
    database = ReadOnlyDatabase(settings)
    gate = Gate(settings, database, is_open=is_demo)
    rows = _rows(settings, database, (listening, given["port"] or DEFAULT_PORT), path_prefix)
    pages = members_pages(House(settings, database, gate, path_prefix), *rows)
    door = FrontDoor(operate, pages, gate, path_prefix)
    return Guard(door, AllowedHosts(listening, settings.ui_allowed_hosts), f"{path_prefix}{OPERATE}/graphql")


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


def _serve(app: ASGIApp, **options: Any) -> None:
    """Run the server in place of uvicorn's own function."""
    serve(app, Proxies(load_settings()), **options)


def _log_with_time() -> None:
    """Date what this program logs, as fail2ban needs it; Dagster has handlers for its own loggers only."""
    handler = logging.StreamHandler()
    dated = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    handler.setFormatter(PlainFormatter(dated))
    logging.getLogger("aperture_dagster").addHandler(handler)


def main() -> None:
    """Run Dagster's command with :func:`create_app` and :func:`serve` in place of what it calls.

    Raises:
        RuntimeError: Dagster's command no longer looks these up in its module, so guard and limits would be missing.
    """
    uvicorn = SimpleNamespace(run=_serve)
    replaced = {_create_dagster_app.__name__: create_app, "uvicorn": uvicorn}
    if not replaced.keys() <= {*_command.host_dagster_ui_with_workspace_process_context.__code__.co_names}:
        raise RuntimeError("This version of dagster-webserver cannot be guarded: install the one in constraints.txt.")
    for name, ours in replaced.items():
        setattr(_command, name, ours)
    _log_with_time()
    _command.cli.params.append(DEMO_OPTION)
    _command.cli(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
