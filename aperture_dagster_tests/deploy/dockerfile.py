"""Read ``deploy/Dockerfile``: its stages, and the instructions of each."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from aperture_dagster_tests.conftest import PROJECT

DOCKERFILE = PROJECT / "deploy" / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """An instruction, and what follows its name."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Its arguments, which may be written as JSON."""
        return json.loads(self.rest) if self.rest.startswith("[") else self.rest.split()


@dataclass
class Stage:
    """A stage: the image that it begins with, its name, and its instructions."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> Instruction:
        """Return the last instruction of a kind, which is the one that counts."""
        return [one for one in self.instructions if one.name == name][-1]

    def all(self, name: str) -> list[Instruction]:
        """Return all instructions of a kind."""
        return [one for one in self.instructions if one.name == name]

    def environment(self) -> dict[str, str]:
        """Return the variables that the stage sets."""
        return dict(pair.split("=", 1) for one in self.all("ENV") for pair in one.rest.split())


def read_dockerfile(path: Path = DOCKERFILE) -> list[Stage]:
    """Return the stages, the one of the image last."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.M)
    text = re.sub(r"\\\n\s*", " ", text)
    stages: list[Stage] = []
    arguments: dict[str, str] = {}
    for line in filter(str.strip, text.splitlines()):
        name, rest = line.split(maxsplit=1)
        rest = re.sub(r"\$\{(\w+)\}", lambda match: arguments.get(match[1], match[0]), rest.strip())
        if name == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value
        elif name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stages.append(Stage(base, alias))
        else:
            stages[-1].instructions.append(Instruction(name, rest))
    return stages
