"""The files of `aperture up` in a home: its lock, its state, and what its parts share.

Standard library only: the supervisor imports this, and it runs for months.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aperture_dagster.files import locks


class UpFiles(NamedTuple):
    """Paths in the folder that Dagster's files are in, ``APERTURE_HOME/dagster``.

    Attributes:
        folder: the folder itself.
        lock: held as long as `aperture up` or one of its parts runs.
        state: JSON, written whenever a part starts, becomes ready or ends; while nobody holds the lock, only its date
            counts.
        workspace: names the code server for the webserver and the daemon; ``workspace.yaml`` beside it is for commands
            outside `aperture up`.
    """

    folder: Path
    lock: Path
    state: Path
    workspace: Path

    @classmethod
    def of_home(cls, home: Path) -> UpFiles:
        """Return the files of a home."""
        folder = home / "dagster"
        return cls(folder, folder / "up.lock", folder / "up.json", folder / "code-server.yaml")


def read_state(path: Path) -> Mapping[str, Any]:
    """Read a state file; empty if there is none, or if it cannot be understood."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def up_is_running(home: Path) -> bool:
    """Tell whether `aperture up` runs on a home; it may be starting or stopping."""
    return locks.is_held(UpFiles.of_home(home).lock)
