"""``aperture crowd``: a table is made, used and removed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster.taste.crowd_table import read_table
from aperture_dagster_tests.conftest import HISTORIES


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("APERTURE_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "http://films.example")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def crowd(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["crowd", *map(str, arguments)])


def test_a_table_is_made_used_and_removed_and_a_file_that_is_none_leaves_it_alone(home: Path, tmp_path: Path):
    made = crowd("build", HISTORIES, "--licence", "research only")
    assert made.exit_code == 0 and "from 138 of 138 people" in made.output
    assert "aperture crowd use crowd.npz" in made.output
    assert read_table(tmp_path / "crowd.npz").header.licence == "research only"
    used = crowd("use", "crowd.npz")
    assert used.exit_code == 0 and "138 people of movielens" in used.output
    assert "Terms of the data: research" in used.output
    (kept,) = (home / "crowd").iterdir()
    assert read_table(kept).header == read_table(tmp_path / "crowd.npz").header
    before = kept.read_bytes()
    Path("bad.npz").write_bytes(before[:5_000])
    refused = crowd("use", "bad.npz")
    assert refused.exit_code == 1 and "bad.npz is no usable table" in refused.output
    assert "Traceback" not in refused.output and kept.read_bytes() == before
    removed = crowd("remove")
    assert removed.exit_code == 0 and not kept.exists()
    again = crowd("remove")
    assert again.exit_code == 1 and "There is no table" in again.output


def test_a_folder_that_is_no_crowd_writes_nothing(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    refused = crowd("build", "empty")
    assert refused.exit_code == 1 and "empty has no movies.jsonl" in refused.output
    assert not (tmp_path / "crowd.npz").exists()
    missing = crowd("build", "nowhere")
    assert missing.exit_code == 2 and "nowhere" in missing.output
