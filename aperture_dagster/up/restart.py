"""How a part asks for everything to be started anew, with the settings as they are then.

The supervisor gives one end of a pipe to the parts that may ask. It ends all parts in order, as at its own end, and
becomes ``aperture up`` again, with the same arguments and without what the environment had from ``.env``. Runs that are
under way end with the parts, and are started again as after a crash. The address of the web server stays open
meanwhile, so that browsers wait instead of being refused: one program passes the listening socket on to the next.

Standard library only: the supervisor and the programs of parts import this.
"""

from __future__ import annotations

import os
import socket

NOW = b"r"
LISTENING = "_APERTURE_LISTENING"
"""The variable that names the descriptor of a listening socket to ``aperture up``."""
BACKLOG = 2048


class RestartImpossible(Exception):
    """Nobody is there who could start the parts anew: each is a service of its own."""


class _Asking:
    descriptor: int | None = None


def keep(descriptor: int) -> None:
    """Keep the writing end of the pipe, which the supervisor has passed on; children of this process do not get it."""
    os.set_inheritable(descriptor, False)
    _Asking.descriptor = descriptor


def is_possible() -> bool:
    """Tell whether this process may ask for a restart."""
    return _Asking.descriptor is not None


def restart() -> None:
    """Ask the supervisor to start everything anew, this process included; returns at once.

    Raises:
        RestartImpossible: this process does not run under ``aperture up``, or the supervisor is gone.
    """
    if _Asking.descriptor is None:
        raise RestartImpossible
    try:
        os.write(_Asking.descriptor, NOW)
    except BlockingIOError:
        # It was asked many times, and has not read that yet.
        return
    except OSError as error:
        raise RestartImpossible from error


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; connections wait until somebody serves them. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As the web server itself listens.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def inherited(host: str, port: int) -> int | None:
    """Return the descriptor of a socket that was passed on, if it listens at an address; any other is closed."""
    text = os.environ.pop(LISTENING, "")
    if not text.isdigit():
        return None
    descriptor = int(text)
    try:
        with socket.socket(fileno=os.dup(descriptor)) as passed_on:
            found = (passed_on.family, passed_on.getsockname()[:2])
        wanted = {
            (family, address[:2])
            for family, _, _, _, address in socket.getaddrinfo(
                host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        }
    except OSError:
        return None
    if found in wanted:
        return descriptor
    os.close(descriptor)
    return None
