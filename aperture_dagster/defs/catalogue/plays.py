"""Lists follow plays, and what members say on their pages: one look a minute, and a run for those concerned."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from aperture_dagster.catalogue.people import read_users, who_takes_part
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.defs.jobs import PUBLISHED, Job
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.instance.failures import describe
from aperture_dagster.instance.runs import UNDER_WAY, partitions_of_run
from aperture_dagster.media_server.reader import MediaServerReader
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.moments import past
from aperture_dagster.partitions import contiguous_ranges, range_tags, user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.inputs import said_hashes

HISTORY, LIST = "watch_history", "recommendations"
# Runs of sync_watch_history are this far apart at most, and read whatever is older.
LOOK_BACK = timedelta(hours=2)
# Entries of the log may become visible in another order than that of their dates.
OVERLAP = timedelta(minutes=5)
# The daemon waits for a look, and gives it up after a minute.
ONE_LOOK = {"http_attempts": 1, "media_server_timeout_seconds": 10.0}


@dataclass(slots=True)
class Seen:
    """What has been seen so far: the cursor of the sensor.

    Attributes:
        until: date of the newest entry of the server's log, by the server's clock.
        entries: the entries from shortly before that on.
        waiting: users who watched something and have no run for it yet, each with what it was.
        active: without a log: each user's last activity, as in :func:`settled`.
        said: what each user said on their pages, likewise.
    """

    until: datetime | None = None
    entries: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    active: dict[str, tuple[str, str]] = field(default_factory=dict)
    said: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None) -> "Seen":
        """Read a cursor."""
        given = json.loads(cursor) if cursor else {}
        until = datetime.fromisoformat(given["until"]) if given.get("until") else None
        active, said = given.get("active", {}), given.get("said", {})
        return cls(until, given.get("entries", []), given.get("waiting", {}), active, said)

    def __str__(self) -> str:
        """Write it as a cursor."""
        seen = {"entries": self.entries, "waiting": self.waiting, "active": self.active, "said": self.said}
        return json.dumps({"until": self.until.isoformat() if self.until else None, **seen})

    def look(self, server: MediaServerReader, *, now: datetime) -> None:
        """Add those who have watched something since the last look to ``waiting``.

        Raises:
            ServiceError: the server does not answer as it should; nothing has changed then.
        """
        # Whatever a wrong clock noted is looked for again, and known by its entry.
        until = past(self.until, now)
        since = max(until or now - LOOK_BACK, now - timedelta(days=1)) - OVERLAP
        plays = server.plays_ended(since)
        if plays is None:
            # Servers note activity every minute while somebody watches.
            active_at = {user.user_id: user.last_activity_at for user in server.users().records}
            states = {user_id: at.isoformat() if at else "" for user_id, at in active_at.items()}
            self.waiting |= settled(self.active, states)
            return
        names = {f"{play.at.isoformat()} {play.entry}": play for play in plays}
        self.waiting |= {play.user_id: name for name, play in names.items() if name not in self.entries}
        # A date in the future must not hide what follows.
        self.until = max(filter(None, [until, *(past(play.at, now) for play in plays)]), default=None)
        kept = (self.until or since) - OVERLAP
        known = sorted({*self.entries, *names})
        self.entries = [name for name in known if datetime.fromisoformat(name.partition(" ")[0]) >= kept]


def settled(known: dict[str, tuple[str, str]], states: Mapping[str, str]) -> dict[str, str]:
    """Return, by user, the change of a state that differs from the one last reported and was the same in the last look.

    ``known`` holds for each user the state that was reported and that of the last look, and is updated. The first look
    reports nobody. A change that is taken back is reported, too, if there was a look in between.
    """
    is_first = not known
    found: dict[str, str] = {}
    for user_id, state in states.items():
        told, last = known.get(user_id, (state if is_first else "", ""))
        if last == state != told:
            found[user_id] = f"{told} {state}"
            told = state
        known[user_id] = (told, state)
    return found


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
