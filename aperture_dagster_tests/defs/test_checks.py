"""Checks of prices, backups, databases and connections; and that no check of the project is without a test."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.postgres.backup.folder import backup_folder, unproven
from aperture_dagster_tests.defs import test_checks_of_lists, test_checks_of_sources
from aperture_dagster_tests.defs.check_bench import APP, NOW, WARN, Bench

# Prices

URL = "https://api.openai.com/v1"
CLOUD = {"embedder": "openai", "embedder_url": URL, "embedder_model": "small", "embedder_api_key": "key"}


def knows_the_configured_model(bench: Bench, check: str) -> None:
    bench.configure(embedder="static")
    bench.passes(check)
    bench.configure(**CLOUD)
    bench.fails(check, "The price of small is unknown. ", model="small", provider="openai")
    bench.add("ai_prices", PRICE, provider="other", model="small")
    bench.fails(check, "small is unknown")
    bench.add("ai_prices", PRICE, provider="openai", model="large")
    bench.fails(check, "small is unknown")
    bench.add("ai_prices", PRICE, provider="openai", model="small")
    bench.passes(check)
    bench.do("UPDATE ai_prices SET gone_since = '2026-05-01'")
    bench.fails(check, "The price of small may be out of date. ")
    bench.do("DELETE FROM ai_prices")
    bench.configure(**CLOUD, embedder_price=0.02)
    bench.passes(check)


PRICE = {"price": 0.02}


def offers_the_configured_model(bench: Bench, check: str) -> None:

    def offered(*models: str) -> None:
        bench.add("ai_offered_models", *({"model": model} for model in models), endpoint=URL, is_remote=False)

    bench.configure(embedder="static")
    bench.passes(check)
    bench.configure(**CLOUD)
    bench.passes(check, offered=0)
    offered("large", "other")
    bench.fails(check, "small is not among the 2 models that https://api.", offered=2)
    offered("models/small")
    bench.passes(check)


# Backups


def backup(bench: Bench, day: int, *, proven: bool = True) -> None:
    folder = backup_folder(bench.settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"aperture-backup-{date(2026, 5, day)}.sql.gz"
    (path if proven else unproven(path)).write_bytes(b"dump")


def was_proven(bench: Bench, check: str) -> None:
    bench.fails(check, "There is no backup.", unproven=0)
    backup(bench, 15)
    bench.passes(check, unproven=0)
    backup(bench, 16, proven=False)
    bench.fails(check, "05-16.unproven.sql.gz could not be proven", unproven=1)
    backup(bench, 17)
    bench.passes(check, unproven=1)


def is_recent_and_proven(bench: Bench, check: str) -> None:
    bench.fails(check, "There is no proven backup: run `aperture backup create`.", proven=0)
    backup(bench, 17, proven=False)
    bench.fails(check, "There is no proven backup", proven=0)
    backup(bench, 14)
    bench.fails(check, "aperture-backup-2026-05-14.sql.gz, is 3 days old", proven=1)
    backup(bench, 15)
    bench.passes(check, proven=2)
    shutil.rmtree(backup_folder(bench.settings))
    bench.fails(check, "There is no proven backup")


# Connections


def have_working_connections(bench: Bench, check: str) -> None:
    broken = "UPDATE trakt_accounts SET state = :state, trouble = :why, waits_until = :until WHERE user_id = :user"
    bench.passes(check, connected=0)
    bench.configure(**APP)
    bench.users("Alma B", "Bruno")
    bench.passes(check, connected=0)
    bench.connect("Alma B", "Bruno")
    bench.passes(check, connected=2)
    bench.do(broken, state="reconnect", why="Trakt refused", until=None, user="Alma B")
    bench.fails(check, "Alma B: Trakt refused. Run `aperture trakt connect 'Alma B'`.", connected=1)
    bench.do(broken, state="waiting", why="locked", until=NOW + timedelta(hours=1), user="Bruno")
    bench.fails(check, "Alma B: Trakt refused; Bruno: locked. Run `aperture trakt status`.", connected=0)
    bench.configure(trakt_client_id="app")
    bench.fails(check, "TRAKT_CLIENT_SECRET is not set")
    bench.configure(**APP)
    bench.do("UPDATE users SET removed_at = now()")
    bench.passes(check, connected=0)


CHECKS: dict[str, tuple[Any, ...]] = {
    "ai_pricing.knows_the_configured_model": (WARN, knows_the_configured_model),
    "ai_pricing.offers_the_configured_model": (WARN, offers_the_configured_model),
    "database_backup.was_proven": (WARN, was_proven),
    "database_backup.is_recent_and_proven": (WARN, is_recent_and_proven),
    "trakt_ratings.have_working_connections": (WARN, have_working_connections),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_for_its_reason_and_passes_otherwise(bench: Bench, name: str):
    bench.severity, look, *arguments = CHECKS[name]
    look(bench, name, *arguments)


def test_every_check_has_a_test_and_these_two_stop_what_follows(bench: Bench):
    tested = CHECKS.keys() | test_checks_of_lists.CHECKS.keys() | test_checks_of_sources.CHECKS.keys()
    assert tested == bench.checks.keys()
    blocking = {name for name, check in bench.checks.items() for spec in check.check_specs if spec.blocking}
    assert blocking == {"enriched_metadata.has_every_title", "embeddings.cover_the_library"}
