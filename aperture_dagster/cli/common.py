"""What the commands share: a usable home, a free port, and errors as one sentence."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import click

from aperture_dagster.files.private import FileError, prepare_home
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.model.wording import UNPRINTABLE, printable
from aperture_dagster.settings.places import checkout


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


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of an address that a server listens on."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


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
