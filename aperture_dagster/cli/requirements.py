"""What a command needs before it begins: a home that it can write to, a free port."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from aperture_dagster.cli.terminal import echo
from aperture_dagster.files.private import FileError, describe_unwritable, prepare_home
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.settings.home import checkout


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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = f"The disk of {home} is full ({error.strerror})"
            raise FileError(f"{why}: make room, or set APERTURE_HOME to a folder on another disk.") from None
        raise FileError(describe_unwritable(home, error)) from None
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
