"""The named automation conditions and freshness policies, each with its reason.

Sources (the media server, TMDb) have schedules. What follows from them is made when they changed, so that a new film is
embedded and a watched one moves the taste without waiting for the night.
"""

from __future__ import annotations

from datetime import timedelta

from dagster import AssetSelection, AutomationCondition, FreshnessPolicy


# Made anew when something that it is made from was; also when it was never made though it could be, which
# ``eager()`` would leave for ever. Not while a cause is still being made, or two runs would do one's work; and not
# again and again after a failure: then the next change of a cause, or the schedule, tries once more.
def _when_changed(
    updated: AutomationCondition, label: str, *, lacking: AutomationCondition | None = None
) -> AutomationCondition:
    lacking = AutomationCondition.any_deps_missing() if lacking is None else lacking
    return (
        (updated.since_last_handled() | (AutomationCondition.missing() & ~AutomationCondition.execution_failed()))
        & ~lacking
        & ~AutomationCondition.any_deps_in_progress()
        & ~AutomationCondition.in_progress()
    ).with_label(label)


when_what_it_is_made_from_changed = _when_changed(
    AutomationCondition.any_deps_updated(), "when what it is made from changed"
)

# A source that fails from its first day on must not keep the others from being merged; one that has not had its turn
# yet is waited for, or everything would be embedded twice.
SOURCES = AssetSelection.assets("tmdb_metadata", "omdb_ratings", "mdblist_scores")
when_a_source_said_something_new = _when_changed(
    AutomationCondition.any_deps_updated(),
    "when a source said something new",
    lacking=AutomationCondition.any_deps_missing().ignore(SOURCES)
    | AutomationCondition.any_deps_match(AutomationCondition.missing() & ~AutomationCondition.execution_failed()).allow(
        SOURCES
    ),
)

# As when what it is made from changed, but users are looked at every half hour, and hardly ever is there anything new:
# all lists would be made anew each time. A newcomer's list is missing, and what a user may see now the schedule picks
# up.
when_the_taste_changed = _when_changed(
    AutomationCondition.any_deps_updated().ignore(AssetSelection.assets("users")), "when the taste changed"
)

# What is read every half hour may miss a few turns while the server restarts; half a day is a fault.
fresh_within_hours = FreshnessPolicy.time_window(warn_window=timedelta(hours=2), fail_window=timedelta(hours=12))

# What is asked for every six hours.
fresh_within_half_a_day = FreshnessPolicy.time_window(warn_window=timedelta(hours=13), fail_window=timedelta(days=2))

# What is made every night: one night may fail, two are a fault.
fresh_within_a_day = FreshnessPolicy.time_window(warn_window=timedelta(hours=26), fail_window=timedelta(hours=50))
