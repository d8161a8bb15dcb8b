"""What the UI says about jobs and their schedules: what, when, why. It derives from the declaration of each job."""

from aperture_dagster.defs.jobs import Job
from aperture_dagster.model.wording import listed
from aperture_dagster.settings import Settings

WEEKDAYS = dict(
    zip("0123456", ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"), strict=True)
)


def describe_job(job: Job, settings: Settings) -> str:
    """Say what a job does, when it starts, and why then."""
    parts = [job.description]
    if job.cron is not None:
        parts.append(f"Starts {often(job.cron)} ({settings.schedule_timezone}){_also(job)}.")
    elif job.scope == "newcomers":
        parts.append("Starts when users join, one run for all who are new.")
    elif job.scope == "viewers":
        parts.append("Starts within a minute of a play, for those who watched something.")
    else:
        parts.append("No schedule starts it.")
    return " ".join([*parts, *_why(job, settings)])


def describe_schedule(job: Job, settings: Settings) -> str:
    """Say when a schedule starts its job, what that does, why then, and when it does not."""
    what = job.description[:1].lower() + job.description[1:]
    start = f"Starts {job.name} {often(job.cron or '')} ({settings.schedule_timezone}): {what}"
    look = " It looks first, and starts no run if there is nothing to do." if job.skip_if is not None else ""
    return " ".join([start + look, *_why(job, settings)])


def _also(job: Job) -> str:
    if not job.first_run:
        return ""
    if not job.needs:
        return ", and at once on a new home"
    return f", and on a new home as soon as it can read {listed(job.needs)}"


def _why(job: Job, settings: Settings) -> list[str]:
    reason = job.why_off(settings)
    return [part for part in (job.why, f"It is off now. {reason}" if reason else "") if part]


def often(cron: str) -> str:
    """Say how often a cron starts, as part of a sentence."""
    words = in_words(cron)
    if words.startswith("every"):
        return words
    if words.startswith("`"):
        return f"by the cron {words}"
    day, _, time = words.rpartition(" ")
    return f"every {day or 'day'} at {time}"


def in_words(cron: str) -> str:
    """Say when a cron starts; one without a common phrase is shown as it is."""
    minute, hour, *days = cron.split()
    at_a_time = minute.isdigit() and hour.isdigit()
    if at_a_time and days[:2] == ["*", "*"] and days[2] in WEEKDAYS:
        return f"{WEEKDAYS[days[2]]} {int(hour):02}:{int(minute):02}"
    if days == ["*", "*", "*"]:
        if at_a_time:
            return f"{int(hour):02}:{int(minute):02}"
        if minute == "0" and hour.startswith("*/"):
            return f"every {hour.removeprefix('*/')} hours"
        if hour == "*" and minute.startswith("*/"):
            return f"every {minute.removeprefix('*/')} minutes"
    return f"`{cron}`"
