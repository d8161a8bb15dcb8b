"""Operations on Trakt's accounts, as their owners on its website and Trakt itself perform them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from aperture_dagster.simulator.locking import Operations, locked
from aperture_dagster.simulator.trakt.book import TROUBLES, Rated, Rating, Trouble, timestamp, whole_seconds


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
        """Change how Trakt behaves; see `Habits`. Raises TypeError for an unknown habit, and ValueError."""
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
                for rated in [one for one in account.ratings if one.key == key]:
                    del account.ratings[rated]

    @locked
    def trakt_merge(self, key: str) -> None:
        """Merge a title into a duplicate: it has another Trakt id and slug, and its ratings move along.

        Raises KeyError for an unknown title.
        """
        self.trakt.titles.renumber(key)

    def _rated(self, key: str, season: int | None, episode: int | None) -> Rated:
        known = self.trakt.titles.of_key(key)
        if known is None:
            raise KeyError(key)
        if season is None:
            return Rated("movies" if known.title.media_type == "movie" else "shows", key)
        return Rated("seasons" if episode is None else "episodes", key, season, episode)
