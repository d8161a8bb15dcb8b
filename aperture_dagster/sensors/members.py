"""Who has said something on their pages, such as *Not for me* or *More like this*: their lists follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.history.activity import settled
from aperture_dagster.catalogue.people import who_takes_part
from aperture_dagster.catalogue.server_trouble import read_trouble
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.jobs import Job
from aperture_dagster.members.said import said_hashes
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.publishing.server.publication import is_on
from aperture_dagster.sensors.following import FollowingRuns
from aperture_dagster.settings import Settings


@dataclass(slots=True)
class Heard:
    """What members have said so far: the cursor of the sensor.

    Attributes:
        said: by user id, a hash of what was said that a list followed, and the hash of the last look.
        waiting: by user id, what was said that no run was requested for yet.
    """

    said: dict[str, tuple[str, str]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None) -> Heard:
        """Read a cursor."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def __str__(self) -> str:
        """Write it as a cursor."""
        return json.dumps(asdict(self))


def build_members_sensor(
    settings: Settings, jobs: Sequence[Job], built: Mapping[str, Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """Define the sensor."""
    following = FollowingRuns(settings, jobs)

    @dg.sensor(
        name="members_sensor",
        job=built[following.job.name],
        minimum_interval_seconds=60,
        default_status=status,
        description="Looks every minute who has said on their pages what they like or not, and starts "
        f"{following.job.name} for them once they have said nothing more for a minute.",
    )
    def members_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult | dg.SkipReason:
        if settings.media_server_url is None:
            return dg.SkipReason("APERTURE_MEDIA_SERVER_URL is not set: there is no history that lists are made from.")
        if not following.users_with_a_list(context.instance):
            return dg.SkipReason("Nobody has a list yet that could follow.")
        heard, now = Heard.parse(context.cursor), clock.now()
        with database.transaction() as connection:
            trouble = read_trouble(connection)
            members = who_takes_part(settings, read_users(connection))
            said = said_hashes(connection, with_for_later=is_on(settings, "for_later", "playlist"))
        if trouble is not None:
            # The run reads histories, too, and would fail. What was said is still there afterwards.
            return dg.SkipReason(f"Lists follow when the media server can be used again: {trouble.sentence}")
        users = {user.user_id: user.partition_key for user in members}
        heard.waiting |= settled(heard.said, {user_id: said.get(user_id, "") for user_id in users})
        return following.follow(context.instance, heard, users, now=now, nothing="Nobody has said anything new.")

    return members_sensor
