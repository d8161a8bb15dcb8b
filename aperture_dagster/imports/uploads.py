"""Files that wait in the home until the member who uploaded them decides."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

KEPT_SECONDS = 3_600.0
"""How long a file waits for its member to decide."""


def uploads_folder(home: Path) -> Path:
    """Return the folder of all files that wait."""
    return home / "front-door" / "imports"


def owner_of(user_id: str) -> str:
    """Return what the names of a user's uploads begin with."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:32]


def delete_uploads(home: Path, user_id: str | None = None) -> int:
    """Delete the files that nobody decided about within an hour, and all of a user; return how many went."""
    folder, deleted = uploads_folder(home), 0
    for upload in folder.iterdir() if folder.is_dir() else ():
        is_old = time.time() - upload.stat().st_mtime > KEPT_SECONDS
        if is_old or (user_id is not None and upload.name.startswith(owner_of(user_id))):
            shutil.rmtree(upload, ignore_errors=True)
            deleted += not upload.exists()
    return deleted
