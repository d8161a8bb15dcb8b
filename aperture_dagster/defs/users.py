"""The loop over users: one run serves one user or all of them, and one user's failure costs only that user."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.reporting import SHOWN_NAMES, log_totals, table
from aperture_dagster.files.private import FileError
from aperture_dagster.http.errors import (
    ServiceNotConfigured,
    ServicePaused,
    ServiceRefused,
    ServiceUnavailable,
)
from aperture_dagster.instance.failures import (
    EXPECTED,
    LONGEST_REASON,
    MissingPrerequisite,
    cause_of,
    describe,
    operator_errors,
    stack_trace,
)
from aperture_dagster.instance.markdown import arranged, code_block
from aperture_dagster.instance.private import output_without_events
from aperture_dagster.instance.runs import SCHEDULE_TAG
from aperture_dagster.model import Progress, counted
from aperture_dagster.partitions import user_partitions, users_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError, DatabaseInterrupted
from aperture_dagster.postgres.queries import count_rows_by
from aperture_dagster.postgres.tables import metadata
from aperture_dagster.settings import Settings

# An asset with a partition per user, of which one run serves one user or all.
user_asset = functools.partial(
    dg.asset, partitions_def=users_partitions, backfill_policy=dg.BackfillPolicy.single_run(), output_required=False
)
VERSION_TAG = "dagster/data_version"
# These would hit every other user, too.
SAME_FOR_EVERYBODY = (ServiceRefused, ServiceNotConfigured, ServicePaused, DatabaseError, FileError)
# A service that was unavailable, after all retries, for so many users in a row is down.
UNAVAILABLE_IN_A_ROW = 3


@dataclass(slots=True)
class UserOutcome:
    """The outcome of serving one user.

    ``version`` is a hash of what other assets read of the user's partition, ``metadata`` is that of the partition, and
    ``record`` asks to record it in a quiet run even if nothing changed. ``unchanged``: there was nothing to compute.
    """

    version: str
    metadata: dict[str, Any] = field(default_factory=dict)
    rows_written: int = 0
    requests: int = 0
    record: bool = False
    unchanged: bool = False


class UserLeft(Exception):
    """The user was deleted on the media server since the users were read."""


def for_each_user(
    context: dg.AssetExecutionContext,
    settings: Settings,
    database: Database,
    serve: Callable[[User], UserOutcome],
    *,
    quiet: bool = False,
    at_once: bool = False,
) -> Iterator[dg.MaterializeResult]:
    """Serve every user of the run's partitions, and record each with a data version of their own.

    A data version that is yielded counts for all partitions of a run, so those of several users are logged as events.
    A user's failure, of whatever kind, is recorded; the others are served, and the step fails at the end, naming who
    and why. When a service refuses, asks for a pause or is unavailable for three users in a row, the rest is left out.

    With ``quiet``, scheduled runs record only the users for whom something changed. With ``at_once``, other runs record
    each user as soon as they are served, so that what follows need not wait for the others.

    Raises:
        Failure: one user or more could not be served.
        RetryRequested: nobody could be served, because a service is unavailable.
    """
    with operator_errors(context, settings):
        run = _Run(context, settings, database)
        run.serve_all(serve, record=at_once and SCHEDULE_TAG not in context.run.tags)
        if run.failed and not run.served:
            # Nobody could be served: it is the service, or what comes first, so it is handled as such.
            raise next(iter(run.failed.values()))
        silent = quiet and not run.failed and SCHEDULE_TAG in context.run.tags and _last_run_succeeded(context)
        if not run.failed:
            yield output_without_events()
        run.record(only_changed=silent)
        if run.failed:
            raise run.failure()
        written = sum(outcome.rows_written for outcome in run.served.values())
        sent = sum(outcome.requests for outcome in run.served.values())
        left = {"users gone": len(run.left)} if run.left else {}
        served = {"users served": len(run.served)}
        unchanged = sum(outcome.unchanged for outcome in run.served.values())
        served |= {"of them unchanged": unchanged} if unchanged else {}
        log_totals(context, served | left | {"rows written": written, "requests sent": sent})


class _Run:
    def __init__(self, context: dg.AssetExecutionContext, settings: Settings, database: Database) -> None:
        self._context, self._settings, self._database = context, settings, database
        # A run's partitions come as a set; the order of the UI makes two runs comparable.
        place = {key: number for number, key in enumerate(user_partitions(context.instance))}
        self.keys = sorted(context.partition_keys, key=lambda key: place.get(key, len(place)))
        if not self.keys:
            raise MissingPrerequisite(
                "The run is for no user: a range goes from an earlier partition to a later one, in the order of the UI."
            )
        with database.transaction() as connection:
            self._users = users_of_partitions(connection, self.keys)
        self.served: dict[str, UserOutcome] = {}
        self._recorded: set[str] = set()
        self.failed: dict[str, Exception] = {}
        self.left: list[str] = []

    def serve_all(self, serve: Callable[[User], UserOutcome], *, record: bool = False) -> None:
        """Serve one user after the other until all are, or until the rest would fail, too; ``record`` each at once."""
        unavailable = 0
        progress = Progress(self._context.log, "users", len(self.keys))
        for number, key in enumerate(self.keys, start=1):
            try:
                if key not in self._users:
                    raise MissingPrerequisite(f"No user has the partition {key!r}: run sync_users.")
                self.served[key] = self._serve(serve, self._users[key])
                unavailable = 0
                if record:
                    self.record(only_changed=False)
            except UserLeft:
                self.left.append(key)
                self._context.log.warning(
                    f"{self._name(key)} was deleted on the media server and is left as is until the next sync of users."
                )
            except Exception as error:
                self.failed[key] = error
                self._context.log.error(f"{self._name(key)}: {describe(error, self._settings)}")
                unavailable = unavailable + 1 if isinstance(error, ServiceUnavailable) else 0
                if isinstance(error, SAME_FOR_EVERYBODY) or unavailable == UNAVAILABLE_IN_A_ROW:
                    rest = self.keys[number:]
                    self.failed |= dict.fromkeys(rest, error)
                    if rest:
                        self._context.log.error(
                            f"Left out {counted(len(rest), 'more users')}, who would fail for the same reason."
                        )
                    break
            progress.add()

    def _serve(self, serve: Callable[[User], UserOutcome], user: User) -> UserOutcome:
        try:
            return serve(user)
        except DatabaseInterrupted as error:
            # The next connection waits for the server, or starts it.
            self._context.log.warning(f"{user.name}: {describe(error, self._settings)} Trying again.")
            return serve(user)

    def record(self, *, only_changed: bool) -> None:
        """Log a materialization with its own data version for each user who was served and not recorded yet."""
        due = {
            key: outcome
            for key, outcome in self.served.items()
            if key not in self._recorded and not (only_changed and not outcome.rows_written and not outcome.record)
        }
        rows = rows_of_users(self._context, self._database) if due else None
        for key, outcome in due.items():
            record_user(self._context, self._users[key], outcome, rows)
            self._recorded.add(key)

    def failure(self) -> dg.Failure:
        """Describe the failure of a step that served some users and others not."""
        failed = {self._name(key): error for key, error in self.failed.items()}
        what = f"{len(self.failed)} of {len(self.keys)} users could not be served"
        return partial_failure(what, "user", failed, self._settings)

    def _name(self, key: str) -> str:
        return self._users[key].name if key in self._users else key


def partial_failure(what: str, part: str, failed: Mapping[str, Exception], settings: Settings) -> dg.Failure:
    """Describe the failure of a step that made some of its partitions and others not.

    ``what`` says how many failed, and ``part`` what one of them is; ``failed`` are their names, each with the error.
    """
    reasons = {name: describe(error, settings) for name, error in failed.items()}
    (first, reason), *others = reasons.items()
    shown = reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + "…"
    more = f" and {len(others) - SHOWN_NAMES} more" if len(others) > SHOWN_NAMES else ""
    also = f" Also: {', '.join(name[:12] for name, _ in others[:SHOWN_NAMES])}{more}." if others else ""
    metadata = {f"failed_{part}s": table([{part: name, "why": reason} for name, reason in reasons.items()])}
    unforeseen = next((error for error in failed.values() if not isinstance(error, EXPECTED)), None)
    if unforeseen is not None:
        metadata["stack_trace"] = code_block(stack_trace(unforeseen, settings))
    return dg.Failure(
        description=f"{what}, the others were. {first[:40]}: {shown}{also} What was there is kept.",
        metadata=metadata | cause_of(failed.values()),
        allow_retries=False,
    )


def rows_of_users(context: dg.AssetExecutionContext, database: Database) -> Mapping[str, int] | None:
    """Count the rows of the asset's table by user id; None if it has no table with a row per user."""
    name = context.assets_def.specs_by_key[context.asset_key].metadata.get("dagster/table_name")
    if name is None or "user_id" not in metadata.tables[name].c:
        return None
    with database.transaction() as connection:
        return count_rows_by(connection, name, "user_id")


def record_user(
    context: dg.AssetExecutionContext, user: User, outcome: UserOutcome, rows: Mapping[str, int] | None
) -> None:
    """Log a materialization of a user's partition, with its own data version.

    ``rows`` is the row count of each user, see :func:`rows_of_users`. Dagster's UI takes the row count of an asset from
    the partition that was materialized last, so each record has the total; the user's own count has a key of its own.
    """
    shown = outcome.metadata | {"user": user.name, "rows_written": outcome.rows_written}
    if rows is not None:
        shown["dagster/partition_row_count"] = rows.get(user.user_id, 0)
        shown["dagster/row_count"] = sum(rows.values())
    if outcome.requests:
        shown["requests"] = outcome.requests
    log_materialization(context, user.partition_key, arranged(shown), version=outcome.version)


def log_materialization(
    context: dg.AssetExecutionContext, partition: str, metadata: Mapping[str, Any], *, version: str
) -> None:
    """Log a materialization of one of the partitions of a run, with a data version of its own."""
    tags = {VERSION_TAG: version}
    context.log_event(dg.AssetMaterialization(context.asset_key, partition=partition, metadata=metadata, tags=tags))


def _last_run_succeeded(context: dg.AssetExecutionContext) -> bool:
    """Tell whether the job's last run left no failed partition behind, which only a materialization would clear."""
    runs = context.instance.get_runs(dg.RunsFilter(job_name=context.run.job_name), limit=2)
    return all(run.status == dg.DagsterRunStatus.SUCCESS for run in runs if run.run_id != context.run.run_id)
