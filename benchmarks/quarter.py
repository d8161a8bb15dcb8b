"""A quarter of two households by a simulated clock: one is killed, disturbed and confused, and must end like the other.

    python benchmarks/quarter.py [--days 90] [--seed N] [--users 5] [--quick]

Both live the same life on stand-ins of their own: plays, ratings on both sides, titles that are new, leave, come back
or get another name, a user who comes, one who leaves and one with a new name, a new library, new prices. Dagster's own
daemons work through the days, with every job of the definitions. In one home, chosen by the seed: ``kill -9`` of runs,
of the whole home and of the database, at random and between an effect and its note, restarts of the database, faults of
every service, nights without the media server, a clock that is wrong by an hour or by a day, tokens that were revoked,
no room for a backup, and two days of sleep. After two calm days both must have the same rows, libraries, ratings and
requests, and nothing may be left over. What grows in the last third of the days, table by table and folder by folder,
must level off, or have a reason (``days/growth.py``).
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from days.growth import Sizes, grown  # noqa: E402
from days.house import NIGHT_ENDS, STEPS, TIMEZONE, House, open_house, step_times  # noqa: E402
from days.life import Life, make_world  # noqa: E402
from days.outcome import breaches, compare, outcome_of  # noqa: E402
from days.points import POINTS  # noqa: E402
from days.troubles import Chances, Plan, make_plan  # noqa: E402
from verdict import Verdict  # noqa: E402

CALM_DAYS, INSTALLED_BEFORE = 2.6, timedelta(hours=6)
# Growth is judged when each third of the days has a month, or nearly.
LEAST_JUDGED = 75
# What may fail while the media server is away.
READ_THE_SERVER = {
    "sync_users", "sync_movies", "sync_series", "sync_watch_history", "follow_plays", "first_list", "sync_libraries",
    "sync_library_access", "sync_watching_libraries", "refresh_top_picks", "sync_trakt_ratings", "automation:",
}  # fmt: skip
# Before the next night, in which suggestions are also made from Trakt's.
RECONNECTED_AFTER = timedelta(hours=8)
ROOM = 200_000


@dataclass
class Record:
    """What happened in a home."""

    runs: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    outcome: dict[str, Any] = field(default_factory=dict)
    breaches: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    sizes: list[Sizes] = field(default_factory=list)
    """One for each day."""


def first_day(days: int, now: datetime) -> datetime:
    """Return midnight of the first day, so that the clocks change within the days."""
    zone = ZoneInfo(TIMEZONE)
    day = (now + timedelta(days=days + 2)).replace(hour=12, minute=0, second=0, microsecond=0)
    while day.astimezone(zone).utcoffset() == (day - timedelta(days=1)).astimezone(zone).utcoffset():
        day += timedelta(days=1)
    first = (day - timedelta(days=days // 2)).astimezone(zone)
    return first.replace(hour=0)


class Quarter:
    """One household's days."""

    def __init__(
        self, house: House, life: Life, options: argparse.Namespace, start: datetime, *, disturbed: bool
    ) -> None:
        self.house, self.life, self.options, self.start = house, life, options, start
        self.name = "disturbed" if disturbed else "twin"
        self.disturbed = disturbed
        self.record = Record()
        self.chances = Chances(options.seed, options.kills, options.faults) if disturbed else None
        self.plan: Plan | None = make_plan(start, options.days, options.seed) if disturbed else None
        self._reconnect: list[tuple[datetime, str]] = []

    def live(self) -> None:
        """Live through the days and the calm ones."""
        house, end = self.house, self.start + timedelta(days=self.options.days)
        waiting = [*self.life.happenings()]
        before = self.start - INSTALLED_BEFORE
        times = step_times(before, self.options.days + self.options.calm + INSTALLED_BEFORE / timedelta(days=1))
        installed, began, day = False, time.monotonic(), 0
        for moment, looks in times:
            while waiting and waiting[0].at <= moment:
                event = waiting.pop(0)
                house.move_to(event.at)
                event.happen(house.state)
            house.move_to(moment)
            self._approve(moment)
            if not installed:
                self._absorb(house.live(look=True))
                self._connect()
                installed = True
                continue
            kill = self._disturb(moment, calm=moment >= end)
            if self.plan is not None and self.plan.asleep[0] <= moment < self.plan.asleep[1]:
                continue
            victim = self.chances.victim() if self.chances is not None else 1
            points = self._points(moment) if moment < end else []
            self._absorb(house.live(look=looks, kill=kill, victim=victim, points=points))
            if (moment - self.start).days >= day and moment < end:
                self.record.sizes.append(house.ask({"sizes": True})["sizes"])
                self._report(day, time.monotonic() - began)
                day += 1
        self._finish()

    def _points(self, moment: datetime) -> list[str]:
        """Return the points at which the home is still to be killed."""
        due = {name: since for name, since in (self.plan.points if self.plan else {}).items() if since <= moment}
        return [name for name in due if name not in self.house.reached]

    def _approve(self, moment: datetime) -> None:
        for one in self.house.state.seerr_requests():
            if one["status"] == "pending" and moment.astimezone(ZoneInfo(TIMEZONE)).hour == 22:
                self.house.state.seerr_decide(one["id"], "approved")

    def _connect(self) -> None:
        tokens = {name: self.house.state.trakt_connect(name) for name in self.life.connected}
        self.house.ask({"connect": tokens})

    def _disturb(self, moment: datetime, *, calm: bool) -> tuple[str, float] | None:
        """Let the troubles of this step begin and end, and return what is to be killed."""
        if self.plan is None or self.chances is None:
            return None
        house, state = self.house, self.house.state
        for since in [one for one in self.plan.revoked if one <= moment]:
            fully = self.plan.revoked.pop(since)
            user = self.life.connected[0]
            state.trakt_invalidate(user, access=True, refresh=fully)
            self.chances.counted["tokens revoked" if fully else "token expired"] += 1
            if fully:
                self._reconnect.append((moment + RECONNECTED_AFTER, user))
        for since, user in [one for one in self._reconnect if one[0] <= moment]:
            self._reconnect.remove((since, user))
            house.ask({"connect": {user: state.trakt_connect(user)}})
        since, until = self.plan.no_room
        house.ask({"room": ROOM if since <= moment < until else None})
        house.set_skew(self.plan.skew(moment))
        if calm:
            self.chances.calm(state)
            return None
        if self.plan.is_away(moment):
            self.chances.leave(state, moment)
            return None
        if (fault := self.chances.disturb(state, moment, len(STEPS))) is not None and self.options.verbose:
            print(f"  {moment:%d %H:%M} {fault}", flush=True)
        return self.chances.kill(len(STEPS), is_night=1 <= moment.astimezone(ZoneInfo(TIMEZONE)).hour <= NIGHT_ENDS)

    def _absorb(self, answer: dict[str, Any]) -> None:
        self.record.runs.update(answer["runs"])
        self.record.failed += answer["failed"]
        self.record.errors += len(answer["errors"])
        self.record.breaches += answer["mistaken"]
        if self.plan is not None and self.plan.is_away(self.house.now):
            self.record.breaches += [
                f"failed while the media server was away: {text}"
                for text in answer["failed"]
                if text.split()[0] not in READ_THE_SERVER or not ("503" in text or "Jellyfin" in text)
            ]
        self.record.kills["run"] += len(answer["killed"])
        if self.options.verbose:
            for text in [*(one.partition("\n")[0] for one in answer["failed"]), *answer["errors"]]:
                print(f"  {self.name} {self.house.now:%d %H:%M}: {text}", flush=True)

    def _report(self, day: int, seconds: float) -> None:
        kills = self.record.kills + self.house.deaths
        faults = self.chances.counted.total() if self.chances is not None else 0
        print(
            f"{self.name:>9} day {day + 1:2}: {self.record.runs.total():5} runs, {len(self.record.failed):3} failed, "
            f"{kills.total():3} kills, {faults:3} faults; {seconds / 60 / (day + 1):.2f} minutes a day",
            flush=True,
        )

    def _finish(self) -> None:
        house = self.house
        # The last midnight.
        last = self.start + timedelta(days=int(self.options.days + self.options.calm))
        backups = house.ask({"ended": last.isoformat()})
        house.stop()
        self.record.kills += house.deaths
        self.record.alerts = [f"{one['title']}: {one['message']}" for one in house.inbox.messages]
        self.record.breaches += breaches(house, backups, disturbed=self.disturbed)
        self.record.outcome = outcome_of(house, (self.start + timedelta(days=self.options.days)).date())


def live_through(folder: Path, options: argparse.Namespace, start: datetime, *, disturbed: bool) -> Quarter:
    """Live through the days in one home."""
    world = make_world(start - INSTALLED_BEFORE, users=options.users, seed=options.seed)
    life = Life(world, start, days=options.days, seed=options.seed)
    with open_house(folder / ("disturbed" if disturbed else "twin"), world, start - INSTALLED_BEFORE) as house:
        quarter = Quarter(house, life, options, start, disturbed=disturbed)
        try:
            quarter.live()
        except Exception:
            quarter.record.breaches.append(f"the days ended early: {traceback.format_exc()}")
        return quarter


def main() -> int:
    """Live through the days twice, and return 0 if both homes end alike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--users", type=int, default=5)
    parser.add_argument("--kills", type=float, default=1, help="a day, on average")
    parser.add_argument("--faults", type=float, default=1, help="a day, on average")
    parser.add_argument("--calm", type=float, default=CALM_DAYS, help="days at the end without troubles")
    parser.add_argument("--quick", action="store_true", help="two days and two calm nights")
    parser.add_argument("--verbose", "-v", action="count", default=0, help="print faults and failures")
    options = parser.parse_args()
    if options.quick:
        options.days, options.calm, options.kills, options.faults = 2, 1.6, 4, 4
    start = first_day(options.days, datetime.now(UTC))
    print(f"seed {options.seed}; {options.days} days from {start:%Y-%m-%d}", flush=True)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="aperture-quarter-", ignore_cleanup_errors=True) as folder,
        ThreadPoolExecutor(2) as pool,
    ):
        both = [pool.submit(live_through, Path(folder), options, start, disturbed=one) for one in (False, True)]
        twin, disturbed = (one.result() for one in both)
    return judge(disturbed, twin.record, time.monotonic() - began)


def judge(disturbed: Quarter, twin: Record, seconds: float) -> int:
    """Print what happened and what is wrong, and return the exit code."""
    for name, record in (("twin", twin), ("disturbed", disturbed.record)):
        print(
            f"{name}: {record.runs.total()} runs, {len(record.failed)} failed, kills {dict(record.kills)}, "
            f"{len(record.alerts)} alerts"
        )
        print(f"  {dict(record.runs)}")
    assert disturbed.chances is not None
    print(f"faults {dict(disturbed.chances.counted)}")
    for point in POINTS:
        print(f"{'killed when' if point.name in disturbed.house.reached else 'did not come to'}: {point.name}")
    print(f"{seconds:.0f} s")
    found = {
        "the undisturbed home is well": twin.breaches
        + [f"a run failed: {one}" for one in twin.failed]
        + [f"its process ended {count} times ({how})" for how, count in twin.kills.items() if count]
        + [f"a daemon failed {twin.errors} times"] * bool(twin.errors)
        + [f"it reported: {one}" for alert in twin.alerts for one in alert.split("\n\n")],
        "nothing is left over in the disturbed home": disturbed.record.breaches,
        "the disturbed home reported what was wrong": [] if disturbed.record.alerts else ["nothing arrived"],
        "both homes end alike": compare(disturbed.record.outcome, twin.outcome),
    }
    for name, record in (("twin", twin), ("disturbed", disturbed.record)):
        if len(record.sizes) < 3:
            continue
        lines, growing = grown(record.sizes)
        print(
            f"\ngrowth of the {name} home, in rows or files, by thirds of the days",
            *lines,
            sep="\n",
        )
        if len(record.sizes) >= LEAST_JUDGED:
            found[f"nothing grows without a reason in the {name} home"] = growing
    verdict = Verdict()
    for promise, problems in found.items():
        for problem in problems:
            print(f"    {problem}")
        verdict.holds(promise, not problems)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
