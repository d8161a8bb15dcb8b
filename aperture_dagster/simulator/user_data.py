"""Users of the media server, their user data per item, and box sets and playlists."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from aperture_dagster.simulator.catalogue import (
    CREATED_WITHIN_DAYS,
    Catalogue,
    Item,
    file_name,
    sort_name,
    stable_number,
)
from aperture_dagster.simulator.item import Member, Ownership
from aperture_dagster.simulator.world import BoxSet, WorldLibrary, WorldTitle, WorldUser

if TYPE_CHECKING:
    from aperture_dagster.simulator.state import SimulatorState

PLAYED_FROM = 0.9
"""A play that reaches this share counts as complete, as on the real server."""
RESUMABLE_FROM = 0.05
"""A play that does not reach this share leaves no position."""
LIKED_FROM = 6.5


LogKind = Literal["session started", "play began", "play ended"]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An entry of the activity log: what a user did, in Unix seconds. Numbers grow with time.

    ``item`` is what they began or stopped to watch.
    """

    number: int
    user_id: str
    kind: LogKind
    at: float
    item: Item | None = None


DEVICE_SECONDS = 180.0
"""The date of a device is moved by a request only when it is older than that (``AuthorizationContext.cs``)."""
USER_SECONDS = 60.0
"""The date of a user's last activity likewise (``SessionManager.cs``: ``LogSessionActivity``)."""


@dataclass(slots=True)
class Device:
    """A device on which a user has signed in, and when a request of it was last noted, in Unix seconds."""

    user_id: str
    client: str
    name: str
    asked_at: float


@dataclass(slots=True)
class ClientSession:
    """A client of a user, and what it is playing; times in Unix seconds, ``position`` in ticks."""

    user_id: str
    client: str
    device: str
    active_at: float
    item: Item | None = None
    position: int = 0
    played_at: float | None = None


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
        "_clock", "configuration", "data", "facts", "id", "last_activity", "played_episodes", "policy", "restored",
        "touched", "version",
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
        self.restored: set[int] = set()
        """Slots of items whose data is that of an earlier run of the stand-in."""

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

    def begin_play(self, item: Item, at: float, *, keeps_mark: bool) -> None:
        """Record the beginning of a play; ``keeps_mark``: whether a played item stays played (from 12 on)."""
        datum = self.edit(item)
        datum.play_count += 1
        datum.last_played = at
        self.last_activity = at
        if not keeps_mark:
            self.set_played(item, False)

    def report_position(self, item: Item, completion: float) -> None:
        """Record how far a play has come: the beginning leaves no position, and the end marks the item as played."""
        datum = self.edit(item)
        if completion >= PLAYED_FROM or not item.runtime_ticks:
            datum.position = 0
            self.set_played(item, True)
        else:
            datum.position = int(item.runtime_ticks * completion) if completion >= RESUMABLE_FROM else 0

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


# User data that items share, or inherit from removed items.
#
# Modelled on jellyfin/jellyfin, ``Emby.Server.Implementations/Library/UserDataManager.cs``: up to 10.10, rows belong to
# a user and a key; items read the row of their first key and write those of all their keys. From 10.11 on
# (``BaseItemRepository``, ``ItemPersistenceService.ReattachUserData``), rows belong to an item, and those of a removed
# item go to the next new one with a common key.


class UserDataSharing:
    """Copies user data between the items of a state. The caller must hold the state's lock."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._shares = state.settings.rules.shares_user_data
        self._first_keys: dict[str, list[Item]] = {}
        self._version = -1

    def settle(self) -> None:
        """Copy changed user data to the items that share it."""
        for user in self._state.users.values():
            if not user.touched:
                continue
            touched = list(user.touched.values())
            if self._shares:
                for item in touched:
                    datum = user.of(item)
                    for key in item.user_data_keys:
                        for peer in self._peers(key):
                            if peer is not item:
                                user.copy(datum, peer)
            user.touched.clear()

    def _peers(self, key: str) -> list[Item]:
        """Return the items on the server whose user data is read under a key: those that have it first."""
        catalogue = self._state.catalogue
        if self._version != catalogue.version:
            self._first_keys = {}
            for item in catalogue.every_item():
                if item.present and item.kind not in ("BoxSet", "Playlist"):
                    self._first_keys.setdefault(item.user_data_keys[0], []).append(item)
            self._version = catalogue.version
        return self._first_keys.get(key, [])

    def inherit(self, items: Iterable[Item]) -> None:
        """Give new items the user data under their keys: shared, or left behind by an item that was removed."""
        every_item = self._state.catalogue.every_item()
        for user in self._state.users.values():
            left: dict[str, tuple[UserDatum, Item]] = {}
            for slot, datum in user.data.items():
                source = every_item[slot]
                if self._shares or not source.present:
                    left.update((key, (datum, source)) for key in source.user_data_keys)
            for item in items if left else ():
                keys = item.user_data_keys[:1] if self._shares else item.user_data_keys
                found = next((left[key] for key in keys if key in left), None)
                if found is None or found[1] is item:
                    continue
                user.copy(found[0], item)
                if not self._shares:
                    # It was parked, and can be taken once.
                    user.forget(found[1])
                    left = {key: pair for key, pair in left.items() if pair[1] is not found[1]}
            user.touched.clear()


PLAYLISTS = WorldLibrary("Playlists", "playlists", ("/config/data/playlists",))
"""Where playlists are: a folder of the server's own, which is no library for clients."""


class Lists:
    """The box sets and playlists of a catalogue."""

    def __init__(
        self, catalogue: Catalogue, box_sets: Iterable[BoxSet], clock: Callable[[], float], *, drops_removed: bool
    ) -> None:
        self._catalogue = catalogue
        self._drops_removed = drops_removed
        self._clock = clock
        self._entries = 0
        for box_set in box_sets:
            self._make_box_set(box_set)

    def members_of(self, item: Item) -> list[Member]:
        """Return the entries of a box set or playlist whose items are on the server now.

        Links to removed items are lost for good from Jellyfin 12 on. Before, they count again when the item returns.
        """
        if self._drops_removed:
            item.members = [member for member in item.members if member.item.present]
        return [member for member in item.members if self._catalogue.find(member.item.id) is member.item]

    def member(self, item: Item) -> Member:
        """Make an entry for a box set or playlist."""
        self._entries += 1
        return Member(item, self._entries)

    def collections_library(self) -> WorldLibrary:
        """Return the library of box sets, which a server creates with the first one."""
        library = next((each for each in self._catalogue.libraries if each.collection_type == "boxsets"), None)
        if library is None:
            taken = {each.name for each in self._catalogue.libraries}
            names = ("Collections", *(f"Collections{number}" for number in range(2, 100)))
            name = next(name for name in names if name not in taken)
            library = WorldLibrary(name, "boxsets", ("/config/data/collections",))
            self._catalogue.libraries.append(library)
        return library

    def _make_box_set(self, box_set: BoxSet) -> None:
        title = WorldTitle("", "movie", box_set.name, tmdb_id=box_set.tmdb_id, tags=())
        age = stable_number(f"boxset:{box_set.name}") % (CREATED_WITHIN_DAYS * 86_400) + 1
        created = self._catalogue.today.timestamp() - age
        item = self.add("BoxSet", title, f"{file_name(box_set.name)} [boxset]", created)
        item.members = [self.member(top) for key in box_set.title_keys for top in self._catalogue.top_items(key)]

    def add(self, kind: str, title: WorldTitle, folder: str, created: float) -> Item:
        """Add an empty box set or playlist; its id follows from its folder, and replaces an item with the same id."""
        library = PLAYLISTS if kind == "Playlist" else self.collections_library()
        path = f"{library.locations[0]}/{folder}"
        title = replace(title, key=f"{kind.lower()}:{path}")
        item = self._catalogue.make_item(kind, title, title.title, library, created)
        item.sort_name = sort_name(title.title)
        item.folder = path
        self._catalogue.version += 1
        return item

    def create_box_set(self, name: str, *, locked: bool) -> Item:
        """Create an empty box set. One in the same folder, and so with the same id, is overwritten."""
        title, folder = WorldTitle("", "movie", name, tags=()), file_name(f"{name} [boxset]")
        item = self.add("BoxSet", title, folder, self._clock())
        item.locked = locked
        return item

    def create_playlist(self, name: str, ownership: Ownership) -> Item:
        """Create an empty playlist. Names may repeat: ``1`` is appended to the folder until it is unique."""
        taken = {item.folder for item in self._catalogue.items("Playlist")}
        folder = file_name(name)
        while f"{PLAYLISTS.locations[0]}/{folder}" in taken:
            folder += "1"
        item = self.add("Playlist", WorldTitle("", "movie", name, tags=()), folder, self._clock())
        item.ownership = ownership
        return item

    def add_members(self, target: Item, items: Iterable[Item]) -> None:
        """Add items at the end of a box set or playlist."""
        target.members += [self.member(item) for item in items]
        self.touch(target)

    def keep(self, target: Item, wanted: Callable[[Member], bool]) -> None:
        """Keep some of the entries of a box set or playlist, and remove the others."""
        target.members = [member for member in target.members if wanted(member)]
        self.touch(target)

    def touch(self, target: Item) -> None:
        """Record a change of a box set or playlist; a box set has the lowest of its members' official ratings."""
        if target.kind == "BoxSet":
            rated = [item for member in self.members_of(target) if (item := member.item).title.official_rating]
            lowest = min(rated, key=lambda item: 1_001 if item.rating_age is None else item.rating_age, default=None)
            if lowest is not None:
                target.title = replace(target.title, official_rating=lowest.title.official_rating)
        target.saved = self._clock()
        self._catalogue.version += 1

    def playable(self, item: Item) -> list[Item]:
        """Return the items that a playlist stores for an item.

        These are the episodes of a series or season, or the members of a box set.
        """
        if item.kind in ("BoxSet", "Playlist"):
            return [one for member in self.members_of(item) for one in self.playable(member.item)]
        return episodes_of(item) if item.kind in ("Series", "Season") else [item]
