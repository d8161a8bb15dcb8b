"""The pages on how to add a source, a job and an asset, followed literally in a copy of the project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aperture_dagster.enrichment.sources import SERVICES, SOURCES
from aperture_dagster.schema import metadata
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.defs.shared import definitions_of

COPIED = (
    "aperture_dagster", "aperture_dagster_tests", "docs", "deploy", "pyproject.toml", "dagster.yaml", "workspace.yaml",
    "README.md", "Makefile",
)  # fmt: skip
# A block of code, and the sentence before it that names a file, if there is one.
BLOCK = re.compile(
    r"(?:^`(?P<path>[^`\n]+)`(?P<how>, new|, at the end|):\n\n)?"
    r"^```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
NEARBY = (
    "test_structure.py::test_imports_run_down_or_along_the_arrows",
    "test_adding_pages.py::test_every_source_has_what_is_derived", "test_settings.py::test_the_page_is_up_to_date",
    "enrichment/test_queries.py::test_every_source_of_titles_has_a_table_with_a_row_per_work",
    "defs/test_reference.py::test_the_page_is_up_to_date",
    "defs/test_definitions.py::test_they_are_what_the_golden_file_says",
    "postgres/test_migrations.py::test_an_empty_database_gets_the_schema_of_the_table_definitions_on_first_use",
)  # fmt: skip
# Most of what a program costs is importing: one executes the modules that pages name, one after the other, then pytest
# and dg, and loads the definitions once more.
IN_ONE_PROCESS = """
import json, runpy, sys
modules, tests, words = map(json.loads, sys.argv[1:])
for module in modules:
    runpy.run_module(module, run_name="__main__")
import pytest
if failed := pytest.main(tests):
    sys.exit(failed)
from dagster_dg_cli.cli import main
sys.argv = ["dg", *words]
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
defs = runpy.run_module("aperture_dagster.definitions")["defs"]
print(*(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()))
"""


class Copy:
    """A copy of the project, in which pages are followed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, None] = {}
        for name in COPIED:
            source = PROJECT / name
            if source.is_dir():
                # With what Python has compiled: the copies of the files are as old as the files.
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("images", "recordings"))
            else:
                shutil.copy(source, root / name)

    def follow(self, page: str) -> set[str]:
        """Make the changes that a page shows; return the files that were edited, and note the modules to execute."""
        text = (PROJECT / "docs" / page).read_text(encoding="utf-8")
        edited: set[str] = set()
        path = ""
        for block in BLOCK.finditer(text):
            path, code = block["path"] or path, block["code"]
            if block["language"] == "sh":
                commands = [line.partition("#")[0].split() for line in code.splitlines()]
                assert all(command[:2] == ["python", "-m"] and len(command) == 3 for command in commands)
                self.modules |= dict.fromkeys(command[2] for command in commands)
                continue
            edited.add(path)
            self._edit(self.root / path, block["how"] or "", code)
        return edited

    def _edit(self, path: Path, how: str, code: str) -> None:
        if how == ", new":
            assert not path.exists()
            path.write_text(code, encoding="utf-8")
        elif how == ", at the end":
            before = path.read_text(encoding="utf-8")
            gap = "" if code.startswith(" ") else "\n"
            path.write_text(before + gap + code, encoding="utf-8")
        else:
            lines = code.splitlines()
            before, after = ("\n".join(line[1:] for line in lines if line[:1] in signs) for signs in (" -", " +"))
            text = path.read_text(encoding="utf-8")
            assert text.count(before) == 1, f"{path.name} does not have once:\n{before}"
            path.write_text(text.replace(before, after), encoding="utf-8")

    def run(self, *command: str, **variables: str) -> str:
        """Run a command in the copy, without the settings of whoever runs the tests; it must succeed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("APERTURE_")}
        environment |= {"PYTHONPATH": str(self.root), "APERTURE_HOME": str(self.root / "home")} | variables
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.mark.nightly(
    reason="Two copies of the project are changed and loaded.",
    instead="test_docs.py",
)
@pytest.mark.e2e
def test_the_pages_on_adding_things_are_followed_literally(tmp_path: Path, postgres: str):
    copy = Copy(tmp_path)
    assert len(copy.follow("adding-a-source.md")) <= 7
    assert len(copy.follow("adding-a-job.md")) <= 3
    nearby = [f"aperture_dagster_tests/{name}" for name in NEARBY]
    tests = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *nearby]
    scaffold = ["scaffold", "defs", "dagster.asset", "own_asset.py"]
    given = map(json.dumps, ([*copy.modules], tests, scaffold))
    printed = copy.run(sys.executable, "-c", IN_ONE_PROCESS, *given, TESTS_POSTGRES_URL=postgres)
    assert "own_asset" in printed.splitlines()[-1].split()

    told = json.loads((tmp_path / "aperture_dagster_tests" / "defs" / "golden.json").read_text(encoding="utf-8"))
    scores = told["assets"]["critics_scores"]
    assert scores["deps"] == ["critics", "movies", "series"] and scores["pools"] == ["critics"]
    assert told["resources"]["critics"]["fields"]["critics_api_key"] == "not set"
    assert set(scores["checks"]) == {"covers_the_library", "is_fresh"}
    assert "critics_scores" in told["assets"]["enriched_metadata"]["deps"]
    assert told["jobs"]["refresh_merged_view"]["assets"] == ["enriched_metadata"]
    assert told["schedules"]["refresh_merged_view_schedule"]["cron"] == "30 6 * * *"
    assert "refresh_merged_view" in told["sensors"]["first_sync_sensor"]["jobs"]
    assert "`critics_api_key`" in (tmp_path / "docs" / "settings.md").read_text(encoding="utf-8")
    assert "| `refresh_merged_view` | 06:30," in (tmp_path / "docs" / "jobs.md").read_text(encoding="utf-8")


def test_every_source_has_what_is_derived():
    definitions = definitions_of()
    graph = definitions.resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    checks = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    for source in SOURCES:
        assert {source.name, source.table} <= names
        assert {(source.table, name) for name in ("covers_the_library", "is_fresh")} <= checks
        assert metadata.tables[source.table].info["source"] == source.name
        assert source.table in {
            key.to_user_string() for key in definitions.resolve_job_def(source.job).asset_layer.executable_asset_keys
        }
    assert len({service.name for service in SERVICES}) == len(SERVICES)
