"""The state that all stand-ins of a simulator share, and the operations that change it while it runs.

Every operation takes the lock: handlers run in the server's thread, tests and demos call from others.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from aperture_dagster.simulator.catalogue import Catalogue, Item
from aperture_dagster.simulator.counters import Arrivals, Clock, Counters, DailyQuota, RateLimit
from aperture_dagster.simulator.libraries import LibraryBook
from aperture_dagster.simulator.operations import LibraryOperations, ListOperations, TraktOperations, locked
from aperture_dagster.simulator.prices import price_list
from aperture_dagster.simulator.responses import FaultBook, FaultRule
from aperture_dagster.simulator.scans import Scans
from aperture_dagster.simulator.seerr_book import SeerrBook, SeerrOperations
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.trakt.book import TraktBook
from aperture_dagster.simulator.user_data import (
    ClientSession,
    Device,
    Lists,
    LogEntry,
    LogKind,
    QuickConnectCode,
    ServerUser,
    UserDataSharing,
    user_id,
)
from aperture_dagster.simulator.world import Play, World, WorldTitle, WorldUser


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a client uploaded."""

    media_type: str
    content: bytes

    @property
    def tag(self) -> str:
        """A hash of the content."""
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()


class SimulatorState(LibraryOperations, ListOperations, TraktOperations, SeerrOperations):
    """The media server's items and users, and every service's counters, limits and faults."""

    def __init__(self, world: World, settings: SimulatorSettings | None = None) -> None:
        self.settings = settings or SimulatorSettings()
        self.lock = threading.RLock()
        self.clock = Clock()
        self.world_name = world.name
        self.counters = Counters()
        self.faults = FaultBook()
        self.tmdb_rate = RateLimit(*self.settings.tmdb_limit)
        self.rates: dict[str, Arrivals] = {
            "tmdb": self.tmdb_rate,
            **{name: Arrivals() for name in ("omdb", "mdblist", "tmdb_images", "trakt")},
        }
        self.quotas = {
            "omdb": DailyQuota(self.settings.omdb_daily_limit),
            "mdblist": DailyQuota(self.settings.mdblist_daily_limit),
        }
        self.prices: Any = price_list()
        """The content of the price list, which tests change: of any type, since the real file may break."""
        self.pictures: dict[tuple[str, str, str], Picture] = {}
        """Pictures uploaded to the media server, by ``studio`` or ``item``, its name or id, and the type of image."""
        self.titles: dict[str, WorldTitle] = {}
        for title in world.titles:
            if title.key in self.titles:
                raise ValueError(f"two titles of the world share the key {title.key!r}")
            self.titles[title.key] = title
        self.titles_version = 0
        self.trakt = TraktBook(self.settings, self.clock.now, self.titles, lambda: self.titles_version)
        plays = sorted(world.plays, key=lambda play: play.played_at)
        self.today = self.settings.today or (plays[-1].played_at if plays else datetime.now(UTC))
        self.catalogue = Catalogue(
            world.titles,
            today=self.today,
            first_played=_first_played(plays),
            clock=self.clock.now,
            libraries=world.libraries,
        )
        self.lists = Lists(
            self.catalogue, world.box_sets, self.clock.now, drops_removed=self.settings.jellyfin_release >= (12, 0)
        )
        self.home_rows: dict[str, dict[str, Any]] | None = {}
        """Rows that programs registered, by id; None while the plugin starts."""
        self.home_settings: dict[str, Any] = {"Enabled": False, "AllowUserOverride": True, "SectionSettings": []}
        """The settings of the plugin, of which some are modelled and all are kept."""
        self.home_settings_saved = False
        self.quick_connect: dict[str, QuickConnectCode] = {}
        self.deleted_paths: list[str] = []
        self.libraries = LibraryBook(self)
        self.scans = Scans(self, self.libraries)
        self.sharing = UserDataSharing(self)
        self.log: list[LogEntry] = []
        """The activity log. The plays of the initial world are older than what the server keeps."""
        self.sessions: list[ClientSession] = []
        self.devices: list[Device] = []
        self.users: dict[str, ServerUser] = {}
        self._users_by_name: dict[str, ServerUser] = {}
        self._user_generations: dict[str, int] = {}
        self._removed_users: dict[str, ServerUser] = {}
        for user in world.users:
            self._create_user(user)
        self.seerr = SeerrBook(self.settings, self.clock.now, self.titles, self.catalogue)
        for user in self.users.values():
            if user.name not in self.settings.seerr_without:
                self.seerr.add_user(user.name, user.id)
        for play in plays:
            self._apply(play)
        for user in self.users.values():
            for datum in user.data.values():
                # Plays of the initial world were saved when they happened, not now.
                datum.saved = datum.last_played or 0.0
        self.sharing.settle()
        self.started = self.clock.now()
        """When this run of the stand-ins began; what users did later, or in an earlier run, is not the world's."""

    def close(self) -> None:
        """End what runs in the background."""
        self.scans.close()

    # Counters, faults, limits

    @locked
    def reset_counters(self) -> None:
        """Reset the counters and the records of arrivals, but not the quotas."""
        self.counters.reset()
        for rate in self.rates.values():
            rate.reset()

    @locked
    def add_fault(self, rule: FaultRule) -> int:
        """Make a service misbehave from the next request on, and return the fault's id.

        Raises KeyError for a shift of a title that the server never owned.
        """
        for key in (rule.leaves, rule.comes):
            if key is not None and not self.catalogue.top_items(key):
                raise KeyError(key)
        return self.faults.add(rule)

    @locked
    def remove_fault(self, fault_id: int) -> None:
        """Remove a fault. Raises KeyError when it is unknown or used up."""
        self.faults.remove(fault_id)

    @locked
    def clear_faults(self) -> None:
        """Remove all faults."""
        self.faults.clear()

    @locked
    def requests(self, service: str, operation_contains: str = "") -> int:
        """Return the number of requests to operations of a service whose name contains a text."""
        return self.counters.total(service, operation_contains)

    @locked
    def asked(self, service: str) -> Counter[str]:
        """Return the number of requests for each title or picture, including refused and failed ones.

        Keys look like ``tt0111161`` (omdb, and mdblist by IMDb id), ``tmdb/movie/603`` (mdblist by other ids),
        ``movie/603``, ``tv/1399``, ``collection/10``, ``find/tt0111161`` (tmdb) and ``/w300/name.png`` (tmdb_images).
        """
        return Counter(self.counters.asked.get(service, ()))

    @locked
    def answered(self, service: str) -> Counter[str]:
        """Return the same for requests that were answered in full, be it with "not found"."""
        return Counter(self.counters.answered.get(service, ()))

    @locked
    def most_in_window(self, service: str, seconds: float | None = None) -> int:
        """Return the most requests to a service in any window of this many seconds (default: its limit's, else 1).

        Raises KeyError for a service other than tmdb, omdb, mdblist, tmdb_images and trakt.
        """
        return self.rates[service].most_in_window(seconds)

    @locked
    def start_day(self) -> None:
        """Start a new day for the services with a daily quota."""
        for quota in self.quotas.values():
            quota.start_day()

    @locked
    def arrivals(self, service: str, target_contains: str = "") -> list[tuple[str, float]]:
        """Return target (path and query) and monotonic time of a service's last requests."""
        return self.counters.arrivals(service, target_contains)

    # The home screen

    @locked
    def forget_home_rows(self, *, starting: bool = False) -> None:
        """Forget all rows, as a restart of the media server does; ``starting``: the plugin is not ready yet."""
        self.home_rows = None if starting else {}

    @locked
    def save_home_settings(self, *, enabled: bool | None = None) -> None:
        """Save the plugin's settings as its page does: with the rows that are registered, and no others.

        ``enabled``: whether members have its home screen by default; None leaves that as it is.
        """
        before = {section["SectionId"]: section for section in self.home_settings["SectionSettings"]}
        usual = {"Enabled": False, "AllowUserOverride": True, "LowerLimit": 0, "UpperLimit": 1, "OrderIndex": 999}
        usual |= {"ViewMode": "Landscape", "HideWatchedItems": False}
        known = ["MyMedia", "NextUp", *(self.home_rows or {})]
        sections = [before.get(row_id, {"SectionId": row_id, **usual}) for row_id in known]
        self.home_settings = {**self.home_settings, "SectionSettings": sections}
        if enabled is not None:
            self.home_settings["Enabled"] = enabled
        self.home_settings_saved = True

    # Users

    @locked
    def enter_code(self, name: str, code: str) -> None:
        """Enter a code of Quick Connect as a user. Raises KeyError for an unknown user or code."""
        self.quick_connect[code].user = self._users_by_name[name].id

    @locked
    def user_named(self, name: str) -> ServerUser:
        """Return the user of exactly this name. Raises KeyError when there is none."""
        return self._users_by_name[name]

    @locked
    def add_user(self, user: WorldUser) -> str:
        """Create a user and return the id. Raises ValueError when the name is taken.

        A user who was removed and is added again under the same name gets another id, as on a real server.
        """
        return self._create_user(user).id

    @locked
    def remove_user(self, name: str) -> None:
        """Delete a user and their data. Raises KeyError when there is none of this name."""
        user = self._removed_users[name] = self._users_by_name.pop(name)
        del self.users[user.id]

    @locked
    def restore_user(self, name: str) -> None:
        """Bring back a removed user under the old id, as a restored database of the server does. Raises KeyError."""
        user = self._removed_users.pop(name)
        self.users[user.id] = self._users_by_name[name] = user

    @locked
    def rename_user(self, name: str, new_name: str) -> None:
        """Rename a user; the id stays. Raises KeyError."""
        user = self._users_by_name.pop(name)
        user.rename(new_name)
        self._users_by_name[new_name] = user

    @locked
    def change_user(self, name: str, **facts: bool | int | None) -> None:
        """Change facts of a user, such as ``is_disabled=True``. Raises KeyError or TypeError."""
        user = self._users_by_name[name]
        user.facts = replace(user.facts, **facts)  # type: ignore[arg-type]
        user.version += 1

    @locked
    def allow_libraries(self, name: str, libraries: Iterable[str] | None) -> None:
        """Restrict a user to libraries by name (None: all). Raises KeyError for unknown names."""
        ids = {library.name: library.item_id for library in self.catalogue.libraries if library.has_id}
        user = self._users_by_name[name]
        user.policy.enable_all_folders = libraries is None
        user.policy.enabled_folders = tuple(ids[library] for library in libraries or ())
        user.version += 1

    # Titles

    @locked
    def add_title(self, title: WorldTitle) -> list[str]:
        """Add or change a title, which the server owns if it has copies. Returns the ids of its films or series.

        A title that was removed returns with its old items and user data. An existing title may gain episodes.
        Raises ValueError when it would lose some.
        """
        self.titles[title.key] = title
        self.titles_version += 1
        self.catalogue.add(title)
        return [item.id for item in self.catalogue.top_items(title.key)]

    @locked
    def remove_title(self, key: str) -> None:
        """Remove a title from the server; the metadata services keep it. Raises KeyError when it was never there."""
        self.catalogue.remove(key)

    @locked
    def shift(self, *, leaves: str | None = None, comes: str | None = None) -> None:
        """Remove one title and add (back) another at once. Raises KeyError for an unknown title."""
        if leaves is not None:
            self.remove_title(leaves)
        if comes is not None:
            self.add_title(self.titles[comes])

    @locked
    def reassign_item_ids(self, key: str, *, keep_user_data: bool = True) -> list[str]:
        """Give the items of a title new ids, as after a move of files. Raises KeyError when it was never there.

        A real server finds user data again by provider ids; without them it is lost (``keep_user_data=False``).
        """
        new_ids = self.catalogue.renew_ids(key)
        if not keep_user_data:
            for top in self.catalogue.top_items(key):
                for item in self.catalogue.family(top):
                    for user in self.users.values():
                        user.forget(item)
        return new_ids

    @locked
    def item_ids(self, key: str) -> list[str]:
        """Return the ids of a title's films or series on the server, one per copy."""
        return [item.id for item in self.catalogue.top_items(key) if item.present]

    @locked
    def change_library(self, name: str, *, has_id: bool) -> None:
        """Take a library's id away, and its items with it, or give it back. Raises KeyError when unknown."""
        before = self.catalogue.library_named(name)
        if before is None:
            raise KeyError(name)
        self.catalogue.replace_library(before, replace(before, has_id=has_id))

    @locked
    def restrict(
        self,
        name: str,
        *,
        blocked_tags: Iterable[str] = (),
        allowed_tags: Iterable[str] = (),
        excluded_locations: Iterable[str] = (),
    ) -> None:
        """Set a user's blocked tags, required tags and excluded folders. Raises KeyError."""
        user = self._users_by_name[name]
        user.policy.blocked_tags, user.policy.allowed_tags = tuple(blocked_tags), tuple(allowed_tags)
        user.policy.excluded_locations = tuple(excluded_locations)
        user.version += 1

    @locked
    def costly(self, service: str, habit: str = "") -> int:
        """Return the number of requests that made the media server scan its whole library, of one habit or of all."""
        return self.counters.costly_total(service, habit)

    @locked
    def studio_pictures(self) -> dict[str, Picture]:
        """Return the pictures uploaded for studios of the media server, by the studio's name."""
        return {
            name: picture
            for (owner, name, image_type), picture in self.pictures.items()
            if (owner, image_type) == ("studio", "primary")
        }

    # User data

    @locked
    def play(self, play: Play) -> None:
        """Record a play at any time, with its rating and mark. Raises ValueError for an unknown user or title."""
        for item in self._apply(play)[:1]:
            self.note(self.owner(play.user).id, "play ended", play.played_at.timestamp(), item)

    def note(self, user_id: str, kind: LogKind, at: float, item: Item | None = None) -> None:
        """Add an entry to the activity log."""
        self.log.append(LogEntry(len(self.log) + 1, user_id, kind, at, item))

    @locked
    def mark_played(
        self, user: str, key: str, *, season: int | None = None, episode: int | None = None, bare: bool = False
    ) -> None:
        """Mark as watched; ``bare``: without count and date, as imports do. Raises ValueError when unknown."""
        owner, item = self.owner(user), self._item(key, season, episode)
        if bare:
            owner.set_played(item, True)
        else:
            owner.mark_played(item, None, self.clock.now())

    @locked
    def mark_unplayed(self, user: str, key: str, *, season: int | None = None, episode: int | None = None) -> None:
        """Mark as not watched. Raises ValueError for an unknown user or title."""
        self.owner(user).mark_unplayed(self._item(key, season, episode))

    @locked
    def rate(self, user: str, key: str, rating: float | None) -> None:
        """Set a user's own rating (0-10) of a film or series. Raises ValueError for an unknown user or title."""
        self.owner(user).edit(self._item(key, None, None)).rating = rating

    @locked
    def set_favorite(self, user: str, key: str, favorite: bool = True) -> None:
        """Set or clear a user's favourite mark on a film or series. Raises ValueError for an unknown user or title."""
        self.owner(user).edit(self._item(key, None, None)).favorite = favorite

    def _create_user(self, facts: WorldUser) -> ServerUser:
        if facts.name in self._users_by_name:
            raise ValueError(f"there is a user named {facts.name!r} already")
        generation = self._user_generations.get(facts.name, 0)
        self._user_generations[facts.name] = generation + 1
        user = ServerUser(facts, user_id(facts.name, generation), self.clock.now)
        self.users[user.id] = user
        self._users_by_name[facts.name] = user
        return user

    def owner(self, name: str) -> ServerUser:
        """Return the user of this name. Raises ValueError."""
        user = self._users_by_name.get(name)
        if user is None:
            raise ValueError(f"no user named {name!r}")
        return user

    def _item(self, key: str, season: int | None, episode: int | None) -> Item:
        tops = self.catalogue.top_items(key)
        if not tops:
            raise ValueError(f"the server does not own the title {key!r}")
        if season is None or episode is None:
            return tops[0]
        try:
            episodes = tops[0].numbered(season).episodes
        except IndexError:
            episodes = []
        for each in episodes:
            if each.episode is not None and each.episode <= episode <= (each.episode_end or each.episode):
                return each
        raise ValueError(f"{key!r} has no season {season}, episode {episode}")

    def _played(self, play: Play, top: Item) -> list[Item]:
        """Return the items that store a play of a film.

        Up to Jellyfin 10.11, a version in the primary's folder is played as a source of the primary, and up to 10.10,
        merged versions share their user data. From 12 on, each version has its own, and finishing one marks the
        others as played.
        """
        version = top.every_version[play.version] if play.version < len(top.every_version) else top
        if self.settings.jellyfin_release < (12, 0) and version.is_owned:
            return [top]
        if self.settings.jellyfin_release < (10, 11) and version.title.merged:
            return top.every_version
        return [version]

    def _apply(self, play: Play) -> list[Item]:
        """Record a play, and return the items that store it."""
        user, top = self.owner(play.user), self._item(play.title_key, None, None)
        if play.rating is not None:
            user.edit(top).rating = play.rating
        if play.favorite:
            user.edit(top).favorite = True
        items: list[Item] = []
        # A series itself cannot be played, only marked.
        if top.kind == "Movie" or play.episode is not None:
            if top.kind == "Movie":
                items = self._played(play, top)
            else:
                items = [self._item(play.title_key, 1 if play.season is None else play.season, play.episode or 1)]
            for item in items:
                user.record_play(item, play.played_at.timestamp(), play.completion)
            if items[0].kind == "Movie" and user.of(items[0]).played:
                for other in items[0].every_version:
                    # Their count and date do not change.
                    user.set_played(other, True)
        return items


def _first_played(plays: Iterable[Play]) -> dict[str, float]:
    first: dict[str, float] = {}
    for play in plays:
        first.setdefault(play.title_key, play.played_at.timestamp())
    return first
