"""Run the stand-ins as a process of their own: ``python -m aperture_dagster.simulator --world demo --port 0``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from aperture_dagster.simulator.environment import environment
from aperture_dagster.simulator.server import Simulator, listen, make_server
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import World

if TYPE_CHECKING:
    import uvicorn

_PARENT_POLL_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Serve a world until stopped, or until the parent process is gone. Returns the exit code."""
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
        tmdb_limit=(int(options.tmdb_limit[0]), options.tmdb_limit[1]),
        omdb_daily_limit=options.omdb_daily_limit,
        mdblist_daily_limit=options.mdblist_daily_limit,
    )
    server = make_server(Simulator(world, settings))
    # The world stays: looking through all of it for garbage would hold up answers now and then.
    gc.collect()
    gc.freeze()
    port = listener.getsockname()[1]
    failures: list[OSError] = []
    announced = (server, port, options.port_file, settings, failures)
    threading.Thread(target=_announce, args=announced, daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 130
    for failure in failures:
        print(f"simulator: {failure}", file=sys.stderr)
    return 2 if failures else 0


def load_world(name: str, *, users: int | None, now: datetime) -> World:
    """``demo``, ``odd``, ``generated:movies=…,series=…,episodes=…,plays=…,seed=…``, or a folder. Raises ValueError."""
    if name == "demo":
        from aperture_dagster.simulator.demo_world import load_demo_world

        return load_demo_world(now=now, users=users)
    if name == "odd":
        from aperture_dagster.simulator.generated_world import odd_world

        return odd_world(now)
    if name == "generated" or name.startswith("generated:"):
        from aperture_dagster.simulator.generated_world import generate_world

        sizes = {"movies": 1_000, "series": 50, "episodes": 1_000, "users": users or 10, "plays": 5_000, "seed": 1}
        for part in filter(None, name.partition(":")[2].split(",")):
            key, _, value = part.partition("=")
            if key not in sizes or not value.isdecimal():
                raise ValueError(f"{part!r} in {name!r}: known are {', '.join(sizes)}, each with =NUMBER")
            sizes[key] = int(value)
        return generate_world(**sizes, now=now)
    from aperture_dagster.simulator.folder_world import load_folder_world

    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"no world {name!r}: neither demo, odd, generated nor a folder")
    return load_folder_world(folder, users=users, now=now)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aperture_dagster.simulator", description=__doc__)
    parser.add_argument(
        "--world", default="demo", help="demo, odd, generated[:movies=N,...], or a folder of real ratings"
    )
    parser.add_argument("--users", type=int, help="only so many users")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="written with the port as soon as requests are answered")
    parser.add_argument("--parent-pid", type=int, help="exit when this process is gone")
    parser.add_argument("--jellyfin-version", default="12.0.0")
    parser.add_argument(
        "--tmdb-limit",
        nargs=2,
        type=float,
        default=(1000, 1.0),
        metavar=("REQUESTS", "SECONDS"),
        help="enforced by TMDb",
    )
    for service in ("omdb", "mdblist"):
        usual = getattr(SimulatorSettings(), f"{service}_daily_limit")
        parser.add_argument(f"--{service}-daily-limit", type=int, default=usual, help="requests allowed a day")
    return parser


def _announce(
    server: uvicorn.Server, port: int, port_file: Path | None, settings: SimulatorSettings, failures: list[OSError]
) -> None:
    while not server.started:
        time.sleep(0.005)
    if port_file is not None:
        # Renamed into place: a reader finds the whole number or no file.
        temporary = port_file.with_name(f"{port_file.name}.{os.getpid()}")
        try:
            temporary.write_text(f"{port}\n", encoding="utf-8")
            temporary.replace(port_file)
        except OSError as error:
            # Nobody would find the server.
            failures.append(error)
            server.should_exit = True
            return
    root = f"http://127.0.0.1:{port}"
    lines = [f"{name}={value}" for name, value in environment(root, settings=settings).items()]
    print(f"simulator: {root}", *lines, sep="\n", flush=True)


def _exit_with(parent: int) -> None:
    """Watch a process and end this one when it is gone, however it went."""
    born = _birth(parent)
    is_child = os.getppid() == parent

    def watch() -> None:
        while True:
            if is_child and os.getppid() != parent:
                break
            if not is_child and (born is None or _birth(parent) != born):
                break
            time.sleep(_PARENT_POLL_SECONDS)
        # Nothing here needs saving, and a server in the middle of a request must not delay it.
        os._exit(0)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _birth(pid: int) -> str | None:
    """What tells a process from a later one of the same number; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


if __name__ == "__main__":
    sys.exit(main())
