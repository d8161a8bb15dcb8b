"""The home that a command works in: the operator's own, or a demo's."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import click

from aperture_dagster.cli.stand_ins import Server, StandIns, usual_port
from aperture_dagster.cli.terminal import echo
from aperture_dagster.files.private import write_file
from aperture_dagster.instance.home import use_dagster_home
from aperture_dagster.settings import (
    FROM_FILE,
    PREFIX,
    Settings,
    copied_variables,
    environment_names,
    groups,
    load_settings,
    secret_names,
)
from aperture_dagster.settings.home import default_home

ANSWER_SECONDS = 10


LISTS = "libraries"
"""The folder in the home that the stand-in for the media server can read."""
STATE = "stand-ins.json"
"""The file in the home that keeps what was changed on that stand-in, so that libraries need not be made again."""
SERVED = "demo.json"
"""The file in the home of a demo that says what its stand-ins served last, and where. No other home has it."""

demo_home_option = click.option(
    "--home",
    type=click.Path(file_okay=False),
    help="Folder to keep everything in. Default for stand-ins: the folder 'demo' in APERTURE_HOME.",
)


def demo_home(home: str | None, server: Server = "jellyfin") -> Path:
    """The folder of the demo: as given, or ``demo`` in the operator's own home, apart from its contents.

    A home belongs to one server, so the demo on another server or version has its own.
    """
    if home:
        return Path(home).expanduser().resolve()
    own = Path(os.environ.get(PREFIX + "HOME") or default_home()).expanduser()
    return (own / ("demo" if server == "jellyfin" else f"demo-{server.replace('@', '-')}")).resolve()


def note_served(home: Path, stand_ins: StandIns, environment: Mapping[str, str]) -> None:
    """Note in the home of a demo what its stand-ins serve, and where, for :func:`settings_to_act_with`."""
    address = urlsplit(environment[PREFIX + "MEDIA_SERVER_URL"])
    served = {**asdict(stand_ins), "address": f"{address.scheme}://{address.netloc}"}
    write_file(home / SERVED, json.dumps(served).encode())


def _read_served(home: Path) -> tuple[StandIns, str] | None:
    """Return what the stand-ins of a demo served last, and their address; None in another home."""
    try:
        served = json.loads((home / SERVED).read_bytes())
        return StandIns(served["world"], served["users"], served["server"]), served["address"]
    except (OSError, ValueError, KeyError):
        return None


home_option = click.option(
    "--home", type=click.Path(file_okay=False), help="Folder to work in. Default: your own, or else the demo's."
)
"""The option of commands that look into a home, or act on the media server of one."""


@contextlib.contextmanager
def settings_to_act_with(home: str | None) -> Iterator[Settings]:
    """Load the settings for a command that acts on the media server: the operator's, or else the demo's.

    Without a media server, and in the home of a demo, everything real is removed from the environment, as for the demo
    itself. Its stand-ins run at least until the block ends. A line says so.

    Raises:
        OperatorError: the stand-ins did not start.
    """
    settings = load_settings_of(home)
    demos = [(folder, *served) for folder in _demo_homes(home, settings) if (served := _read_served(folder))]
    # Half of a configuration is a mistake to be reported.
    if settings.media_server_url or settings.media_server_api_key or not demos:
        yield settings
        return
    folder, stand_ins, address = demos[0]
    environment, lists = stand_ins.environment(address), folder / LISTS
    with contextlib.ExitStack() as stack:
        about = "runs" if (are_running := _answers(environment)) else "does not run, so its stand-ins are started"
        echo(f"No media server is configured: this is about the demo in {folder}, which {about}.", err=True)
        if not are_running:
            _, environment = stack.enter_context(
                stand_ins.running(lists=lists, port=usual_port(folder), state=folder / STATE)
            )
        yield point_at(environment, folder, lists)


def _answers(environment: Mapping[str, str]) -> bool:
    """Return whether the stand-in for the media server accepts its key: nothing else that uses its port would."""
    url, key = (environment[f"{PREFIX}MEDIA_SERVER_{name}"] for name in ("URL", "API_KEY"))
    # Of Jellyfin and of Emby.
    headers = {"Authorization": f'MediaBrowser Token="{key}"', "X-Emby-Token": key}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(urllib.request.Request(f"{url}/System/Info", headers=headers), timeout=ANSWER_SECONDS).close()
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True


def settings_of_home(home: str | None) -> Settings:
    """Load the settings for a command that looks into a home: the given one, the operator's own, or else the demo's.

    Without a media server, everything real is removed from the environment, as for the demo itself.
    """
    settings = load_settings_of(home)
    if settings.media_server_url is not None:
        use_dagster_home(settings, create=False)
        return settings
    folders = _demo_homes(home, settings)
    return point_at({}, next((one for one in folders if (one / "postgres").exists()), folders[0]), create=False)


def _demo_homes(home: str | None, settings: Settings) -> list[Path]:
    """Return the folders that may be the home of a demo; APERTURE_HOME may name one itself."""
    return [demo_home(home)] if home is not None else [demo_home(None), settings.home_path]


def load_settings_of(home: str | None) -> Settings:
    """Load the settings with another home, which this process and its children then use, too."""
    if home is not None:
        # First, since an installed package reads its settings from there.
        os.environ[PREFIX + "HOME"] = str(Path(home).expanduser().resolve())
    return load_settings()


def warn_of_ignored_database() -> None:
    """Say so when the environment names a database: a demo never uses it."""
    if "APERTURE_DATABASE_URL" in {name.upper() for name, value in os.environ.items() if value}:
        echo("APERTURE_DATABASE_URL is ignored: the demo keeps everything in its own database.")


def point_at(environment: dict[str, str], home: Path, lists: Path | None = None, *, create: bool = True) -> Settings:
    """Make this process and its children work in ``home`` with the given environment; returns the settings.

    Settings of real services and databases are removed from the environment: a demo never touches them. With ``lists``,
    everything is published below that folder, which the stand-ins see at `VOLUME`. ``create``: see
    :func:`use_dagster_home`.
    """
    from aperture_dagster.simulator.settings import VOLUME

    # A group of settings with a secret in it configures something real.
    real = [group for group in groups() if group.model_fields.keys() & secret_names()]
    ignored = {name for group in real for setting in group.model_fields for name in environment_names(setting)}
    for name in list(os.environ):
        # Settings are read from names in lower case, too.
        if name.upper() in ignored:
            del os.environ[name]
    # As if a file `.env` had given them no value: so one in this home gives them none either.
    os.environ.update(dict.fromkeys(ignored, ""))
    os.environ[FROM_FILE] = " ".join(sorted((copied_variables() | ignored) - environment.keys()))
    os.environ.update(environment)
    os.environ[PREFIX + "HOME"] = str(home)
    os.environ[PREFIX + "PUBLISH"] = str(lists is not None).lower()
    if lists is not None:
        lists.mkdir(parents=True, exist_ok=True)
        os.environ[PREFIX + "PUBLISH_ROOT"] = str(lists)
        os.environ[PREFIX + "PATH_MAP"] = json.dumps({str(lists): VOLUME})
    # It would launch the runs of the demo elsewhere.
    os.environ.pop("DAGSTER_HOME", None)
    settings = load_settings()
    use_dagster_home(settings, create=create)
    return settings
