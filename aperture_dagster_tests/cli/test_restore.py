"""``aperture restore``: what it shows, whom it waits for, and what it says afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli import restore as module
from aperture_dagster.cli.main import main
from aperture_dagster.instance import dead_runs
from aperture_dagster.instance.run_lock import TAG, lock_run, tag_of, unlock_run
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.connection import dagster_database_url, product_database_url
from aperture_dagster.postgres.databases import replaced_databases
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.conftest import PROJECT
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.postgres.test_restore import ACCOUNTS, HOUSEHOLD, which


@pytest.fixture
def url(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The database of a household that has a backup, and in which much has happened since."""
    for name, value in {
        "APERTURE_DATABASE_URL": database_url,
        "APERTURE_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(PROJECT),
    }.items():
        monkeypatch.setenv(name, value)
    run_statements(database_url, *HOUSEHOLD, *ACCOUNTS)
    create_backup(load_settings(), Clock().now())
    run_statements(database_url, "UPDATE facts SET value = '\"damaged\"' WHERE name = 'which'")
    run_statements(database_url, "DELETE FROM api_keys WHERE name = 'Leaked'")
    yield database_url
    for one in replaced_databases(product_database_url(load_settings())):
        run_statements(database_url, f"DROP DATABASE {one.name} WITH (FORCE)")


@dg.op
def work() -> None: ...


@dg.job
def sync_movies() -> None:
    work()


def aperture(command: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, command.split(), input=answer)


def words(result: Result) -> str:
    return " ".join(result.output.split())


def test_a_backup_is_shown_and_restored_when_the_operator_agrees_and_no_run_is_in_progress(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    missing = aperture("restore nowhere.sql.gz --yes")
    assert missing.exit_code == 1 and "nowhere.sql.gz" in words(missing) and "No such file" in words(missing)
    assert aperture("restore").exit_code == 2
    (backup,) = (tmp_path / "home" / "backups").glob("*.sql.gz")
    refused = aperture(f"restore {backup}", answer="n\n")
    assert refused.exit_code == 1 and which(url) == "damaged"
    assert f"{backup.name} (0.0 MB) is to be restored on the server of APERTURE_DATABASE_URL." in words(refused)
    with dg.DagsterInstance.get() as instance:
        run = instance.create_run_for_job(sync_movies, status=dg.DagsterRunStatus.STARTED)
        lock_run(run.run_id, dagster_database_url(load_settings()), load_settings())
        instance.add_run_tags(run.run_id, {TAG: tag_of(run.run_id)})
        busy = aperture(f"restore {backup} --yes")
        assert busy.exit_code == 1 and which(url) == "damaged"
        assert f"Runs are in progress: sync_movies {run.run_id[:8]}. Wait" in words(busy)
        # A run whose process was killed is no reason to wait.
        unlock_run(run.run_id)
        monkeypatch.setattr(dead_runs, "LOOKS", 1)
        # A name alone is looked for among the backups.
        done = aperture(f"restore {backup.name} --yes")
        assert done.exit_code == 0, done.output
        assert which(url) == "backed up"
        assert "Trakt: 2 users have to connect again" in words(done)
        assert "does not have them: Leaked. Make new ones" in words(done)
        assert sorted(instance.get_dynamic_partitions(USERS)) == ["user-1", "user-2", "user-3"]
    (old,) = replaced_databases(product_database_url(load_settings()))
    assert f"kept as {old.name}" in words(done)
    kept = aperture("restore --drop-old", answer="n\n")
    assert old.name in words(kept) and replaced_databases(product_database_url(load_settings()))
    assert aperture("restore --drop-old --yes").exit_code == 0
    assert not replaced_databases(product_database_url(load_settings()))
    assert which(url) == "backed up"


def test_a_restore_whose_users_cannot_be_added_to_dagster_says_that_the_backup_is_in_place(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (backup,) = (tmp_path / "home" / "backups").glob("*.sql.gz")

    def fail(*_: object) -> None:
        raise OperatorError("Dagster's database cannot be reached.")

    monkeypatch.setattr(module, "add_users", fail)
    done = aperture(f"restore {backup} --yes")
    assert done.exit_code == 1 and which(url) == "backed up"
    assert "The backup is in place" in words(done) and "cannot be reached" in words(done)
