"""The secrets of the front door: files in the shared folder, each made at first use."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from aperture_dagster.files.private import write_file
from aperture_dagster.settings import Settings

FOLDER = "front-door"
SESSIONS, OPERATOR, ROWS = "sessions.secret", "operator.secret", "rows.secret"
"""What signs sessions, what programs of this home show below ``/operate``, and what is in the address of rows."""


def secret_file(settings: Settings, name: str) -> Path:
    """Return where the secret of a name is."""
    return settings.shared_path / FOLDER / name


def read_secret(settings: Settings, name: str) -> str:
    """Read a secret of 256 bits, in characters for addresses; it is made if there is none.

    Raises:
        FileError: it cannot be stored.
        OSError: it cannot be read.
    """
    path = secret_file(settings, name)
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f".{name}-{os.getpid()}")
    write_file(made, secrets.token_urlsafe(32).encode())
    # Two processes may both be the first.
    with contextlib.suppress(FileExistsError):
        os.link(made, path)
    made.unlink()
    return path.read_text(encoding="ascii").strip()


def end_all_sessions(settings: Settings) -> None:
    """End every session, in every browser: the next one is signed with another key."""
    secret_file(settings, SESSIONS).unlink(missing_ok=True)
