"""A sync after an old backup was restored: what was rated since then comes back, and Trakt loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from aperture_dagster.cli.restore import void_tokens
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.restore import restore
from aperture_dagster_tests.databases import database_copy, run_statements
from aperture_dagster_tests.marks import ANOTHER_CASE
from aperture_dagster_tests.postgres.test_restore import beside
from aperture_dagster_tests.trakt.rated_home import RatedHome
from aperture_dagster_tests.trakt.trakt_home import trakt_home

# What was in step when the backup was made, and what happened to each film afterwards, here or there.
STEADY = {f"movie:{number}": number % 10 + 1 for number in range(1, 21)}
Edit = Callable[[RatedHome], object]
EDITS: dict[str, Edit] = {
    "movie:1": lambda home: home.rate("ada", "movie:1", 10),
    "movie:2": lambda home: home.rate_on_trakt("ada", "movie:2", 10),
    "movie:3": lambda home: home.rate("ada", "movie:3", None),
    "movie:4": lambda home: home.rate_on_trakt("ada", "movie:4", None),
    "movie:5": lambda home: home.rate_on_server("ada", "movie:5", 9.0),
    "movie:21": lambda home: home.rate("ada", "movie:21", 7),
    "movie:22": lambda home: home.rate_on_trakt("ada", "movie:22", 8),
    "series:1": lambda home: home.rate("ada", "series:1", 6),
}
KILLS = (4, pytest.param(None, marks=ANOTHER_CASE))
"""At which step the first sync after the restore is killed, if at all."""


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """A database that a restore may replace."""
    with database_copy(postgres) as url:
        yield url
        for name in beside(postgres, url):
            run_statements(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.mark.parametrize("kill_at", KILLS)
def test_an_old_backup_and_a_sync_end_where_the_household_was(serve: Callable[..., Any], kill_at: int | None) -> None:
    with trakt_home(serve) as home:
        home.connect("ada")
        rated = RatedHome(home)
        for key, rating in STEADY.items():
            rated.rate("ada", key, rating)
        rated.sync()
        # Rated before the backup, and pushed only after it.
        rated.rate("ada", "movie:23", 4)
        backup = create_backup(home.settings, home.clock.now()).path
        home.wait(86_400)
        rated.sync()
        rated.rate_on_trakt("ada", "movie:23", 9)
        for edit in EDITS.values():
            edit(rated)
        home.wait(3_600)
        rated.sync()
        here, there = rated.values(), rated.there()
        assert rated.values_there() == here and here["movie:23"] == 9 and "movie:3" not in here

        void = partial(void_tokens, path=backup)
        restore(home.settings, backup, now=home.clock.now(), refuse_runs=lambda: None, void=void)
        home.use(home.settings)
        assert rated.values() != here, "the backup is old"
        home.wait(timedelta(hours=1).total_seconds())
        home.connect("ada")
        before = len(rated.pushed())
        if kill_at is not None:
            assert rated.sync_until("ada", kill_at)
        rated.sync()
        assert (rated.values(), rated.there()) == (here, there)
        rated.sync()
        assert (rated.values(), rated.there()) == (here, there)
        assert len(rated.pushed()) == before, "Trakt had everything"
