"""Read the files of Compose in ``deploy/`` as it does: the values of variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from aperture_dagster_tests.conftest import PROJECT

HOUSEHOLD = PROJECT / "deploy" / "compose.yaml"
COMPOSE = PROJECT / "deploy" / "compose.services.yaml"
ENV_EXAMPLE = PROJECT / "deploy" / ".env.example"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<operator>:-|:\?)(?P<rest>[^}]*))?\}")


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


def read_env_file(path: Path = ENV_EXAMPLE, *, commented: bool = False) -> dict[str, str]:
    """Return the variables of a ``.env``; those that are commented out only if asked for."""
    line = re.compile(r"^(#?)([A-Z_]+)=(.*)$", re.M)
    found = line.findall(path.read_text(encoding="utf-8"))
    return {name: value for mark, name, value in found if commented or not mark}
