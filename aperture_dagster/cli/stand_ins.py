"""The stand-ins for every service, as a process that commands and benchmarks run."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import click

from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.model.errors import OperatorError

Server = Literal["jellyfin", "jellyfin@10.9", "jellyfin@10.10", "jellyfin@10.11", "jellyfin@12", "emby"]
"""A media server that the stand-ins imitate; without a version, the newest."""
JELLYFIN_VERSIONS = {"10.9": "10.9.11", "10.10": "10.10.7", "10.11": "10.11.11", "12": "12.0.0"}
START_SECONDS = 60
# Enough for any world in one day; the real services allow 1,000.
REQUESTS_A_DAY = 1_000_000
# Below the ports that systems give to outgoing connections.
FIRST_PORT, PORTS = 20_000, 12_000


@dataclass(frozen=True)
class StandIns:
    """What the stand-ins serve: a world, with its first users only, and the media server that they imitate."""

    world: str = "demo"
    users: int | None = None
    server: Server = "jellyfin"

    def options(self) -> list[str]:
        """Return what was chosen, as options of a command."""
        default = StandIns()
        return [
            f"--{name} {shlex.quote(str(value))}"
            for name, value in (("server", self.server), ("world", self.world), ("users", self.users))
            if value != getattr(default, name)
        ]

    def arguments(self, *, port: int) -> list[str]:
        """Return the arguments of the program ``aperture_dagster.simulator``."""
        kind, _, version = self.server.partition("@")
        arguments = ["--world", self.world, "--port", str(port), "--media-server", kind]
        arguments += ["--jellyfin-version", JELLYFIN_VERSIONS[version]] if version else []
        return arguments + (["--users", str(self.users)] if self.users is not None else [])

    def demo_arguments(self, *, lists: Path | None, port: int, state: Path | None = None) -> list[str]:
        """Return the arguments for a demo: any world is enriched in one day, and the media server sees ``lists``.

        ``state`` is the file that keeps what was changed on the media server.
        """
        from aperture_dagster.simulator.settings import VOLUME

        limits = [f"--{source}-daily-limit={REQUESTS_A_DAY}" for source in _limited_sources()]
        volume = ["--volume", f"{VOLUME}={lists}"] if lists is not None else []
        kept = ["--state", str(state)] if state is not None else []
        return [*self.arguments(port=port), *limits, *volume, *kept]

    def require_world(self) -> None:
        """Load the world once; OperatorError says why that is impossible."""
        if self.world == StandIns().world:
            return
        from aperture_dagster.simulator.__main__ import load_world

        try:
            load_world(self.world, users=self.users, now=datetime.now(UTC))
        except (ValueError, OSError) as error:
            raise OperatorError(f"The stand-ins did not start: {error}") from None

    def environment(self, address: str) -> dict[str, str]:
        """Return the environment that points every service at these stand-ins, which listen at an address."""
        from aperture_dagster.simulator.settings import SimulatorSettings, environment

        limits: dict[str, Any] = {f"{source}_daily_limit": REQUESTS_A_DAY for source in _limited_sources()}
        return environment(address, self.server.partition("@")[0], SimulatorSettings(**limits))

    @contextlib.contextmanager
    def running(
        self, *, lists: Path | None = None, port: int = 0, state: Path | None = None
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Run the stand-ins in a process that ends with the block, or by itself when this process dies.

        Yields its id and the environment that points every service at them. They see the folder ``lists`` at `VOLUME`,
        as a server in a container would. Port 0 is any free one. The file ``state`` keeps what was changed on the media
        server, for the next time.

        Raises:
            OperatorError: they did not start; with their last line of output.
        """
        command = [sys.executable, "-m", "aperture_dagster.simulator", "--parent-pid", str(os.getpid())]
        command += self.demo_arguments(lists=lists, port=port, state=state)
        with (
            tempfile.TemporaryFile() as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True) as process,
        ):
            assert process.stdout is not None
            try:
                # Its first line is its address, printed as soon as it answers requests.
                ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
                line = process.stdout.readline().decode() if ready else ""
                if not line:
                    log.seek(0)
                    output = log.read().decode("utf-8", "replace").strip().splitlines()
                    reason = output[-1].removeprefix("simulator: ") if output else "no answer in time"
                    raise OperatorError(f"The stand-ins did not start: {reason}")
                yield process.pid, self.environment(line.removeprefix("simulator: ").strip())
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _limited_sources() -> list[str]:
    return [source.name for source in SOURCES if source.daily_limit is not None]


def usual_port(home: Path) -> int:
    """The port of a home's stand-ins, so that pictures in earlier results are still found there; 0 if it is in use."""
    port = FIRST_PORT + zlib.crc32(str(home).encode()) % PORTS
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _absolute(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Make a folder absolute, since the stand-ins may look from elsewhere; other worlds have names."""
    folder = Path(value).expanduser()
    return str(folder.resolve()) if folder.is_dir() else value


def stand_in_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the stand-ins serve; the command gets them as ``stand_ins``."""

    @click.option(
        "--world", default="demo", show_default=True, callback=_absolute,
        help="What the stand-ins serve: 'demo', 'odd', 'generated:movies=N,…', or a folder with movies.jsonl.gz and "
        "ratings.csv.gz.",
    )  # fmt: skip
    @click.option("--users", type=click.IntRange(min=1), help="Serve only the first N users.")
    @click.option(
        "--server", type=click.Choice(get_args(Server)), default="jellyfin", show_default=True,
        help="The media server that the stand-ins imitate, and its version.",
    )  # fmt: skip
    @functools.wraps(command)
    def with_stand_ins(world: str, users: int | None, server: Server, **others: Any) -> Any:
        return command(stand_ins=StandIns(world, users, server), **others)

    return with_stand_ins
