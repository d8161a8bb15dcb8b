"""``aperture crowd``: a table is made from a folder, copied into the home, and removed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.main import main
from aperture_dagster.resources.crowd_file import read_file
from aperture_dagster_tests.conftest import HISTORIES


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("APERTURE_HOME", "APERTURE_CONFIG", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("APERTURE_MEDIA_SERVER_URL", "http://films.example")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def crowd(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["crowd", *map(str, arguments)])


def test_a_table_is_made_used_and_removed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = crowd("build", HISTORIES, "--licence", "research only")
    assert made.exit_code == 0 and "from 138 of 138 people" in made.output
    assert "aperture crowd use crowd.npz" in made.output
    assert read_file(tmp_path / "crowd.npz").header.licence == "research only"

    used = crowd("use", "crowd.npz")
    assert (
        used.exit_code == 0
        and "138 people of movielens" in used.output
        and "Terms of the data: research" in used.output
    )
    assert "once the library has been read" in used.output
    (kept,) = (home / "crowd").iterdir()
    assert kept.read_bytes() == (tmp_path / "crowd.npz").read_bytes()
    assert kept.stat().st_mode & 0o77 == 0 and kept.parent.stat().st_mode & 0o77 == 0, "for the owner alone"

    monkeypatch.setenv("APERTURE_CROWD_FOLDER", "/elsewhere")
    assert "APERTURE_CROWD_FOLDER comes first" in crowd("use", "crowd.npz").output
    removed = crowd("remove")
    assert removed.exit_code == 0 and not kept.exists() and "still names /elsewhere" in removed.output
    again = crowd("remove")
    assert again.exit_code == 1 and "There is no table" in again.output


def test_a_file_that_is_no_table_leaves_the_one_in_use_alone(home: Path, tmp_path: Path):
    crowd("build", HISTORIES, "--output", "good.npz")
    crowd("use", "good.npz")
    Path("bad.npz").write_bytes(Path("good.npz").read_bytes()[:5_000])
    refused = crowd("use", "bad.npz")
    assert refused.exit_code == 1 and "bad.npz is no usable table" in refused.output
    assert "Traceback" not in refused.output
    assert (home / "crowd" / "table.npz").read_bytes() == Path("good.npz").read_bytes()


def test_a_folder_that_is_no_crowd_writes_nothing(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    refused = crowd("build", "empty")
    assert refused.exit_code == 1 and "empty has neither" in refused.output
    assert not (tmp_path / "crowd.npz").exists()
    missing = crowd("build", "nowhere")
    assert missing.exit_code == 2 and "nowhere" in missing.output
