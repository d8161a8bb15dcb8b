"""Why the media server cannot be used: noted by whoever connects to it, and read for members and for the operator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection

from aperture_dagster.facts import delete_fact, read_dated_fact, write_fact
from aperture_dagster.http.errors import (
    AccessDenied,
    Redirected,
    ServiceError,
    ServiceFailed,
    ServiceNotConfigured,
    ServiceRefused,
    ServiceUnavailable,
)

FACT = "media_server_trouble"
Kind = Literal["key", "silence", "settings"]
"""The key is refused; the server does not answer; or another setting has to be corrected."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the server cannot be used, and since when. The sentence is for the operator and contains no secret."""

    kind: Kind
    sentence: str
    since: datetime


def kind_of(error: ServiceError) -> Kind | None:
    """Return what keeps the server from being used; None if the error concerns a single request."""
    if isinstance(error, AccessDenied):
        return "key"
    if isinstance(error, ServiceUnavailable):
        return None if isinstance(error, ServiceFailed) else "silence"
    return "settings" if isinstance(error, (ServiceRefused, ServiceNotConfigured, Redirected)) else None


def note_trouble(connection: Connection, error: ServiceError | None) -> None:
    """Remember why the server could not be used; with None, that it could, which writes nothing if that is known."""
    if error is None:
        delete_fact(connection, FACT)
    elif (kind := kind_of(error)) is not None:
        write_fact(connection, FACT, {"kind": kind, "sentence": str(error)})


def read_trouble(connection: Connection) -> Trouble | None:
    """Return why the server could not be used when it was asked last; None if it could."""
    noted = read_dated_fact(connection, FACT)
    return Trouble(**noted[0], since=noted[1]) if noted else None
