"""Errors of backups; each message is one sentence for the operator."""

from aperture_dagster.model.errors import OperatorError


class BackupError(OperatorError):
    """A backup cannot be made, read or restored; the message says why, what was kept and what to do."""


class UnexpectedContent(BackupError):
    """A dump holds statements that no backup of this program has."""
