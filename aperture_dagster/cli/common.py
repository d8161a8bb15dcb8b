"""What the commands share: options, a usable home, and errors as one sentence."""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import click

from aperture_dagster.cli.probes import family_of
from aperture_dagster.errors import OperatorError
from aperture_dagster.resources.errors import ServiceError
from aperture_dagster.settings.places import checkout
from aperture_dagster.storage.files import FileError, prepare_home
from aperture_dagster.wording import UNPRINTABLE, printable

Server = Literal["jellyfin", "jellyfin@10.9", "jellyfin@10.10", "jellyfin@10.11", "jellyfin@12", "emby"]
"""A media server that the stand-ins imitate; without a version, the newest."""


def _absolute(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Make a folder absolute, since the stand-ins may look from elsewhere; other worlds have names."""
    folder = Path(value).expanduser() if value else None
    return str(folder.resolve()) if folder and (folder.is_dir() or parameter.name == "home") else value


def stand_in_options(*names: str) -> Callable[[Any], Any]:
    """Add the options that say what the stand-ins serve and where everything is kept."""
    options = {
        "world": click.option(
            "--world", default="demo", show_default=True, callback=_absolute,
            help="What the stand-ins serve: 'demo', 'odd', 'generated:movies=N,…', or a folder with movies.jsonl.gz "
            "and ratings.csv.gz.",
        ),
        "users": click.option("--users", type=click.IntRange(min=1), help="Serve only the first N users."),
        "server": click.option(
            "--server", type=click.Choice(get_args(Server)), default="jellyfin", show_default=True,
            help="The media server that the stand-ins imitate, and its version.",
        ),
        "home": click.option(
            "--home", type=click.Path(file_okay=False), callback=_absolute,
            help="Folder to keep everything in. Default for stand-ins: the folder 'demo' in APERTURE_HOME.",
        ),
    }  # fmt: skip

    def decorate(command: Any) -> Any:
        for name in reversed(names):
            command = options[name](command)
        return command

    return decorate


def echo(text: str, *, err: bool = False) -> None:
    """Print lines of text to stdout, or to stderr."""
    click.echo(printable(text), err=err)


def echo_json(document: str) -> None:
    """Print JSON with escaped control characters: programs read all of them, and no terminal obeys them."""
    click.echo(UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", document))


@contextlib.contextmanager
def operator_errors() -> Iterator[None]:
    """Turn an error of a service or the operating system into one sentence without a stack trace, as our own are."""
    try:
        yield
    except ServiceError as error:
        raise OperatorError(str(error)) from None
    except OSError as error:
        raise OperatorError(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")) from None


def require_writable(home: Path) -> None:
    """Create the home and write to it; FileError says what is wrong and which setting to change.

    An installed package says where a new home is: there is no checkout in which somebody would look for it.
    """
    probe, is_new = home / ".writable", not home.exists()
    try:
        prepare_home(home)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        why = error.strerror
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FileError(
                f"The disk of {home} is full ({why}): make room, or set APERTURE_HOME to a folder on another disk."
            ) from None
        raise FileError(f"{home} cannot be written ({why}): set APERTURE_HOME to a folder that can.") from None
    if is_new and checkout() is None:
        echo(f"Created {home}, which holds everything; APERTURE_HOME chooses another folder.", err=True)


def require_free_port(host: str, port: int, command: str) -> None:
    """Check that a server can listen on an address; OperatorError names another port to try."""
    with socket.socket(family_of(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"Cannot listen on {host}, port {port} ({error.strerror}): choose another --host or --port."
            if error.errno == errno.EADDRINUSE:
                message = f"Port {port} on {host} is in use. Choose another: {command} --port {port % 65535 + 1}"
            raise OperatorError(message) from None
