"""Cut from published OpenAPI specifications what the contract tests need.

    python tools/cut_specifications.py FOLDER

The folder holds the full files, whose names `SOURCES` lists. Kept are the operations that the stand-ins have, the
schemas that these refer to, and of both only what can be checked: names, places, types, formats, permitted values and
what is required. Descriptions, examples and everything else that somebody wrote is left out; see
``aperture_dagster_tests/contracts/specifications/README.md``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aperture_dagster.simulator.jellyfin import JellyfinService
from aperture_dagster.simulator.service import StandIn
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb import TmdbService
from aperture_dagster.simulator.tmdb.payloads import APPENDABLE
from aperture_dagster.simulator.world import World

TARGET = Path(__file__).parents[1] / "aperture_dagster_tests" / "contracts" / "specifications"
SOURCES = {"jellyfin": "jellyfin-openapi-12.0.0.json", "tmdb": "tmdb-api.2026-06.json"}
"""The full file by service."""

_SERVICES: dict[str, tuple[type[StandIn], str]] = {"jellyfin": (JellyfinService, ""), "tmdb": (TmdbService, "/3")}
_METHODS = ("get", "post", "put", "delete", "head", "patch")
# What TMDb appends to details is specified as routes of its own, and recommendations of films as similar ones.
_ALSO = {
    f"/3/{place}/{part}"
    for place, media_type in (("movie/{movie_id}", "movie"), ("tv/{series_id}", "series"))
    for part in (*APPENDABLE[media_type], "similar")
}
_IN_A_SCHEMA = (
    "$ref", "additionalProperties", "allOf", "anyOf", "deprecated", "discriminator", "enum", "format", "items",
    "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "nullable", "oneOf", "pattern",
    "properties", "readOnly", "required", "type", "uniqueItems", "writeOnly",
)  # fmt: skip
_IN_A_PARAMETER = ("$ref", "allowEmptyValue", "deprecated", "explode", "in", "name", "required", "schema", "style")
_IN_A_SCHEME = ("type", "name", "in", "scheme", "bearerFormat")


def cut(service: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a service's specification that the contract tests need."""
    kept: dict[str, dict[str, Any]] = {}
    for path, method in _operations(service, content):
        kept.setdefault(path, {})[method] = _operation(content["paths"][path][method])
    result: dict[str, Any] = {
        "openapi": content["openapi"],
        "info": {name: content["info"][name] for name in ("title", "version")},
        "servers": [{"url": one["url"]} for one in content["servers"]],
        "paths": {path: kept[path] for path in sorted(kept)},
        "components": {
            "securitySchemes": {
                name: _only(scheme, _IN_A_SCHEME) for name, scheme in content["components"]["securitySchemes"].items()
            },
            "schemas": _referred(content, kept),
        },
    }
    return result | ({"security": content["security"]} if "security" in content else {})


def _operations(service: str, content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield path and method of the operations that a stand-in has: a placeholder stands for any part of a path."""
    stand_in, prefix = _SERVICES[service]
    forms = [
        (one.name.partition(" ")[0].lower(), re.compile(re.sub(r"\{\w+\}", "[^/]+", prefix + one.path)))
        for one in stand_in(SimulatorState(World("empty"))).operations  # pyright: ignore[reportCallIssue]
        if one.is_modelled
    ]
    for path, item in content["paths"].items():
        for method in _METHODS:
            is_modelled = any(method == wanted and form.fullmatch(path) for wanted, form in forms)
            if method in item and (is_modelled or (service == "tmdb" and path in _ALSO)):
                yield path, method


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if operation.get("parameters"):
        result["parameters"] = [
            _only(one, _IN_A_PARAMETER) | ({"schema": _schema(one["schema"])} if "schema" in one else {})
            for one in operation["parameters"]
        ]
    if "requestBody" in operation:
        body = operation["requestBody"]
        result["requestBody"] = _only(body, ("required",)) | {"content": _content(body["content"])}
    # OpenAPI wants a description of every response.
    result["responses"] = {
        status: {"description": ""} | ({"content": _content(one["content"])} if one.get("content") else {})
        for status, one in operation["responses"].items()
    }
    return result | _only(operation, ("deprecated", "security"))


def _content(content: dict[str, Any]) -> dict[str, Any]:
    return {kind: {"schema": _schema(one["schema"])} if "schema" in one else {} for kind, one in content.items()}


def _schema(schema: Any) -> Any:
    """Return a schema without prose. A schema of True or False stays as it is."""
    if not isinstance(schema, dict):
        return schema
    result = _only(schema, _IN_A_SCHEMA)
    for name in ("items", "additionalProperties"):
        if name in result:
            result[name] = _schema(result[name])
    for name in ("allOf", "anyOf", "oneOf"):
        if name in result:
            result[name] = [_schema(one) for one in result[name]]
    if "properties" in result:
        result["properties"] = {name: _schema(one) for name, one in result["properties"].items()}
    return result


def _only(content: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: content[name] for name in names if name in content}


def _referred(content: dict[str, Any], paths: dict[str, Any]) -> dict[str, Any]:
    """Return the schemas that operations refer to, and those to which these refer."""
    found: dict[str, Any] = {}
    waiting = _references(paths)
    while waiting:
        name = waiting.pop()
        found[name] = _schema(content["components"]["schemas"][name])
        waiting |= _references(found[name]) - found.keys()
    return {name: found[name] for name in sorted(found)}


def _references(content: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(content)))


def as_text(content: dict[str, Any]) -> str:
    """Write a specification with a line for each path and schema, so that changes can be read."""
    lines = ["{"]
    for name in ("openapi", "info", "servers", "security"):
        if name in content:
            lines.append(f"{json.dumps(name)}: {json.dumps(content[name])},")
    components = content["components"]
    lines += ['"paths": {', *_members(content["paths"]), "},", '"components": {']
    lines += [f'"securitySchemes": {json.dumps(components["securitySchemes"])},']
    lines += ['"schemas": {', *_members(components["schemas"]), "}", "}", "}"]
    return "\n".join(lines) + "\n"


def _members(content: dict[str, Any]) -> list[str]:
    lines = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}," for name, value in content.items()]
    return [*lines[:-1], lines[-1].removesuffix(",")] if lines else []


def main() -> None:
    """Write the cut files."""
    folder = Path(sys.argv[1])
    for service, name in SOURCES.items():
        text = as_text(cut(service, json.loads((folder / name).read_bytes())))
        (TARGET / f"{service}.json").write_text(text, encoding="utf-8")
        print(f"{service}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
