"""Who has just watched or marked something on the media server: their lists follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.history.activity import PlaysCursor
from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.server_trouble import note_trouble
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.instance.failures import describe
from aperture_dagster.jobs import Job
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.sensors.following import FollowingRuns
from aperture_dagster.settings import Settings

# The daemon waits for a look, and gives it up after a minute.
ONE_LOOK = {"http_attempts": 1, "media_server_timeout_seconds": 10.0}


def build_plays_sensor(
    settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Define the sensor."""
    following = FollowingRuns(settings, jobs)

    @dg.sensor(
        name="plays_sensor",
        job=built[following.job.name],
        minimum_interval_seconds=60,
        default_status=status,
        description="Looks every minute who has just watched, liked or marked something on the media server, and "
        f"starts {following.job.name} for them.",
    )
    def plays_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no media server to look at.")
        if not following.users_with_a_list(context.instance):
            return dg.SkipReason("Nobody has a list yet that could follow.")
        seen, now, trouble = PlaysCursor.parse(context.cursor), clock.now(), ""
        try:
            with MediaServers(settings.model_copy(update=ONE_LOOK), database).open_without_database() as server:
                active_at = seen.look(server, now=now)
                with database.transaction() as connection:
                    note_trouble(connection, None)
                    members = who_takes_part(settings, read_users(connection))
                users = {user.user_id: user.partition_key for user in members}
                try:
                    seen.look_at_marks(server, users, now=now, active_at=active_at)
                except ServiceError as error:
                    # Plays must not wait for that.
                    trouble = f" Could not look who marked something: {describe(error, settings)}"
        except ServiceError as error:
            with database.transaction() as connection:
                note_trouble(connection, error)
            return dg.SkipReason(f"Could not look who watched something: {describe(error, settings)}")
        nothing = "Nobody has watched or marked anything."
        return following.follow(context.instance, seen, users, now=now, nothing=nothing, trouble=trouble)

    return plays_sensor
