"""Operations on the clock, the disks, the scans and the items that scans found."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from aperture_dagster.simulator.libraries import UnknownLibraryError
from aperture_dagster.simulator.locking import Operations, locked
from aperture_dagster.simulator.scanned_item import ScannedItem
from aperture_dagster.simulator.scans import is_playable


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
        """Take away the disk of a library of the world. Its items stay, but links to its files lead nowhere.

        Raises KeyError when unknown.
        """
        self._mount(name, mounted=False)

    @locked
    def mount_library(self, name: str) -> None:
        """Give the disk back. Raises KeyError when unknown."""
        self._mount(name, mounted=True)

    def _mount(self, name: str, *, mounted: bool) -> None:
        try:
            self.libraries.unmount(name, mounted=mounted)
        except UnknownLibraryError:
            raise KeyError(name) from None

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
        """Make scans that start from now on read so many films and episodes per second; None: all at once.

        Raises ValueError for a speed that is not positive.
        """
        if entries_per_second is not None and entries_per_second <= 0:
            raise ValueError("the speed of scans must be positive")
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
        owner = self.owner(user)
        item = self.catalogue.find(item_id) or self.catalogue.at_number(item_id)
        if item is None:
            raise ValueError(f"no item {item_id!r}")
        if item.kind not in ("Movie", "Episode"):
            raise ValueError(f"a {item.kind} cannot be played")
        if isinstance(item, ScannedItem) and not is_playable(item, self.libraries):
            raise ValueError(f"{item.path} does not play: {item.media_path}")
        played_at = at.timestamp() if at else self.clock.now()
        owner.record_play(item, played_at, completion)
        self.log_play(owner, item, played_at)
