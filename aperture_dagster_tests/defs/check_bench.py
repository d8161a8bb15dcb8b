"""A bench for checks: rows written directly, and each check evaluated alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.build import build_groups
from aperture_dagster.partitions import USERS
from aperture_dagster.postgres.connection import Cipher
from aperture_dagster.postgres.database import Database
from aperture_dagster.schema import metadata
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.stored import installation_id
from aperture_dagster_tests.household import SetClock

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
APP = {"trakt_client_id": "app", "trakt_client_secret": "secret", "secret_key": "a key that encrypts tokens"}
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
# What a column holds that no test is about.
FILLING: tuple[tuple[type[sa.types.TypeEngine[Any]], Any], ...] = (
    (sa.Boolean, False), (sa.Integer, 1), (sa.Numeric, 0), (sa.Float, 0), (sa.Text, ""), (sa.DateTime, NOW),
    (sa.Date, date(2026, 5, 1)), (sa.ARRAY, []), (JSONB, {}),
)  # fmt: skip


class Bench:
    """A database that holds what a test wrote, an instance, and the project's checks."""

    def __init__(self, make_settings: Callable[..., Settings], instance: dg.DagsterInstance) -> None:
        self._make_settings = make_settings
        self.instance = instance
        self.clock = SetClock(NOW)
        self.severity = WARN
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Change the settings; those that are not named have their defaults."""
        self.settings = self._make_settings(**settings)
        self.database = Database(self.settings)
        self.checks = {
            f"{key.asset_key.to_user_string()}.{key.name}": check
            for group in build_groups(self.settings)
            for check in group.checks
            for key in check.check_keys
        }

    def look(self, name: str) -> dg.AssetCheckResult:
        """Evaluate a check now."""
        parts = {
            "settings": self.settings,
            "database": self.database,
            "clock": self.clock,
            "trakt": TraktAccounts(self.settings, self.database, self.clock),
        }
        check = self.checks[name]
        function: Callable[..., Any] = check.op.compute_fn.decorated_fn  # type: ignore[union-attr]
        names = inspect.signature(function).parameters
        given = {part: parts[part] for part in names if part in parts}
        if "context" in names:
            return check(dg.build_asset_check_context(instance=self.instance), **given)  # type: ignore[return-value]
        # Dagster would make an instance first, which the check has no way to read, in a tenth of a second.
        return function(**given)

    # What checks say

    def passes(self, check: str, says: str | None = None, **counts: Any) -> None:
        """Expect a check to pass now.

        Args:
            check: its asset and name.
            says: its description, or a part of it; None: it has none.
            counts: some of its metadata; of tables the number of rows, None where there is none.
        """
        self._compare(check, says, counts, passed=True)

    def fails(self, check: str, says: str, **counts: Any) -> None:
        """Expect a check not to pass now, with the bench's severity; see :meth:`passes`."""
        assert self._compare(check, says, counts, passed=False).severity == self.severity, check

    def _compare(self, check: str, says: str | None, counts: Mapping[str, Any], *, passed: bool) -> dg.AssetCheckResult:
        found = self.look(check)
        said = found.description or ""
        assert found.passed is passed, f"{check}: {said}"
        assert (says in said) if says else not said, f"{check}: {said}"
        assert {key: _plain(found.metadata.get(key)) for key in counts} == dict(counts), f"{check}: {said}"
        return found

    # What there is

    def add(self, table: str, *rows: Mapping[str, Any], **shared: Any) -> None:
        """Add rows to a table. What they do not say is filled in; what they refer to need not exist."""
        into = metadata.tables[table]
        required = {
            column.name: next(value for kind, value in FILLING if isinstance(column.type, kind))
            for column in into.columns
            if not column.nullable and column.server_default is None and column.autoincrement is not True
        }
        if "media_type" in required:
            required["media_type"] = "movie"
        with self._writing() as connection:
            for row in rows or ({},):
                connection.execute(into.insert().values(required | shared | dict(row)))

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self.database.transaction() as connection:
            # Without foreign keys.
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            yield connection

    def do(self, statement: str, **parameters: Any) -> None:
        """Change rows; there must be some."""
        with self._writing() as connection:
            assert connection.execute(sa.text(statement), parameters).rowcount

    def users(self, *names: str, **facts: Any) -> None:
        """Users who take part; ids, names and partitions are equal."""
        given = {"all_libraries": True, "first_seen_at": NOW.replace(year=2025)} | facts
        self.add("users", *({"user_id": name, "name": name, "partition_key": name} for name in names), **given)
        self.instance.add_dynamic_partitions(USERS, list(names))

    def connect(self, *names: str) -> None:
        """Users connected Trakt, with the settings of ``APP``."""
        with self.database.transaction() as connection:
            here = installation_id(connection)
        token = Cipher(APP["secret_key"]).encrypt("token")
        tokens = {"access_token": token, "refresh_token": token, "installation_id": here, "state": "connected"}
        self.add("trakt_accounts", *({"user_id": name} for name in names), **tokens)

    def films(self, *numbers: int, **facts: Any) -> None:
        """Films of the library; the ids of item and work and that of TMDb are equal."""
        kind = {"media_type": facts.get("media_type", "movie")}
        self.add("works", *({"work_id": one} | kind for one in numbers))
        for one in numbers:
            usual = {"title": f"Film {one}", "server_item_id": f"s{one}", "tmdb_id": one}
            self.add("titles", {"item_id": one, "work_id": one} | usual | facts)

    def made(self, asset: str, *partitions: str, **numbers: int) -> None:
        """An asset was materialized now, by the real clock, with these numbers."""
        for partition in partitions or (None,):
            event = dg.AssetMaterialization(asset, partition=partition, metadata=numbers)
            self.instance.report_runless_asset_event(event)


def _plain(value: Any) -> Any:
    """Return a number or text of metadata as it is, and of a table the number of its rows."""
    return len(value.records) if isinstance(value, dg.TableMetadataValue) else getattr(value, "value", None)
