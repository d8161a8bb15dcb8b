"""The nightly backup of a home with a library, users and accounts on Trakt."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from aperture_dagster.postgres.backup.folder import backup_folder, read_backups
from aperture_dagster_tests.household import Household, run_check
from aperture_dagster_tests.instances import instance_in_memory
from aperture_dagster_tests.trakt.trakt_home import trakt_home


def test_the_nightly_backup_is_proven_and_holds_no_secret(serve: Callable[..., Any]):
    with trakt_home(serve) as home, instance_in_memory() as instance:
        household = Household(home.settings, instance, clock=home.clock)
        check = run_check(household, "database_backup", "is_recent_and_proven")
        assert not check.passed and "There is no proven backup" in (check.description or "")
        household.must("sync_movies")
        tokens = [home.grant(user) for user in ("ada", "ben")]
        for user, granted in zip(("ada", "ben"), tokens, strict=True):
            home.accounts.connect(user, granted)

        run = household.must("database_backup")
        (made,) = run.asset_materializations_for_node("make_backup")
        passed = {check.check_name: check.passed for check in run.get_asset_check_evaluations()}
        assert passed["was_proven"]
        assert made.metadata["proven"].value is True
        assert made.metadata["dagster/row_count"].value > 60 and made.metadata["size_mb"].value > 0
        folder = backup_folder(home.settings)
        (backup,) = read_backups(folder)
        assert backup.path.name in made.metadata["backups"].value

        text = gzip.decompress(backup.path.read_bytes()).decode()
        assert "Film 7" in text
        secrets = [one for pair in tokens for one in (pair.access_token, pair.refresh_token)]
        secrets += home.settings.secret_values()
        address = home.settings.database_url
        assert address is not None
        planted = {one for one in secrets if one != address.get_secret_value()}
        assert len(planted) > 8
        for secret in planted:
            assert secret not in text
            assert b64encode(secret.encode()).decode().rstrip("=") not in text

        def is_recent() -> str:
            return run_check(household, "database_backup", "is_recent_and_proven").description or ""

        assert is_recent() == ""
        home.clock.moment += timedelta(days=3)
        assert "is 3 days old" in is_recent()
        backup.path.unlink()
        assert "There is no proven backup" in is_recent()
