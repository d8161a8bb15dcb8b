"""Errors that the operator can put right: the command line and Dagster's commands end with their sentence alone.

Apart from the rest, which health checks import without any library.
"""

from __future__ import annotations

import click

from aperture_dagster.model import printable


class OperatorError(click.ClickException):
    """Something outside the program must change first; the message says what to do, and never holds a secret.

    A ``ClickException``, so that every command, ours and Dagster's, prints the message without a stack trace.
    ``exit_code`` is that of the command: 1, or 2 where it must be repeated with another argument.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        # Click declares it per class, and reads it from the instance.
        self.exit_code = exit_code  # pyright: ignore[reportAttributeAccessIssue]

    def format_message(self) -> str:
        """Return the message as it is printed; a service may have put anything into it."""
        return printable(self.message)


class StillChanging(Exception):
    """What was read changed each time meanwhile, so that nothing can be said of it yet."""


class MissingPrerequisite(Exception):
    """Something that must exist first does not; the message says what to run or configure."""
