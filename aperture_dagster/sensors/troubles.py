"""What is wrong, as Dagster's instance knows it: failed runs, checks that did not pass, assets out of date."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from aperture_dagster import alerts as alerts
from aperture_dagster.alerts import (
    AT_ONCE,
    Problem,
    Recovery,
    Sighting,
    shorten,
)
from aperture_dagster.instance.failures import failure_cause, failure_reason
from aperture_dagster.instance.runs import ended_at, partitions_of_run
from aperture_dagster.jobs import Job
from aperture_dagster.model import SKEW, past
from aperture_dagster.partitions import user_partitions, users_partitions
from aperture_dagster.settings import Settings

# A job that failed before and was not tried since is a matter of freshness. A program that was stopped for a week, or
# is new, therefore reports no runs of last week.
LOOK_BACK = timedelta(days=1)
# Runs that end at the same time may become visible in another order.
OVERLAP = timedelta(minutes=2)
# After a night without power, the missed jobs run before anything is reported as out of date.
OUT_OF_DATE_FOR = timedelta(hours=1)
WILL_RETRY = "dagster/will_retry"
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
# A blocking check fails its step with this error, and is reported itself.
CHECK_FAILED = "DagsterAssetCheckFailedError"
DAGSTER_GAVE_UP = "This run has been marked as failed from outside the execution context."
GIVEN_UP = (
    "Dagster has given this run up, since its process did not start, or was no longer alive; on an overloaded machine, "
    "that may be a matter of time."
)


@dataclass(slots=True)
class Sightings:
    """What was seen in one look: what is wrong, what is well, and a line about each failed run."""

    wrong: list[Sighting] = field(default_factory=list)
    well: list[Recovery] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def ended_runs(instance: dg.DagsterInstance, cursor: str | None, *, now: datetime) -> tuple[list[dg.RunRecord], str]:
    """Return the runs that ended since the last look, in the order of their ends, and the next cursor.

    The cursor says until when the ended runs were read, and which of those that ended shortly before. Runs that are
    dated in the future are left out: they were read while the clock was ahead.
    """
    stored = json.loads(cursor) if cursor else {}
    oldest = now - LOOK_BACK
    last = past(datetime.fromisoformat(stored["until"]), now) if stored else None
    until = max(last or oldest, oldest)
    since = until - OVERLAP
    records = instance.get_run_records(dg.RunsFilter(statuses=ENDED, updated_after=since, updated_before=now + SKEW))
    # Other things than its end can update a run, such as a tag.
    recent = [record for record in records if since < ended_at(record) <= now + SKEW]
    news = [record for record in recent if record.dagster_run.run_id not in stored.get("read", ())]
    until = max([until, *map(ended_at, news)])
    read = sorted(one.dagster_run.run_id for one in recent if ended_at(one) > until - OVERLAP)
    return sorted(news, key=ended_at), json.dumps({"until": until.isoformat(), "read": read})


def look_at_runs(
    instance: dg.DagsterInstance,
    runs: Iterable[dg.RunRecord],
    problems: Iterable[Problem],
    *,
    clean: Callable[[str], str],
) -> Sightings:
    """Find out what failed in runs, and what works again; ``clean`` redacts secrets."""
    found = Sightings()
    # By subject: the last run that failed.
    failed = {problem.subject: problem.page.removeprefix("runs/") for problem in problems if problem.category == "run"}
    for record in runs:
        run, ended = record.dagster_run, ended_at(record)
        is_failure = run.status == dg.DagsterRunStatus.FAILURE
        if not is_failure and not failed:
            continue
        succeeded, causes = _steps(instance, run.run_id)
        if is_failure:
            if not causes:
                causes = {subject_of(run): ("run", _run_message(instance, run.run_id))}
            reason = clean(" | ".join(f"{subject}: {why}" for subject, (_, why) in causes.items()))
            found.lines.append(
                f"{ended.isoformat(timespec='seconds')} {run.job_name} ({run.run_id[:8]}) failed: {reason}"
            )
            # Dagster is about to run it again, and that run's end counts.
            if run.tags.get(WILL_RETRY) != "true":
                for subject, (cause, why) in causes.items():
                    if cause != CHECK_FAILED:
                        page = f"runs/{run.run_id}"
                        found.wrong.append(Sighting("run", subject, cause, shorten(clean(why)), page, ended))
                        failed[subject] = run.run_id
        else:
            succeeded.add(subject_of(run))
        for subject in succeeded.intersection(failed):
            if _makes_good(instance, run, failed[subject], subject):
                found.well.append(Recovery("run", subject, ended))
    return found


def look_at_checks(
    instance: dg.DagsterInstance,
    checks: Sequence[dg.AssetCheckKey],
    *,
    patience: timedelta,
    clean: Callable[[str], str],
) -> Sightings:
    """Look at the last result of each check; a warning must last for ``patience`` before it is reported."""
    found = Sightings()
    # Dagster has no public way to ask for the last results of checks.
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks) if checks else {}
    for key, record in records.items():
        evaluation = record.evaluation
        # One that is planned, or was in a run that failed before, says nothing.
        if record.event is None or not isinstance(evaluation, dg.AssetCheckEvaluation):
            continue
        subject = f"{key.asset_key.to_user_string()}.{key.name}"
        seen_at = datetime.fromtimestamp(record.event.timestamp, UTC)
        if evaluation.passed:
            found.well.append(Recovery("check", subject, seen_at))
            continue
        is_warning = evaluation.severity == dg.AssetCheckSeverity.WARN
        found.wrong.append(
            Sighting(
                "check",
                subject,
                "",
                shorten(clean(evaluation.description or "")),
                f"assets/{key.asset_key.to_user_string()}?view=checks",
                seen_at,
                delay=patience if is_warning else AT_ONCE,
            )
        )
    return found


def look_at_freshness(instance: dg.DagsterInstance, makers: Mapping[dg.AssetKey, Job], settings: Settings) -> Sightings:
    """Look which assets are out of date; ``makers`` are the assets with a freshness policy and the job of each.

    What nobody uses may be of any age: its schedule always skips. Dagster's daemon evaluates the policies and records
    changes only. An asset that was never made has no state.
    """
    found = Sightings()
    # Not marked as public, either; other ways lead through the webserver.
    records = instance.get_freshness_state_records(list(makers)) if makers else {}
    for key, record in records.items():
        name, state = key.to_user_string(), record.freshness_state.value
        if state in ("PASS", "WARN"):
            found.well.append(Recovery("freshness", name, record.updated_at))
        elif state == "FAIL" and not _is_idle(makers[key], settings):
            sentence = f"{makers[key].name} should have made it. Check why its last run failed or did not start."
            page = f"assets/{name}"
            found.wrong.append(
                Sighting("freshness", name, "", sentence, page, record.updated_at, delay=OUT_OF_DATE_FOR)
            )
    return found


def _is_idle(job: Job, settings: Settings) -> bool:
    try:
        return job.idle_if(settings) is not None
    except Exception:
        # As for the schedule: if the look fails, the job counts as needed.
        return False


def subject_of(run: dg.DagsterRun) -> str:
    """Name what a run is about: its job, or else its assets."""
    if not run.job_name.startswith("__"):
        return run.job_name
    keys: Collection[dg.AssetKey] = run.asset_selection or ()
    return ", ".join(sorted(key.path[-1] for key in keys)) or run.job_name


def _steps(instance: dg.DagsterInstance, run_id: str) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """Return the steps of a run that succeeded, and those that failed with cause and reason."""
    types = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}
    succeeded: set[str] = set()
    failed: dict[str, tuple[str, str]] = {}
    for event in _events(instance, run_id, types):
        # A step of a partition set has a key of its own for each.
        step = event.step_key or ""
        if event.is_step_failure:
            failed[step] = failure_cause(event), failure_reason(event)
        else:
            succeeded.add(step)
    return succeeded, failed


def _run_message(instance: dg.DagsterInstance, run_id: str) -> str:
    messages = [event.message or "" for event in _events(instance, run_id, {dg.DagsterEventType.RUN_FAILURE})]
    if not messages:
        return "The run ended before any of its steps failed."
    message = " ".join(messages[-1].split())
    return GIVEN_UP if message == DAGSTER_GAVE_UP else message


def _events(instance: dg.DagsterInstance, run_id: str, types: set[dg.DagsterEventType]) -> Iterator[dg.DagsterEvent]:
    for record in instance.get_records_for_run(run_id, of_type=types).records:
        event = record.event_log_entry.dagster_event
        if event is not None:
            yield event


def _makes_good(instance: dg.DagsterInstance, run: dg.DagsterRun, failed_id: str, subject: str) -> bool:
    """Tell whether the success of a run also concerns the users for whom another run failed."""
    users = user_partitions(instance)
    failed = instance.get_run_by_id(failed_id)
    concerned = partitions_of_run(failed, users) if failed is not None else set()
    if concerned <= partitions_of_run(run, users):
        return True
    asset = dg.AssetKey(subject)
    if not instance.has_asset_key(asset):
        # A job, of which nothing is known for each user.
        return False
    # Perhaps only some of them failed, and those have been served since.
    statuses = instance.get_status_by_partition(asset, sorted(concerned), users_partitions) or {}
    return not any(status is not None and status.value == "FAILED" for status in statuses.values())
