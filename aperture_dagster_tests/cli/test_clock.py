"""``aperture clock`` sets right what a clock that was ahead has written, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aperture_dagster.cli import clock as module
from aperture_dagster.cli.main import main
from aperture_dagster.maintenance.clock import dated_columns, future_dates, set_right
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster_tests.databases import run_statements

NOW = Clock().now()
FILL = (
    "INSERT INTO services (service, answered_at, failing_since) VALUES ('tmdb', now() + interval '90 days', NULL), "
    "('omdb', now() - interval '1 day', now() + interval '1 minute')",
    "INSERT INTO fetches (source, kind, item, outcome, attempts, attempted_at, due_at) VALUES "
    "('tmdb', 'movie', 1, 'ok', 0, now() + interval '90 days', now() + interval '120 days'), "
    "('tmdb', 'movie', 2, 'ok', 0, now(), now() + interval '30 days')",
)
STATE = "SELECT * FROM services ORDER BY 1"


@pytest.fixture
def home(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("APERTURE_HOME", str(tmp_path))
    monkeypatch.setenv("APERTURE_DATABASE_URL", database_url)
    run_statements(database_url, *FILL)
    yield database_url


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["clock", *arguments], input=answer)


def test_it_writes_only_once_asked_and_a_second_time_there_is_nothing(home: str):
    before = run_statements(home, STATE)
    for looked in (run("--dry-run"), run(answer="n\n")):
        assert "fetches (1) and services (1)" in " ".join(looked.output.split())
        assert run_statements(home, STATE) == before
    done = run(answer="y\n")
    assert done.exit_code == 0 and "Set right: 2 rows." in done.output
    omdb, tmdb = run_statements(home, STATE)
    # What is not dated in the future stays, and so does a date within the tolerance.
    assert omdb == before[0]
    now = Clock().now()
    assert tmdb[2] <= now and tmdb[3] is None  # type: ignore[operator]
    dues = run_statements(home, "SELECT item, due_at <= now(), attempted_at <= now() FROM fetches ORDER BY item")
    assert dues == [(1, True, True), (2, False, True)]
    assert "Nothing is dated in the future." in run("--yes").output


def test_it_refuses_while_the_clocks_of_machine_and_database_disagree(home: str, monkeypatch: pytest.MonkeyPatch):
    class Behind(Clock):
        def now(self):
            return super().now() - timedelta(days=400)

    monkeypatch.setattr(module, "Clock", Behind)
    before = run_statements(home, STATE)
    refused = run("--yes")
    assert refused.exit_code == 1 and "Nothing was changed" in " ".join(refused.output.split())
    assert run_statements(home, STATE) == before


def test_dates_in_keys_stay_different(database: Database):
    with database.transaction() as connection:
        execute(connection, "INSERT INTO works (work_id, media_type) VALUES (1, 'movie')")
        (columns,) = [table.columns for table, _, _ in dated_columns() if table.name == "past_picks"]
        assert columns["left_at"].primary_key
        execute(
            connection,
            "INSERT INTO users (user_id, partition_key, name, is_administrator, is_hidden, is_disabled, all_libraries, "
            "library_ids, blocked_tags, allowed_tags, open_library_ids, excluded_folders) "
            "VALUES ('u', 'u', 'Ann', false, false, false, true, '{}', '{}', '{}', '{}', '{}')",
        )
        execute(
            connection,
            "INSERT INTO past_picks (user_id, work_id, left_at, listed_since) SELECT 'u', 1, "
            "now() + n * interval '1 day', current_date FROM generate_series(1, 3) n",
        )
        assert set_right(connection, now=Clock().now()) == 3
        assert future_dates(connection, now=Clock().now()) == []
        assert len(read_rows(connection, "SELECT DISTINCT left_at FROM past_picks")) == 3
