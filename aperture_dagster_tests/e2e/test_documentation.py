"""What pages of the documentation say, done as it stands there on the home of a small household."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from aperture_dagster.cli.main import main
from aperture_dagster.schema import metadata
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.e2e.commands import environment
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.test_docs import PAGES, code, text_of, words_after

pytestmark = pytest.mark.e2e

# In this order, with what each says.
COMMANDS = {
    "show": "",
    "show anna": "Films",
    "discover anna": "",
    "dismiss anna 'The Room'": "is not suggested to",
    "discover anna --dismissed": "The Room",
    "rate anna 'The Matrix (1999)' 9": "9",
    "rate anna 'The Matrix' --remove": "The Matrix",
    "api-key add 'Home Assistant' --user Anna": "aperture_",
    "api-key list": "Home Assistant",
    "api-key remove 'Home Assistant'": "",
    "requests": "",
    "trakt status": "TRAKT_CLIENT_ID is not set",
    "backup create": "proven",
    "backup list": "proven",
    "restore --drop-old": "No database was replaced",
    "crowd remove": "There is no table of a crowd",
    "migrate": "has the schema",
    "sign-out-everybody": "",
    "clock --dry-run": "",
    "status": "aperture up",
    "status --json": '"format": 1',
    "alert test": "APERTURE_ALERT_URLS is not set",
}
FAIL = ("status", "status --json", "alert test", "trakt status", "crowd remove")
"""Nothing runs on this home, and it has neither an address, nor an app, nor a crowd."""


@pytest.mark.nightly(
    reason="Every documented command is run.",
    instead="test_docs.py",
)
@pytest.mark.usefixtures("isolated_dagster_instance")
def test_documented_commands_do_what_the_pages_say(settled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
    lines = (words_after("aperture", line) for page in PAGES for line in code(text_of(page)))
    documented = {shlex.join(words) for words in lines if words}
    assert COMMANDS.keys() <= documented
    with settled() as (_, home, _):
        for name, value in environment(home.settings).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "80")
        user = home.everyone()[0]
        room, matrix = home.titles_for(user)[:2]
        names = {"anna": user, "Anna": user, "The Room": room, "The Matrix": matrix, "The Matrix (1999)": matrix}
        wrong = []
        for command, says in COMMANDS.items():
            done = CliRunner().invoke(main, [names.get(word, word) for word in shlex.split(command)])
            if done.exit_code != (command in FAIL) or names.get(says, says) not in done.output:
                wrong.append(f"{command}: {done.exit_code}, {done.output} {done.exception!r}")
        assert wrong == []
        assert room not in CliRunner().invoke(main, ["show", user]).output, "what is hidden is not shown any more"


# The page on building on the lists


FILE = re.compile(r"^`([^`\n]+)`, new:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TABLES = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


@pytest.mark.nightly(
    reason="A code location of its own, as a process.",
    instead="test_docs.py",
)
def test_the_code_location_of_the_page_reads_the_lists(
    settled: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = (PROJECT / "docs" / "build-on-it.md").read_text(encoding="utf-8")
    for name, text in FILE.findall(page):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with settled() as (_, home, _), instance_in_memory() as instance:
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
