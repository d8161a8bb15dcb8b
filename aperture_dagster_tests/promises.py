"""The names that stay within a major version, as docs/stability.md says, from the code that defines them.

``python -m aperture_dagster_tests.promises`` writes them into ``promises.json``. A minor version only adds names.
Before the first release, and for the next major version, write the file again after a name has changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import yaml

from aperture_dagster.cli.main import main as aperture
from aperture_dagster.front_door.api import describe as describe_api
from aperture_dagster.schema import metadata
from aperture_dagster.settings import known_variables
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.defs.describe import plain_definitions

FILE = Path(__file__).with_name("promises.json")
NOT_STABLE = {"simulate"}
"""Commands for tests and the demo."""
Names = Mapping[str, list[str]]


def promises() -> dict[str, list[str]]:
    """Return what stays: names by what they are, each list sorted."""
    definitions = plain_definitions()
    repository = definitions.get_repository_def()
    found = {
        "settings": known_variables(),
        "commands": set(_commands(aperture)),
        "API": set(_api()),
        "columns": set(_columns()),
        "assets": {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()},
        # Jobs that Dagster makes up begin with an underscore.
        "jobs": {job.name for job in repository.get_all_jobs() if not job.name.startswith("_")},
        "schedules": {schedule.name for schedule in repository.schedule_defs},
        "sensors": {sensor.name for sensor in repository.sensor_defs},
        "Compose": set(_compose()),
    }
    return {kind: sorted(names) for kind, names in found.items()}


def broken(promised: Names, now: Names) -> dict[str, list[str]]:
    """Return the promised names that are gone."""
    gone = {kind: sorted(set(names) - set(now.get(kind, ()))) for kind, names in promised.items()}
    return {kind: names for kind, names in gone.items() if names}


def _commands(command: click.Command, path: str = "aperture") -> Iterator[str]:
    yield path
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (
                f"{path} {name}" for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")
            )
        else:
            yield f"{path} {(parameter.name or '').upper()}"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            if not inner.hidden and name not in NOT_STABLE:
                yield from _commands(inner, f"{path} {name}")


def _api() -> Iterator[str]:
    document = describe_api("")
    for path, methods in document["paths"].items():
        for method, endpoint in methods.items():
            yield f"{method.upper()} {path}"
            yield from (f"{method.upper()} {path} ?{parameter['name']}" for parameter in endpoint["parameters"])
    for name, schema in document["components"]["schemas"].items():
        yield from (f"{name}.{field}" for field in schema.get("properties", ()))


def _columns() -> Iterator[str]:
    """Columns of the tables that docs/build-on-it.md names; of a view there, its name."""
    page = (PROJECT / "docs" / "build-on-it.md").read_text(encoding="utf-8").partition("## What to build on")[2]
    for name in re.findall(r"^\| `(\w+)` \|", page, re.M):
        table = metadata.tables.get(name)
        yield from [name] if table is None else (f"{name}.{column.name}" for column in table.columns)


def _compose() -> Iterator[str]:
    for path in sorted((PROJECT / "deploy").glob("compose*.yaml")):
        text = path.read_text(encoding="utf-8")
        yield from (f"{path.name} ${name}" for name in re.findall(r"\$\{(\w+)", text))
        document = yaml.safe_load(text)
        yield from (f"{path.name} volume {name}" for name in document["volumes"])
        for name, service in document["services"].items():
            yield f"{path.name} service {name}"
            yield from (f"{path.name} {name} {target}" for target in re.findall(r":(/var/lib/[\w/]+)", str(service)))


if __name__ == "__main__":
    FILE.write_text(json.dumps(promises(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
