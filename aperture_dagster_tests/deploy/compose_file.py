"""Read the files of Compose in ``deploy/`` as it does: variables, durations, and what each service runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from aperture_dagster_tests.conftest import PROJECT

HOUSEHOLD = PROJECT / "deploy" / "compose.yaml"
COMPOSE = PROJECT / "deploy" / "compose.services.yaml"
ENV_EXAMPLE = PROJECT / "deploy" / ".env.example"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<operator>:-|:\?)(?P<rest>[^}]*))?\}")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Missing(Exception):
    """A variable without a value, for which Compose refuses the file."""


def read_compose(variables: Mapping[str, str], path: Path = COMPOSE) -> dict[str, Any]:
    """Return the file with the values of variables in it.

    Raises:
        Missing: one that must be set is not.
    """
    return _filled(yaml.safe_load(path.read_text(encoding="utf-8")), variables)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, variables) for one in value]
    return interpolate(value, variables) if isinstance(value, str) else value


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Put the values of variables into a text."""

    def value(match: re.Match[str]) -> str:
        given = variables.get(match["name"], "")
        if match["operator"] == ":?" and not given:
            raise Missing(f"{match['name']}: {match['rest']}")
        return given or (match["rest"] if match["operator"] == ":-" else "")

    assert "$" not in VARIABLE.sub("", text), f"{text}: a form of variable that this does not read"
    return VARIABLE.sub(value, text)


def seconds(duration: str) -> float:
    """Return a duration such as ``1m30s`` in seconds."""
    parts = re.findall(r"(\d+)(ms|h|m|s)", duration)
    assert "".join(map("".join, parts)) == duration, duration
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def read_env_file(path: Path = ENV_EXAMPLE, *, commented: bool = False) -> dict[str, str]:
    """Return the variables of a ``.env``; those that are commented out only if asked for."""
    line = re.compile(r"^(#?)([A-Z_]+)=(.*)$", re.M)
    found = line.findall(path.read_text(encoding="utf-8"))
    return {name: value for mark, name, value in found if commented or not mark}


@dataclass(frozen=True)
class Service:
    """A service of the file.

    Attributes:
        command: its program and arguments.
        environment: what the file itself sets, without ``env_file``.
        check: program and arguments of its health check.
        grace: seconds between SIGTERM and SIGKILL.
        volumes: source by folder.
    """

    name: str
    command: list[str]
    environment: dict[str, str]
    check: list[str]
    grace: float
    volumes: dict[str, str]

    @classmethod
    def read(cls, name: str, compose: Mapping[str, Any]) -> Service:
        """Read a service of a file that :func:`read_compose` returned."""
        given = compose["services"][name]
        kind, *check = given["healthcheck"]["test"]
        assert kind == "CMD"
        volumes = dict(reversed(one.split(":")[:2]) for one in given.get("volumes", ()))
        return cls(
            name,
            given.get("command", []),
            given.get("environment", {}),
            check,
            seconds(given["stop_grace_period"]),
            volumes,
        )
