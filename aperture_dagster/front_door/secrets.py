"""The secrets of the front door: files in the home."""

from __future__ import annotations

from pathlib import Path

from aperture_dagster.files.private import read_secret_file
from aperture_dagster.settings import Settings

FOLDER = "front-door"
SESSIONS, OPERATOR, ROWS = "sessions.secret", "operator.secret", "rows.secret"
"""What signs sessions, what programs of this home show below ``/operate``, and what is in the address of rows."""


def secret_file(settings: Settings, name: str) -> Path:
    """Return where the secret of a name is."""
    return settings.home_path / FOLDER / name


def read_secret(settings: Settings, name: str) -> str:
    """Read the secret of a name, which is made at first use. Raises FileError and OSError."""
    return read_secret_file(secret_file(settings, name))


def end_all_sessions(settings: Settings) -> None:
    """End every session, in every browser: the next one is signed with another key."""
    secret_file(settings, SESSIONS).unlink(missing_ok=True)
