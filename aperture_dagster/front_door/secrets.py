"""The secrets of the front door: files in the home, or derived from a key of the settings."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

from aperture_dagster.files.private import FileError, read_secret_file, write_file
from aperture_dagster.members.sessions import end_all
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

FOLDER = "front-door"
SHORTEST_KEY = 32
SESSIONS, OPERATOR, ROWS = "sessions.secret", "operator.secret", "rows.secret"
"""What signs sessions, what programs of this home show below ``/operate``, and what is in the address of rows."""


def secret_file(settings: Settings, name: str) -> Path:
    """Return where the secret of a name is."""
    return settings.home_path / FOLDER / name


def read_secret(settings: Settings, name: str) -> str:
    """Read the secret of a name, which is made at first use, or derived. Raises FileError and OSError."""
    path = secret_file(settings, name)
    if settings.session_key is None:
        return read_secret_file(path)
    key = settings.session_key.get_secret_value().encode()
    if len(key) < SHORTEST_KEY:
        raise FileError(
            f"APERTURE_SESSION_KEY is too short, so somebody could guess it: use at least {SHORTEST_KEY} "
            "characters, made by a program."
        )
    derived = (
        base64.urlsafe_b64encode(hmac.digest(key, f"aperture {name}".encode(), hashlib.sha256)).decode().rstrip("=")
    )
    # Health checks on this machine read it from the file.
    if name == OPERATOR and not (path.is_file() and path.read_text(encoding="ascii") == derived):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, derived.encode())
    return derived


def end_all_sessions(settings: Settings) -> None:
    """End every session, in every browser: the database forgets them, and the next ones are signed with another key.

    Raises:
        DatabaseError: the database cannot be used, and no session has ended.
    """
    with Database(settings).transaction() as connection:
        end_all(connection)
    secret_file(settings, SESSIONS).unlink(missing_ok=True)
