"""Connecting members to Trakt step by step, for pages: a code is shown, and asked about whenever its member says so."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from aperture_dagster.http.errors import ServiceBusy
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.ratings.records import AccountShared, DeviceCode, NotConnected, SignInFailed, TokenPair

PATIENCE_SECONDS = 20.0
"""So long a page waits for the end of a sync."""


@dataclass(slots=True)
class _Begun:
    code: DeviceCode
    until: float
    asked_at: float
    tokens: TokenPair | None = None


class Connecting:
    """The codes that members were shown and have not confirmed yet. They stay in this process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic, self._begun = monotonic, dict[str, _Begun]()
        # Each for a user: Trakt, or a sync, may keep one of them waiting, and nobody else.
        self._locks: dict[str, threading.Lock] = {}

    def step(self, accounts: TraktAccounts, user_id: str, *, confirmed: bool) -> DeviceCode | None:
        """Return the code that a user has to confirm, still or again; None if they are connected now.

        ``confirmed``: they say that they have. Raises as :meth:`begin` and :meth:`finish`.
        """
        if confirmed:
            if self.finish(accounts, user_id) is not None:
                return None
            # Pressed twice, or in two windows.
            account = accounts.account(user_id)
            if account is not None and account.state == "connected":
                return None
        return self.begin(accounts, user_id)

    def begin(self, accounts: TraktAccounts, user_id: str) -> DeviceCode:
        """Return the code that a user has to confirm on Trakt: the one that they were shown, while it is valid.

        Raises:
            ServiceError: Trakt gives none.
        """
        with self._locks.setdefault(user_id, threading.Lock()):
            now, begun = self._monotonic(), self._begun.get(user_id)
            if begun is None or now >= begun.until:
                with accounts.sign_in() as client:
                    code = client.start()
                self._begun[user_id] = _Begun(code, now + code.expires_in, now)
            return self._begun[user_id].code

    def finish(self, accounts: TraktAccounts, user_id: str) -> str | None:
        """Connect a user who has confirmed their code; return the name of the account, None if they have not yet.

        Trakt is asked no more often than it allows.

        Raises:
            SignInFailed: access was refused, or the code has expired.
            AccountShared: another user is connected to that account.
            ServiceBusy: a sync does not end.
            ServiceError: Trakt cannot be used.
        """
        with self._locks.setdefault(user_id, threading.Lock()):
            begun = self._begun.get(user_id)
            if begun is None:
                return None
            now = self._monotonic()
            if begun.tokens is None and now - begun.asked_at >= begun.code.interval:
                begun.asked_at = now
                try:
                    with accounts.sign_in() as client:
                        begun.tokens = client.ask(begun.code)
                except SignInFailed:
                    del self._begun[user_id]
                    raise
            if begun.tokens is None:
                return None
            try:
                owner = accounts.connect(user_id, begun.tokens, waiting=_impatient)
            except AccountShared:
                # Its tokens were revoked. After another failure, they serve the next call.
                del self._begun[user_id]
                raise
            del self._begun[user_id]
            return owner


def disconnect(accounts: TraktAccounts, user_id: str) -> bool:
    """Disconnect a user; one who is not connected stays so. Return whether Trakt knows of it.

    Raises:
        ServiceBusy: a sync does not end.
    """
    with contextlib.suppress(NotConnected):
        return accounts.disconnect(user_id, waiting=_impatient) is None
    return True


def _impatient(seconds: float) -> None:
    if seconds > PATIENCE_SECONDS:
        raise ServiceBusy("A run is syncing the ratings of this user.")
