"""The named automation conditions, each with its reason.

Sources (the media server, TMDb) have schedules. What follows from them is made when they changed, so that a new film is
embedded and a watched one moves the taste without waiting for the night.
"""

from __future__ import annotations

from dagster import AutomationCondition

# Made anew when something that it is made from was; also when it was never made though it could be, which
# ``eager()`` would leave for ever. Not while a cause is still being made, or two runs would do one's work; and not
# again and again after a failure: then the next change of a cause, or the schedule, tries once more.
when_what_it_is_made_from_changed = (
    (
        AutomationCondition.any_deps_updated().since_last_handled()
        | (AutomationCondition.missing() & ~AutomationCondition.execution_failed())
    )
    & ~AutomationCondition.any_deps_missing()
    & ~AutomationCondition.any_deps_in_progress()
    & ~AutomationCondition.in_progress()
).with_label("when what it is made from changed")
