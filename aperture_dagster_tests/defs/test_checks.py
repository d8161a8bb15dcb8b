"""Checks of prices, backups, databases and connections; and that no check of the project is without a test."""

from __future__ import annotations

import shutil
from datetime import date
from typing import Any

import pytest

from aperture_dagster.ratings import stored_accounts as trakt
from aperture_dagster.storage.backup.folder import backup_folder, unproven
from aperture_dagster.storage.secrets import Cipher
from aperture_dagster_tests.defs import test_checks_of_lists, test_checks_of_sources
from aperture_dagster_tests.defs.check_bench import (
    NOW,
    WARN,
    Bench,
    Step,
    Then,
    add,
    both,
    configured,
    do,
    fails,
    follow,
    nothing,
    passes,
    users,
)

MEGABYTE = 1_000_000


# Prices

URL = "https://api.openai.com/v1"
CLOUD = {
    "embedder": "openai",
    "embedder_url": URL,
    "embedder_model": "small",
    "embedder_api_key": "key",
}


def knows_the_configured_model() -> list[Step]:
    return [
        passes("in this process", configured(embedder="static")),
        fails("in a cloud", configured(**CLOUD), "The price of small is unknown. ", model="small", provider="openai"),
        fails("at another provider", add("ai_prices", PRICE, provider="other", model="small"), "small is unknown"),
        fails("of another model", add("ai_prices", PRICE, provider="openai", model="large"), "small is unknown"),
        passes("listed", add("ai_prices", PRICE, provider="openai", model="small")),
        passes("given", both(do("DELETE FROM ai_prices"), configured(**CLOUD, embedder_price=0.02))),
    ]


PRICE = {"usage": "embedding", "input_price": 0.02, "source": "list"}


def offers_the_configured_model() -> list[Step]:
    def offered(*models: str) -> Then:
        return add("ai_offered_models", *({"model": model} for model in models), endpoint=URL, is_remote=False)

    return [
        passes("in this process", configured(embedder="static")),
        passes("nothing is known", configured(**CLOUD), offered=0),
        fails("it is gone", offered("large", "other"), "small is not among the 2 models that https://api.", offered=2),
        passes("at Google", offered("models/small")),
    ]


# Backups


def backup(day: int, *, proven: bool = True) -> Then:
    def write(bench: Bench) -> None:
        folder = backup_folder(bench.settings)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"aperture-backup-{date(2026, 5, day)}.sql.gz"
        (path if proven else unproven(path)).write_bytes(b"dump")

    return write


def was_proven() -> list[Step]:
    return [
        fails("none", nothing, "There is no backup.", unproven=0),
        passes("a proven one", backup(15), unproven=0),
        fails("then another", backup(16, proven=False), "05-16.unproven.sql.gz could not be proven", unproven=1),
        passes("then a proven one", backup(17), unproven=1),
    ]


def is_recent_and_proven() -> list[Step]:
    return [
        fails("none", nothing, "There is no proven backup: run `aperture backup create`.", proven=0),
        fails("unproven", backup(17, proven=False), "There is no proven backup", proven=0),
        fails("old", backup(14), "aperture-backup-2026-05-14.sql.gz, is 3 days old", proven=1),
        passes("of two days ago", backup(15), proven=2),
        fails("all are gone", lambda bench: shutil.rmtree(backup_folder(bench.settings)), "There is no proven backup"),
    ]


def databases_have_their_size() -> list[Step]:
    def measured(product: int, dagster: int) -> Then:
        return lambda bench: bench.made("housekeeping", product_database_bytes=product, dagster_database_bytes=dagster)

    return [
        passes("never measured", configured(databases_limit_mb=100), total_bytes=0),
        passes("the limit", measured(60 * MEGABYTE, 40 * MEGABYTE), total_bytes=100 * MEGABYTE),
        fails("more", measured(60 * MEGABYTE, 41 * MEGABYTE), "The databases take 101.0 MB, more than 100 MB. Shorten"),
        passes("a higher limit", configured(databases_limit_mb=101), total_bytes=101 * MEGABYTE),
    ]


# Connections


def have_working_connections() -> list[Step]:
    app = {"trakt_client_id": "app", "trakt_client_secret": "secret", "secret_key": "a key that encrypts tokens"}

    def connect(*names: str) -> Then:
        def write(bench: Bench) -> None:
            with bench.database.transaction() as connection:
                here = trakt.installation_id(connection)
            token = Cipher(app["secret_key"]).encrypt("token")
            tokens = {"access_token": token, "refresh_token": token, "installation_id": here, "state": "connected"}
            bench.add("trakt_accounts", *({"user_id": name} for name in names), **tokens)

        return write

    broken = f"UPDATE trakt_accounts SET state = :state, trouble = :why, updated_at = '{NOW}' WHERE user_id = :user"
    return [
        passes("without Trakt", nothing, connected=0),
        passes("nobody is connected", both(configured(**app), users("Alma B", "Bruno")), connected=0),
        passes("both", connect("Alma B", "Bruno"), connected=2),
        fails(
            "one must sign in",
            do(broken, state="reconnect", why="Trakt refused", user="Alma B"),
            "Alma B: Trakt refused. Run `aperture trakt connect 'Alma B'`.",
            connected=1,
        ),
        fails(
            "both",
            do(broken, state="parked", why="locked", user="Bruno"),
            "Alma B: Trakt refused; Bruno: locked. Run `aperture trakt status`.",
            connected=0,
        ),
        fails("a setting is gone", configured(trakt_client_id="app"), "TRAKT_CLIENT_SECRET is not set"),
        passes("who left", both(configured(**app), do("UPDATE users SET removed_at = now()")), connected=0),
    ]


CHECKS: dict[str, tuple[Any, list[Step]]] = {
    "ai_pricing.knows_the_configured_model": (WARN, knows_the_configured_model()),
    "ai_pricing.offers_the_configured_model": (WARN, offers_the_configured_model()),
    "database_backup.was_proven": (WARN, was_proven()),
    "database_backup.is_recent_and_proven": (WARN, is_recent_and_proven()),
    "housekeeping.databases_have_their_size": (WARN, databases_have_their_size()),
    "trakt_ratings.have_working_connections": (WARN, have_working_connections()),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_fails_for_its_reason_and_passes_otherwise(bench: Bench, name: str):
    severity, steps = CHECKS[name]
    follow(bench, name, steps, severity)


def test_every_check_has_a_test_and_these_two_stop_what_follows(bench: Bench):
    tested = CHECKS.keys() | test_checks_of_lists.CHECKS.keys() | test_checks_of_sources.CHECKS.keys()
    assert tested == bench.checks.keys()
    blocking = {name for name, check in bench.checks.items() for spec in check.check_specs if spec.blocking}
    assert blocking == {"enriched_metadata.has_every_title", "embeddings.cover_the_library"}
