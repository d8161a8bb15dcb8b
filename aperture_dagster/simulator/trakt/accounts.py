"""Accounts on Trakt: their ratings, activities, recommendations and troubles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.counters import RateLimit
from aperture_dagster.simulator.settings import SimulatorSettings

RATED: tuple[str, ...] = ("movies", "shows", "seasons", "episodes")
"""What can be rated, in Trakt's words."""
Trouble = Literal["limit", "locked", "deactivated"]
TROUBLES: tuple[Trouble, ...] = ("limit", "locked", "deactivated")
_MILLISECOND = 0.001
# Reads allowed per user in any window of this many seconds.
_READS = (500, 300.0)


@dataclass(frozen=True, slots=True)
class Rated:
    """What a rating is for: a film, a show, a season (without ``episode``) or an episode."""

    kind: str
    key: str
    season: int | None = None
    episode: int | None = None

    def __str__(self) -> str:
        """Return the key, with the season and episode as in ``series:1 S01E02``."""
        season = "" if self.season is None else f" S{self.season:02}"
        return self.key + season + ("" if self.episode is None else f"E{self.episode:02}")


@dataclass(frozen=True, slots=True)
class Rating:
    """A rating of 1 to 10. ``rated_at`` in Unix seconds, without a fraction."""

    value: int
    rated_at: float


@dataclass(slots=True)
class Account:
    """An account. ``trouble`` is what its owner has to settle with Trakt."""

    name: str
    joined_at: float
    reads: RateLimit
    writes: RateLimit
    vip: bool = False
    trouble: Trouble | None = None
    ratings: dict[Rated, Rating] = field(default_factory=dict)
    changed_at: dict[str, float] = field(default_factory=dict)
    """When ratings changed last, by kind."""
    recommended: list[str] | None = None
    """Keys of the titles that are recommended; None: whatever is well known."""
    pushed: list[dict[str, Any]] = field(default_factory=list)
    """What clients wrote, in order."""

    @property
    def number(self) -> int:
        """Trakt's id of the account."""
        return 1 + stable_number(f"{self.name}|account") % 10_000_000

    def of_kind(self, kind: str) -> Iterator[tuple[Rated, Rating]]:
        """Yield the ratings of one kind, the newest first."""
        rows = [(rated, rating) for rated, rating in self.ratings.items() if rated.kind == kind]
        return iter(sorted(rows, key=lambda row: (-row[1].rated_at, str(row[0]))))

    def rate(self, rated: Rated, rating: Rating, now: float) -> bool:
        """Add or replace a rating, and return whether anything changed."""
        changed = self.ratings.get(rated) != rating
        self.ratings[rated] = rating
        self._touch(rated.kind, now)
        return changed

    def unrate(self, rated: Rated, now: float) -> bool:
        """Remove a rating, and return whether there was one."""
        if self.ratings.pop(rated, None) is None:
            return False
        self._touch(rated.kind, now)
        return True

    def _touch(self, kind: str, now: float) -> None:
        # No two changes are at the same time, however fast they follow each other.
        before = self.changed_at.get(kind)
        self.changed_at[kind] = now if before is None or abs(now - before) >= _MILLISECOND else before + _MILLISECOND


def make_account(name: str, settings: SimulatorSettings, clock: Callable[[], float]) -> Account:
    """Open an account that has rated nothing."""
    reads, writes = RateLimit(*_READS, clock), RateLimit(*settings.trakt_writes, clock)
    return Account(name, float(int(clock())), reads, writes)


def timestamp(seconds: float) -> str:
    """Format a time as Trakt does: UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_seconds(moment: datetime | str | float | None, now: float) -> float:
    """Convert a time to Unix seconds without a fraction; None: now. Without a time zone, it is in UTC.

    Raises ValueError for text that is no time.
    """
    if moment is None:
        return float(int(now))
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float(moment // 1)
