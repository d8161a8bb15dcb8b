"""Errors of the database, and their messages for the operator."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from aperture_dagster.model.errors import OperatorError


class DatabaseError(OperatorError):
    """The database cannot be used; the message names the setting and the remedy, never the password."""


class DatabaseInterrupted(DatabaseError):
    """The server stopped or restarted in the middle of the work, which can simply be tried again."""


# Messages of the operating system, for which PostgreSQL has an error code only sometimes, and of PostgreSQL itself
# after a partial write.
NO_ROOM = ("No space left on device", "File too large", "Disk quota exceeded", ": wrote only ")
# How errors begin when no connection could be opened at all; after that, a connection was lost.
NO_CONNECTION = (
    "connection failed",
    "connection to server",
    "could not translate",
    "failed to resolve",
    "connection is bad",
)
BETWEEN = ("the database system is starting up", "the database system is shutting down", "in recovery mode")


def describe_connection_error(error: BaseException, *, embedded: bool = False) -> str:
    """Describe a failed connection in one sentence, without the URL, which holds the password."""
    # A server on a full disk starts no session.
    if is_full_disk(error):
        return describe_full_disk(error)
    if embedded:
        return (
            f"The embedded database in APERTURE_HOME cannot be reached or used: {describe_reason(error)}. "
            "`aperture doctor` starts it, or says why it does not start."
        )
    return (
        f"The database cannot be reached or used: {describe_reason(error)}. Check APERTURE_DATABASE_URL; without it "
        "the embedded database is used."
    )


def database_error(error: BaseException, *, embedded: bool) -> DatabaseError | None:
    """Return the error to raise for one that an operator can understand, such as a full disk; None for a bug.

    ``embedded``: the server is the one that this program starts itself.
    """
    import psycopg

    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return None
    if is_full_disk(cause):
        return DatabaseError(describe_full_disk(cause))
    state = cause.sqlstate
    lost = state is None and isinstance(cause, psycopg.OperationalError)
    # SQLSTATE classes: connection, resources, shutdown, system error; 25006 is a read-only transaction.
    if not lost and not (state and (state[:2] in ("08", "53", "58") or state[:4] == "57P0" or state == "25006")):
        return None
    # 57P04: the database was dropped.
    if _is_interruption(str(cause)) if lost else state in ("57P01", "57P02", "57P03", "08003", "08006"):
        server = "embedded database" if embedded else "database server"
        return DatabaseInterrupted(f"The {server} stopped or restarted during the work: {describe_reason(cause)}.")
    return DatabaseError(describe_connection_error(cause, embedded=embedded))


def _is_interruption(message: str) -> bool:
    """Tell from a message without an error code whether a connection was lost, rather than never opened."""
    if any(words in message for words in BETWEEN):
        return True
    return not message.startswith(NO_CONNECTION)


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
