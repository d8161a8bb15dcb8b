"""Operations on the clock, the disks, scans, lists, users' settings and Trakt's accounts; and the lock around them."""

from __future__ import annotations

import os
import posixpath
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from aperture_dagster.simulator.catalogue import Item
from aperture_dagster.simulator.item import Ownership
from aperture_dagster.simulator.scanner import ScannedItem
from aperture_dagster.simulator.scans import is_playable
from aperture_dagster.simulator.trakt.book import TROUBLES, Rated, Rating, Trouble, timestamp, whole_seconds
from aperture_dagster.simulator.user_data import DEVICE_SECONDS, ClientSession, Device

if TYPE_CHECKING:
    from aperture_dagster.simulator.catalogue import Catalogue
    from aperture_dagster.simulator.counters import Clock
    from aperture_dagster.simulator.libraries import LibraryBook
    from aperture_dagster.simulator.scans import Scans
    from aperture_dagster.simulator.seerr_book import SeerrBook
    from aperture_dagster.simulator.settings import SimulatorSettings
    from aperture_dagster.simulator.trakt.book import TraktBook
    from aperture_dagster.simulator.user_data import Lists, LogKind, ServerUser, UserDataSharing
    from aperture_dagster.simulator.world import WorldTitle


class Operations:
    """The parts of the state that its operations use, and what is done before and after each of them."""

    lock: threading.RLock
    clock: Clock
    scans: Scans
    sharing: UserDataSharing
    catalogue: Catalogue
    libraries: LibraryBook
    lists: Lists
    titles: dict[str, WorldTitle]
    users: dict[str, ServerUser]
    pictures: dict[tuple[str, str, str], Any]
    """Pictures uploaded to the media server, by ``studio`` or ``item``, its name or id, and the type of image."""
    sessions: list[ClientSession]
    """Clients, in the order in which they appeared."""
    devices: list[Device]
    """Devices of those who signed in, likewise."""
    settings: SimulatorSettings
    deleted_paths: list[str]
    """Files and folders of titles that clients deleted, in order."""
    trakt: TraktBook
    seerr: SeerrBook

    def user_named(self, name: str) -> ServerUser:
        """Return the user of exactly this name. Raises KeyError when there is none."""
        raise NotImplementedError

    def owner(self, name: str) -> ServerUser:
        """Return the user of this name. Raises ValueError."""
        raise NotImplementedError

    def note(self, user_id: str, kind: LogKind, at: float, item: Item | None = None) -> None:
        """Add an entry to the activity log."""
        raise NotImplementedError


_P = ParamSpec("_P")
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Operations)


def locked(operation: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Make a method an operation of the state, which takes the lock, and can be called over HTTP."""

    @wraps(operation)
    def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with self.lock:
            self.scans.pump()
            try:
                return operation(self, *args, **kwargs)
            finally:
                self.sharing.settle()

    guarded.is_operation = True  # type: ignore[attr-defined]
    return guarded


class LibraryOperations(Operations):
    """The part of the state that concerns real folders."""

    @locked
    def advance(self, seconds: float) -> None:
        """Let time pass, for the media server and the files that it sees. Raises ValueError for a negative number."""
        self.clock.advance(seconds)
        self.scans.pump()

    @locked
    def skew_clock(self, seconds: float) -> None:
        """Make the media server's clock differ from that of this machine; negative: it runs behind."""
        self.clock.skew(seconds)

    @locked
    def unmount_library(self, name: str) -> None:
        """Take away the disk of a library of the world. Its items stay, but links to its files lead nowhere."""
        self.libraries.unmount(name, mounted=False)

    @locked
    def mount_library(self, name: str) -> None:
        """Give the disk back."""
        self.libraries.unmount(name, mounted=True)

    @locked
    def add_volume(self, path: str, here: str | Path) -> None:
        """Let the media server see the folder ``here`` of this machine at another path."""
        self.libraries.disk.add(path, here)

    @locked
    def start_scan(self) -> None:
        """Start a scan of all libraries, as the server does once a day."""
        self.scans.start()

    @locked
    def hold_scans(self, seconds: float) -> None:
        """Make every scan that starts from now on last this long."""
        self.scans.seconds = seconds

    @locked
    def set_scan_speed(self, entries_per_second: float | None) -> None:
        """Make scans that start from now on read so many films and episodes per second; None: all at once."""
        self.scans.speed = entries_per_second

    @locked
    def stall_scan(self, name: str, after: int = 0) -> None:
        """Make scans of a library that start from now on hang after so many films and episodes."""
        self.scans.stalls[name] = after

    @locked
    def restart_server(self) -> None:
        """Restart the media server, which forgets the scans that are queued or running, and hangs no longer."""
        self.scans.forget()

    def wait_for_scans(self, seconds: float = 10.0) -> None:
        """Wait until nothing is queued or running. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while True:
            with self.lock:
                self.scans.pump()
                if self.scans.is_idle:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError("the scans of the stand-in did not end")
            time.sleep(0.002)

    @locked
    def play_item(self, user: str, item_id: str, completion: float = 1.0, at: datetime | None = None) -> None:
        """Play an item by its id on Jellyfin or Emby, now unless ``at`` says otherwise.

        Raises ValueError for an unknown user or item, and for one that does not play: its file is missing, or it is a
        STRM file that the server does not accept.
        """
        owner, item = self.owner(user), self._playable(item_id)
        played_at = at.timestamp() if at else self.clock.now()
        owner.record_play(item, played_at, completion)
        self.note(owner.id, "play ended", played_at, item)

    @locked
    def begin_play(self, user: str, item_id: str, completion: float = 0.0) -> None:
        """Begin to play an item on a user's television, and report how far that has come so far.

        Raises as `play_item` does.
        """
        owner, item, now = self.owner(user), self._playable(item_id), self.clock.now()
        session = self._television(owner)
        if session.item is not item:
            owner.begin_play(item, now, keeps_mark=self.settings.jellyfin_release >= (12, 0))
            self.note(owner.id, "play began", now, item)
        session.item, session.played_at = item, now
        session.position = int((item.runtime_ticks or 0) * completion)
        owner.report_position(item, completion)

    @locked
    def end_play(self, user: str, completion: float) -> None:
        """Stop what a user's television is playing. Raises ValueError if that is nothing."""
        owner, now = self.owner(user), self.clock.now()
        session = self._television(owner)
        item, session.item = session.item, None
        if item is None:
            raise ValueError(f"{user} is not playing anything")
        # A report about an item that is gone has no effect.
        if item.present:
            owner.report_position(item, completion)
            self.note(owner.id, "play ended", now, item)

    def _television(self, owner: ServerUser) -> ClientSession:
        """Return the session of a user's television, which has just sent a request."""
        device = f"television of {owner.name}"
        self.note_request(owner.id, "television", device)
        return self.session(owner.id, "television", device)

    def note_request(self, user_id: str, client: str, device: str) -> None:
        """Date a device of a user who signed in, as Jellyfin does with a request, once in three minutes."""
        now = self.clock.now()
        found = next((one for one in self.devices if (one.client, one.name) == (client, device)), None)
        if found is None:
            self.devices.append(Device(user_id, client, device, now))
        elif now - found.asked_at > DEVICE_SECONDS:
            found.asked_at = now

    def forget_client(self, client: str, device: str) -> None:
        """Forget a client that signed out, with its device."""
        self.devices[:] = [one for one in self.devices if (one.client, one.name) != (client, device)]
        self.sessions[:] = [
            session for session in self.sessions if (session.client, session.device) != (client, device)
        ]

    def session(self, user_id: str, client: str, device: str) -> ClientSession:
        """Return the session of a client on a device, which belongs to this user now and is active."""
        found = next(
            (session for session in self.sessions if (session.client, session.device) == (client, device)), None
        )
        if found is None:
            found = ClientSession(user_id, client, device, 0.0)
            self.sessions.append(found)
            self.note(user_id, "session started", self.clock.now())
        found.user_id, found.active_at = user_id, self.clock.now()
        return found

    def _playable(self, item_id: str) -> Item:
        item = self.catalogue.find(item_id) or self.catalogue.at_number(item_id)
        if item is None:
            raise ValueError(f"no item {item_id!r}")
        if item.kind not in ("Movie", "Episode"):
            raise ValueError(f"a {item.kind} cannot be played")
        if isinstance(item, ScannedItem) and not is_playable(item, self.libraries):
            raise ValueError(f"{item.path} does not play: {item.media_path}")
        return item


class ListOperations(Operations):
    """The part of the state that holds lists. Lists are named by their ids on Jellyfin."""

    @locked
    def create_box_set(self, name: str, *, locked: bool = False, keys: Iterable[str] = ()) -> str:
        """Create a box set, in place of one of the same name, and return its id. Raises KeyError for unknown titles."""
        is_first = not any(library.collection_type == "boxsets" for library in self.catalogue.libraries)
        box_set = self.lists.create_box_set(name, locked=locked)
        if is_first:
            # The first one makes the library, which starts a scan of everything.
            self.scans.start()
        self.lists.add_members(box_set, self._first_of(keys))
        return box_set.id

    @locked
    def create_playlist(
        self,
        name: str,
        *,
        owner: str | None = None,
        is_public: bool = False,
        keys: Iterable[str] = (),
        media_type: str = "Video",
    ) -> str:
        """Create a playlist of a user by name, and return its id. Raises KeyError for an unknown user or title."""
        owner_id = None if owner is None else self.user_named(owner).id
        ownership = Ownership(owner_id, is_public, media_type)
        playlist = self.lists.create_playlist(name, ownership)
        self.lists.add_members(playlist, self._first_of(keys))
        return playlist.id

    @locked
    def members_of(self, list_id: str) -> list[str]:
        """Return the keys of the titles in a box set or playlist, in order. Raises KeyError for an unknown list."""
        return [member.item.title.key for member in self.lists.members_of(self.list_of(list_id))]

    @locked
    def names_of_lists(self, kind: str) -> list[str]:
        """Return the names of all ``BoxSet`` or all ``Playlist`` items, in the order of their creation."""
        return [item.name for item in self.catalogue.items(kind)]

    @locked
    def set_policy_fields(self, name: str, **fields: Any) -> None:
        """Change fields of a user's policy that decide nothing in the stand-ins. Raises KeyError."""
        user = self.user_named(name)
        user.policy.extra |= fields
        user.version += 1

    def list_of(self, list_id: str) -> Item:
        """Return a box set or playlist by its id on Jellyfin. Raises KeyError."""
        item = self.catalogue.find(list_id)
        if item is None or item.kind not in ("BoxSet", "Playlist"):
            raise KeyError(list_id)
        return item

    def delete_item(self, item: Item) -> None:
        """Delete an item as the server does, with its files: of a title, those of the original."""
        for each in self.catalogue.family(item):
            each.present = False
            if each.kind in ("Movie", "Episode") and not each.virtual:
                self.deleted_paths.append(each.path)
        if item.kind in ("Movie", "Series"):
            self._delete_files(item)
        for key in [key for key in self.pictures if key[:2] == ("item", item.id)]:
            del self.pictures[key]
        self.catalogue.version += 1

    def _delete_files(self, item: Item) -> None:
        """Delete a title's files, if the server sees real ones: a film's whole folder, unless it is the library's."""
        folder = item.path if item.kind == "Series" else posixpath.dirname(item.path)
        if folder in item.library.locations:
            folder = item.path
        here = self.libraries.disk.here(folder)
        if here is None or not os.path.lexists(here):
            return
        if Path(here).is_dir() and not Path(here).is_symlink():
            shutil.rmtree(here)
        else:
            Path(here).unlink()

    def _first_of(self, keys: Iterable[str]) -> list[Item]:
        return [self.catalogue.by_key[key][0] for key in keys]


class TraktOperations(Operations):
    """The part of the state that concerns Trakt. ``account`` is the name of an account, which is opened if needed."""

    @locked
    def trakt_codes(self) -> list[str]:
        """Return the user codes that wait for approval, the oldest first."""
        return [code.user_code for code in self.trakt.pending()]

    @locked
    def trakt_approve(self, account: str, user_code: str | None = None) -> None:
        """Approve a code (None: the newest) as an account. Raises KeyError when no such code waits."""
        code = self.trakt.pending_code(user_code)
        code.account = self.trakt.account(account)

    @locked
    def trakt_deny(self, user_code: str | None = None) -> None:
        """Deny a code (None: the newest). Raises KeyError when no such code waits."""
        self.trakt.pending_code(user_code).is_denied = True

    @locked
    def trakt_connect(self, account: str) -> dict[str, Any]:
        """Grant the app access without a device code, and return the pair of tokens as Trakt would."""
        return self.trakt.grant(self.trakt.account(account)).token()

    @locked
    def trakt_invalidate(self, account: str, *, access: bool = True, refresh: bool = True) -> None:
        """Void an account's access tokens, its refresh tokens, or both."""
        for session in self.trakt.sessions_of(self.trakt.account(account)):
            session.is_access_void |= access
            session.is_refresh_void |= refresh

    @locked
    def trakt_set(self, **habits: Any) -> None:
        """Change how Trakt behaves; see `Habits`. Raises TypeError for an unknown habit."""
        self.trakt.habits = replace(self.trakt.habits, **habits)

    @locked
    def trakt_account(self, account: str, *, vip: bool | None = None, trouble: Trouble | str | None = None) -> None:
        """Change an account's membership (None: as it is) and its trouble (None: none).

        ``limit`` refuses writes with 420; ``locked`` and ``deactivated`` refuse everything with 423. Raises ValueError
        for another trouble.
        """
        changed = self.trakt.account(account)
        changed.trouble = next((one for one in TROUBLES if one == trouble), None)
        if trouble is not None and changed.trouble is None:
            raise ValueError(f"unknown trouble {trouble!r}; known: {', '.join(TROUBLES)}")
        if vip is not None:
            changed.vip = vip

    @locked
    def trakt_rate(
        self,
        account: str,
        key: str,
        rating: int,
        *,
        rated_at: datetime | str | None = None,
        season: int | None = None,
        episode: int | None = None,
    ) -> None:
        """Rate a title, a season or an episode on the website, now or at another time.

        Raises KeyError for a title that Trakt does not know, and ValueError for a rating other than 1 to 10.
        """
        if rating not in range(1, 11):
            raise ValueError("ratings are whole numbers from 1 to 10")
        now = self.trakt.clock()
        rated = self._rated(key, season, episode)
        self.trakt.account(account).rate(rated, Rating(rating, whole_seconds(rated_at, now)), now)

    @locked
    def trakt_unrate(
        self,
        account: str,
        key: str,
        *,
        at: datetime | str | None = None,
    ) -> None:
        """Remove a rating on the website, now or at another time. Raises KeyError when there is none."""
        moment = self.trakt.clock() if at is None else whole_seconds(at, 0.0)
        rated = self._rated(key, None, None)
        if not self.trakt.account(account).unrate(rated, moment):
            raise KeyError(str(rated))

    @locked
    def trakt_ratings(self, account: str) -> dict[str, dict[str, Any]]:
        """Return an account's ratings: ``rating`` and ``rated_at`` by key, as in ``series:1 S01E02``."""
        return {
            str(rated): {"rating": rating.value, "rated_at": timestamp(rating.rated_at)}
            for rated, rating in self.trakt.account(account).ratings.items()
        }

    @locked
    def trakt_pushed(self, account: str) -> list[dict[str, Any]]:
        """Return what clients wrote to an account, in order: ``action``, ``key``, ``rating`` and ``rated_at``.

        ``changed`` says whether a write made a difference.
        """
        return list(self.trakt.account(account).pushed)

    @locked
    def trakt_recommend(self, account: str, keys: list[str] | None) -> None:
        """Set what is recommended to an account, in order; None: whatever is well known."""
        self.trakt.account(account).recommended = keys

    @locked
    def trakt_change_ids(self, key: str, ids: Mapping[str, int | str | None] | None) -> None:
        """Replace some of a title's ids on Trakt, or (None) take the title away there, with its ratings.

        Raises KeyError for an unknown title, and ValueError for an id that such titles do not have.
        """
        self.trakt.titles.change(key, ids)
        if ids is None:
            for account in self.trakt.accounts.values():
                for rated in [rating for rating in account.ratings if rating.key == key]:
                    del account.ratings[rated]

    def _rated(self, key: str, season: int | None, episode: int | None) -> Rated:
        known = self.trakt.titles.of_key(key)
        if known is None:
            raise KeyError(key)
        if season is None:
            return Rated("movies" if known.title.media_type == "movie" else "shows", key)
        return Rated("seasons" if episode is None else "episodes", key, season, episode)
