"""Users of the media server and what each did with every item."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.world import WorldUser

PLAYED_FROM = 0.9
"""A play that got this far counts as complete, as on the real server."""
RESUMABLE_FROM = 0.05
"""A play that did not get this far leaves no position."""
LIKED_FROM = 6.5


class UserDatum:
    """What one user did with one item. ``last_played`` and ``saved`` in unix seconds, ``position`` in ticks."""

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
        """The server derives it from the rating."""
        return None if self.rating is None else self.rating >= LIKED_FROM


NOTHING = UserDatum()
"""Stands for an item that a user never touched; never to be changed."""


@dataclass(slots=True)
class Policy:
    """What a user may see. ``enabled_folders`` are library ids, read only when not all are enabled.

    ``allowed_tags``, where there are any, are those of which a title needs one; ``excluded_locations`` are folders of
    libraries.
    """

    enable_all_folders: bool = True
    enabled_folders: tuple[str, ...] = ()
    blocked_tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] = ()
    excluded_locations: tuple[str, ...] = ()
    extra: dict[str, object] | None = None


class ServerUser:
    """One user and their data by item slot. ``version`` grows with every change of the data or the policy."""

    __slots__ = ("data", "facts", "id", "last_activity", "played_episodes", "policy", "version")

    def __init__(self, facts: WorldUser, user_id: str) -> None:
        self.facts = facts
        self.id = user_id
        self.policy = Policy(
            blocked_tags=facts.blocked_tags,
            allowed_tags=facts.allowed_tags,
            excluded_locations=facts.excluded_locations,
        )
        self.version = 0
        self.last_activity: float | None = None
        self.data: dict[int, UserDatum] = {}
        self.played_episodes: dict[int, int] = {}

    @property
    def name(self) -> str:
        """The login name."""
        return self.facts.name

    def rename(self, name: str) -> None:
        """Give the user another name; the id stays."""
        self.facts = replace(self.facts, name=name)
        self.version += 1

    def of(self, item: Item) -> UserDatum:
        """What the user did with an item, to read only."""
        return self.data.get(item.slot, NOTHING)

    def edit(self, item: Item) -> UserDatum:
        """What the user did with an item, to be changed. Use `set_played` for ``played``."""
        self.version += 1
        datum = self.data.get(item.slot)
        if datum is None:
            datum = self.data[item.slot] = UserDatum()
        datum.saved = time.time()
        return datum

    def set_played(self, item: Item, played: bool) -> None:
        """Mark an item, and keep count for its series and season."""
        datum = self.edit(item)
        if datum.played == played:
            return
        datum.played = played
        if item.kind == "Episode" and item.series is not None and not item.virtual:
            step = 1 if played else -1
            for parent in (item.series, item.season_item):
                self.played_episodes[parent.slot] = self.played_episodes.get(parent.slot, 0) + step

    def unplayed_count(self, item: Item) -> int:
        """Of a series or season: how many episodes are not played."""
        return len(episodes_of(item)) - self.played_episodes.get(item.slot, 0)

    def has_played(self, item: Item) -> bool:
        """Whether the item counts as played; a series does when nothing of it is left."""
        if item.kind in ("Series", "Season"):
            # So does one that has no episodes at all.
            return self.unplayed_count(item) == 0
        return self.of(item).played

    def last_played_of(self, item: Item) -> float | None:
        """When the item, or an alternate version of it, was played last."""
        dates = (self.of(each).last_played for each in (item, *item.versions))
        return max((date for date in dates if date is not None), default=None)

    def latest_begun(self, item: Item) -> Item | None:
        """Of the versions of a film that are in progress, the one played last."""
        begun = [each for each in item.every_version if self.of(each).position > 0]
        return max(begun, key=lambda each: self.of(each).last_played or 0.0, default=None)

    def latest_version(self, item: Item) -> Item | None:
        """Of the versions of a film that were begun or finished, the one played last."""
        begun = [each for each in item.every_version if self.of(each).played or self.of(each).position > 0]
        return max(begun, key=lambda each: self.of(each).last_played or 0.0, default=None)

    def record_play(self, item: Item, at: float, completion: float) -> None:
        """One play, as the server notes it: the start counts, the end marks it played or leaves a position."""
        datum = self.edit(item)
        datum.play_count += 1
        datum.last_played = at if datum.last_played is None else max(at, datum.last_played)
        self.last_activity = at if self.last_activity is None else max(at, self.last_activity)
        # Without a known length the server takes any play for a whole one.
        complete = completion >= PLAYED_FROM or not item.runtime_ticks
        # Starting anew marks as unplayed what was played before, until it is finished again.
        self.set_played(item, complete)
        resumable = not complete and completion >= RESUMABLE_FROM
        datum.position = int((item.runtime_ticks or 0) * completion) if resumable else 0

    def mark_played(self, item: Item, at: float | None, now: float) -> None:
        """Mark by hand, with a date or without."""
        for each in episodes_of(item) or [item]:
            datum = self.edit(each)
            if at is not None:
                datum.play_count += 1
            datum.play_count = max(datum.play_count, 1)
            datum.position = 0
            datum.last_played = at or datum.last_played or now
            self.set_played(each, True)

    def mark_unplayed(self, item: Item) -> None:
        """Forget that the item was played."""
        for each in episodes_of(item) or [item]:
            datum = self.edit(each)
            datum.play_count = 0
            datum.position = 0
            datum.last_played = None
            self.set_played(each, False)

    def forget(self, item: Item) -> None:
        """Drop everything that the user did with an item."""
        if item.slot in self.data:
            self.set_played(item, False)
            del self.data[item.slot]


def episodes_of(item: Item) -> list[Item]:
    """Episodes of a series or season that can be played; empty for anything else."""
    if item.kind == "Series":
        return [episode for season in item.every_season for episode in season.episodes if not episode.virtual]
    if item.kind == "Season" and item.series is not None and item.season is not None:
        return [episode for episode in item.series.numbered(item.season).episodes if not episode.virtual]
    return []


def user_id(name: str, generation: int = 0) -> str:
    """The id of the user who was created under this name; ``generation`` counts re-creations."""
    suffix = f"|{generation}" if generation else ""
    return hashlib.md5(f"user|{name}{suffix}".encode(), usedforsecurity=False).hexdigest()
