"""Checks of prices, backups, databases and connections; and that no check of the project is without a test."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from typing import Any

import pytest

from aperture_dagster.ratings import stored_accounts as trakt
from aperture_dagster.storage.backup.fingerprint import Fingerprint
from aperture_dagster.storage.backup.manifest import Manifest, write_manifest
from aperture_dagster.storage.backup.places import backup_folder
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

DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
MEGABYTE = 1_000_000


# Prices

CLOUD = {
    "embedder": "openai",
    "embedder_url": "https://api.openai.com/v1",
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


def has_undisputed_prices() -> list[Step]:
    dispute = {"reason": "it fell by half", "provider": "openai"}
    say = "The listed price of small at openai is not believed: it fell by half. What was known before stays in use."
    return [
        passes("none", configured(**CLOUD), disputed=0),
        passes("of another model", add("ai_price_disputes", dispute, model="large"), disputed=1),
        fails("of the model in use", add("ai_price_disputes", dispute, model="small"), say, disputed=2),
        passes("a price in the settings", configured(**CLOUD, embedder_price=0.02), disputed=2),
        fails("under another name", configured(**CLOUD, embedder_priced_as="large"), "price of large at openai"),
    ]


def has_read_the_price_list() -> list[Step]:
    def read(bench: Bench, trouble: str | None) -> None:
        bench.add("ai_price_lists", url=bench.settings.prices_url, entries=7, read_at=NOW, trouble=trouble)

    return [
        passes("never read", nothing, last_read="never", entries=0),
        passes("trouble with another", add("ai_price_lists", url="elsewhere", trouble="it was empty.")),
        passes("read", lambda bench: read(bench, None), last_read="2026-05-17 12:00:00+00:00", entries=7),
        fails(
            "trouble",
            do("UPDATE ai_price_lists SET trouble = 'it was empty.'"),
            "it was empty. Prices stay as they were. To do without the list, set APERTURE_PRICES_DOWNLOAD to false.",
            entries=7,
        ),
        passes("off", configured(prices_download=False), entries=7),
    ]


# Backups


def backup(number: int, *, age: timedelta = timedelta(), proven: bool = True, size: int = 4) -> Then:
    """Put a file with its manifest into the folder; its size is four, whatever the manifest says."""

    def write(bench: Bench) -> None:
        folder = backup_folder(bench.settings)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"aperture-backup-{date(2026, 5, number)}.sql.gz"
        path.write_bytes(b"dump")
        manifest = Manifest(
            owner="here", number=number, sha256="", bytes=size, text_bytes=9, made_at=NOW - age,
            day=date(2026, 5, number), reason="schedule",
            server_major=18, client_major=18, pgvector=None, proven="here" if proven else None,
            unproven_because=None if proven else "It could not be restored: no room.", left_out=(),
            fingerprint=Fingerprint(18, None),
        )  # fmt: skip
        write_manifest(path, manifest)

    return write


def was_proven() -> list[Step]:
    return [
        fails("none", nothing, "There is no backup.", unproven=0),
        passes("a proven one", backup(1), unproven=0),
        fails("then another", backup(2, proven=False), "It could not be restored: no room.", unproven=1),
        passes("then a proven one", backup(3), unproven=1),
    ]


def is_recent_and_proven() -> list[Step]:
    return [
        fails("none", nothing, "There is no proven backup: run `aperture backup create`.", proven=0),
        fails("unproven", backup(1, proven=False), "There is no proven backup", proven=0),
        fails("its file has changed", backup(2, size=5), "There is no proven backup", proven=0),
        fails("old", backup(3, age=2 * DAY + SECOND), "aperture-backup-2026-05-03.sql.gz, is 2 days old", proven=1),
        passes("of two days ago", backup(4, age=2 * DAY), proven=2, age_hours=48.0),
        passes("newer ones are unproven", backup(5, proven=False), proven=2, age_hours=48.0),
        passes("beside one in the future", backup(6, age=-HOUR - SECOND), proven=3),
        fails("in the future", backup(4, age=2 * DAY + SECOND), "2026-05-06.sql.gz, is dated in the future", proven=3),
        passes("clocks differ", backup(6, age=-HOUR), proven=3),
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
    "ai_pricing.has_undisputed_prices": (WARN, has_undisputed_prices()),
    "ai_pricing.has_read_the_price_list": (WARN, has_read_the_price_list()),
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
