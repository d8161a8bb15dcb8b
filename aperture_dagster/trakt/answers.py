"""What Trakt's answers mean beyond their status; shared by the client and the sign-in.

Facts about the API that shaped this module:

- A request without an agent string of its own, or from a banned network, gets a page of Cloudflare's, with status
  403, 429 or any other. It says nothing about the app or the user. Pages of the 5xx statuses are outages, not bans.
- A blocked app gets 403 on everything, but may still get tokens; a deleted one gets ``invalid_client`` there.
- A 429 from the edge may carry no Retry-After.
- Bodies of errors may be empty.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aperture_dagster.http.messages import Answer, retry_after_seconds
from aperture_dagster.trakt.errors import AppRefused, EdgeBlocked, UserPaused

API_VERSION = "2"
EDGE_PAUSE = timedelta(hours=1)
OUTAGE_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 120.0
OUTAGES = (500, 502, 503, 504, *range(520, 527))


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def _headers(client_id: str) -> dict[str, str]:
    # A request without an agent string of its own is refused.
    return {
        "User-Agent": f"aperture-dagster/{_version()} (home media recommendations)",
        "Content-Type": "application/json",
        "trakt-api-version": API_VERSION,
        "trakt-api-key": client_id,
    }


@cache
def _version() -> str:
    try:
        return version("aperture-dagster")
    except PackageNotFoundError:
        return "0"


def transport_options(client_id: str, *, user: str | None, now: Callable[[], datetime]) -> dict[str, Any]:
    """Return options of :class:`Transport` for the operator's app.

    Args:
        user: whose requests are sent, since limits are per user; None without a token.
        now: the clock, for pauses.
    """
    return {
        "headers": _headers(client_id),
        "inspect": _inspector(user, now),
        "secrets": [client_id],
        "status_waits": dict.fromkeys(OUTAGES, OUTAGE_WAIT_SECONDS),
        "setting": "TRAKT_CLIENT_ID",
        "address_setting": "APERTURE_TRAKT_URL",
    }


def _inspector(user: str | None, now: Callable[[], datetime]) -> Callable[[Answer], None]:
    """Return a hook that raises what an answer means beyond its status."""

    def inspect(answer: Answer) -> None:
        wait = retry_after_seconds(answer.headers)
        if is_page(answer) and answer.status < 500:
            resumes_at = now() + max(EDGE_PAUSE, timedelta(seconds=wait or 0))
            raise EdgeBlocked(
                f"Trakt's edge answered with a web page ({answer.status}): this network is blocked there for a while. "
                f"Nothing is sent to Trakt until {resumes_at:%Y-%m-%d %H:%M} UTC; nobody has to connect again.",
                resumes_at,
            )
        if answer.status == 429 and user is not None and wait is not None and wait > LONGEST_WAIT_SECONDS:
            resumes_at = now() + timedelta(seconds=wait)
            raise UserPaused(
                f"Trakt's limit for {user} is used up; it accepts requests again at {resumes_at:%Y-%m-%d %H:%M} UTC",
                resumes_at,
            )

    return inspect


def is_page(answer: Answer) -> bool:
    """Return whether the answer is a web page, which is not parsed."""
    if "json" in answer.content_type:
        return False
    return "html" in answer.content_type or answer.body[:200].lstrip().lower().startswith((b"<!doctype", b"<html"))


def app_refused(status: int, reason: str = "") -> AppRefused:
    """Return the error for an app that Trakt blocks or does not know."""
    why = f": {reason}" if reason else ""
    return AppRefused(
        f"Trakt refuses the app of TRAKT_CLIENT_ID ({status}{why}): it was blocked or deleted, or id and secret are "
        "wrong. All work with Trakt stops; what was fetched is kept, and no user has to connect again. Look at the app "
        "on trakt.tv/oauth/applications (it needs an active VIP membership), then run `aperture trakt status`."
    )


def count_in(answer: Answer, name: str) -> int | None:
    """Return a count from the headers; None if it is missing or none."""
    text = answer.headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
