"""What is raised when the database cannot be used, and how it is said."""

from __future__ import annotations


class DatabaseError(RuntimeError):
    """The database cannot be used; the message names the setting and the remedy, never the password."""


def describe_connection_error(error: Exception) -> str:
    """One sentence for the operator about a failed connection, without the URL, which holds the password."""
    lines = [line.strip() for line in str(getattr(error, "orig", error)).splitlines() if line.strip()]
    # The first line says it, unless it announces a list of attempts; what follows are guesses and context.
    reason = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    return (
        f"The database cannot be reached or used: {reason.rstrip('.')}. "
        "Check APERTURE_DATABASE_URL; without it the embedded database is used."
    )
