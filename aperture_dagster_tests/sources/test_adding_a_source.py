"""A title source is declared once, and everything else follows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from aperture_dagster.build import build_definitions
from aperture_dagster.settings import Settings
from aperture_dagster.sources import SERVICES, SOURCES
from aperture_dagster.storage.tables import metadata

PROJECT = Path(__file__).resolve().parents[2]
CHECKS = {"covers_the_library", "is_fresh", "has_values_in_range"}


def plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


@pytest.mark.nightly(
    reason="A process that loads the whole product with one more source.",
    instead="sources/test_adding_a_source.py::test_every_source_has_what_is_derived_from_its_declaration",
)
@pytest.mark.e2e
def test_a_fourth_source_needs_a_client_a_table_and_a_declaration(settings: Settings):
    given = {name: plain(getattr(settings, name)) for name in settings.model_fields_set}
    done = subprocess.run(
        [sys.executable, "-m", "aperture_dagster_tests.sources.fourth_source"],
        input=json.dumps(given),
        env=os.environ,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    followed = json.loads(done.stdout.splitlines()[-1])
    assert followed["failures"] == {}
    assert followed["reads"] == ["critics", "movies", "series"]
    assert {"critics_scores", "tmdb_metadata"} <= set(followed["merged_from"])
    assert followed["columns"] == ["work_id", "score", "updated_at"]
    assert followed["outcomes"] == {"fetched": 2, "not_found": 1, "errors": 0, "quota_used": 3}
    assert followed["checks"] == {"covers_the_library": True, "is_fresh": True, "has_values_in_range": False}
    assert followed["pool"] == 1
    assert "the key is accepted at http://127.0.0.1" in followed["doctor"]
    assert "4 of today's 50 requests are used" in followed["doctor"]
    assert followed["view"] == [
        {"title": "Film 1", "critics_score": 91, "said_by": "critics"},
        {"title": "Film 2", "critics_score": 140, "said_by": "critics"},
        {"title": "Film 3", "critics_score": None, "said_by": None},
    ]
    assert "critics-s3cret" not in done.stderr + done.stdout


def test_every_source_has_what_is_derived_from_its_declaration(settings: Settings):
    definitions = build_definitions(settings)
    graph = definitions.resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    checks = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    for source in SOURCES:
        assert {source.name, source.table} <= names
        assert {(source.table, name) for name in CHECKS} <= checks
        assert metadata.tables[source.table].info["source"] == source.name
        assert source.table in {
            key.to_user_string() for key in definitions.resolve_job_def(source.job).asset_layer.executable_asset_keys
        }
    assert len({service.name for service in SERVICES}) == len(SERVICES)


def test_the_documentation_shows_how_the_sources_are_really_declared():
    """Every name in the listings exists."""
    page = (PROJECT / "docs" / "adding-a-source.md").read_text(encoding="utf-8")
    arguments = set(re.findall(r"^    (\w+)=", page, re.MULTILINE))
    declared = {name for source in SOURCES for name in vars(source)} | {"name", "label", "asks_by", "population"}
    listed = arguments & declared
    assert {"name", "label", "connect", "key", "url", "table", "gives", "work_lists"} <= listed
    for path in set(re.findall(r"`(aperture_dagster/[\w/]+\.(?:py|sql))`", page)):
        # Modules of the example do not exist.
        assert "critics" in path or (PROJECT / path).is_file(), path
