"""``aperture sign-out-everybody``: end the sessions of all members."""

from __future__ import annotations

import click

from aperture_dagster.cli.common import echo, operator_errors
from aperture_dagster.cli.demo import home_option, load_settings_of
from aperture_dagster.front_door.secrets import end_all_sessions


@click.command("sign-out-everybody")
@home_option
def sign_out_everybody(home: str | None) -> None:
    """End the sessions of all members on the web pages, at once; everybody has to sign in again."""
    with operator_errors():
        end_all_sessions(load_settings_of(home))
    echo("All sessions have ended.")
