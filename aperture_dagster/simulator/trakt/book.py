"""Everything that Trakt stores: accounts, tokens, codes of devices, and its habits of the day."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.counters import RateLimit
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.settings import SimulatorSettings
from aperture_dagster.simulator.world import WorldTitle

RATED: tuple[str, ...] = ("movies", "shows", "seasons", "episodes")
"""What can be rated, in Trakt's words."""
Trouble = Literal["limit", "locked", "deactivated"]
TROUBLES: tuple[Trouble, ...] = ("limit", "locked", "deactivated")
_MILLISECOND = 0.001
# Reads allowed per user in any window of this many seconds.
_READS = (500, 300.0)


@dataclass(frozen=True, slots=True)
class Rated:
    """What a rating is for: a film, a show, a season (without ``episode``) or an episode."""

    kind: str
    key: str
    season: int | None = None
    episode: int | None = None

    def __str__(self) -> str:
        """Return the key, with the season and episode as in ``series:1 S01E02``."""
        season = "" if self.season is None else f" S{self.season:02}"
        return self.key + season + ("" if self.episode is None else f"E{self.episode:02}")


@dataclass(frozen=True, slots=True)
class Rating:
    """A rating of 1 to 10. ``rated_at`` in Unix seconds, without a fraction."""

    value: int
    rated_at: float


@dataclass(slots=True)
class Account:
    """An account. ``trouble`` is what its owner has to settle with Trakt."""

    name: str
    joined_at: float
    reads: RateLimit
    writes: RateLimit
    vip: bool = False
    trouble: Trouble | None = None
    ratings: dict[Rated, Rating] = field(default_factory=dict)
    changed_at: dict[str, float] = field(default_factory=dict)
    """When ratings changed last, by kind."""
    recommended: list[str] | None = None
    """Keys of the titles that are recommended; None: whatever is well known."""
    pushed: list[dict[str, Any]] = field(default_factory=list)
    """What clients wrote, in order."""

    @property
    def number(self) -> int:
        """Trakt's id of the account."""
        return 1 + stable_number(f"{self.name}|account") % 10_000_000

    def of_kind(self, kind: str) -> Iterator[tuple[Rated, Rating]]:
        """Yield the ratings of one kind, the newest first."""
        rows = [(rated, rating) for rated, rating in self.ratings.items() if rated.kind == kind]
        return iter(sorted(rows, key=lambda row: (-row[1].rated_at, str(row[0]))))

    def rate(self, rated: Rated, rating: Rating, now: float) -> bool:
        """Add or replace a rating, and return whether anything changed."""
        changed = self.ratings.get(rated) != rating
        self.ratings[rated] = rating
        self._touch(rated.kind, now)
        return changed

    def unrate(self, rated: Rated, now: float) -> bool:
        """Remove a rating, and return whether there was one."""
        if self.ratings.pop(rated, None) is None:
            return False
        self._touch(rated.kind, now)
        return True

    def _touch(self, kind: str, now: float) -> None:
        # No two changes are at the same time, however fast they follow each other.
        before = self.changed_at.get(kind)
        self.changed_at[kind] = now if before is None or abs(now - before) >= _MILLISECOND else before + _MILLISECOND


def make_account(name: str, settings: SimulatorSettings, clock: Callable[[], float]) -> Account:
    """Open an account that has rated nothing."""
    reads, writes = RateLimit(*_READS, clock), RateLimit(*settings.trakt_writes, clock)
    return Account(name, float(int(clock())), reads, writes)


def timestamp(seconds: float) -> str:
    """Format a time as Trakt does: UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def whole_seconds(moment: datetime | str | float | None, now: float) -> float:
    """Convert a time to Unix seconds without a fraction; None: now. Without a time zone, it is in UTC.

    Raises ValueError for text that is no time.
    """
    if moment is None:
        return float(int(now))
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float(moment // 1)


Kind = Literal["movies", "shows"]
ID_NAMES: Mapping[str, tuple[str, ...]] = {
    "movies": ("trakt", "slug", "imdb", "tmdb"),
    "shows": ("trakt", "slug", "imdb", "tmdb", "tvdb"),
}
"""Names of the ids that Trakt takes for a title, in the order in which it looks them up."""
_OTHERS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class TraktTitle:
    """A film or show on Trakt."""

    title: WorldTitle
    ids: Mapping[str, int | str | None]

    @property
    def key(self) -> str:
        """The title's key in the world."""
        return self.title.key

    @property
    def number(self) -> int:
        """Trakt's own id."""
        return int(self.ids["trakt"] or 0)

    def summary(self) -> dict[str, Any]:
        """Return the title as it is nested in other answers."""
        return {"title": self.title.title, "year": self.title.year, "ids": dict(self.ids)}


def trakt_id(key: str) -> int:
    """Return Trakt's id of a title.

    Trakt numbers films and shows separately: ``movie:1`` and ``series:1`` have the same id.
    """
    name = key.partition(":")[2] or key
    return 1 + stable_number(f"{name}|trakt") % 1_000_000_000


class TitleBook:
    """The titles that Trakt knows. Some it does not know, and of some it lacks an id."""

    def __init__(
        self, settings: SimulatorSettings, titles: Mapping[str, WorldTitle], version: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._titles = titles
        self._titles_version = version
        self._version = -1
        self._known: dict[str, TraktTitle] = {}
        self._by_id: dict[tuple[str, str, str], TraktTitle] = {}
        self._changed: dict[str, Mapping[str, int | str | None] | None] = {}

    def change(self, key: str, ids: Mapping[str, int | str | None] | None) -> None:
        """Replace some ids of a title, or take it away (None). Raises KeyError for an unknown title."""
        kind = _kind(self._titles[key])
        if ids is not None and (unknown := ids.keys() - set(ID_NAMES[kind])):
            raise ValueError(f"{kind} have no {', '.join(sorted(unknown))}")
        self._changed[key] = ids
        self._version = -1

    def of_key(self, key: str) -> TraktTitle | None:
        """Return a title by its key in the world; None when Trakt does not know it."""
        self._refresh()
        return self._known.get(key)

    def find(self, kind: str, ids: Mapping[str, Any]) -> TraktTitle | None:
        """Return the title that one of these ids belongs to; the first id that Trakt knows decides."""
        self._refresh()
        for name in ID_NAMES[kind]:
            if ids.get(name) is not None and (found := self._by_id.get((kind, name, str(ids[name])))):
                return found
        return None

    def of_kind(self, kind: str) -> Iterator[TraktTitle]:
        """Yield all films or shows."""
        self._refresh()
        return (known for known in self._known.values() if _kind(known.title) == kind)

    def _refresh(self) -> None:
        if self._version == self._titles_version():
            return
        self._version = self._titles_version()
        self._known = {key: one for key, title in self._titles.items() if (one := self._record(title)) is not None}
        self._by_id.clear()
        for known in self._known.values():
            for name, value in known.ids.items():
                if value is not None:
                    self._by_id.setdefault((_kind(known.title), name, str(value)), known)

    def _record(self, title: WorldTitle) -> TraktTitle | None:
        key, kind = title.key, _kind(title)
        if key not in self._changed and share(key, "trakt") < self._settings.trakt_unknown_share:
            return None
        changed = self._changed.get(key, {})
        if changed is None:
            return None
        ids: dict[str, int | str | None] = {
            "trakt": trakt_id(key),
            "slug": _slug(title),
            "imdb": title.imdb_id or None,
            "tmdb": title.tmdb_id,
            "tvdb": title.tvdb_id,
        }
        lacking = "imdb" if kind == "movies" else "tvdb"
        if share(key, "trakt ids") < self._settings.trakt_missing_ids_share:
            ids[lacking] = None
        return TraktTitle(title, {name: ids[name] for name in ID_NAMES[kind]} | dict(changed))


def _kind(title: WorldTitle) -> Kind:
    return "movies" if title.media_type == "movie" else "shows"


def _slug(title: WorldTitle) -> str:
    return _OTHERS.sub("-", f"{title.title} {title.year or ''}".lower()).strip("-") or title.key.replace(":", "-")


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
    """

    app: Literal["deleted", "blocked"] | None = None
    edge: Literal["blocked", "banned"] | None = None
    paged: bool = False
    lost_rows: int = 0
    count_error: int = 0


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
        """Return the account of this name, which is opened if there is none."""
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
