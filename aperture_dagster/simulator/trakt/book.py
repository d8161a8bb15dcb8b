"""Everything that Trakt stores: accounts, tokens, codes of devices, and its habits of the day."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.trakt.accounts import Account, make_account
from aperture_dagster.simulator.trakt.titles import TitleBook
from aperture_dagster.simulator.world import WorldTitle

DEVICE_SECONDS = 600
"""Life of a device code."""
_CODE_LETTERS = "ABCDEF0123456789"
_CODE_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Habits:
    """How Trakt behaves, beyond its settings. Change it with the operation ``trakt_set``.

    - ``app``: ``deleted`` (all calls are 403, and no token is exchanged) or ``blocked`` (all calls are 403 with a body
      of nine bytes, but tokens are still exchanged); None: neither.
    - ``edge``: what the network in front of Trakt answers, always HTML: ``blocked`` (403) or ``banned`` (429, error
      1015); None: nothing.
    - ``paged``: ratings that are read without ``page`` and ``limit`` come in pages, too; otherwise, all at once.
    - ``lost_rows``: rows that the first page lacks and that no other page has, although they are counted.
    - ``count_error``: added to the number of rows in the headers.
    - ``refuses_above``: entries per write above which it is refused with 413.
    """

    app: Literal["deleted", "blocked"] | None = None
    edge: Literal["blocked", "banned"] | None = None
    paged: bool = False
    lost_rows: int = 0
    count_error: int = 0
    refuses_above: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a state that does not exist."""
        if self.app not in (None, "deleted", "blocked") or self.edge not in (None, "blocked", "banned"):
            raise ValueError("app is deleted or blocked, edge is blocked or banned, or null")


@dataclass(slots=True)
class Session:
    """What an account granted an app: a pair of tokens, of which the second buys the next pair."""

    account: Account
    access_token: str
    refresh_token: str
    created_at: float
    seconds: int
    is_access_void: bool = False
    is_refresh_void: bool = False

    def token(self) -> dict[str, Any]:
        """Return the pair as Trakt's answer."""
        return {
            "access_token": self.access_token,
            "token_type": "bearer",
            "expires_in": self.seconds,
            "refresh_token": self.refresh_token,
            "scope": "public",
            "created_at": int(self.created_at),
        }


@dataclass(slots=True)
class DeviceCode:
    """A code that waits for its user. ``account`` is who approved it."""

    device_code: str
    user_code: str
    created_at: float
    account: Account | None = None
    is_denied: bool = False
    is_used: bool = False
    polled_at: float | None = None


class TraktBook:
    """Accounts, sessions and codes. Times are those of the stand-ins' clock."""

    def __init__(
        self,
        settings: SimulatorSettings,
        clock: Callable[[], float],
        titles: Mapping[str, WorldTitle],
        titles_version: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.habits = Habits()
        self.titles = TitleBook(settings, titles, titles_version)
        self.accounts: dict[str, Account] = {}
        self.codes: dict[str, DeviceCode] = {}
        self._by_access: dict[str, Session] = {}
        self._by_refresh: dict[str, Session] = {}

    def account(self, name: str) -> Account:
        """Return the account of this name, which is opened if there is none. Raises ValueError for an empty name."""
        if not name.strip():
            raise ValueError("an account needs a name")
        if name not in self.accounts:
            self.accounts[name] = make_account(name, self.settings, self.clock)
        return self.accounts[name]

    # Tokens

    def grant(self, account: Account) -> Session:
        """Make a new pair of tokens."""
        session = Session(
            account, secrets.token_hex(32), secrets.token_hex(32), self.clock(), self.settings.trakt_token_seconds
        )
        self._by_access[session.access_token] = session
        self._by_refresh[session.refresh_token] = session
        return session

    def refresh(self, token: object) -> Session | None:
        """Exchange a refresh token, which voids its pair at once; None when it is not (or no longer) valid."""
        session = self._by_refresh.get(token) if isinstance(token, str) else None
        if session is None or session.is_refresh_void:
            return None
        session.is_access_void = session.is_refresh_void = True
        return self.grant(session.account)

    def session(self, access_token: str) -> Session | None:
        """Return the session of an access token, void or not; None for one that was never granted."""
        return self._by_access.get(access_token)

    def is_valid(self, session: Session) -> bool:
        """Return whether a session's access token can be used."""
        return not session.is_access_void and self.clock() < session.created_at + session.seconds

    def revoke(self, access_token: object) -> None:
        """Void the pair of an access token, if there is one."""
        session = self._by_access.get(access_token) if isinstance(access_token, str) else None
        if session is not None:
            session.is_access_void = session.is_refresh_void = True

    def sessions_of(self, account: Account) -> list[Session]:
        """Return all sessions of an account, the oldest first."""
        return [session for session in self._by_access.values() if session.account is account]

    # Devices

    def new_code(self) -> DeviceCode:
        """Make a code for a device."""
        user_code = "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))
        code = DeviceCode(secrets.token_hex(32), user_code, self.clock())
        self.codes[code.device_code] = code
        return code

    def is_expired(self, code: DeviceCode) -> bool:
        """Return whether a code's time is over."""
        return self.clock() >= code.created_at + DEVICE_SECONDS

    def pending(self) -> list[DeviceCode]:
        """Return the codes that wait for their users, the oldest first."""
        return [
            code
            for code in self.codes.values()
            if code.account is None and not code.is_denied and not self.is_expired(code)
        ]

    def pending_code(self, user_code: str | None) -> DeviceCode:
        """Return a code that waits, in any case; without ``user_code``, the newest. Raises KeyError."""
        wanted = None if user_code is None else user_code.strip().upper()
        found = [code for code in self.pending() if wanted in (None, code.user_code)]
        if not found:
            raise KeyError(user_code or "no code waits for approval")
        return found[-1]
