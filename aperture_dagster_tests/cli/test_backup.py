"""``aperture backup``: a backup by hand, and the list."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli.doctor.installation import examine_backups
from aperture_dagster.cli.main import main
from aperture_dagster.model import Clock
from aperture_dagster.postgres.backup import folder as module
from aperture_dagster.settings import Settings

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with the settings of the test, in a narrow terminal."""
    assert settings.database_url is not None
    variables = {
        "APERTURE_DATABASE_URL": settings.database_url.get_secret_value(),
        "APERTURE_HOME": str(settings.home),
        "APERTURE_TIMEZONE": "UTC",
        "COLUMNS": "40",
    }

    def running(*arguments: str) -> Result:
        with monkeypatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            return CliRunner().invoke(main, ["backup", *arguments])

    return running


def test_a_backup_is_made_and_listed(run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    nothing = run("list")
    assert nothing.exit_code == 1 and "There is no proven backup" in nothing.output
    (none,) = examine_backups(settings, Clock())
    assert none.state == "off"
    made = run("create")
    assert made.exit_code == 0 and ": proven, " in made.output, made.output
    (path,) = (settings.home_path / "backups").glob("*.sql.gz")
    listed = run("list")
    assert listed.exit_code == 0 and re.search(rf"^proven +\S+ MB  {re.escape(path.name)}$", listed.output, re.M)
    monkeypatch.setattr(module, "CONTAINER_FILES", ())
    (good,) = examine_backups(settings, Clock())
    assert good.state == "ok" and path.name in good.message
    path.rename(module.unproven(path))
    listed = run("list")
    assert listed.exit_code == 1 and f"  {module.unproven(path).name}\n" in listed.output
    (bad,) = examine_backups(settings, Clock())
    assert bad.state == "warning" and "There is no proven backup" in bad.message
