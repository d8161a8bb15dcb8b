"""Users of the media server and their user data per item."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.world import WorldLibrary, WorldUser

PLAYED_FROM = 0.9
"""A play that reaches this share counts as complete, as on the real server."""
RESUMABLE_FROM = 0.05
"""A play that does not reach this share leaves no position."""
LIKED_FROM = 6.5


@dataclass(frozen=True, slots=True)
class PlayEnded:
    """An entry of the activity log: a user stopped watching an item, in Unix seconds. Numbers grow with time."""

    number: int
    user_id: str
    item: Item
    at: float


class UserDatum:
    """One user's data on one item. ``last_played`` and ``saved`` in Unix seconds, ``position`` in ticks."""

    __slots__ = ("favorite", "last_played", "play_count", "played", "position", "rating", "saved")

    def __init__(self) -> None:
        self.position = 0
        self.play_count = 0
        self.favorite = False
        self.played = False
        self.rating: float | None = None
        self.last_played: float | None = None
        self.saved = 0.0

    @property
    def likes(self) -> bool | None:
        """Whether the rating counts as a like; None without a rating."""
        return None if self.rating is None else self.rating >= LIKED_FROM


NOTHING = UserDatum()
"""The data on an item that a user never touched. Do not change it."""


@dataclass(slots=True)
class Policy:
    """What a user may see. ``enabled_folders`` are library ids, which count unless all folders are enabled.

    If there are ``allowed_tags``, titles need one of them. ``excluded_locations`` are folders of libraries.
    ``extra`` are the other fields, as clients wrote them.
    """

    enable_all_folders: bool = True
    enabled_folders: tuple[str, ...] = ()
    blocked_tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] = ()
    excluded_locations: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def allows_library(self, library: WorldLibrary) -> bool:
        """Return whether the user may see a library. No user sees a disabled one."""
        return library.enabled and (self.enable_all_folders or library.item_id in self.enabled_folders)


class ServerUser:
    """A user, their configuration as clients wrote it, and their data by item slot.

    ``version`` grows with every change of the data or the policy.
    """

    __slots__ = (
        "_clock", "configuration", "data", "facts", "id", "last_activity", "played_episodes", "policy", "touched",
        "version",
    )  # fmt: skip

    def __init__(self, facts: WorldUser, user_id: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.facts = facts
        self.id = user_id
        self.policy = Policy(
            blocked_tags=facts.blocked_tags,
            allowed_tags=facts.allowed_tags,
            excluded_locations=facts.excluded_locations,
        )
        self.configuration: dict[str, Any] = {}
        self.version = 0
        self.last_activity: float | None = None
        self.data: dict[int, UserDatum] = {}
        self.played_episodes: dict[int, int] = {}
        self.touched: dict[int, Item] = {}
        """Items whose data changed, by slot, until `UserDataSharing.settle` is called."""

    @property
    def name(self) -> str:
        """The login name."""
        return self.facts.name

    def rename(self, name: str) -> None:
        """Rename the user; the id stays."""
        self.facts = replace(self.facts, name=name)
        self.version += 1

    def of(self, item: Item) -> UserDatum:
        """Return the data on an item, read-only."""
        return self.data.get(item.slot, NOTHING)

    def edit(self, item: Item) -> UserDatum:
        """Return the data on an item for changes. Use `set_played` for ``played``."""
        self.version += 1
        self.touched[item.slot] = item
        datum = self.data.get(item.slot)
        if datum is None:
            datum = self.data[item.slot] = UserDatum()
        datum.saved = self._clock()
        return datum

    def set_played(self, item: Item, played: bool) -> None:
        """Mark an item as played or not, and update the counts of its series and season."""
        datum = self.edit(item)
        if datum.played == played:
            return
        datum.played = played
        if item.kind == "Episode" and item.series is not None and not item.virtual:
            step = 1 if played else -1
            for parent in (item.series, item.season_item):
                self.played_episodes[parent.slot] = self.played_episodes.get(parent.slot, 0) + step

    def unplayed_count(self, item: Item) -> int:
        """Return the number of unplayed episodes of a series or season."""
        return len(episodes_of(item)) - self.played_episodes.get(item.slot, 0)

    def has_played(self, item: Item) -> bool:
        """Return whether the item counts as played; a series does when it has no unplayed episodes."""
        if item.kind in ("Series", "Season"):
            # This includes a series without any episodes.
            return self.unplayed_count(item) == 0
        return self.of(item).played

    def last_played_of(self, item: Item) -> float | None:
        """Return when the item, or an alternate version of it, was last played."""
        dates = (self.of(each).last_played for each in (item, *item.versions))
        return max((date for date in dates if date is not None), default=None)

    def latest_begun(self, item: Item) -> Item | None:
        """Return the version of a film that is in progress and was played last."""
        begun = [each for each in item.every_version if self.of(each).position > 0]
        return max(begun, key=lambda each: self.of(each).last_played or 0.0, default=None)

    def latest_version(self, item: Item) -> Item | None:
        """Return the version of a film that was begun or finished and was played last."""
        begun = [each for each in item.every_version if self.of(each).played or self.of(each).position > 0]
        return max(begun, key=lambda each: self.of(each).last_played or 0.0, default=None)

    def record_play(self, item: Item, at: float, completion: float) -> None:
        """Record a play as the server does: the start counts, the end marks the item played or leaves a position."""
        datum = self.edit(item)
        datum.play_count += 1
        datum.last_played = at if datum.last_played is None else max(at, datum.last_played)
        self.last_activity = at if self.last_activity is None else max(at, self.last_activity)
        # Without a known length, the server takes any play as complete.
        complete = completion >= PLAYED_FROM or not item.runtime_ticks
        # Starting again marks a played item as unplayed until it is finished again.
        self.set_played(item, complete)
        resumable = not complete and completion >= RESUMABLE_FROM
        datum.position = int((item.runtime_ticks or 0) * completion) if resumable else 0

    def mark_played(self, item: Item, at: float | None, now: float) -> None:
        """Mark as played by hand, with or without a date."""
        for each in episodes_of(item) or [item]:
            datum = self.edit(each)
            if at is not None:
                datum.play_count += 1
            datum.play_count = max(datum.play_count, 1)
            datum.position = 0
            datum.last_played = at or datum.last_played or now
            self.set_played(each, True)

    def mark_unplayed(self, item: Item) -> None:
        """Mark as unplayed."""
        for each in episodes_of(item) or [item]:
            datum = self.edit(each)
            datum.play_count = 0
            datum.position = 0
            datum.last_played = None
            self.set_played(each, False)

    def copy(self, source: UserDatum, item: Item) -> None:
        """Give an item a copy of data."""
        datum = self.edit(item)
        self.set_played(item, source.played)
        for name in UserDatum.__slots__:
            setattr(datum, name, getattr(source, name))

    def recount(self, series: Item) -> None:
        """Count the played episodes of a series again, as its episodes changed."""
        for parent in (series, *(season.item for season in series.every_season)):
            self.played_episodes[parent.slot] = sum(self.of(episode).played for episode in episodes_of(parent))

    def forget(self, item: Item) -> None:
        """Delete the data on an item."""
        if item.slot in self.data:
            self.set_played(item, False)
            del self.data[item.slot]


def episodes_of(item: Item) -> list[Item]:
    """Return the playable episodes of a series or season; empty for other items."""
    if item.kind == "Series":
        return [episode for season in item.every_season for episode in season.episodes if not episode.virtual]
    if item.kind == "Season" and item.series is not None and item.season is not None:
        return [episode for episode in item.series.numbered(item.season).episodes if not episode.virtual]
    return []


def user_id(name: str, generation: int = 0) -> str:
    """Return the id of the user created under this name; ``generation`` counts re-creations."""
    suffix = f"|{generation}" if generation else ""
    return hashlib.md5(f"user|{name}{suffix}".encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class QuickConnectCode:
    """A code of Quick Connect, of a client that names itself; ``user`` is the id of whoever has entered it."""

    code: str
    client: dict[str, str]
    user: str | None = None
