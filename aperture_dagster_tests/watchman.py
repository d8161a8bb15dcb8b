"""Ticks of the sensor that reports failures, as the daemon evaluates it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster_tests.defs.shared import build_sensor, definitions_of


class Watchman:
    """Evaluates the sensor with its cursor. Its clock is the real one, by which runs end, moved forward by the test."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings = settings
        self.instance = instance
        self.ahead = timedelta(0)
        self.clock = Clock(lambda: datetime.now(UTC) + self.ahead)
        self.cursor: str | None = None
        self.database = Database(settings)
        self.sensor = build_sensor(settings, "failures_sensor", loaded_at=self.clock.now())

    def tick(self, *, after: timedelta = timedelta(0), last: datetime | None = None) -> str:
        """Evaluate the sensor some time later, and return what it said; ``last``: when Dagster evaluated it before."""
        self.ahead += after
        resources = {"database": self.database, "clock": self.clock}
        with dg.build_sensor_context(
            self.instance, self.cursor, definitions=definitions_of(), resources=resources
        ) as context:
            # Dagster's function has no parameter for it.
            context._last_tick_completion_time = last.timestamp() if last is not None else None
            ticked = self.sensor.evaluate_tick(context)
        self.cursor = ticked.cursor
        assert not ticked.run_requests
        return ticked.skip_message or ""

    def log(self) -> list[str]:
        """Return the lines of failures.log."""
        path = self.settings.home_path / "failures.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
