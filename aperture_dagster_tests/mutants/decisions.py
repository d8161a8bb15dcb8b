"""What was decided on mutants that survive, and why: ``decisions.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("decisions.toml")
KINDS = {
    "equivalent": "no test could tell it from the original: it does not count",
    "accepted": "what it changes is not worth a test: it counts as survived",
}


@dataclass(frozen=True)
class Decision:
    """A decision on a mutant."""

    mutant: str
    kind: str
    reason: str
    file: str
    change: str
    """The line as it becomes, for readers."""


def read_decisions(file: Path = FILE) -> dict[str, Decision]:
    """Return the decisions by mutant."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("survivor", [])
    found = {}
    for entry in entries:
        one = Decision(entry["mutant"], entry["decision"], entry["reason"], entry["file"], entry["change"])
        if one.kind not in KINDS or not one.reason.strip() or one.mutant in found:
            raise ValueError(f"{file.name}: {one.mutant} needs one entry, one of {', '.join(KINDS)}, and a reason")
        found[one.mutant] = one
    return found
