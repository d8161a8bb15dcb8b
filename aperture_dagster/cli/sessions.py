"""``aperture sign-out-everybody``: end the sessions of all members."""

from __future__ import annotations

import click

from aperture_dagster.cli.errors import operator_errors
from aperture_dagster.cli.terminal import echo
from aperture_dagster.front_door.secrets import end_all_sessions
from aperture_dagster.settings import load_settings


@click.command("sign-out-everybody")
def sign_out_everybody() -> None:
    """End the sessions of all members on the web pages, at once; everybody has to sign in again."""
    with operator_errors():
        end_all_sessions(load_settings())
    echo("All sessions have ended.")
