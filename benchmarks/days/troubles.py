"""What happens to the disturbed home, chosen by the seed: kills, faults of the services, wrong clocks, no room."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aperture_dagster.simulator.responses import FaultRule
from aperture_dagster.simulator.state import SimulatorState
from days.points import POINTS

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SERVICES = (
    "jellyfin", "jellyfin", "jellyfin", "tmdb", "tmdb", "tmdb_images", "omdb", "mdblist", "trakt", "trakt",
    "trakt_auth", "seerr", "openai", "prices",
)  # fmt: skip
FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "503 for hours": {"status": 503},
    "429": {"status": 429, "retry_after": 1, "times": 2},
    "drip": {"kind": "drip", "delay_seconds": 0.0005, "times": 3},
    "slow": {"kind": "slow", "delay_seconds": 0.5, "times": 5},
    "malformed JSON": {"kind": "malformed_json"},
    "cut off": {"kind": "cut_off"},
    "a page of HTML": {"kind": "html"},
    "spoilt entry": {"kind": "missing_field"},
    "401": {"status": 401},
}
JSON_ONLY = ("spoilt entry",)
# The last point is armed at this share of the days, so that it is reached before the end.
LAST_POINT = 0.7


@dataclass(slots=True)
class Plan:
    """The troubles of a quarter.

    Attributes:
        asleep: from when until when nothing runs.
        wrong_clock: from when until when the home's clock is wrong, and by how much.
        no_room: from when until when files cannot grow.
        away: from when until when the media server answers nothing but that it is unavailable.
    """

    asleep: tuple[datetime, datetime]
    wrong_clock: list[tuple[datetime, datetime, timedelta]]
    no_room: tuple[datetime, datetime]
    away: list[tuple[datetime, datetime]]
    revoked: dict[datetime, bool]
    """When the tokens of a user become invalid, and whether the refresh token, too."""
    points: dict[str, datetime]
    """From when the home is killed at a point, once."""

    def is_away(self, now: datetime) -> bool:
        """Return whether the media server is away."""
        return any(since <= now < until for since, until in self.away)

    def skew(self, now: datetime) -> timedelta:
        """Return by how much the home's clock is wrong."""
        return next((by for since, until, by in self.wrong_clock if since <= now < until), timedelta(0))


def make_plan(start: datetime, days: int, seed: int) -> Plan:
    """Spread the troubles that come once over the days."""

    def at(share: float, hours: float) -> datetime:
        return start + int(days * share) * DAY + hours * HOUR

    # What happens once, when a list or a user is new, is waited for from the beginning.
    names = [point.name for point in POINTS if not point.is_rare]
    random.Random(seed + 3).shuffle(names)
    rare = dict.fromkeys((point.name for point in POINTS if point.is_rare), start)
    nap = 2 * DAY if days >= 7 else 14 * HOUR
    return Plan(
        asleep=(at(0.7, 12), at(0.7, 12) + nap),
        wrong_clock=[(at(0.23, 10), at(0.23, 20), -HOUR), (at(0.45, 10), at(0.45, 14), DAY)],
        no_room=(at(0.36, -2), at(0.36, 2)),
        away=[(at(share, 3), at(share, 6)) for share in (0.3, 0.6)],
        revoked={at(0.13, 9): False, at(0.8, 15): True},
        points=rare
        | {name: start + days * LAST_POINT / len(names) * number * DAY for number, name in enumerate(names)},
    )


@dataclass
class Chances:
    """Troubles that come at random; ``rate`` is the mean number of each a day."""

    seed: int
    kills_a_day: float
    faults_a_day: float
    counted: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the source of the chances."""
        self._random = random.Random(self.seed + 2)
        self._faulty_until: datetime | None = None
        self._undo: list[Callable[[SimulatorState], Any]] = []

    def kill(self, steps_a_day: int, *, is_night: bool) -> tuple[str, float] | None:
        """Decide whether something is killed in this step: what, and after how many seconds.

        At night, when there is most to hit, that is as likely as in all the rest of the day.
        """
        if self._random.random() > self.kills_a_day / steps_a_day * (1.3 if is_night else 0.5):
            return None
        kind = self._random.choices(("run", "home", "everything", "database", "restart"), (6, 2, 1, 1, 1))[0]
        return kind, self._random.uniform(0, 0.8 if kind == "run" else 2.5)

    def victim(self) -> int:
        """Choose the run of a step that is killed."""
        return self._random.choice((1, 1, 2, 3))

    def disturb(self, state: SimulatorState, now: datetime, steps_a_day: int) -> str | None:
        """Begin or end a fault of a service, and say which begins."""
        if self._faulty_until is not None and now >= self._faulty_until:
            self.calm(state)
        if self._faulty_until is not None or self._random.random() > self.faults_a_day / steps_a_day:
            return None
        service = self._random.choice(SERVICES)
        if service == "jellyfin" and self._random.random() < 0.2:
            return self._shift(state, now)
        names = [name for name in FAULTS if name not in JSON_ONLY or service not in ("tmdb_images", "prices")]
        name = self._random.choice(names)
        how: dict[str, Any] = {"after": self._random.randrange(4)} | FAULTS[name]
        if name == "503 for hours":
            how["after"] = 0
        elif "times" not in how:
            how["times"] = self._random.randint(1, 8)
        state.add_fault(FaultRule(service, **how))
        self._faulty_until = now + self._random.choice((1, 2, 4)) * HOUR
        self.counted[name] += 1
        return f"{service}: {name}"

    def _shift(self, state: SimulatorState, now: datetime) -> str:
        """Let a page shift while it is read: a title is away for a while."""
        films = sorted(state.catalogue.items("Movie"), key=lambda item: item.created)
        key = next(item.title.key for item in films if item.title.copies == 1 and item.library.name == "Movies")
        state.add_fault(FaultRule("jellyfin", "ncludeItemTypes=Movie", "shift", leaves=key, after=1, times=1))
        self._undo.append(lambda state: state.shift(comes=key))
        self._faulty_until = now + 2 * HOUR
        self.counted["shifted page"] += 1
        return f"jellyfin: shifted page without {key}"

    def leave(self, state: SimulatorState, now: datetime) -> None:
        """Let the media server be away, and nothing else be wrong, until the next trouble."""
        self.calm(state)
        state.add_fault(FaultRule("jellyfin", status=503))
        self._faulty_until = now
        self.counted["media server away"] += 1

    def calm(self, state: SimulatorState) -> None:
        """End all faults."""
        state.clear_faults()
        for undo in self._undo:
            undo(state)
        self._undo.clear()
        self._faulty_until = None
