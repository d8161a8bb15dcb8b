"""Errors that the operator can put right: the command line and Dagster's commands end with their sentence alone."""

from __future__ import annotations

import click


class OperatorError(click.ClickException):
    """Something outside the program must change first; the message says what to do, and never holds a secret.

    A ``ClickException``, so that every command, ours and Dagster's, prints the message without a stack trace.
    """
