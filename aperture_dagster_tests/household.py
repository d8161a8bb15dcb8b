"""A household for tests: runs the project's real jobs on given settings and a Dagster instance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from aperture_dagster.build import all_jobs, build_definitions
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.markdown import ZEROS
from aperture_dagster.instance.private import REPOSITORY_TAG, repository
from aperture_dagster.instance.runs import SCHEDULE_TAG
from aperture_dagster.model import Clock
from aperture_dagster.partitions import range_tags, user_partitions, users_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.stored import installation_id

# They look at the home, not at the household, and take long.
MAINTENANCE = ("database_backup", "housekeeping")
_RECORDED: dict[str, list[dg.AssetMaterialization]] = {}


class SetClock(Clock):
    """A clock that a test sets by hand."""

    def __init__(self, moment: datetime) -> None:
        super().__init__(lambda: self.moment)
        self.moment = moment


class Household:
    """Runs jobs as the schedules would, and reads their results."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, **parts: Any) -> None:
        self.settings = settings
        self.instance = instance
        self.database = Database(settings)
        self.clock: Clock = parts.get("clock") or Clock()
        self.definitions = build_definitions(settings, **parts)

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        users: Sequence[str] | None = None,
        config: dict[str, Any] | None = None,
        assets: Sequence[str] = (),
        scheduled: bool = False,
        resources: dict[str, Any] | None = None,
        also_tagged: dict[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Run a job or some of its assets, for one partition or for the range from the first to the last user.

        ``scheduled``: tag the run like one of the job's schedule. ``config`` and ``resources`` configure assets and
        resources for this run.
        """
        tags = {REPOSITORY_TAG: repository(LOCATION)} | (also_tagged or {})
        tags |= {SCHEDULE_TAG: f"{job}_schedule"} if scheduled else {}
        if users is not None:
            tags |= range_tags(users[0], users[-1])
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags=tags,
            run_config={
                "ops": {asset: {"config": values} for asset, values in (config or {}).items()},
                "resources": {name: {"config": values} for name, values in (resources or {}).items()},
            },
            asset_selection=[dg.AssetKey(asset) for asset in assets] or None,
            raise_on_error=False,
        )
        # Materializations of a range are only in the instance's event log; the last one of each partition counts.
        recorded = [
            record.asset_materialization
            for record in self.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            if record.asset_materialization is not None
        ]
        last = {(event.asset_key, event.partition): event for event in recorded}
        _RECORDED[result.run_id] = list(last.values())
        return result

    def must(self, job: str, **how: Any) -> dg.ExecuteInProcessResult:
        """Run a job and assert that it succeeds."""
        result = self.run(job, **how)
        assert result.success, failures(result)
        return result

    def daily_checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        """Run the daily checks; return their evaluations by ``asset.check``."""
        return {
            f"{one.asset_key.to_user_string()}.{one.check_name}": one
            for one in self.must("run_daily_checks").get_asset_check_evaluations()
        }

    def everyone(self) -> list[str]:
        """Return the partitions of all users who take part."""
        return user_partitions(self.instance)

    def note_addresses(self) -> None:
        """Store what is new for a copied household: the addresses of the services, and its own identity."""
        for job in ("sync_users", "refresh_ai_pricing"):
            self.must(job)
        with self.database.transaction() as connection:
            installation_id(connection)

    def cycle(self) -> dict[str, dg.ExecuteInProcessResult]:
        """Run every job that concerns a household once, in the order of a new installation; each must succeed."""
        results = {}
        for job in all_jobs(self.settings):
            if job.is_for_some or job.name in MAINTENANCE:
                continue
            request = job.run_request(self.instance, self.settings)
            assert request is not None, "nobody takes part"
            how: dict[str, Any] = {"partition": request.partition_key}
            if job.scope == "users":
                how["users"] = self.everyone()
            results[job.name] = self.must(job.name, **how)
        return results

    def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        from sqlalchemy import text

        with self.database.transaction() as connection:
            return [dict(row) for row in connection.execute(text(statement), parameters).mappings()]

    def value(self, statement: str, **parameters: Any) -> Any:
        """Return the first column of a query's only row."""
        (row,) = self.rows(statement, **parameters)
        return next(iter(row.values()))

    def titles_for(self, user: str, media_type: str = "movie") -> list[str]:
        """Return the titles recommended to a user (by name), in rank order."""
        return [
            row["title"]
            for row in self.rows(
                "SELECT coalesce(e.title, t.title) AS title FROM recommendations r JOIN users u USING (user_id) "
                "JOIN titles t ON t.item_id = r.item_id LEFT JOIN enriched_metadata e ON e.work_id = r.work_id "
                "WHERE u.name = :user AND r.media_type = :media_type ORDER BY rank",
                user=user,
                media_type=media_type,
            )
        ]

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the content of all tables, without times of writing and fetching."""
        from sqlalchemy import MetaData

        from aperture_dagster.schema import metadata

        assert isinstance(metadata, MetaData)
        moments = {
            "updated_at", "created_at", "first_seen_at", "seen_at", "generated_at", "fetched_at", "attempted_at",
            "due_at", "synced_at", "full_synced_at", "activated_at", "answered_at", "noted_at", "listed_at", "read_at",
            "wanted_at", "dismissed_at", "asked_at",
        }  # fmt: skip
        kept = {}
        for table in metadata.sorted_tables:
            if table.name in ("merges", "computations", "step_progress", "changes"):
                # They hold versions of rows, which differ like times, hashes of what was there at some time, runs, and
                # how often anything was committed.
                continue
            columns = ", ".join(f'"{column.name}"::text' for column in table.columns if column.name not in moments)
            kept[table.name] = sorted(
                (tuple(row.values()) for row in self.rows(f"SELECT {columns} FROM {table.name}")), key=str
            )
        return kept


def materializations(
    results: dg.ExecuteInProcessResult | Iterable[dg.ExecuteInProcessResult],
) -> Iterator[dg.AssetMaterialization]:
    """Yield the materializations of runs."""
    for result in [results] if isinstance(results, dg.ExecuteInProcessResult) else results:
        yield from _RECORDED[result.run_id]


def rows_written(
    results: dg.ExecuteInProcessResult | Iterable[dg.ExecuteInProcessResult],
) -> dict[tuple[str, str | None], int]:
    """Return how many rows runs wrote by asset and partition, without zeros."""
    rows = {
        (one.asset_key.to_user_string(), one.partition): one.metadata["rows_written"].value
        for one in materializations(results)
        if "rows_written" in one.metadata
    }
    assert len(rows) > 0
    return {key: count for key, count in rows.items() if count}


def metadata_of(
    results: dg.ExecuteInProcessResult | Iterable[dg.ExecuteInProcessResult], asset: str, partition: str | None = None
) -> dict[str, Any]:
    """Return the metadata of an asset's last materialization as plain values."""
    found = [
        one
        for one in materializations(results)
        if one.asset_key == dg.AssetKey(asset) and (partition is None or one.partition == partition)
    ]
    assert found, f"{asset} was not materialized"
    shown = {name: getattr(value, "value", value) for name, value in found[-1].metadata.items()}
    # Counters that are 0 are gathered in one entry.
    return shown | dict.fromkeys(filter(None, str(shown.pop(ZEROS, "")).split(", ")), 0)


def markdown_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a table in Markdown."""
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return the error description of each failed step."""
    descriptions = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_key is not None:
            data = event.step_failure_data
            description = data.user_failure_data.description if data.user_failure_data else None
            descriptions[event.step_key] = description or (data.error.to_string() if data.error else "unknown")
    return descriptions


NO_BACKUP = "database_backup.is_recent_and_proven"
"""The check that fails after a cycle, which makes no backup."""


def failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    """List the checks that did not pass."""
    return [
        f"{one.asset_key.to_user_string()}.{one.check_name}"
        for one in result.get_asset_check_evaluations()
        if not one.passed
    ]


def run_check(home: Household, asset: str, name: str) -> dg.AssetCheckEvaluation:
    """Run one check without its asset."""
    selection = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey(asset), name))
    job = dg.Definitions(jobs=[dg.define_asset_job("run_check", selection=selection)])
    definitions = dg.Definitions.merge(home.definitions, job)
    result = definitions.resolve_job_def("run_check").execute_in_process(instance=home.instance, raise_on_error=False)
    (found,) = result.get_asset_check_evaluations()
    return found


def status_of(home: Household, asset: str) -> dict[str, str]:
    """Return the status of each user's partition of an asset, as the UI shows it."""
    found = home.instance.get_status_by_partition(dg.AssetKey(asset), home.everyone(), users_partitions)
    return {key: state.value for key, state in (found or {}).items() if state is not None}
