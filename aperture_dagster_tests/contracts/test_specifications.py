"""The specifications in the repository hold what the tests need, without anything that may not be passed on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aperture_dagster_tests.conftest import SHARED_SPECS
from tools.cut_specifications import SOURCES, as_text, cut

SPECIFICATIONS = Path(__file__).parent / "specifications"
SMALL = 2**20


def members(content: Any) -> list[tuple[str, Any]]:
    """Return all members of all objects in a document."""
    if isinstance(content, dict):
        inside = [member for value in content.values() for member in members(value)]
        return [*content.items(), *inside]
    return [member for value in content for member in members(value)] if isinstance(content, list) else []


@pytest.mark.parametrize("service", SOURCES)
def test_a_specification_is_what_the_tool_cuts(service: str) -> None:
    text = (SPECIFICATIONS / f"{service}.json").read_text(encoding="utf-8")
    assert len(text) < SMALL
    assert as_text(cut(service, json.loads(text))) == text
    full = SHARED_SPECS / SOURCES[service]
    if full.exists():
        assert as_text(cut(service, json.loads(full.read_bytes()))) == text


@pytest.mark.parametrize("service", SOURCES)
def test_a_specification_has_no_prose(service: str) -> None:
    content = json.loads((SPECIFICATIONS / f"{service}.json").read_bytes())
    for name, value in members(content["paths"]):
        # A field may be called so, and is then an object.
        if name in ("description", "summary", "example", "examples", "title", "default"):
            assert value == "" or isinstance(value, dict), (name, value)
    assert not [text for text in re.findall(r'"([^"]*)"', json.dumps(content["paths"])) if text.count(" ") > 2]
