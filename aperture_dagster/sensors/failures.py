"""The sensor that reports what fails, once, and when it works again."""

from collections.abc import Mapping, Sequence

import dagster as dg

from aperture_dagster import alerts as alerts
from aperture_dagster.alerts import (
    REMINDER,
)
from aperture_dagster.http.redaction import redact
from aperture_dagster.instance.home import LOCATION
from aperture_dagster.instance.runs import location_of
from aperture_dagster.jobs import Job
from aperture_dagster.model import Clock
from aperture_dagster.postgres.bulk import storable
from aperture_dagster.postgres.database import Database
from aperture_dagster.sensors.outage import report_outage
from aperture_dagster.sensors.reports import report, write_log
from aperture_dagster.sensors.troubles import ended_runs, look_at_checks, look_at_freshness, look_at_runs
from aperture_dagster.settings import Settings


def build_failures_sensor(
    settings: Settings,
    checks: Sequence[dg.AssetCheckKey],
    makers: Mapping[dg.AssetKey, Job],
    status: dg.DefaultSensorStatus,
) -> dg.SensorDefinition:
    """Define the sensor; it never starts a run, so each tick ends with a skip reason.

    Args:
        checks: the checks to look at.
        makers: the assets that must be fresh, and the job that makes each.
    """

    @dg.sensor(
        name="failures_sensor",
        minimum_interval_seconds=60,
        default_status=status,
        description="Reports failed runs and checks and assets that are out of date: "
        "to the addresses of APERTURE_ALERT_URLS, and to the home's failures.log.",
    )
    def failures_sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult:
        instance, now = context.instance, clock.now()
        secrets = settings.secret_values()

        def clean(text: str) -> str:
            return storable(redact(text, secrets))

        with database.transaction() as connection:
            known = alerts.read_problems(connection)
        runs, cursor = ended_runs(instance, context.cursor, now=now)
        # Other programs on the instance report their own.
        here = context.code_location_origin
        own = {None, here.location_name if here is not None else LOCATION}
        runs = [record for record in runs if location_of(record.dagster_run) in own]
        looks = [look_at_runs(instance, runs, known, clean=clean), look_at_freshness(instance, makers, settings)]
        # Checks are evaluated in runs.
        if runs or context.cursor is None:
            looks.append(look_at_checks(instance, checks, patience=REMINDER, clean=clean))
        jobs = {job.name: job for job in makers.values()}.values()
        # Whoever has switched this sensor off and on again knows; nothing else stood still.
        last_look = None if context.is_first_tick_since_sensor_start else context.last_tick_completion_time
        outage = report_outage(last_look, jobs, settings, database, now=now)
        lines = [f"{now.isoformat(timespec='seconds')} {line}" for line in outage]
        said = outage + write_log(settings.home_path, [*lines, *(line for look in looks for line in look.lines)])
        said += report(looks, settings, database, now=now)
        for line in said:
            context.log.info(line)
        return dg.SensorResult(skip_reason=" ".join(said) or "Nothing new is wrong.", cursor=cursor)

    return failures_sensor
