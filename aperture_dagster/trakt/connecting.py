"""Connect members to Trakt step by step, for pages: a code is shown, and asked about whenever its member says so."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.errors import (
    AccountShared,
    NotConnected,
    SignInFailed,
)
from aperture_dagster.trakt.records import DeviceCode, TokenPair

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
        """Return the code that a user has to confirm on Trakt, the same one while it is valid; None if they are
        connected now.

        ``confirmed``: whether the user says that the code was entered. Trakt is asked only as often as it permits.

        Raises:
            SignInFailed: access was refused, or the code has expired.
            AccountShared: another user is connected to that account.
            ServiceBusy: a sync does not end.
            ServiceError: Trakt cannot be used.
        """
        with self._locks.setdefault(user_id, threading.Lock()):
            begun = self._begun.get(user_id)
            if confirmed:
                try:
                    if begun is not None and self._finish(accounts, user_id, begun):
                        del self._begun[user_id]
                        return None
                except (SignInFailed, AccountShared):
                    # Code or tokens are void. After another failure, they serve the next call.
                    del self._begun[user_id]
                    raise
                # Pressed twice, or in two windows.
                account = accounts.account(user_id)
                if account is not None and account.state.name == "connected":
                    return None
            now = self._monotonic()
            if begun is None or now >= begun.until:
                with accounts.sign_in() as client:
                    code = client.start()
                begun = self._begun[user_id] = _Begun(code, now + code.expires_in, now)
            return begun.code

    def _finish(self, accounts: TraktAccounts, user_id: str, begun: _Begun) -> bool:
        """Connect a user who has confirmed their code; return False if they have not yet."""
        now = self._monotonic()
        if begun.tokens is None and now - begun.asked_at >= begun.code.interval:
            begun.asked_at = now
            with accounts.sign_in() as client:
                begun.tokens = client.ask(begun.code)
        if begun.tokens is None:
            return False
        accounts.connect(user_id, begun.tokens, patience_seconds=PATIENCE_SECONDS)
        return True


def disconnect(accounts: TraktAccounts, user_id: str) -> bool:
    """Disconnect a user; one who is not connected stays so. Return whether Trakt knows of it.

    Raises:
        ServiceBusy: a sync does not end.
    """
    with contextlib.suppress(NotConnected):
        return accounts.disconnect(user_id, patience_seconds=PATIENCE_SECONDS) is None
    return True
