"""Checks of prices, backups, databases and connections; and that no check of the project is without a test."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.storage import trakt
from aperture_dagster.storage.backup.fingerprint import Fingerprint
from aperture_dagster.storage.backup.manifest import Manifest, write_manifest
from aperture_dagster.storage.backup.places import backup_folder
from aperture_dagster.storage.secrets import Cipher
from aperture_dagster_tests.defs import test_checks_of_lists, test_checks_of_sources
from aperture_dagster_tests.defs.check_bench import NOW, WARN, Bench

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
MEGABYTE = 1_000_000


# Prices

CLOUD = {
    "embedder": "openai",
    "embedder_url": "https://api.openai.com/v1",
    "embedder_model": "small",
    "embedder_api_key": "key",
}


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
    bench.do("DELETE FROM ai_prices")
    bench.configure(**CLOUD, embedder_price=0.02)
    bench.passes(check)


PRICE = {"usage": "embedding", "input_price": 0.02, "source": "list"}


def has_undisputed_prices(bench: Bench, check: str) -> None:
    dispute = {"reason": "it fell by half", "provider": "openai"}
    say = "The listed price of small at openai is not believed: it fell by half. What was known before stays in use."
    bench.configure(**CLOUD)
    bench.passes(check, disputed=0)
    bench.add("ai_price_disputes", dispute, model="large")
    bench.passes(check, disputed=1)
    bench.add("ai_price_disputes", dispute, model="small")
    bench.fails(check, say, disputed=2)
    bench.configure(**CLOUD, embedder_price=0.02)
    bench.passes(check, disputed=2)
    bench.configure(**CLOUD, embedder_priced_as="large")
    bench.fails(check, "price of large at openai")


def has_read_the_price_list(bench: Bench, check: str) -> None:

    def read(bench: Bench, trouble: str | None) -> None:
        bench.add("ai_price_lists", url=bench.settings.prices_url, entries=7, read_at=NOW, trouble=trouble)

    bench.passes(check, last_read="never", entries=0)
    bench.add("ai_price_lists", url="elsewhere", trouble="it was empty.")
    bench.passes(check)
    read(bench, None)
    bench.passes(check, last_read="2026-05-17 12:00:00+00:00", entries=7)
    bench.do("UPDATE ai_price_lists SET trouble = 'it was empty.'")
    bench.fails(
        check,
        "it was empty. Prices stay as they were. To do without the list, set APERTURE_PRICES_DOWNLOAD to false.",
        entries=7,
    )
    bench.configure(prices_download=False)
    bench.passes(check, entries=7)


# Backups


def backup(bench: Bench, number: int, *, age: timedelta = timedelta(), proven: bool = True, size: int = 4) -> None:
    """Put a file with its manifest into the folder; its size is four, whatever the manifest says."""
    folder = backup_folder(bench.settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"aperture-backup-{date(2026, 5, number)}.sql.gz"
    path.write_bytes(b"dump")
    manifest = Manifest(
        owner="here",
        number=number,
        sha256="",
        bytes=size,
        text_bytes=9,
        made_at=NOW - age,
        day=date(2026, 5, number),
        reason="schedule",
        server_major=18,
        client_major=18,
        pgvector=None,
        proven="here" if proven else None,
        unproven_because=None if proven else "It could not be restored: no room.",
        left_out=(),
        fingerprint=Fingerprint(18, None),
    )
    write_manifest(path, manifest)


def was_proven(bench: Bench, check: str) -> None:
    bench.fails(check, "There is no backup.", unproven=0)
    backup(bench, 1)
    bench.passes(check, unproven=0)
    backup(bench, 2, proven=False)
    bench.fails(check, "It could not be restored: no room.", unproven=1)
    backup(bench, 3)
    bench.passes(check, unproven=1)


def is_recent_and_proven(bench: Bench, check: str) -> None:
    bench.fails(check, "There is no proven backup: run `aperture backup create`.", proven=0)
    backup(bench, 1, proven=False)
    bench.fails(check, "There is no proven backup", proven=0)
    backup(bench, 2, size=5)
    bench.fails(check, "There is no proven backup", proven=0)
    backup(bench, 3, age=2 * DAY + SECOND)
    bench.fails(check, "aperture-backup-2026-05-03.sql.gz, is 2 days old", proven=1)
    backup(bench, 4, age=2 * DAY)
    bench.passes(check, proven=2, age_hours=48.0)
    backup(bench, 5, proven=False)
    bench.passes(check, proven=2, age_hours=48.0)
    backup(bench, 6, age=-HOUR - SECOND)
    bench.passes(check, proven=3)
    backup(bench, 4, age=2 * DAY + SECOND)
    bench.fails(check, "2026-05-06.sql.gz, is dated in the future", proven=3)
    backup(bench, 6, age=-HOUR)
    bench.passes(check, proven=3)
    shutil.rmtree(backup_folder(bench.settings))
    bench.fails(check, "There is no proven backup")


def databases_have_their_size(bench: Bench, check: str) -> None:

    def measured(product: int, dagster: int) -> None:
        bench.made("housekeeping", product_database_bytes=product, dagster_database_bytes=dagster)

    bench.configure(databases_limit_mb=100)
    bench.passes(check, total_bytes=0)
    measured(60 * MEGABYTE, 40 * MEGABYTE)
    bench.passes(check, total_bytes=100 * MEGABYTE)
    measured(60 * MEGABYTE, 41 * MEGABYTE)
    bench.fails(check, "The databases take 101.0 MB, more than 100 MB. Shorten")
    bench.configure(databases_limit_mb=101)
    bench.passes(check, total_bytes=101 * MEGABYTE)


# Connections


def have_working_connections(bench: Bench, check: str) -> None:
    app = {"trakt_client_id": "app", "trakt_client_secret": "secret", "secret_key": "a key that encrypts tokens"}

    def connect(*names: str) -> None:
        with bench.database.transaction() as connection:
            here = trakt.installation_id(connection)
        token = Cipher(app["secret_key"]).encrypt("token")
        tokens = {"access_token": token, "refresh_token": token, "installation_id": here, "state": "connected"}
        bench.add("trakt_accounts", *({"user_id": name} for name in names), **tokens)

    broken = f"UPDATE trakt_accounts SET state = :state, trouble = :why, updated_at = '{NOW}' WHERE user_id = :user"
    bench.passes(check, connected=0)
    bench.configure(**app)
    bench.users("Alma B", "Bruno")
    bench.passes(check, connected=0)
    connect("Alma B", "Bruno")
    bench.passes(check, connected=2)
    bench.do(broken, state="reconnect", why="Trakt refused", user="Alma B")
    bench.fails(check, "Alma B: Trakt refused. Run `aperture trakt connect 'Alma B'`.", connected=1)
    bench.do(broken, state="parked", why="locked", user="Bruno")
    bench.fails(check, "Alma B: Trakt refused; Bruno: locked. Run `aperture trakt status`.", connected=0)
    bench.configure(trakt_client_id="app")
    bench.fails(check, "TRAKT_CLIENT_SECRET is not set")
    bench.configure(**app)
    bench.do("UPDATE users SET removed_at = now()")
    bench.passes(check, connected=0)


CHECKS: dict[str, tuple[Any, ...]] = {
    "ai_pricing.knows_the_configured_model": (WARN, knows_the_configured_model),
    "ai_pricing.has_undisputed_prices": (WARN, has_undisputed_prices),
    "ai_pricing.has_read_the_price_list": (WARN, has_read_the_price_list),
    "database_backup.was_proven": (WARN, was_proven),
    "database_backup.is_recent_and_proven": (WARN, is_recent_and_proven),
    "housekeeping.databases_have_their_size": (WARN, databases_have_their_size),
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
