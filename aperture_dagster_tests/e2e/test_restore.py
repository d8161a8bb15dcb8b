"""The restore drill: a household loses everything but its backup, and goes on as if nothing had happened."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from aperture_dagster.cli.backup import add_users, void_tokens
from aperture_dagster.model import Clock
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.backup.dump import Fingerprint, differences, read_fingerprint
from aperture_dagster.postgres.connection import close_engine, ensure_owner, product_database_url
from aperture_dagster.postgres.databases import drop_replaced_database, replaced_databases
from aperture_dagster.postgres.restore import restore
from aperture_dagster.settings import Settings
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.e2e.publishing import publishing
from aperture_dagster_tests.e2e.worlds import small_world
from aperture_dagster_tests.household import Household, failed_checks, rows_written

pytestmark = pytest.mark.e2e


def back_up(settings: Settings) -> Path:
    made = create_backup(settings, Clock().now(), ensure_owner)
    assert made.unproven_because is None
    return made.path


def put_back(settings: Settings, backup: Path) -> None:
    void = functools.partial(void_tokens, path=backup)
    restore(settings, backup, now=Clock().now(), refuse_runs=lambda: None, void=void)


def read_contents(url: str) -> Fingerprint:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return read_fingerprint(connection)


def without_counts(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Leave out how much the last run published, and where the last backup was made."""
    return {table: rows for table, rows in snapshot.items() if table not in ("published_libraries", "facts")}


@pytest.mark.nightly(
    reason="Two whole cycles of a household that publishes.",
    instead="postgres/test_restore.py::test_a_restored_household_has_everything_but_its_tokens_and_the_old_database_is_kept",
)
def test_a_household_that_lost_everything_goes_on_from_its_backup(household: Any, postgres: str, tmp_path: Path):
    world = small_world(movies=40, users=3, plays=120)
    with publishing(household, world, tmp_path) as place:
        settings = place.home.settings
        url = product_database_url(settings)
        place.home.cycle(skip=("sync_libraries",))
        early = back_up(settings)
        place.must_publish()
        late, contents = back_up(settings), read_contents(url)
        everyone, before, files = place.home.everyone(), place.home.snapshot(), place.files()
        libraries, users = place.libraries(), [row["name"] for row in place.home.rows("SELECT name FROM users")]
        items = {user: place.items(f"{user}'s AI Picks - Movies") for user in users}

        close_engine(url)
        run_statements(postgres, f"DROP DATABASE {make_url(url).database} WITH (FORCE)")
        put_back(settings, late)
        assert not differences(contents, read_contents(url))
        # Dagster's records are not in a backup: those of a new installation.
        with dg.DagsterInstance.ephemeral() as instance:
            assert sorted(add_users(instance, settings)) == sorted(everyone)
            assert add_users(instance, settings) == []
            place.home = Household(settings, instance)
            place.state.reset_counters()
            again = place.home.cycle()
            assert [check for result in again.values() for check in failed_checks(result)] == []
            assert rows_written(again.values()) == {}
            assert place.state.requests("tmdb") == 0
            assert place.changes() == 0
            assert place.files() == files
            assert without_counts(place.home.snapshot()) == without_counts(before)

            # From before anything was published: what is on the server and in the folder is taken over.
            put_back(settings, early)
            assert place.home.value("SELECT count(*) FROM published_entries") == 0
            place.must_publish()
            assert place.libraries().keys() == libraries.keys()
            for user in users:
                now = place.items(f"{user}'s AI Picks - Movies")
                assert {title: item.server_item_id for title, item in now.items()} == {
                    title: item.server_item_id for title, item in items[user].items()
                }
            assert place.files().keys() == files.keys() == place.owned()
            place.state.reset_counters()
            place.must_publish()
            assert place.changes() == 0
        for old in replaced_databases(url):
            drop_replaced_database(url, old.name)
