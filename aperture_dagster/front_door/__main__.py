"""The front door, with the options of Dagster's webserver: ``python -m aperture_dagster.front_door``."""

from __future__ import annotations

from typing import Any

import click

from aperture_dagster.front_door.app import OPERATE, FrontDoor
from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.front_door.pages import Pages
from aperture_dagster.instance.private import webserver
from aperture_dagster.postgres.read_only import ReadOnlyDatabase
from aperture_dagster.settings import load_settings

_command, _create_dagster_app = webserver()


def create_app(process_context: Any, path_prefix: str = "", *arguments: Any, **options: Any) -> Guard:
    """Create the application that the server runs: Dagster's below ``/operate`` and the pages, all guarded."""
    listening = click.get_current_context().params["host"]
    operate = _create_dagster_app(process_context, f"{path_prefix}{OPERATE}", *arguments, **options)
    settings = load_settings()
    pages = Pages(settings, ReadOnlyDatabase(settings), path_prefix).application()
    door = FrontDoor(operate, pages, path_prefix)
    return Guard(door, AllowedHosts(listening, settings.ui_allowed_hosts), f"{path_prefix}{OPERATE}/graphql")


def main() -> None:
    """Run Dagster's command with :func:`create_app` in place of the function that creates its application.

    Raises:
        RuntimeError: Dagster's command no longer looks that function up in its module, so the guard would be missing.
    """
    name = _create_dagster_app.__name__
    if name not in _command.host_dagster_ui_with_workspace_process_context.__code__.co_names:
        raise RuntimeError("This version of dagster-webserver cannot be guarded: install the one in constraints.txt.")
    setattr(_command, name, create_app)
    _command.cli(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
