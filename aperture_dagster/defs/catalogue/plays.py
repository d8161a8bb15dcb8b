"""Lists follow plays, and what members say on their pages: one look a minute, and a run for those concerned."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.histories import Seen, settled
from aperture_dagster.catalogue.people import read_users, who_takes_part
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.jobs import PUBLISHED, Job
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.instance.failures import describe
from aperture_dagster.instance.runs import UNDER_WAY, partitions_of_run
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import contiguous_ranges, range_tags, user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.inputs import said_hashes

HISTORY, LIST = "watch_history", "recommendations"
# The daemon waits for a look, and gives it up after a minute.
ONE_LOOK = {"http_attempts": 1, "media_server_timeout_seconds": 10.0}


def build_plays_sensor(
    settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Define the sensor."""
    (job,) = (job for job in jobs if job.scope == "viewers")
    makers = [one.name for one in jobs if {HISTORY, LIST} & set(one.assets)]

    @dg.sensor(
        name="plays_sensor",
        job=built[job.name],
        minimum_interval_seconds=60,
        default_status=status,
        description=f"Looks every minute who has just watched something, or said on their pages what they like or not, "
        f"and starts {job.name} for them.",
    )
    def plays_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to look at.")
        instance = context.instance
        served = instance.get_materialized_partitions(dg.AssetKey(LIST))
        if not served:
            return dg.SkipReason("Nobody has a list yet that could follow.")
        seen = Seen.parse(context.cursor)
        try:
            with MediaServers(settings.model_copy(update=ONE_LOOK), database).open_without_database() as server:
                seen.look(server, now=clock.now())
        except ServiceError as error:
            return dg.SkipReason(f"Could not look who watched something: {describe(error, settings)}")
        with database.transaction() as connection:
            users = {user.user_id: user.partition_key for user in who_takes_part(settings, read_users(connection))}
            said = said_hashes(connection)
        seen.waiting |= settled(seen.said, {user_id: said.get(user_id, "") for user_id in users})
        seen.waiting = {user_id: what for user_id, what in seen.waiting.items() if user_id in users}
        partitions = user_partitions(instance)
        ready = served & set(partitions) - _busy(instance, makers, partitions) if seen.waiting else set()
        due = {users[user_id]: what for user_id, what in seen.waiting.items() if users[user_id] in ready}
        seen.waiting = {user_id: what for user_id, what in seen.waiting.items() if users[user_id] not in due}
        # What is not published has nothing to follow; in quiet hours it follows afterwards.
        allowed = job.allowed(settings, clock.now())
        assets = [key for key in allowed if settings.publish or key.to_user_string() not in PUBLISHED]
        reason = "Nobody has watched anything, or said what they like."
        if seen.waiting:
            reason = "Waiting for a first list, or for a run that is reading histories."
        return dg.SensorResult(
            run_requests=[_request(first, last, partitions, due, assets) for first, last in _ranges(partitions, due)],
            skip_reason=None if due else reason,
            cursor=str(seen),
        )

    return plays_sensor


def _ranges(partitions: Sequence[str], due: Collection[str]) -> list[tuple[str, str]]:
    return contiguous_ranges(partitions, due) if due else []


def _request(
    first: str, last: str, partitions: Sequence[str], due: Mapping[str, str], assets: Sequence[dg.AssetKey]
) -> dg.RunRequest:
    """Request a run for a range of users; the same plays are never asked for twice."""
    users = partitions[partitions.index(first) : partitions.index(last) + 1]
    plays = json.dumps([(user, due[user]) for user in users])
    key = hashlib.sha256(plays.encode()).hexdigest()
    return dg.RunRequest(run_key=key, tags=range_tags(first, last), asset_selection=list(assets))


def _busy(instance: dg.DagsterInstance, jobs: Sequence[str], partitions: Sequence[str]) -> set[str]:
    """Return those for whom one of the jobs is under way: it may have read their history too early."""
    runs = [run for job in jobs for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNDER_WAY))]
    return {key for run in runs for key in partitions_of_run(run, partitions)}
