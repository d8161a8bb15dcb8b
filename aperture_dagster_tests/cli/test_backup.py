"""``aperture backup``: a backup by hand, the list, and a verification."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.doctor import _backups
from aperture_dagster.cli.main import main
from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.manifest import manifest_path

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with the settings of the test."""
    assert settings.database_url is not None
    variables = {
        "APERTURE_DATABASE_URL": settings.database_url.get_secret_value(),
        "APERTURE_HOME": str(settings.home),
        "APERTURE_BACKUP_ACCEPT_UNMOUNTED": "true",
        "APERTURE_TIMEZONE": "UTC",
        # Wide enough for every message on one line.
        "COLUMNS": "400",
    }

    def running(*arguments: str) -> Result:
        with monkeypatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            return CliRunner().invoke(main, ["backup", *arguments])

    return running


def test_a_backup_is_made_listed_verified_and_found_damaged(run: Run, settings: Settings):
    folder = settings.home_path / "backups"
    nothing = run("list")
    assert nothing.exit_code == 1 and "There is no proven backup" in nothing.output
    empty = run("create")
    assert empty.exit_code == 0 and ": proven, " in empty.output, empty.output
    (path,) = folder.glob("*.sql.gz")
    (folder / "mine.txt").touch()
    listed = run("list")
    assert listed.exit_code == 0
    assert path.name in listed.output and "command" in listed.output and "left alone: mine.txt" in listed.output

    accepting = settings.model_copy(update={"backup_accept_unmounted": True})
    (good,) = _backups(accepting, Clock())
    assert good.state == "ok" and path.name in good.message

    # By its name alone, and moved to another folder together with its manifest.
    assert "equals what was dumped" in run("verify", path.name).output
    moved = folder.parent / "moved"
    moved.mkdir()
    shutil.copy(path, moved)
    alone = run("verify", str(moved / path.name))
    assert alone.exit_code == 1 and "has no manifest" in alone.output
    shutil.copy(manifest_path(path), moved)
    assert run("verify", str(moved / path.name)).exit_code == 0

    # Damaged, cut off, replaced by another dump, missing.
    content = path.read_bytes()
    for bad, why in (
        (content[:5000] + b"\0\0\0" + content[5003:], "is damaged"),
        (content[:-100], "is cut off"),
        (b"", "is empty"),
    ):
        path.write_bytes(bad)
        found = run("verify", path.name)
        assert found.exit_code == 1 and why in found.output and "Traceback" not in found.output
    listed = run("list")
    assert listed.exit_code == 1 and "its size has changed" in listed.output
    (bad,) = _backups(accepting, Clock())
    assert bad.state == "warning" and "There is no proven backup" in bad.message
    _refuse_another_dump(run, path, moved / path.name)
    missing = run("verify", "nothing.sql.gz")
    assert missing.exit_code == 1 and "cannot be read" in missing.output


def _refuse_another_dump(run: Run, path: Path, good: Path) -> None:
    """A dump that is complete, but not the one that the manifest describes."""
    path.write_bytes(gzip.compress(gzip.decompress(good.read_bytes()), 9))
    found = run("verify", path.name)
    assert found.exit_code == 1 and "its checksum is another" in found.output
