"""A program that lives as one household on a shared instance. It reads commands from stdin, a JSON object per line.

It takes its settings from its environment. ``run`` runs a job; ``look`` evaluates a sensor with its cursor, and runs
what it requests; ``automation`` evaluates the conditions of the assets, and returns what they request; ``purge``
deletes everything that Dagster has recorded so far; ``status`` returns what ``aperture status`` would show. Each answer
is a line on stdout.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

import dagster as dg

from aperture_dagster.cli.status import as_document, read_status
from aperture_dagster.instance.purge import Retention, purge
from aperture_dagster.library.status import find_wrong
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.household import Household

ANSWER = "resident: "
PER_USER = ("sync_watch_history", "generate_recommendations")


class Resident:
    """A household whose jobs and sensors work in this process."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.settings, self.instance = settings, instance
        self.home = Household(settings, instance)
        self.repository = self.home.definitions.get_repository_def()
        self.cursors: dict[str, Any] = {}

    def run(self, job: str) -> bool:
        """Run a job, for all users if it is about users; tell whether it succeeded."""
        return self.home.run(job, users=self.home.everyone() if job in PER_USER else None).success

    def everyone(self) -> list[str]:
        """Return the partitions of those who take part."""
        return self.home.everyone()

    def look(self, name: str) -> str:
        """Evaluate a sensor as the daemon does, and carry out what it requests; return what it said."""
        sensor = self.repository.get_sensor_def(name)
        resources = {"database": Database(self.settings), "clock": Clock()}
        with dg.build_sensor_context(
            self.instance, self.cursors.get(name), definitions=self.home.definitions, resources=resources
        ) as context:
            ticked = sensor.evaluate_tick(context)
        self.cursors[name] = ticked.cursor
        for change in ticked.dynamic_partitions_requests or ():
            if isinstance(change, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(change.partitions_def_name, change.partition_keys)
            else:
                for key in change.partition_keys:
                    self.instance.delete_dynamic_partition(change.partitions_def_name, key)
        for request in ticked.run_requests or ():
            job = self.home.definitions.resolve_job_def(request.job_name or sensor.job_name)
            job.execute_in_process(
                instance=self.instance, partition_key=request.partition_key, tags=request.tags, raise_on_error=False
            )
        jobs = [request.job_name or sensor.job_name for request in ticked.run_requests or ()]
        return f"started {', '.join(jobs)}" if jobs else ticked.skip_message or ""

    def automation(self) -> int:
        """Evaluate the conditions of all assets; return how many partitions and checks they request."""
        result = dg.evaluate_automation_conditions(
            self.home.definitions, self.instance, cursor=self.cursors.get("automation")
        )
        self.cursors["automation"] = result.cursor
        return result.total_requested

    def purge(self) -> dict[str, int]:
        """Delete all that Dagster has recorded of this household, as if it were old; return the rows by part."""
        later = Clock().now() + timedelta(minutes=1)
        freed = purge(self.instance, Retention(logs=later, runs=later))
        return {one.part: one.rows for one in freed}

    def status(self) -> dict[str, Any]:
        """Return the document of ``aperture status --json``."""
        found = read_status(self.settings, now=Clock().now())
        return as_document(self.settings, found, find_wrong(found))


def main() -> None:
    """Obey orders until stdin ends."""
    with dg.DagsterInstance.get() as instance:
        resident = Resident(load_settings(), instance)
        for line in sys.stdin:
            order, *arguments = json.loads(line)
            answer = getattr(resident, order)(*arguments)
            print(f"\n{ANSWER}{json.dumps(answer, default=str)}", flush=True)
