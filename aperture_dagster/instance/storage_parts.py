"""The three parts of Dagster's storage on our PostgreSQL server, with fewer statements and fewer bytes than its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_postgres import PostgresEventLogStorage, PostgresScheduleStorage

from aperture_dagster.instance.dead_runs import free_dead_slots
from aperture_dagster.instance.failures import without_stack
from aperture_dagster.instance.private import AsksOnceForColumns
from aperture_dagster.instance.run_storage import LockedRunStorage, OnSharedEngine, remember_yes
from aperture_dagster.instance.wrong_clock import latest_believed, without_future

if TYPE_CHECKING:
    from aperture_dagster.instance.private import InstigatorState

ENGINE_EVENTS = (
    dg.DagsterEventType.ENGINE_EVENT,
    dg.DagsterEventType.RESOURCE_INIT_STARTED,
    dg.DagsterEventType.RESOURCE_INIT_SUCCESS,
)
ABOUT_PROCESSES = ("Started process for run", "Process for run exited")
LOOK_AT_POOLS_SECONDS = 60.0


class TerseEventLogStorage(OnSharedEngine, AsksOnceForColumns, PostgresEventLogStorage):
    """Events in PostgreSQL, without Dagster's own messages that a process or a resource starts, has started or ends.

    They are half of the bytes of a short run, and say nothing that the start and end of runs and steps do not. Errors
    among them are kept. Of a foreseen error, the sentence is kept and not the stack, for which Dagster has no setting.
    """

    has_table = remember_yes(PostgresEventLogStorage.has_table)
    runs: LockedRunStorage
    _looked_at = 0.0

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> Any:
        """Claim a place in a pool for a step. If all are taken, those of dead runs are freed, once a minute.

        Without a daemon nobody else frees them, and the step would wait for ever.
        """
        claim = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        if not claim.is_claimed and time.monotonic() - self._looked_at > LOOK_AT_POOLS_SECONDS:
            free_dead_slots(self.runs, self)
            self._looked_at = time.monotonic()
        return claim

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event, unless it says nothing."""
        if _says_nothing(event):
            return
        if event.dagster_event is not None:
            event = event._replace(dagster_event=without_stack(event.dagster_event))
        super().store_event(event)


class TerseScheduleStorage(OnSharedEngine, PostgresScheduleStorage):
    """Schedules, sensors and their ticks in PostgreSQL, with a third of the statements.

    What is dated in the future counts as never written (:mod:`aperture_dagster.instance.dead_runs`).
    """

    has_built_index = remember_yes(PostgresScheduleStorage.has_built_index)
    has_secondary_index_table = remember_yes(PostgresScheduleStorage.has_secondary_index_table)
    has_instigators_table = remember_yes(PostgresScheduleStorage.has_instigators_table)

    @property
    def supports_auto_materialize_asset_evaluations(self) -> bool:
        """Return True: the table of evaluations is created with the others."""
        return True

    def all_instigator_state(self, *arguments: Any, **options: Any) -> Sequence[InstigatorState]:
        """Return the states of sensors and schedules."""
        return [without_future(state) for state in super().all_instigator_state(*arguments, **options)]

    def get_instigator_state(self, origin_id: str, selector_id: str) -> InstigatorState | None:
        """Return the state of a sensor or schedule; None if nothing is stored."""
        state = super().get_instigator_state(origin_id, selector_id)
        return None if state is None else without_future(state)

    def get_ticks(
        self, origin_id: str, selector_id: str, before: float | None = None, *arguments: Any, **options: Any
    ) -> Sequence[Any]:
        """Return the ticks of a sensor or schedule, the last first."""
        return super().get_ticks(origin_id, selector_id, _not_after_now(before), *arguments, **options)

    def get_tick_summaries(
        self, origin_id: str, selector_id: str, before: float | None = None, *arguments: Any, **options: Any
    ) -> Sequence[Any]:
        """Return the ticks of a sensor or schedule without what they did, the last first."""
        return super().get_tick_summaries(origin_id, selector_id, _not_after_now(before), *arguments, **options)


def _not_after_now(before: float | None) -> float:
    latest = latest_believed()
    return latest if before is None else min(before, latest)


def _says_nothing(event: dg.EventLogEntry) -> bool:
    inner = event.dagster_event
    if inner is None or inner.event_type not in ENGINE_EVENTS or inner.engine_event_data.error is not None:
        return False
    return event.level == logging.DEBUG or (inner.message or "").startswith(ABOUT_PROCESSES)
