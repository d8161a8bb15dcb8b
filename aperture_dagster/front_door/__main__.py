"""Dagster's webserver behind the guard, with its own options: ``python -m aperture_dagster.front_door``."""

from __future__ import annotations

from typing import Any

import click
import dagster_webserver.cli as dagsters
from dagster_webserver.app import create_app_from_workspace_process_context as create_dagsters_app

from aperture_dagster.front_door.guard import AllowedHosts, Guard
from aperture_dagster.settings import load_settings


def create_app(process_context: Any, path_prefix: str = "", *arguments: Any, **options: Any) -> Guard:
    """Create the application that the server runs: Dagster's, guarded."""
    listening = click.get_current_context().params["host"]
    app = create_dagsters_app(process_context, path_prefix, *arguments, **options)
    return Guard(app, AllowedHosts(listening, load_settings().ui_allowed_hosts), path_prefix)


def main() -> None:
    """Run Dagster's command, which looks the function that creates its application up in its module.

    Raises:
        RuntimeError: it no longer does, and would run without the guard.
    """
    name = create_dagsters_app.__name__
    if name not in dagsters.host_dagster_ui_with_workspace_process_context.__code__.co_names:
        raise RuntimeError("This version of dagster-webserver cannot be guarded: install the one in constraints.txt.")
    setattr(dagsters, name, create_app)
    dagsters.cli(auto_envvar_prefix="DAGSTER_WEBSERVER")


if __name__ == "__main__":
    main()
