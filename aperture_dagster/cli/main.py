"""The command line, ``aperture``."""

import sys

import click

from aperture_dagster.cli.alert import alert
from aperture_dagster.cli.backup import backup
from aperture_dagster.cli.common import require_free_port, stand_in_options
from aperture_dagster.cli.demo import demo
from aperture_dagster.cli.discover import discover, dismiss
from aperture_dagster.cli.doctor import doctor
from aperture_dagster.cli.publish import publish, unpublish
from aperture_dagster.cli.ratings import rate
from aperture_dagster.cli.requests import request, requests
from aperture_dagster.cli.restore import restore
from aperture_dagster.cli.trakt import trakt
from aperture_dagster.cli.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aperture-dagster")
def main() -> None:
    """Personal recommendations for home media servers."""


@main.command()
@stand_in_options("world", "users")
@click.option("--port", type=click.IntRange(0, 65535), default=8096, show_default=True, help="Port on 127.0.0.1.")
def simulate(world: str, users: int | None, port: int) -> None:
    """Serve only the stand-ins, to look at them or to develop against them."""
    # No other command serves the stand-ins in its own process.
    from aperture_dagster.simulator.__main__ import main as serve

    if port:
        require_free_port("127.0.0.1", port, "aperture simulate")
    sys.exit(serve(["--world", world, "--port", str(port), *(["--users", str(users)] if users else [])]))


for command in (
    demo, up, doctor, backup, restore, alert, publish, unpublish, trakt, discover, dismiss, request, requests, rate,
):  # fmt: skip
    main.add_command(command)

if __name__ == "__main__":
    main()
