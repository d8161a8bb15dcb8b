"""A restore that was asked for in the browser, in a file of the home: what was asked for, by whom, and how it ended.

`aperture up` carries it out before anything else is started. Until it has ended, each start tries it again, so a power
failure only delays it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from aperture_dagster.files.private import write_file
from aperture_dagster.front_door.secrets import FOLDER
from aperture_dagster.settings import Settings

FILE = "restore.json"
MOST_ATTEMPTS = 3
"""How many starts try a restore that never ends, such as one that exhausts the memory, before they go on without."""


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """A restore.

    Attributes:
        backup: name of the file in the folder of the backups.
        author: name of the administrator.
        asked_at: when they asked for it, in ISO 8601 with a time zone.
        attempts: starts that have begun it.
        state: ``asked`` until it has ended.
        said: the sentences of ``aperture restore`` about how it ended.
    """

    backup: str
    author: str
    asked_at: str
    attempts: int = 0
    state: Literal["asked", "done", "failed"] = "asked"
    said: Sequence[str] = ()

    @property
    def moment(self) -> datetime:
        """When it was asked for."""
        return datetime.fromisoformat(self.asked_at)


def order_file(settings: Settings) -> Path:
    """Return the file of the order."""
    return settings.home_path / FOLDER / FILE


def read_order(settings: Settings) -> RestoreOrder | None:
    """Read the last order; None if nothing was ordered yet, or if the file is malformed."""
    try:
        order = RestoreOrder(**json.loads(order_file(settings).read_bytes()))
        is_valid = order.moment.tzinfo is not None and Path(order.backup).name == order.backup
    except (OSError, ValueError, TypeError):
        return None
    return order if is_valid else None


def write_order(settings: Settings, order: RestoreOrder) -> None:
    """Keep an order in place of the last one. Raises FileError."""
    path = order_file(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(path, json.dumps(asdict(order)).encode())
