"""What has been entered so far, in a file of the home: a set-up that was killed goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aperture_dagster.files.private import write_file
from aperture_dagster.front_door.secrets import FOLDER
from aperture_dagster.settings import Settings, known_variables
from aperture_dagster.settings.home import default_home

FILE = "set-up.json"
STEPS = ("address", "account", "users", "timezone", "keys", "lists", "finish")
"""In their order. The last one is reached once all others are done."""


@dataclass(slots=True)
class Progress:
    """The steps that are done, and what they gave.

    Attributes:
        values: variables of ``.env`` with their values.
        done: the steps.
        shown: what pages say of the media server: ``server``, its name and version.
    """

    values: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> str:
        """The first step that is not done."""
        return next((step for step in STEPS if step not in self.done), STEPS[-1])

    def may_show(self, step: str) -> bool:
        """Tell whether a step can be shown: one that was done, or is next."""
        return step in self.done or step == self.step

    def accept(self, step: str, values: Mapping[str, str | None]) -> None:
        """Note what a step gave; without a value, its variable is forgotten."""
        for name, value in values.items():
            self.values.pop(name, None)
            if value is not None:
                self.values[name] = value
        if step not in self.done:
            self.done.append(step)


def progress_file(settings: Settings) -> Path:
    """Return the file that the progress is kept in, which is in the operator's home, never in that of a demo."""
    home = settings.home.expanduser().resolve() if settings.home is not None else default_home()
    return home / FOLDER / FILE


def read_progress(path: Path) -> Progress:
    """Read the progress. Set-up begins at the first step if there is none, or if it is malformed."""
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return Progress()
    found: Any = stored if isinstance(stored, dict) else {}
    values, done, shown = (found.get(name) for name in ("values", "done", "shown"))
    if not isinstance(values, dict) or not isinstance(done, list) or not isinstance(shown, dict):
        return Progress()
    texts = [{str(name): str(value) for name, value in one.items()} for one in (values, shown)]
    known = {name: value for name, value in texts[0].items() if name in known_variables()}
    return Progress(known, [step for step in STEPS if step in done], texts[1])


def write_progress(path: Path, progress: Progress) -> None:
    """Keep the progress, for this user's eyes only: there are keys in it. Raises FileError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(path, json.dumps(asdict(progress)).encode())
