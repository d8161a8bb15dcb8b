"""Since when the household's plays are logged, in a small file in the home.

The days of Top Picks begin with it, and Dagster's definitions must not open the database.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aperture_dagster.files.private import LOG_OF_PLAYS, write_file


@dataclass(frozen=True, slots=True)
class LogOfPlays:
    """The time of the first play in the log, and when that was first looked up: the time of the installation."""

    first_play: datetime
    noted_at: datetime


def read_log_of_plays(home: Path) -> LogOfPlays | None:
    """Return what is known of the log; None before the first Top Picks, or if the file cannot be read."""
    try:
        content = json.loads((home / LOG_OF_PLAYS).read_text(encoding="utf-8"))
        moments = [datetime.fromisoformat(content[name]) for name in ("first_play", "noted_at")]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return LogOfPlays(*moments) if all(moment.tzinfo is not None for moment in moments) else None


def note_log_of_plays(home: Path, first_play: datetime, *, now: datetime) -> None:
    """Record the time of the first play, unless it is recorded already; ``noted_at`` is never changed.

    Raises:
        FileError: the file cannot be written.
    """
    known = read_log_of_plays(home)
    if known is None or known.first_play != first_play:
        noted_at = now if known is None else known.noted_at
        content = {"first_play": first_play.isoformat(), "noted_at": noted_at.isoformat()}
        write_file(home / LOG_OF_PLAYS, json.dumps(content).encode())
