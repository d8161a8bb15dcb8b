"""Run the stand-ins as a process: ``python -m aperture_dagster.simulator --world demo --port 0``."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from aperture_dagster.files.private import FileError
from aperture_dagster.simulator import saved
from aperture_dagster.simulator.demo_world import load_demo_world
from aperture_dagster.simulator.folder_world import load_folder_world
from aperture_dagster.simulator.server import Simulator, listen, make_server
from aperture_dagster.simulator.settings import SimulatorSettings, environment
from aperture_dagster.simulator.world import World
from aperture_dagster.simulator.worlds import WorldSize, generate_world, odd_world

_PARENT_POLL_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Serve a world until stopped, or until the parent process ends. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.parent_pid is not None:
        _exit_with(options.parent_pid)
    try:
        world = load_world(options.world, users=options.users, now=datetime.now(UTC))
        listener = listen(options.port)
    except (ValueError, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    settings = SimulatorSettings(
        jellyfin_version=options.jellyfin_version,
        emby_version=options.emby_version,
        media_server=options.media_server,
        volumes=dict(options.volume),
        scan_entries_per_second=options.scan_entries_per_second,
        tmdb_limit=(int(options.tmdb_limit[0]), options.tmdb_limit[1]),
        omdb_daily_limit=options.omdb_daily_limit,
        mdblist_daily_limit=options.mdblist_daily_limit,
    )
    # What a saved state is valid for.
    of = {"world": options.world, "users": options.users, "server": [options.media_server, *settings.rules.version]}
    simulator = make_simulator(world, settings, options.state, of)
    server = make_server(simulator)
    # The world stays in memory. Collecting it as garbage would delay responses now and then.
    gc.collect()
    gc.freeze()
    port = listener.getsockname()[1]
    failures: list[OSError] = []
    announced = (server, port, options.port_file, settings, failures)
    threading.Thread(target=_announce, args=announced, daemon=True).start()
    if options.state is not None:
        # The server raises the signal that stopped it once more.
        signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 130
    finally:
        # The folder is missing if nothing was done but serving.
        if options.state is not None and options.state.parent.is_dir():
            with contextlib.suppress(FileError):
                saved.save(simulator.state, options.state, of)
    for failure in failures:
        print(f"simulator: {failure}", file=sys.stderr)
    return 2 if failures else 0


def make_simulator(
    world: World, settings: SimulatorSettings | None, path: Path | None, of: Mapping[str, Any]
) -> Simulator:
    """Make the stand-ins, in the state that a file has, if it can be used."""
    simulator = Simulator(world, settings)
    if path is not None:
        try:
            saved.restore(simulator.state, path, of)
        except saved.NotRestored as error:
            print(f"simulator: {error}", file=sys.stderr)
            return Simulator(world, settings)
    return simulator


def load_world(name: str, *, users: int | None, now: datetime) -> World:
    """Load a world by name: ``demo``, ``odd``, ``generated[:movies=N,...]`` or a folder. Raises ValueError."""
    if name == "demo":
        return load_demo_world(now=now, users=users)
    if name == "odd":
        return odd_world(now)
    if name == "generated" or name.startswith("generated:"):
        sizes = {"movies": 1_000, "series": 50, "episodes": 1_000, "users": users or 10, "plays": 5_000, "seed": 1}
        for part in filter(None, name.partition(":")[2].split(",")):
            key, _, value = part.partition("=")
            if key not in sizes or not value.isdecimal():
                raise ValueError(f"unknown size {part!r} in {name!r}: use {', '.join(sizes)}, each with =NUMBER")
            sizes[key] = int(value)
        seed = sizes.pop("seed")
        return generate_world(WorldSize(**sizes), seed=seed, now=now)
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"unknown world {name!r}: use demo, odd, generated or a folder")
    return load_folder_world(folder, users=users, now=now)


def _volume(text: str) -> tuple[str, str]:
    """Parse a volume. Raises ArgumentTypeError."""
    server, separator, here = text.partition("=")
    if not separator or not server.startswith("/") or not Path(here).is_absolute():
        raise argparse.ArgumentTypeError(f"expected two absolute paths, SERVER=HERE, not {text!r}")
    return server, here


def _parser() -> argparse.ArgumentParser:
    defaults = SimulatorSettings()
    parser = argparse.ArgumentParser(prog="python -m aperture_dagster.simulator", description=__doc__)
    parser.add_argument(
        "--world", default="demo", help="demo, odd, generated[:movies=N,...], or a folder of real ratings"
    )
    parser.add_argument("--users", type=int, help="limit the number of users")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: any free port")
    parser.add_argument("--port-file", type=Path, help="file to write the port to once requests are answered")
    parser.add_argument(
        "--state", type=Path, help="file that keeps what clients changed on the media server, from one run to the next"
    )
    parser.add_argument("--parent-pid", type=int, help="exit when the parent, which has this id, ends")
    parser.add_argument("--jellyfin-version", default=defaults.jellyfin_version)
    parser.add_argument("--emby-version", default=defaults.emby_version)
    parser.add_argument(
        "--media-server",
        choices=("jellyfin", "emby"),
        default=defaults.media_server,
        help="the one whose libraries can be changed and scanned",
    )
    parser.add_argument(
        "--volume",
        type=_volume,
        action="append",
        default=[],
        metavar="SERVER=HERE",
        help="a folder of this machine, and the path at which the media server sees it; repeatable",
    )
    parser.add_argument(
        "--scan-entries-per-second",
        type=float,
        metavar="NUMBER",
        help="films and episodes that a scan reads per second; default: all at once",
    )
    parser.add_argument(
        "--tmdb-limit",
        nargs=2,
        type=float,
        default=(1000, 1.0),
        metavar=("REQUESTS", "SECONDS"),
        help="rate limit of TMDb",
    )
    for service in ("omdb", "mdblist"):
        default = getattr(defaults, f"{service}_daily_limit")
        parser.add_argument(f"--{service}-daily-limit", type=int, default=default, help="requests allowed per day")
    return parser


def _announce(
    server: uvicorn.Server, port: int, port_file: Path | None, settings: SimulatorSettings, failures: list[OSError]
) -> None:
    while not server.started:
        time.sleep(0.005)
    if port_file is not None:
        # Rename the file into place, so that a reader finds the whole number or no file.
        temporary = port_file.with_name(f"{port_file.name}.{os.getpid()}")
        try:
            temporary.write_text(f"{port}\n", encoding="utf-8")
            temporary.replace(port_file)
        except OSError as error:
            # Without the file, nobody would find the server.
            failures.append(error)
            server.should_exit = True
            return
    root = f"http://127.0.0.1:{port}"
    lines = [f"{name}={value}" for name, value in environment(root, settings=settings).items()]
    print(f"simulator: {root}", *lines, sep="\n", flush=True)


def _exit_with(parent: int) -> None:
    """End this process when its parent, which has this id, ends for whatever reason."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_SECONDS)
        # There is nothing to save, and a request in progress must not delay the exit.
        os._exit(0)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
