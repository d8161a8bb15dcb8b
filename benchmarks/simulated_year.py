"""Size of both databases over a year of a household of 50 users, with housekeeping.

    python benchmarks/simulated_year.py [--days 1] [--weeks 52] [--limit-mb 500]

Measured: an installation and a day (``--days``) of 50 users on the stand-ins, with Dagster's own daemons by a simulated
clock: every schedule at its time, every sensor, automation and the backfills. Replayed: the rest of the year. What the
last measured day added to Dagster's database is added again for each later day, as other runs with later times; idle
looks of the sensors come at the rate of the real daemons. In the product's database, plays, Top Picks and counts of
requests are repeated, all lists are rewritten every night, and 200 new suggestions a day come and go. The library does
not grow. Housekeeping is the product's own job; it runs once a simulated week, so that the databases are larger than
with one every night. Autovacuum does not see the year pass: a plain VACUUM a week takes its place.

The year passes when the databases are at most a tenth larger after twelve months than after six, and below the limit.
"""

from __future__ import annotations

import argparse
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

from verdict import Verdict
from week.daemons import Daemons, SimulatedTime, definitions, engines, failures, open_instance, until_quiet
from week.household import PROJECT, Happening, StandIns, environment, happenings
from year.dagster_days import DagsterDays
from year.product_days import ProductDays

USERS, PLAYS_A_DAY, HISTORY = 50, 80, 10_000
INSTALLED_BEFORE = timedelta(hours=9, minutes=10)
STEP_SECONDS = 30 * 60
# The weeks that end nearest to the ends of the months.
MONTHS = {4: 1, 9: 2, 13: 3, 17: 4, 22: 5, 26: 6, 30: 7, 35: 8, 39: 9, 43: 10, 48: 11, 52: 12}
GROWTH_LIMIT = 1.1
MB = 1e6


def measure(folder: Path, days: int, weeks: int, limit_mb: float) -> int:
    """Live through the measured days, replay the rest of the year, and return the exit code."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    today = datetime.now(UTC)
    monday = (today + timedelta(days=7 - today.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    clock = SimulatedTime(monday - INSTALLED_BEFORE)
    clock.install()
    stand_ins = StandIns(folder, users=USERS, history=HISTORY)
    os.environ.update(stand_ins.environment)
    try:
        with open_instance() as instance:
            daemons = Daemons(instance, clock)
            waiting = deque(happenings(monday, days, stand_ins.users(), plays=PLAYS_A_DAY))
            moment = monday - INSTALLED_BEFORE
            pattern = None
            for day in range(days + 1):
                pattern = DagsterDays(instance, engines(instance)[0])
                started, midnight = time.monotonic(), monday + timedelta(days=day)
                while moment < midnight:
                    live(moment, stand_ins, daemons, waiting)
                    step = datetime.fromtimestamp((moment.timestamp() // STEP_SECONDS + 1) * STEP_SECONDS, UTC)
                    moment = min(step, waiting[0].at) if waiting else step
                name = f"day {day}" if day else "installation"
                took = f"{time.monotonic() - started:.0f} s"
                print(f"measured: {name}, {len(daemons.runs)} runs, {took}", flush=True)
                for run in daemons.runs:
                    if not run.is_success:
                        raise RuntimeError(failures(instance, run))
                daemons.runs.clear()
            assert pattern is not None
            return replay(clock, daemons, pattern, moment, weeks, limit_mb)
    finally:
        stand_ins.stop()


def live(moment: datetime, stand_ins: StandIns, daemons: Daemons, waiting: deque[Happening]) -> None:
    """Let happen what is due, and the daemons work until nothing more is requested."""
    while waiting and waiting[0].at <= moment:
        stand_ins.apply(waiting.popleft())
    daemons.clock.move_to(moment)
    daemons.start_schedules()
    until_quiet(daemons)


def replay(
    clock: SimulatedTime, daemons: Daemons, dagster: DagsterDays, moment: datetime, weeks: int, limit_mb: float
) -> int:
    """Repeat the last measured day for every day of the weeks, with housekeeping; print and judge the sizes."""
    resources = definitions().resources or {}
    settings, database = resources["settings"], resources["database"]
    product = ProductDays(settings, database, resources["clock"], (moment - timedelta(days=1)).date())
    rows = dagster.take()
    print("the last measured day added to Dagster's database: " + ", ".join(f"{n:,} {t}" for t, n in rows.items()))
    print()
    print(f"{'replayed':<12}{'Dagster MB':>12}{'product MB':>12}{'both':>10}{'events':>12}{'runs':>10}{'plays':>10}"
          f"{'pool':>8}{'works':>8}{'purged rows':>13}")  # fmt: skip
    job = definitions().resolve_job_def("housekeeping")
    totals: dict[int, float] = {}
    for week in range(1, weeks + 1):
        end = moment + timedelta(weeks=week)
        clock.move_to(end)
        dagster.repeat(7 * week - 6, 7 * week)
        product.repeat(7 * week - 6, 7 * week)
        dagster.look(end)
        result = job.execute_in_process(instance=daemons.instance)
        freed = result.asset_materializations_for_node("housekeeping")[0].metadata["rows_freed"].value
        failed = [one.check_name for one in result.get_asset_check_evaluations() if not one.passed]
        if failed:
            raise RuntimeError(f"failed: {failed}")
        sizes = (dagster.size() / MB, product.size() / MB)
        if week in MONTHS:
            totals[MONTHS[week]] = sum(sizes)
            counts = [dagster.rows(name) for name in ("event_logs", "runs")]
            counts += [product.rows(name) for name in ("plays", "discovery_pool", "works")]
            cells = "".join(f"{count:>{width},}" for count, width in zip(counts, (12, 10, 10, 8, 8), strict=True))
            print(f"{f'month {MONTHS[week]}':<12}{sizes[0]:>12,.1f}{sizes[1]:>12,.1f}{sum(sizes):>10,.1f}{cells}"
                  f"{freed:>13,}", flush=True)  # fmt: skip
    print()
    last, half = totals[max(totals)], totals.get(6, totals[max(totals)])
    verdict = Verdict()
    verdict.most("size after twelve months, ratio to that after six", last / half, GROWTH_LIMIT)
    verdict.most("both databases", max(totals.values()), limit_mb, " MB")
    return verdict.close()


def main() -> int:
    """Simulate in a process of its own, and return 0 when every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=1, help="measured days after the installation")
    parser.add_argument("--weeks", type=int, default=52, help="replayed weeks")
    parser.add_argument("--limit-mb", type=float, default=800, help="megabytes that both databases may take")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        return measure(options.inside, options.days, options.weeks, options.limit_mb)
    with tempfile.TemporaryDirectory(prefix="aperture-year-", ignore_cleanup_errors=True) as folder:
        return subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--inside", folder],
            env=environment(Path(folder)),
            cwd=PROJECT,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
