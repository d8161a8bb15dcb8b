"""The page on building on the lists: its code location is written, loaded and run on a household's database."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from aperture_dagster.schema import metadata
from aperture_dagster_tests.conftest import PROJECT

pytestmark = pytest.mark.e2e

FILE = re.compile(r"^`([^`\n]+)`, new:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TABLES = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def test_the_code_location_of_the_page_reads_the_lists(
    settled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = (PROJECT / "docs" / "build-on-it.md").read_text(encoding="utf-8")
    for name, code in FILE.findall(page):
        (tmp_path / name).write_text(code, encoding="utf-8")
    with settled() as (_, home, _), dg.DagsterInstance.ephemeral() as instance:
        # In its own environment, it needs nothing but the address.
        monkeypatch.setenv("LISTS_DATABASE_URL", home.settings.database_url.get_secret_value())
        ours = runpy.run_path(str(tmp_path / "definitions.py"))["defs"]
        result = ours.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
        (made,) = result.asset_materializations_for_node("films_for_several")

        shared = home.value(
            "SELECT count(*) AS films FROM (SELECT work_id FROM recommendations WHERE media_type = 'movie' "
            "GROUP BY work_id HAVING count(*) > 1) shared"
        )
        assert made.metadata["dagster/row_count"].value == min(shared, 10) > 0
        assert len(str(made.metadata["films"].value).splitlines()) == min(shared, 10)

        # The asset that it follows is Aperture's own.
        graph = ours.resolve_asset_graph()
        theirs = home.definitions.resolve_asset_graph().materializable_asset_keys
        assert graph.get(dg.AssetKey("films_for_several")).parent_keys <= theirs
        for table in TABLES.findall(page):
            assert table in metadata.tables or home.value(f"SELECT to_regclass('{table}') IS NOT NULL AS found"), table


def test_the_workspace_of_the_page_holds_the_products_location_and_that_file():
    page = (PROJECT / "docs" / "build-on-it.md").read_text(encoding="utf-8")
    files = dict(FILE.findall(page))
    own = yaml.safe_load((PROJECT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    first, second = yaml.safe_load(files["workspace.yaml"])["load_from"]
    assert [first] == own
    assert second["python_file"]["relative_path"] in files
