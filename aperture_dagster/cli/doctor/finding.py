"""What an examination found."""

from __future__ import annotations

from dataclasses import dataclass

from aperture_dagster.maintenance.status import State


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined, its state, and what was found or what to do."""

    what: str
    state: State
    message: str
