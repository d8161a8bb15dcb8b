"""Runs, events and bytes that a week of a household costs.

    python benchmarks/simulated_week.py [--days 7]

Installs a household of 12 users on the stand-ins, and lets Dagster's own daemons work through the days by a simulated
clock: every schedule at its time, every sensor, automation and the backfills until nothing more is requested. Each day
has 20 plays and 3 new titles. How long plays and new titles take to show is limited too, so that nothing is saved by
doing less.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from verdict import Verdict
from week.daemons import LOOK, Daemons, SimulatedTime, engines, open_instance, until_quiet
from week.figures import Meter, failures, hours_to_show, report
from week.household import PROJECT, Happening, StandIns, environment, happenings

INSTALLED_BEFORE = timedelta(hours=9, minutes=10)
STEP_SECONDS = 30 * 60
QUIET_LOOKS = 20


def simulate(folder: Path, days: int) -> dict[str, Any]:
    """Live through the days and return the figures."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    today = datetime.now(UTC)
    monday = (today + timedelta(days=7 - today.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    moment = monday - INSTALLED_BEFORE
    clock = SimulatedTime(moment)
    clock.install()
    stand_ins = StandIns(folder)
    os.environ.update(stand_ins.environment)
    try:
        with open_instance() as instance:
            daemons = Daemons(instance, clock)
            meter = Meter(engines(instance)[0])
            users = stand_ins.users()
            events = happenings(monday, days, users)
            waiting = deque(events)
            figures = []
            for day in range(days + 1):
                midnight, started = monday + timedelta(days=day), time.monotonic()
                while moment < midnight:
                    live(moment, stand_ins, daemons, waiting)
                    step = datetime.fromtimestamp((moment.timestamp() // STEP_SECONDS + 1) * STEP_SECONDS, UTC)
                    moment = min(step, waiting[0].at) if waiting else step
                figures.append(_read(meter, daemons))
                took = f"{time.monotonic() - started:.0f} s"
                print(f"{f'day {day}' if day else 'installation'}: {figures[-1]['runs']} runs, {took}", flush=True)
            for _ in range(QUIET_LOOKS):
                clock.move_to(clock.now() + LOOK)
                daemons.look()
            quiet = _read(meter, daemons)
            # What was played in the last evening.
            live(moment, stand_ins, daemons, waiting)
            return {
                "days": figures[1:],
                "bytes_of_a_quiet_look": (quiet["bytes"] + quiet["look_bytes"]) / QUIET_LOOKS,
                "hours": hours_to_show(meter, events, users),
            }
    finally:
        stand_ins.stop()


def live(moment: datetime, stand_ins: StandIns, daemons: Daemons, waiting: deque[Happening]) -> None:
    """Let happen what is due, and the daemons work until nothing more is requested."""
    while waiting and waiting[0].at <= moment:
        stand_ins.apply(waiting.popleft())
    daemons.clock.move_to(moment)
    daemons.start_schedules()
    until_quiet(daemons)


def _read(meter: Meter, daemons: Daemons) -> dict[str, Any]:
    """Read the meter; no run may have failed."""
    failed = [run for run in daemons.runs if run.status != dg.DagsterRunStatus.SUCCESS]
    if failed:
        raise RuntimeError("\n".join(failures(daemons.instance, run) for run in failed))
    figures = meter.read(daemons.runs)
    daemons.runs.clear()
    return figures


def main() -> int:
    """Simulate in a process of its own, print, and return 0 when every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        figures = simulate(options.inside, options.days)
        (options.inside / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory(prefix="aperture-week-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "--days", str(options.days), "--inside", folder]
        subprocess.run(command, env=environment(Path(folder)), cwd=PROJECT, check=True)
        figures = json.loads((Path(folder) / "figures.json").read_text(encoding="utf-8"))
    verdict = Verdict()
    report(figures, verdict)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
