"""Dagster's webserver behind the guard, with its own options: ``python -m aperture_dagster.front_door``."""

from __future__ import annotations

from typing import Any

import click

from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.instance.private import webserver
from aperture_dagster.settings import load_settings

_command, _create_dagster_app = webserver()


def create_app(process_context: Any, path_prefix: str = "", *arguments: Any, **options: Any) -> Guard:
    """Create the application that the server runs: Dagster's, guarded."""
    listening = click.get_current_context().params["host"]
    app = _create_dagster_app(process_context, path_prefix, *arguments, **options)
    return Guard(app, AllowedHosts(listening, load_settings().ui_allowed_hosts), path_prefix)


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
