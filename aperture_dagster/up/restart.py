"""How a part asks for everything to be started anew, with the settings as they are then.

The supervisor gives one end of a pipe to the parts that may ask. It ends all parts in order, as at its own end, and
becomes ``aperture up`` again, with the same arguments and without what the environment had from ``.env``. Runs that are
under way end with the parts, and are started again as after a crash.

Standard library only: the program of a part imports this.
"""

from __future__ import annotations

import os

NOW = b"r"


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
