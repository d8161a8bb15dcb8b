"""A household of the quarter: its stand-ins, its inbox, and the process of its home, which may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil

from aperture_dagster.settings.home import project_root
from aperture_dagster.simulator.counters import DailyQuota
from aperture_dagster.simulator.server import RunningSimulator, running_simulator
from aperture_dagster.simulator.settings import VOLUME, SimulatorSettings, environment
from aperture_dagster.simulator.world import World
from aperture_dagster_tests.chaos import environment as isolated
from aperture_dagster_tests.inbox import Inbox, open_inbox
from aperture_dagster_tests.processes import all_gone, processes_of
from days.home import CLOCK, POINT, READY

TIMEZONE = "Europe/Berlin"
# The whole library takes two days.
QUOTAS = {"omdb": 80, "mdblist": 30}
MOST_STARTS, AN_HOUR = 8, timedelta(hours=1)
# Of a machine that is busy with other work.
MOST_SECONDS_TO_STOP = 1800
# A minute after these times, by the clock of the home, what is due begins; the sensors look at the times marked True.
# No play is less than an hour before, so that none is in the future for a clock that is behind by an hour.
STEPS = {
    "01:00": False, "02:00": False, "03:00": False, "04:00": True, "05:30": False, "06:00": False, "09:00": True,
    "15:00": False, "18:00": True, "22:00": True,
}  # fmt: skip
NIGHT_ENDS = 9
SETTINGS = {
    "EMBEDDER": "openai", "EMBEDDER_MODEL": "demo-embedding", "PUBLISH": "true",
    "PUBLISH_LISTS": "recommendation_libraries,recommendation_playlists,top_picks_libraries,top_picks_collections,"
    "top_picks_playlists,shows_you_watch_libraries,for_later_playlists",
    "REQUESTS_PER_WEEK": "100", "DISCOVERY_MINIMUM_VOTES": "20", "RATINGS_TO_SERVER": "true",
    "TIMEZONE": TIMEZONE,
    # So that records of the past fill up within a third of a quarter.
    "KEEP_LOGS_DAYS": "10", "KEEP_RUNS_DAYS": "20",
    # The clock is simulated, waits are not.
    "HTTP_ATTEMPTS": "3", "HTTP_RETRY_WAIT_SECONDS": "0.02", "STEP_RETRIES": "1", "STEP_RETRY_WAIT_SECONDS": "0",
}  # fmt: skip


class HomeFailed(Exception):
    """The process of a home ended although nothing killed it, or does not start any more."""


class House:
    """One household. Its stand-ins and its home are on a clock of their own; ``now`` is the true time there."""

    def __init__(self, folder: Path, simulator: RunningSimulator, inbox: Inbox, now: datetime) -> None:
        self.folder, self.home = folder, folder / "home"
        self.simulator, self.inbox, self.now = simulator, inbox, now
        self.skew = timedelta(0)
        self.deaths: Counter[str] = Counter()
        self.reached: list[str] = []
        self._environment = self._settings()
        self._process: subprocess.Popen[str] | None = None
        self._dying = ""

    @property
    def state(self) -> Any:
        """The state of the stand-ins."""
        return self.simulator.state

    def _settings(self) -> dict[str, str]:
        lists = self.folder / "libraries"
        lists.mkdir()
        own = {f"APERTURE_{name}": value for name, value in SETTINGS.items()}
        own |= {
            "APERTURE_HOME": str(self.home), "PYTHONPATH": str(project_root()), "OPENAI_API_KEY": "demo-openai-key",
            "APERTURE_EMBEDDER_URL": self.simulator.openai_url, "APERTURE_ALERT_URLS": self.inbox.url,
            "APERTURE_PUBLISH_ROOT": str(lists), "APERTURE_PATH_MAP": json.dumps({str(lists): VOLUME}),
        }  # fmt: skip
        given = environment(self.simulator.url, settings=self.state.settings)
        return isolated(self.home, **given) | own

    def move_to(self, now: datetime) -> None:
        """Let time pass on the stand-ins. The home follows when it lives."""
        self.now = now
        ahead = now.timestamp() - self.state.clock.now()
        if ahead > 0:
            self.state.advance(ahead)

    def live(
        self,
        *,
        look: bool,
        kill: tuple[str, float] | None = None,
        victim: int = 1,
        points: Collection[str] = (),
    ) -> dict[str, Any]:
        """Let the home work until nothing more is requested, and perhaps be killed meanwhile."""
        command: dict[str, Any] = {"live": (self.now + self.skew).isoformat(), "look": look, "points": [*points]}
        if kill is not None and kill[0] == "run":
            command["victim"] = {"run": victim, "after": kill[1]}
            kill = None
        return self.ask(command, kill)

    def set_skew(self, skew: timedelta) -> None:
        """Make the home's clock wrong from now on, or right again."""
        if skew != self.skew:
            self.skew = skew
            self.ask({"back_to": (self.now + skew).isoformat()})

    def ask(self, command: dict[str, Any], kill: tuple[str, float] | None = None) -> dict[str, Any]:
        """Send a command to the home, which is started if it is not there, and return the answer."""
        for _ in range(MOST_STARTS):
            if self._process is None:
                self._start()
            assert self._process is not None
            process, self._dying = self._process, ""
            timer = None
            if kill is not None:
                timer = threading.Timer(kill[1], self._kill, kill[:1])
                timer.start()
            answer = self._exchange(process, command)
            if timer is not None:
                timer.cancel()
                timer.join()
            if answer is not None:
                if kill is not None and process.poll() is not None:
                    self._process = None
                return answer
            process.wait()
            self._process = None
            self._note_death(killed=bool(self._dying) or kill is not None, command=command)
            kill = None
        raise HomeFailed(f"{MOST_STARTS} times in a row: {self.log()[-1500:]}")

    def _note_death(self, *, killed: bool, command: dict[str, Any]) -> None:
        note = self.folder / POINT
        if note.exists():
            self.reached.append(note.read_text(encoding="utf-8"))
            note.unlink()
            self.deaths["point"] += 1
            # One kill at a time, or a night would never end.
            command["points"] = []
        elif not killed:
            self.deaths["crash"] += 1

    def stop(self) -> None:
        """End the home's process, and wait until everything that it started has ended."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=MOST_SECONDS_TO_STOP)
            self._process = None

    def log(self) -> str:
        """Return what the home printed to stderr."""
        path = self.folder / "home.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _start(self) -> None:
        moment = self.now + self.skew
        with suppress(OSError, ValueError):
            # The last one may have been further than the last answer.
            last = datetime.fromisoformat((self.home / CLOCK).read_text(encoding="utf-8"))
            # Unless that was when its clock was wrong.
            moment = max(moment, last) if last - moment < AN_HOUR else moment
        with (self.folder / "home.log").open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("home.py")), moment.isoformat()],
                env=self._environment,
                cwd=project_root(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # As a service of its own would be: on a busy machine, processor time is shared out by session.
                start_new_session=True,
            )
        if self._exchange(self._process, None) != {READY: True}:
            self._process.wait()
            self._process = None
            raise HomeFailed(f"does not start: {self.log()[-1500:]}")

    def _exchange(self, process: subprocess.Popen[str], command: dict[str, Any] | None) -> dict[str, Any] | None:
        assert process.stdin is not None and process.stdout is not None
        try:
            if command is not None:
                process.stdin.write(json.dumps(command) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            return None
        return json.loads(line) if line.endswith("\n") else None

    def _kill(self, kind: str) -> None:
        process = self._process
        if kind in ("home", "everything"):
            victims = processes_of(self.home) if kind == "everything" else []
            if process is not None and process.poll() is None:
                self._dying = kind
                process.kill()
            for victim in victims:
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
        else:
            how = signal.SIGKILL if kind == "database" else signal.SIGINT
            with suppress(OSError, ValueError, IndexError):
                os.kill(int((self.home / "postgres" / "postmaster.pid").read_text().splitlines()[0]), how)
                self._dying = kind
        self.deaths[kind] += 1


@contextmanager
def open_house(folder: Path, world: World, start: datetime) -> Iterator[House]:
    """Open a household; nothing of it is left afterwards."""
    folder.mkdir()
    settings = SimulatorSettings(
        volumes={VOLUME: folder / "libraries"},
        omdb_daily_limit=QUOTAS["omdb"],
        mdblist_daily_limit=QUOTAS["mdblist"],
        trakt_writes=(1000, 1.0),
    )
    with running_simulator(world, settings) as simulator, open_inbox() as inbox:
        state = simulator.state
        for name, limit in QUOTAS.items():
            state.quotas[name] = DailyQuota(limit, state.clock.now)
        house = House(folder, simulator, inbox, start)
        house.move_to(start)
        try:
            yield house
        finally:
            house.stop()
            for process in processes_of(folder):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            all_gone(folder)


def step_times(start: datetime, days: float) -> Iterator[tuple[datetime, bool]]:
    """Yield the moments at which a home works, and whether its sensors look then."""
    zone = ZoneInfo(TIMEZONE)
    yield start, True
    for day in range(int(days) + 2):
        for at, looks in STEPS.items():
            hour, minute = map(int, at.split(":"))
            local = datetime.combine(
                (start.astimezone(zone) + timedelta(days=day)).date(), clock_time(hour, minute + 1)
            )
            # Not through the local time: an hour is missing, or comes twice, when the clocks change.
            moment = local.replace(tzinfo=zone).astimezone(UTC)
            if start < moment < start + timedelta(days=days):
                yield moment, looks
