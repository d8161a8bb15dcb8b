"""``aperture simulate``: serve only the stand-ins."""

from __future__ import annotations

import sys

import click

from aperture_dagster.cli.requirements import require_free_port
from aperture_dagster.cli.stand_ins import StandIns, stand_in_options


@click.command()
@stand_in_options
@click.option("--port", type=click.IntRange(0, 65535), default=8096, show_default=True, help="Port on 127.0.0.1.")
def simulate(stand_ins: StandIns, port: int) -> None:
    """Serve only the stand-ins, to look at them or to develop against them.

    Example: aperture simulate --server emby --world odd
    """
    # No other command serves the stand-ins in its own process.
    from aperture_dagster.simulator.__main__ import main as serve

    if port:
        require_free_port("127.0.0.1", port, "aperture simulate")
    sys.exit(serve(stand_ins.arguments(port=port)))
