"""The named automation conditions, each with its reason.

Sources (the media server, TMDb, OMDb, MDBList) have schedules. What is derived from them runs when the content that it
reads changes.
"""

from collections.abc import Sequence

from dagster import AssetKey, AssetSelection
from dagster import AutomationCondition as Condition

from aperture_dagster.settings.home import RunSettings
from aperture_dagster.settings.types import span_of

# On every run, and every backfill, that the automation sensor starts.
FROM_AUTOMATION = "dagster/from_automation_condition"
RETRY_CRON = "17 * * * *"
HOURLY_CRON = "41 * * * *"


def on_upstream_change(
    *,
    ignoring: AssetSelection | None = None,
    required: AssetSelection | None = None,
    additional: AssetSelection | None = None,
    after: Sequence[AssetKey] = (),
    at_most: str | None = None,
    first: bool = True,
) -> Condition:
    """Request an asset when the data version of something it reads changed, or when it could be made and never was.

    It waits while an upstream asset is missing, being materialized, or has a blocking check that did not pass. A failed
    attempt is repeated at the next tick of ``RETRY_CRON``, or at the next change. ``additional`` assets may be missing:
    they may fail, or be turned off. Changes of ``ignoring`` assets wait for the night; they may be missing, except for
    ``required`` ones. The asset also waits while one of those that it comes ``after`` is being made. With ``at_most``,
    a cron, changes wait for its next tick, which then stands for all of them. Without ``first``, a sensor makes it for
    the first time, in a run with what comes before or after, and it is left to that until it was there or failed.
    """
    new_version = Condition.data_version_changed() & ~Condition.executed_with_root_target()
    changed = Condition.any_deps_match(new_version)
    missing = Condition.any_deps_match(Condition.missing())
    # An asset of which two upstream assets change in turn (vectors, then tastes) is requested once, after the last.
    under_way = Condition.any_deps_match(Condition.in_progress() | Condition.will_be_requested())
    if ignoring is not None:
        changed, under_way = changed.ignore(ignoring), under_way.ignore(ignoring)
        missing = missing.ignore(ignoring if required is None else ignoring - required)
    if additional is not None:
        missing = missing.ignore(additional)
    passed = Condition.all_deps_blocking_checks_passed()
    if ignoring is not None:
        # What could wait for the night must not hold anything up while its sources are asked, which can take an hour:
        # its check counts as not passed then. One that failed, or never ran, does.
        passes = Condition.check_passed() | Condition.will_be_requested() | Condition.in_progress()
        on_its_way = Condition.all_checks_match(passes, blocking_only=True)
        passed = passed.ignore(ignoring) & Condition.all_deps_match(on_its_way)
    for key in after:
        under_way |= Condition.asset_matches(key, Condition.in_progress())
    # `since_last_handled()` would also forget a change that arrives while the asset is being materialized. Runs that
    # the automation did not start (schedules, by hand) have read the latest upstream content.
    made_elsewhere = Condition.newly_updated() & ~Condition.any_new_update_has_run_tags(tag_keys={FROM_AUTOMATION})
    handled = (Condition.newly_requested() & ~changed) | Condition.initial_evaluation() | made_elsewhere
    never_made = Condition.missing() & ~Condition.execution_failed()
    news = changed.since(handled)
    if at_most is not None:
        news = news & Condition.cron_tick_passed(at_most)
    retry = Condition.execution_failed() & Condition.cron_tick_passed(RETRY_CRON)
    wanted = news | retry
    wanted = wanted | never_made if first else wanted & (~Condition.missing() | Condition.execution_failed())
    return (wanted & ~missing & ~under_way & ~Condition.in_progress() & passed).with_label("on upstream change")


def outside_quiet_hours(condition: Condition | None, settings: RunSettings) -> Condition | None:
    """Let what writes to the media server wait for the end of the quiet hours; changes are remembered until then."""
    if condition is None or settings.quiet_hours is None:
        return condition
    # What has a memory would know nothing of the hours in a first evaluation, or of a user who joins during them.
    quiet = Condition.initial_evaluation()
    for cron in minutes_of(settings.quiet_hours):
        quiet |= Condition.cron_tick_passed(cron, settings.schedule_timezone)
    return (condition & ~quiet).with_label("on upstream change, outside the quiet hours")


def minutes_of(span: str) -> list[str]:
    """Return crons that together tick in every minute of a span of the day."""
    start, end = span_of(span)
    first, last = (60 * moment.hour + moment.minute for moment in (start, end))
    crons = []
    for begin, stop in [(first, last)] if first < last else [(first, 24 * 60), (0, last)]:
        for hour in range(begin // 60, -(-stop // 60)):
            minutes = max(begin, 60 * hour) % 60, min(stop, 60 * hour + 60) - 1 - 60 * hour
            crons.append(f"{minutes[0]}-{minutes[1]} {hour} * * *")
    return crons
