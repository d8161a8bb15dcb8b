"""The files of `aperture up` in a home: its lock, its state, and what its parts print.

Standard library only: the supervisor imports this, and it runs for months.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class UpFiles:
    """Paths in the folder that Dagster's files are in, ``APERTURE_HOME/dagster``.

    Attributes:
        lock: held as long as `aperture up` or one of its parts runs.
        state: JSON, written whenever a part starts, becomes ready or ends; meaningless while nobody holds the lock.
        logs: folder with what each part prints, a file for each.
        workspace: names the code server for the webserver and the daemon.
    """

    folder: Path

    @classmethod
    def of_home(cls, home: Path) -> UpFiles:
        """Return the files of a home."""
        return cls(home / "dagster")

    @property
    def lock(self) -> Path:
        """Lock file."""
        return self.folder / "up.lock"

    @property
    def state(self) -> Path:
        """State file."""
        return self.folder / "up.json"

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.folder / "up"

    @property
    def workspace(self) -> Path:
        """Dagster's workspace file; ``workspace.yaml`` beside it is for commands outside `aperture up`."""
        return self.folder / "code-server.yaml"


def read_state(path: Path) -> Mapping[str, Any]:
    """Read a state file; empty if there is none, or if it cannot be understood."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
