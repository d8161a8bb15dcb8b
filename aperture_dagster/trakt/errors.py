"""Failures of Trakt, by who has to do something about them.

Nobody: :class:`EdgeBlocked`, :class:`UserPaused`. The operator: :class:`AppRefused`. One user:
:class:`ReconnectNeeded`, :class:`ActionNeeded` and :class:`NotConnected`; the other users go on.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

from aperture_dagster.http.errors import ServiceError, ServicePaused, ServiceRefused, ServiceUnavailable


class AppRefused(ServiceRefused):
    """Trakt blocks or does not know the operator's app. It concerns everybody, and no user has to connect again."""


class EdgeBlocked(ServicePaused):
    """A page of Trakt's edge (Cloudflare) came instead of an answer: this network is blocked for a while."""


class UserPaused(ServiceUnavailable):
    """Trakt asks for a pause of one user's requests; it ends at ``resumes_at`` (UTC)."""

    def __init__(self, message: str, resumes_at: datetime) -> None:
        super().__init__(message)
        self.resumes_at = resumes_at


class UserProblem(ServiceError):
    """A failure that concerns one user only. ``reason`` is the sentence to keep with the account."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ReconnectNeeded(UserProblem):
    """Trakt no longer accepts the user's connection, or it cannot be used here: the user must connect again."""

    def __init__(self, user: str, reason: str) -> None:
        super().__init__(
            f"Trakt: {user} must connect again: {reason}. Run `aperture trakt connect {shlex.quote(user)}`; "
            "ratings are kept meanwhile.",
            reason,
        )


class ActionNeeded(UserProblem):
    """The account waits: Trakt asks for what the user can only do there, or refuses a token it just renewed."""

    def __init__(self, user: str, reason: str) -> None:
        super().__init__(
            f"Trakt refuses something for {user}: {reason}. It is tried once a day; ratings are kept meanwhile.",
            reason,
        )


class AccountFull(ServiceError):
    """Trakt takes no more ratings of the user (420); reading goes on, so the account does not wait."""

    def __init__(self, user: str) -> None:
        super().__init__(
            f"Trakt: the limit of {user}'s account is reached (420), so ratings wait here: {user} must remove some on "
            "trakt.tv, or become a VIP member."
        )


class NotConnected(ServiceError):
    """The user has not connected Trakt, or has connected again or disconnected since the account was opened."""


class AccountShared(ServiceError):
    """Another user here is connected to the same account on Trakt. ``others`` are their names."""

    def __init__(self, account: str, others: Sequence[str]) -> None:
        super().__init__(
            f"The account {account} on Trakt is already used by {', '.join(others)}; nothing was connected."
        )
        self.others = tuple(others)


class InvalidGrant(ServiceError):
    """A refresh token was refused: it has been used before, or was revoked."""


class SignInFailed(ServiceError):
    """The code was not entered in time, was used already, or access was refused on Trakt's page: start again."""
