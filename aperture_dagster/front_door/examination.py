"""What ``aperture status`` and ``aperture doctor`` know, looked up beside the pages: the doctor asks services."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from aperture_dagster.model import Clock
from aperture_dagster.settings import Settings

_LOG = logging.getLogger(__name__)
PATIENCE_SECONDS = 300.0
_SETTING = re.compile(r"\bAPERTURE_([A-Z0-9_]+)")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong, or only noteworthy, with what to do about it.

    ``settings`` are the names of the settings that the sentence speaks of.
    """

    subject: str
    sentence: str
    state: Literal["failed", "warning"]

    @property
    def settings(self) -> list[str]:
        """The names of the settings in the sentence, each once."""
        return list(dict.fromkeys(name.lower() for name in _SETTING.findall(self.sentence)))


class Examination:
    """The last look of both commands, and the one that is under way.

    They run in a process of their own: what they load would stay in the memory of the web server.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._home, self._clock, self._lock = str(settings.home_path), clock, threading.Lock()
        self.looked_at: datetime | None = None
        self.troubles: Sequence[Trouble] = ()
        self.failure = ""

    @property
    def is_looking(self) -> bool:
        """Whether a look is under way."""
        return self._lock.locked()

    def begin(self) -> None:
        """Begin to look, unless a look is under way."""
        if self._lock.acquire(blocking=False):
            threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        try:
            self.troubles, self.failure = troubles_of(self._ask("status"), self._ask("doctor")), ""
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self.failure = type(error).__name__
            _LOG.warning("`aperture status` and `aperture doctor` could not be run: %s", error)
        finally:
            self.looked_at = self._clock.now()
            self._lock.release()

    def _ask(self, command: str) -> dict[str, Any]:
        program = [sys.executable, "-P", "-m", "aperture_dagster.cli.main", command, "--json", "--home", self._home]
        done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS)
        return json.loads(done.stdout)


def troubles_of(status: dict[str, Any], doctor: dict[str, Any]) -> list[Trouble]:
    """Return what both commands found, from their JSON, worst first; what both say is there once."""
    found = [Trouble(one["subject"], one["sentence"], "failed") for one in status["wrong"]]
    for finding in doctor["findings"]:
        if finding["state"] in ("failed", "warning"):
            found.append(Trouble(finding["what"], finding["message"], finding["state"]))
    found += [Trouble(one["name"], one["sentence"], "warning") for one in status["checks"]["not_passed"]]
    known: dict[tuple[str, str], Trouble] = {}
    for trouble in sorted(found, key=lambda one: one.state != "failed"):
        known.setdefault((trouble.subject, trouble.sentence), trouble)
    return list(known.values())
