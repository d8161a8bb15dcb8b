"""Errors of the database, and their messages for the operator."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from aperture_dagster.errors import OperatorError


class DatabaseError(OperatorError):
    """The database cannot be used; the message names the setting and the remedy, never the password."""


# Messages of the operating system; PostgreSQL has an error code only for the first.
NO_ROOM = ("No space left on device", "File too large", "Disk quota exceeded")


def describe_connection_error(error: Exception, setting: str = "APERTURE_DATABASE_URL") -> str:
    """Describe a failed connection in one sentence, without the URL, which holds the password."""
    return f"The database cannot be reached or used: {describe_reason(error)}. Check {setting}" + (
        "; without it the embedded database is used." if setting == "APERTURE_DATABASE_URL" else "."
    )


def describe_trouble(error: BaseException) -> str | None:
    """Describe an error that the operator must fix, such as a full disk; None for any other, which is a bug."""
    import psycopg

    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return None
    if is_full_disk(cause):
        return describe_full_disk(cause)
    state = cause.sqlstate
    lost = state is None and isinstance(cause, psycopg.OperationalError)
    # SQLSTATE classes: connection, resources, shutdown, system error; 25006 is a read-only transaction.
    if lost or (state and (state[:2] in ("08", "53", "58") or state[:4] == "57P0" or state == "25006")):
        return describe_connection_error(cause)
    return None


def is_full_disk(error: BaseException | str) -> bool:
    """Return whether an error or message reports a full disk."""
    return any(message in str(error) for message in NO_ROOM)


def describe_full_disk(error: BaseException) -> str:
    """Describe a full disk in one sentence."""
    return (
        f"The disk of the database is full: {describe_reason(error)}. Existing data is kept; free some space "
        "(the embedded database is in APERTURE_HOME), then run this again."
    )


def describe_reason(error: BaseException) -> str:
    """Return the first line of an error of the database that gives its reason, without a full stop."""
    lines = [line.strip() for line in str(getattr(error, "orig", error)).splitlines() if line.strip()]
    # The first line is the reason, unless it introduces a list of attempts; later lines are hints and context.
    return next((line for line in lines if not line.endswith(":")), type(error).__name__).rstrip(".")
