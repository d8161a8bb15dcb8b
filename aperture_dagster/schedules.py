"""When jobs start. The clock is only a habit: what must come first is in the lineage."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.jobs import AssetJob
from aperture_dagster.partitions import USERS
from aperture_dagster.settings import Settings

# Job, cron, and what the runs are about: the whole, all users in one run, or the day.
TIMES = (
    ("sync_users", "*/30 * * * *", "whole"),
    ("sync_movies", "0 2 * * *", "whole"),
    ("sync_series", "0 2 * * *", "whole"),
    ("generate_embeddings", "0 3 * * *", "whole"),
    ("generate_recommendations", "0 4 * * *", "users"),
    ("refresh_top_picks", "0 5 * * *", "day"),
    ("sync_watch_history", "0 */2 * * *", "users"),
    ("enrich_metadata", "0 */6 * * *", "whole"),
    ("enrich_mdblist", "0 7 * * *", "whole"),
)


def build_schedules(settings: Settings, jobs: Iterable[AssetJob]) -> list[dg.ScheduleDefinition]:
    """All schedules, in the operator's time zone, on unless the settings say otherwise."""
    by_name = {job.name: job for job in jobs}
    return [_schedule(settings, by_name[name], cron, about) for name, cron, about in TIMES]


def all_users_tags(instance: dg.DagsterInstance) -> dict[str, str] | None:
    """Tags that make one run serve every user who takes part; None when there is nobody yet."""
    keys = instance.get_dynamic_partitions(USERS)
    if not keys:
        return None
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


def _schedule(settings: Settings, job: AssetJob, cron: str, about: str) -> dg.ScheduleDefinition:
    timezone = settings.schedule_timezone

    @dg.schedule(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING
        if settings.schedules_enabled
        else dg.DefaultScheduleStatus.STOPPED,
        description=f"Starts {job.name}.",
    )
    def start(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to work for.")
        if about == "users":
            tags = all_users_tags(context.instance)
            if tags is None:
                return dg.SkipReason("No user takes part yet: run sync_users.")
            return dg.RunRequest(tags=tags)
        if about == "day":
            day = context.scheduled_execution_time.astimezone(ZoneInfo(timezone)).date()
            return dg.RunRequest(partition_key=day.isoformat())
        return dg.RunRequest()

    return start
