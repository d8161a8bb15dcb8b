"""What the settings are now, and how a change of them reaches the file ``.env``."""

from __future__ import annotations

import errno
import hashlib
import hmac
import logging
import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from aperture_dagster.files.env_file import change_env_file, read_env_file
from aperture_dagster.files.private import FileError
from aperture_dagster.front_door.guard import AllowedHosts
from aperture_dagster.front_door.secrets import SESSIONS, read_secret
from aperture_dagster.front_door.settings_rules import (
    LOCKED,
    needs_recent_sign_in,
    why_address_is_local,
    why_keys_stay,
)
from aperture_dagster.postgres.backup.folder import in_container
from aperture_dagster.settings import (
    Settings,
    copied_variables,
    environment_names,
    environment_outside,
    secret_names,
    unknown_variables,
)
from aperture_dagster.settings.given import Given, check_texts, given_settings
from aperture_dagster.settings.home import env_file
from aperture_dagster.texts import marked

_LOG = logging.getLogger(__name__)
PENDING_LIFE = timedelta(minutes=15)
"""How long a change waits to be confirmed."""
MOST_PENDING = 50
SET_OUTSIDE = marked("This is set outside, in the environment of the program, and can only be changed there.")
MEANWHILE = marked("This has been changed meanwhile; what it is now is shown below. Send yours again to replace it.")
NO_ADDRESS_HERE = marked("This machine has no such address, so these pages could not be opened again.")
ANY_PORT = marked("Nobody would know the port, so these pages could not be found again.")
LEADS_HERE = marked("These pages are open by this name now, and could not be opened by it again.")
UNKNOWN_FIRST = marked("Remove the unknown variables first: the program would not start again.")
PORT_TAKEN = marked("This port is taken or not allowed, so these pages could not be opened again.")


@dataclass(frozen=True, slots=True)
class Present:
    """The settings at a moment.

    Attributes:
        given: where each comes from, by name.
        settings: their values; None if what the file holds is not valid.
        problems: what is wrong with each, by name, as the command line would say it.
        unknown: variables that are no settings, which would keep the program from starting.
        marks: what a form holds of each, to notice that it was changed meanwhile; they say nothing about values.
    """

    given: Mapping[str, Given]
    settings: Settings | None
    problems: Mapping[str, str]
    unknown: tuple[str, ...]
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """New texts by setting, None for the default; and what each of them replaces, by their marks."""

    texts: Mapping[str, str | None]
    replaced: Mapping[str, str]

    @property
    def needs_recent_sign_in(self) -> bool:
        """Whether somebody has to have entered their password just before."""
        return any(map(needs_recent_sign_in, self.texts))


class Conflict(Exception):
    """Somebody has changed the same settings meanwhile; nothing was saved."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(", ".join(names))
        self.names = tuple(names)


class SettingsStore:
    """Reads and writes the settings of this home.

    Args:
        settings: with which this process was started.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._lock = settings, threading.Lock()
        self._pending: dict[str, tuple[str, datetime, Change]] = {}
        self._started: Mapping[str, Given] = {}
        # A file that cannot be read is said on the page.
        with suppress(FileError):
            # From a file that names this home, and whose values win.
            copied = copied_variables() - read_env_file(self.path).keys()
            self._elsewhere = {name: os.environ[name] for name in copied if name in os.environ}
            self._started = self.present().given

    @property
    def path(self) -> Path:
        """The file that changes are written to."""
        return env_file()

    def present(self) -> Present:
        """Read what the settings are now, also if the file was changed since this process started.

        Raises:
            FileError: the file cannot be read.
        """
        file, outside = read_env_file(self.path), environment_outside() | self._elsewhere
        given = given_settings(file, outside)
        settings, problems = check_texts({name: one.text for name, one in given.items()})
        key = read_secret(self._settings, SESSIONS).encode()
        marks = {name: hmac.new(key, repr((name, one)).encode(), hashlib.sha256).hexdigest()[:20]
                 for name, one in given.items()}  # fmt: skip
        return Present(given, settings, problems, tuple(unknown_variables([*file, *outside])), marks)

    def check(self, present: Present, change: Change, *, opened_by: str | None = None) -> dict[str, str]:
        """Return what is wrong with a change, by setting: as the command line says it, or a sentence to be translated.

        Fields are checked together with all that they do not change, so what this accepts can be started with.

        Args:
            present: what the settings are now.
            change: what is to be changed.
            opened_by: the name by which these pages are open now, and by which they must open afterwards.
        """
        if present.unknown:
            return dict.fromkeys(change.texts, UNKNOWN_FIRST)
        problems: dict[str, str] = {}
        for name, text in change.texts.items():
            given = present.given[name]
            if name in LOCKED:
                problems[name] = LOCKED[name]
            elif given.source == "outside":
                problems[name] = SET_OUTSIDE
            elif present.marks[name] != change.replaced.get(name):
                problems[name] = MEANWHILE
            elif name == "alert_urls" and text and (why := why_address_is_local(text)):
                problems[name] = why
        if problems:
            return problems
        settings, problems = check_texts(_texts_after(present, change))
        kept = {name for name in secret_names() if present.given[name].text}
        outside = {name for name, one in present.given.items() if one.source == "outside"}
        problems |= why_keys_stay(change.texts, kept, outside)
        if settings is not None and not problems and {"ui_host", "ui_port"} & change.texts.keys():
            problems |= _why_not_listen(settings, self._settings)
        names = [name for name in ("ui_allowed_hosts", "ui_host") if name in change.texts]
        if settings is not None and not problems and names and opened_by is not None:
            listening = "0.0.0.0" if in_container() else settings.ui_host
            if not AllowedHosts(listening, settings.ui_allowed_hosts).answers_to(opened_by):
                problems[names[0]] = LEADS_HERE
        return problems

    def changed(self, present: Present, change: Change) -> Settings | None:
        """Return the settings as they would be; None if they are not valid."""
        return check_texts(_texts_after(present, change))[0]

    def waiting(self, present: Present) -> list[str]:
        """Return the settings that were changed after this process started, and so take effect later."""
        before = self._started
        return [name for name, one in present.given.items() if name in before and one.text != before[name].text]

    def save(self, change: Change, by: str) -> None:
        """Write a change to the file.

        Raises:
            Conflict: another change was faster.
            FileError: the file cannot be changed; it is as it was.
            ValueError: a value cannot be written to a file.
        """
        with self._lock:
            present = self.present()
            if stale := [name for name in change.texts if present.marks[name] != change.replaced.get(name)]:
                raise Conflict(stale)
            change_env_file(self.path, _variables(change, present.given))
        _LOG.warning("%s changed these settings: %s", by, ", ".join(change.texts))

    def hold(self, change: Change, user_id: str, now: datetime) -> str:
        """Keep a change until its author confirms it, in memory only, and return its number."""
        with self._lock:
            self._forget(now)
            number = secrets.token_urlsafe(12)
            self._pending[number] = (user_id, now, change)
            return number

    def held(self, number: str, user_id: str, now: datetime) -> Change | None:
        """Return the change of a number; None if there is none, or it is somebody else's."""
        with self._lock:
            self._forget(now)
            owner, _, change = self._pending.get(number, ("", now, None))
            return change if owner == user_id else None

    def drop(self, number: str) -> None:
        """Forget a change."""
        with self._lock:
            self._pending.pop(number, None)

    def _forget(self, now: datetime) -> None:
        old = [number for number, (_, made_at, _) in self._pending.items() if now - made_at > PENDING_LIFE]
        for number in [*old, *list(self._pending)[: -MOST_PENDING + 1]]:
            self._pending.pop(number, None)


def _texts_after(present: Present, change: Change) -> dict[str, str | None]:
    return {name: one.text for name, one in present.given.items()} | dict(change.texts)


def _variables(change: Change, given: Mapping[str, Given]) -> dict[str, str | None]:
    """Return the variables to write: the one that a setting is read from, or else its usual one, and no other."""
    written: dict[str, str | None] = {}
    for name, text in change.texts.items():
        written |= dict.fromkeys(environment_names(name))
        written[environment_names(name)[0] if given[name].text is None else given[name].variable.upper()] = text
    return written


def _why_not_listen(settings: Settings, now: Settings) -> dict[str, str]:
    """Return what is wrong with an address and port on which these pages could not be opened again."""
    if settings.ui_port == 0:
        return {"ui_port": ANY_PORT}
    if in_container():
        # There, they are those of its host.
        return {}
    try:
        found = _addresses(settings.ui_host, settings.ui_port)
    except (OSError, UnicodeError):
        return {"ui_host": NO_ADDRESS_HERE}
    for family, address in found:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    return {"ui_host": NO_ADDRESS_HERE}
                # Its own port is this program's.
                if settings.ui_port != now.ui_port:
                    return {"ui_port": PORT_TAKEN}
    return {}


def _addresses(host: str, port: int) -> Iterable[tuple[socket.AddressFamily, tuple[str, int]]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return {(family, (str(address[0]), port)) for family, _, _, _, address in found}
