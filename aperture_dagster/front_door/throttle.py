"""How guessing is slowed down: attempts are counted, and those beyond a number have to wait.

Each count is a point in time that attempts move on and that passes by itself (the *generic cell rate algorithm*): one
number an entry, which a restart does not lose. A device on which somebody has signed in before is counted alone, as
OWASP's *device cookies* are, so that strangers cannot lock its owner out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aperture_dagster.files.private import FileError, write_file
from aperture_dagster.front_door.server import network_of

_LOG = logging.getLogger(__name__)
LONGEST_WAIT = 40.0
"""Seconds for which an attempt is held; one that would have to wait longer is not made."""
MOST_COUNTED = 20_000
SAVE_SECONDS = 1.0
FILE = "attempts.json"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many attempts at once, and one more every so many seconds."""

    free: int
    seconds: float


RATES = {
    # Sign-ins with a name: on a device where its owner signed in before; from clients that failed twice with it lately,
    # together; from all other clients, together; and how often a client may fail until it is one of the former.
    "device": Rate(8, 40),
    "failing": Rate(8, 40),
    "new": Rate(30, 360),
    "pair": Rate(2, 3600),
    # What one client does.
    "client": Rate(40, 20),
    "codes": Rate(8, 100),
    "polls": Rate(60, 15),
    "letters": Rate(30, 30),
    "evenings": Rate(20, 30),
    "keys": Rate(40, 20),
    "tokens": Rate(40, 20),
    # Messages to the operator that somebody guesses.
    "alerts": Rate(1, 3600),
}
"""Of wrong attempts, by what they are counted for. Right ones are forgiven."""


@dataclass(frozen=True, slots=True)
class Turn:
    """When an attempt may be made: in so many seconds. ``keys`` are the counts that it was added to, if it may."""

    seconds: float
    keys: Sequence[str] = ()

    @property
    def is_granted(self) -> bool:
        """Whether it may be made at all, after its wait."""
        return bool(self.keys)


class Throttle:
    """Counts attempts, in memory and in a file.

    Args:
        path: the file; None keeps nothing.
        now: seconds since the epoch, since counts outlive the process.
    """

    def __init__(self, path: Path | None = None, now: Callable[[], float] = time.time) -> None:
        self._path, self._now, self._lock = path, now, threading.Lock()
        self._saving: threading.Timer | None = None
        self._until: dict[str, float] = {}
        self._load()

    def sign_in(self, name: str, address: str, device: str | None = None) -> Turn:
        """Count a sign-in as wrong until :meth:`forgive`.

        Args:
            name: as it was typed.
            address: where it comes from.
            device: id of a device on which this name has signed in before.
        """
        account, client = account_of(name), network_of(address)
        if device is not None:
            return self._take([key_of("device", device, account)])
        of_client = key_of("client", client)
        fresh = [key_of("pair", account, client), key_of("new", account), of_client]
        failing = [key_of("failing", account), of_client]
        return self._take(fresh, failing)

    def take(self, kind: str, address: str) -> bool:
        """Count what a client does; False if it was too often, and must not be done."""
        return self._take([key_of(kind, network_of(address))], longest=0.0).is_granted

    def forgive(self, turn: Turn) -> None:
        """Take back a turn whose attempt was right, or was not made."""
        with self._lock:
            for key in turn.keys:
                if key in self._until:
                    self._until[key] -= _rate(key).seconds
            self._save_soon()

    def _take(self, *choices: Sequence[str], longest: float = LONGEST_WAIT) -> Turn:
        """Count an attempt with those keys that let it be made first."""
        now = self._now()
        with self._lock:
            waits = [max(self._wait(key, now) for key in keys) for keys in choices]
            seconds, keys = min(zip(waits, choices, strict=True), key=lambda choice: choice[0])
            if seconds > longest:
                return Turn(seconds)
            for key in keys:
                # Those that were counted last come last.
                self._until[key] = max(self._until.pop(key, now), now) + _rate(key).seconds
            self._make_room(now)
            self._save_soon()
            return Turn(seconds, keys)

    def _wait(self, key: str, now: float) -> float:
        rate = _rate(key)
        until, latest = self._until.get(key, now), now + rate.free * rate.seconds + LONGEST_WAIT
        if until > latest:
            # The clock was ahead: that must not lock anybody out for longer than attempts can.
            self._until[key] = until = latest
        return max(0.0, until - now - (rate.free - 1) * rate.seconds)

    def _make_room(self, now: float) -> None:
        if len(self._until) > MOST_COUNTED:
            left = [(key, until) for key, until in self._until.items() if until > now]
            # Those with few attempts go first: nobody can wipe out a count by attempts with many names and addresses.
            left.sort(key=lambda one: (one[1] - now) / _rate(one[0]).seconds)
            # A tenth more, so that this is not done at each attempt.
            self._until = dict(left[-MOST_COUNTED * 9 // 10 :])

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            stored = json.loads(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _LOG.warning("%s cannot be read (%s), so counting of attempts to sign in starts again", self._path, error)
            return
        for key, until in stored.items() if isinstance(stored, dict) else ():
            if key.partition(" ")[0] in RATES and isinstance(until, (int, float)) and math.isfinite(until):
                self._until[key] = until

    def _save_soon(self) -> None:
        """Write the file in a moment, with what is counted until then."""
        if self._path is None or self._saving is not None:
            return
        self._saving = threading.Timer(SAVE_SECONDS, self._save)
        self._saving.daemon = True
        self._saving.start()

    def _save(self) -> None:
        assert self._path is not None
        with self._lock:
            self._saving, now = None, self._now()
            stored = {key: round(until, 1) for key, until in self._until.items() if until > now}
        try:
            write_file(self._path, json.dumps(stored).encode())
        except FileError as error:
            _LOG.warning("attempts to sign in are forgotten at the next start: %s", error)


def account_of(name: str) -> str:
    """Return what counts as one name, however it is typed."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def digest_of(*parts: str) -> str:
    """Return a short name of texts, which cannot be read back."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:24]


def key_of(kind: str, *about: str) -> str:
    """Return the key of a count."""
    return f"{kind} {digest_of(*about)}"


def _rate(key: str) -> Rate:
    return RATES[key.partition(" ")[0]]
