"""What the assets share: how they report, how they fail, and the loop over users."""

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from aperture_dagster.library.removal import RemovalRefused
from aperture_dagster.partitions import USERS
from aperture_dagster.resources.errors import (
    NotFound,
    RequestRejected,
    ServiceError,
    ServiceNotConfigured,
    ServicePaused,
    ServiceRefused,
    ServiceUnavailable,
)
from aperture_dagster.resources.providers import Database
from aperture_dagster.resources.redaction import redact
from aperture_dagster.settings import Settings
from aperture_dagster.storage.errors import DatabaseError
from aperture_dagster.storage.files import FileError

if TYPE_CHECKING:
    from aperture_dagster.storage.people import StoredUser

# No retry helps against these: a person must change something first.
PERMANENT = (ServiceRefused, ServiceNotConfigured, NotFound, RequestRejected, RemovalRefused, DatabaseError, FileError)
# What says about one user what it would say about all of them.
SAME_FOR_EVERYBODY = (ServiceRefused, ServiceNotConfigured, ServicePaused)
# So many users in a row for whom the service was unavailable, each after all retries, mean that it is down.
UNAVAILABLE_IN_A_ROW = 3
SERVER = "media_server"
SHOWN_PROBLEMS = 20
SHOWN_NAMES = 3
LONGEST_REASON = 280


class MissingPrerequisite(Exception):
    """Something that must be there first is not; the message says what to run or configure."""


@contextmanager
def operator_errors(context: dg.OpExecutionContext | dg.AssetExecutionContext, settings: Settings) -> Iterator[None]:
    """Turn what goes wrong into what Dagster does about it: try the step again later, or fail with a sentence.

    The sentence says it all: no stack trace of the error behind it stands in its way.
    """
    try:
        yield
    except (*PERMANENT, MissingPrerequisite) as error:
        raise dg.Failure(description=sentence(error), allow_retries=False) from None
    except ServicePaused as error:
        raise dg.Failure(
            description=f"{sentence(error)} What was there is kept; a run after that goes on from here.",
            allow_retries=False,
        ) from None
    except ServiceUnavailable as error:
        if context.retry_number < settings.step_retries:
            context.log.warning(f"{sentence(error)} Trying the step again in {settings.step_retry_wait_seconds:g} s.")
            raise dg.RetryRequested(settings.step_retries, settings.step_retry_wait_seconds) from error
        raise dg.Failure(
            description=f"{sentence(error)} What was there is kept; the next run goes on from here.",
            allow_retries=False,
        ) from None
    except ServiceError as error:
        raise dg.Failure(description=f"{sentence(error)} What was there is kept.", allow_retries=False) from None
    except Exception as error:
        # What nobody foresaw is told with its stack trace, which Dagster keeps: a library may have put a key into it.
        trace = "".join(traceback.format_exception(error))
        cleaned = redact(trace, settings.secret_values())
        if cleaned == trace:
            raise
        raise dg.Failure(
            description=redact(f"{type(error).__name__}: {error}", settings.secret_values()),
            metadata={"stack_trace": dg.MetadataValue.md(f"```\n{cleaned}\n```")},
            allow_retries=False,
        ) from None


def sentence(error: Exception) -> str:
    """What went wrong, with a full stop, so that more can be said after it."""
    told = str(error).rstrip()
    return told if told.endswith((".", "!", "?", "…")) else f"{told}."


def table(records: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> dg.MetadataValue:
    """Records as a table on the asset's page; without records, a line that says so."""
    if not records:
        return dg.MetadataValue.md("*nothing*")
    names = list(columns or records[0])
    rows = [dg.TableRecord({name: _cell(record.get(name)) for name in names}) for record in records]
    kinds = {name: _kind([row.data[name] for row in rows]) for name in names}
    schema = dg.TableSchema(columns=[dg.TableColumn(name, kinds[name]) for name in names])
    return dg.MetadataValue.table(rows, schema=schema)


def materialized(
    context: dg.OpExecutionContext | dg.AssetExecutionContext, metadata: Mapping[str, Any]
) -> dg.MaterializeResult:
    """The result of an asset, with its numbers: those that all assets have are told in a closing line, too."""
    names = {"dagster/row_count": "rows", "rows_written": "rows written", "requests": "requests sent"}
    failures = {"unreadable": "could not be read", "errors": "failed"}
    counts = {what: metadata[key] for key, what in names.items() if key in metadata}
    _tell_done(context, counts | {what: metadata[key] for key, what in failures.items() if metadata.get(key)})
    return dg.MaterializeResult(metadata=metadata)


def _tell_done(context: dg.OpExecutionContext | dg.AssetExecutionContext, counts: Mapping[str, int]) -> None:
    context.log.info(f"Done: {', '.join(f'{count:,} {what}' for what, count in counts.items())}.")


def problems_table(problems: Sequence[str]) -> dict[str, Any]:
    """What could not be read, as metadata: the number always, a table where there are some."""
    metadata: dict[str, Any] = {"unreadable": len(problems)}
    if problems:
        metadata["unreadable_items"] = table([{"problem": problem} for problem in problems[:SHOWN_PROBLEMS]])
    return metadata


def warn_of_unreadable(context: dg.AssetExecutionContext, what: str, problems: Sequence[str], *, read: int) -> None:
    """Say how many could not be read, beside those that were, and what is wrong with the first."""
    if problems:
        context.log.warning(
            f"{len(problems):,} of {len(problems) + read:,} {what} could not be read and were left as they are. "
            f"The first: {problems[0][:LONGEST_REASON]}."
        )


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return None if value != value else round(value, 3)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _kind(values: Sequence[Any]) -> str:
    known = [value for value in values if value is not None]
    for name, kinds in (("bool", bool), ("int", int), ("float", (int, float))):
        if known and all(isinstance(value, kinds) for value in known):
            return name
    return "string"


class Progress:
    """Log lines with counts and rate, at most one in a few seconds: every line is a row in the event log."""

    def __init__(self, context: dg.AssetExecutionContext, what: str, total: int | None = None) -> None:
        self._context, self._what, self._total = context, what, total
        self._started = self._told = time.monotonic()
        self._done = 0

    def add(self, count: int = 1) -> None:
        """Count, and say so when it is time."""
        self._done += count
        if time.monotonic() - self._told >= 5:
            self.tell()

    def tell(self) -> None:
        """Say how far it is."""
        self._told = time.monotonic()
        seconds = max(self._told - self._started, 1e-9)
        of = f" of {self._total:,}" if self._total is not None else ""
        self._context.log.info(f"{self._done:,}{of} {self._what}, {self._done / seconds:,.0f}/s")


@dataclass(slots=True)
class UserOutcome:
    """What one user's turn gave: metadata of their partition, rows written."""

    metadata: dict[str, Any] = field(default_factory=dict)
    rows_written: int = 0
    requests: int = 0


def for_each_user(
    context: dg.AssetExecutionContext,
    database: Database,
    serve: "Callable[[StoredUser], UserOutcome]",
) -> dg.MaterializeResult:
    """Serve every user of the run's partitions. One user's failure is recorded, the others go on, and the step fails
    at the end, naming who and why; those who were served count as materialized all the same. A service that refuses,
    asks for a pause, or is unavailable for three users in a row is not asked about the rest.

    Raises:
        Failure: one user or more could not be served.
        ServiceError: the same, when only one was asked for or nobody could be served.
    """
    from aperture_dagster.storage.people import users_of_partitions

    # A run's partitions come as a set: the order of the UI makes two runs comparable.
    place = {key: number for number, key in enumerate(context.instance.get_dynamic_partitions(USERS))}
    keys = sorted(context.partition_keys, key=lambda key: place.get(key, len(place)))
    if not keys:
        raise MissingPrerequisite(
            "The run is for no user: a range goes from an earlier partition to a later one, in the order of the UI."
        )
    with database.transaction() as connection:
        users = users_of_partitions(connection, keys)
    served: dict[str, UserOutcome] = {}
    failed: dict[str, Exception] = {}
    unavailable = 0
    progress = Progress(context, "users", len(keys))
    for place_in_run, key in enumerate(keys):
        user = users.get(key)
        try:
            if user is None:
                raise MissingPrerequisite(f"No user has the partition {key!r}: run sync_users.")
            outcome = serve(user)
            served[key] = outcome
            metadata = _user_metadata(user, outcome)
            context.add_asset_metadata(metadata, partition_key=key)
        except (ServiceError, RemovalRefused, MissingPrerequisite, ValueError) as error:
            failed[key] = error
            context.log.error(f"{user.name if user else key}: {sentence(error)}")
            unavailable = unavailable + 1 if isinstance(error, ServiceUnavailable) else 0
            if isinstance(error, SAME_FOR_EVERYBODY) or unavailable == UNAVAILABLE_IN_A_ROW:
                rest = keys[place_in_run + 1 :]
                failed |= dict.fromkeys(rest, error)
                if rest:
                    context.log.error(f"The {len(rest)} users after that are left out: it would be the same for them.")
                break
        else:
            unavailable = 0
        progress.add()
    progress.tell()
    if failed and not served:
        # Nobody could be served: it is the service, or what comes first, so it is handled as such.
        raise next(iter(failed.values()))
    if failed:
        for key, outcome in served.items():
            context.log_event(
                dg.AssetMaterialization(
                    asset_key=context.asset_key,
                    partition=key,
                    metadata=_user_metadata(users[key], outcome),
                )
            )
        raise dg.Failure(
            description=f"{len(failed)} of {len(keys)} users could not be served, the others were. "
            + _who_and_why({users[key].name if key in users else key: error for key, error in failed.items()}),
            metadata={"failed_users": table([{"user": key, "why": str(error)} for key, error in failed.items()])},
            allow_retries=False,
        )
    written, sent = (sum(getattr(one, name) for one in served.values()) for name in ("rows_written", "requests"))
    _tell_done(context, {"users served": len(served), "rows written": written, "requests sent": sent})
    return dg.MaterializeResult()


def _who_and_why(failed: Mapping[str, Exception]) -> str:
    """The first of those who could not be served with the reason, the names of some others; all are in the table."""
    (first, error), *others = failed.items()
    reason = sentence(error)
    told = f"{first[:40]}: {reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + '…'}"
    if others:
        names = ", ".join(name[:12] for name, _ in others[:SHOWN_NAMES])
        more = f" and {len(others) - SHOWN_NAMES} more" if len(others) > SHOWN_NAMES else ""
        told += f" Also: {names}{more}."
    return told if "kept" in told or "no mark" in told else f"{told} What was there is kept."


def _user_metadata(user: "StoredUser", outcome: UserOutcome) -> dict[str, Any]:
    """What a person wants to see first stands first."""
    counts = {"rows_written": outcome.rows_written, "requests": outcome.requests}
    return {"user": user.name} | outcome.metadata | counts
