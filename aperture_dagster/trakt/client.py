"""A client of Trakt for one user: activities, ratings, recommendations, and the user's own settings.

Facts about the API that shaped this module:

- ``/sync/ratings/{type}`` has been paged at times, and not at others. A limit may be clamped silently, so a short page
  is not the last one. A removed rating shows only by its absence.
- Nested titles are old snapshots: only their ids count.
- Writes are limited to one per second and user. A batch of hundreds times out, so ours are small. A rating
  is inserted or updated with the date that is sent, so the same one may be sent again.
- A token may be refused minutes after it was issued.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.messages import Answer, Request, as_object, expect, objects
from aperture_dagster.http.rate_limit import JITTER_SECONDS, Pacer
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.trakt.answers import app_refused, count_in, transport_options, utc_now
from aperture_dagster.trakt.errors import AccountFull, ActionNeeded, AppRefused, EdgeBlocked, UserProblem
from aperture_dagster.trakt.records import (
    PLURALS,
    Entry,
    RatingsList,
    TraktRating,
    TraktTitle,
    parse_rating,
    parse_title,
    parse_user,
    same_title,
)

LARGEST_BATCH = 50
PAGE_SIZE = 100
MOST_PAGES = 2000
MOST_RECOMMENDATIONS = 100
WRITE_TIMEOUT_SECONDS = 60.0
# Trakt allows one write per second and user.
WRITE_SECONDS = 1.1
# What fails now is tried again by a later run.
ATTEMPTS = 3
# Interpreted here, with the token in mind.
_INTERPRETED = (401, 403, 420, 423, 426)
_FULL = 420


class Access(Protocol):
    """The access token of a user, which may change while a client is used; ``name`` is theirs, for messages."""

    name: str

    def token(self) -> str:
        """Return a token that is valid for now; raises ServiceError."""
        ...

    def renew(self, refused: str) -> str:
        """Return another token than the one that Trakt refused; raises ServiceError."""
        ...

    def report(self, error: errors.ServiceError) -> None:
        """Take note of a failure that concerns more than one request, before it is raised."""
        ...


class Trakt(ServiceClient):
    """Trakt for one user; ``options`` are passed to the transport.

    Every method raises, besides what it says itself:

    - AppRefused: the app is blocked or unknown (403 twice in a row).
    - EdgeBlocked: a web page came instead of an answer; nothing may be sent for at least an hour.
    - ActionNeeded: a renewed token was refused, too, or the user must do something on Trakt's site (420, 423, 426).
    - UserPaused, ServiceUnavailable: later.
    - BadAnswer: the answer is not as documented.

    Args:
        access: the user's token; None for requests that need no user.
        now: the clock, for pauses.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        *,
        access: Access | None,
        now: Callable[[], datetime] = utc_now,
        **options: Any,
    ) -> None:
        self._access = access
        self._user = access.name if access is not None else "nobody"
        user = self._user if access is not None else None
        known = transport_options(client_id, user=user, now=now)
        # The first write waits, too: another process may have just sent one.
        self._writes = Pacer(1, WRITE_SECONDS - JITTER_SECONDS)
        attempts = min(options.get("attempts", ATTEMPTS), ATTEMPTS)
        super().__init__("Trakt", url, **{**known, **options, "attempts": attempts})

    def check_app(self) -> None:
        """Verify that Trakt accepts the app, without a token: it then asks for one. Tokens prove nothing about that."""
        self._get("/sync/last_activities", accept=[401])

    def account(self) -> str:
        """Request whose account the token belongs to."""
        return parse_user(self._get("/users/settings").json())

    def last_activities(self) -> dict[MediaType, str]:
        """Request when ratings of films and series last changed, removals included.

        The values are to be compared for inequality only, and a media type may be missing.
        """
        activities = expect(self._get("/sync/last_activities").json(), dict, "Trakt's activities")
        changed_at: dict[MediaType, str] = {}
        for media_type, plural in PLURALS.items():
            rated_at = as_object(activities.get(plural)).get("rated_at")
            if isinstance(rated_at, str) and rated_at:
                changed_at[media_type] = rated_at
        return changed_at

    def ratings(self, media_type: MediaType) -> RatingsList:
        """Request all ratings of a media type.

        The list ends with the last page that Trakt counts, with an empty page, or with one that starts over.
        """
        path = f"/sync/ratings/{PLURALS[media_type]}"
        ratings: list[TraktRating] = []
        first: list[Any] = []
        counts: set[int | None] = set()
        rows, pages, page = 0, None, 0
        for page in range(1, MOST_PAGES + 1):
            answer = self._get(path, {"page": page, "limit": PAGE_SIZE})
            page_rows = expect(answer.json(), list, "Trakt's ratings")
            counts.add(count_in(answer, "x-pagination-item-count"))
            pages = count_in(answer, "x-pagination-page-count") or pages
            # Without paging, every page is the whole list.
            if not page_rows or (pages is None and page_rows == first):
                break
            first = first or page_rows
            rows += len(page_rows)
            ratings += [rating for row in page_rows if (rating := parse_rating(media_type, row))]
            if (pages is not None and page >= pages) or (pages is None and _doubles(ratings)):
                break
        incomplete = _why_incomplete(rows, len(ratings), counts) or _doubles(ratings)
        if pages is not None and page < pages:
            incomplete = incomplete or f"page {page} of {pages} is empty"
        return RatingsList(tuple(ratings), incomplete)

    def push_ratings(self, batch: Sequence[TraktRating]) -> tuple[TraktRating, ...]:
        """Set up to 50 ratings, with their dates.

        Returns:
            Those whose title Trakt does not have. Only a later read proves that the others were applied.

        Raises:
            AccountFull: Trakt takes no more ratings of this user.
            RequestRejected: Trakt considers an entry invalid (400, 422); none of its part was applied.
            ValueError: the batch is too large.
        """
        return self._write("/sync/ratings", batch)

    def remove_ratings(self, batch: Sequence[TraktTitle]) -> tuple[TraktTitle, ...]:
        """Remove the ratings of up to 50 titles; return those that have none. Raises as :meth:`push_ratings`."""
        return self._write("/sync/ratings/remove", [TraktTitle(title.media_type, title.ids) for title in batch])

    def recommendations(self, media_type: MediaType) -> tuple[TraktTitle, ...] | None:
        """Request up to 100 titles that Trakt recommends to the user, the best first.

        None: the answer is empty, which Trakt's cache sometimes is; an earlier list still stands. ActionNeeded is about
        recommendations alone, so it is raised and not reported: it does not stop ratings.
        """
        params = {"limit": MOST_RECOMMENDATIONS, "ignore_watched": "true", "ignore_collected": "true"}
        request = Request("GET", f"/recommendations/{PLURALS[media_type]}", params=params)
        answer = self._send(request, stops_user=False)
        rows = expect(answer.json() or [], list, "Trakt's recommendations")
        titles = [title for row in objects(rows) if (title := parse_title(media_type, row))]
        return tuple(dict.fromkeys(titles)) or None

    def _write(self, path: str, batch: Sequence[Entry]) -> tuple[Entry, ...]:
        if len(batch) > LARGEST_BATCH:
            raise ValueError(f"Trakt takes {LARGEST_BATCH} ratings at once, not {len(batch)}")
        body = {
            plural: [entry.body() for entry in batch if entry.media_type == media_type]
            for media_type, plural in PLURALS.items()
        }
        request = Request(
            "POST",
            path,
            json=body,
            # The same rating with the same date changes nothing.
            repeatable=True,
            accept=[_FULL],
            timeout_seconds=WRITE_TIMEOUT_SECONDS,
        )
        self._writes.wait()
        answer = self._send(request)
        if answer.status == _FULL:
            raise AccountFull(self._user)
        return tuple(_not_found(answer, batch))

    def _get(self, path: str, params: dict[str, Any] | None = None, accept: Sequence[int] = ()) -> Answer:
        return self._send(Request("GET", path, params=params, accept=accept))

    def _send(self, request: Request, *, stops_user: bool = True) -> Answer:
        """Send a request with the user's token: once more after the first 401, and after the first 403.

        ``stops_user``: whether ActionNeeded is reported, which stops all work for the user for a day.
        """
        access = self._access
        token = access.token() if access is not None else None
        renewed = forbidden = False
        try:
            while True:
                signed = {"Authorization": f"Bearer {token}"} if token else {}
                accept = (*request.accept, *_INTERPRETED)
                answer = self.transport.send(replace(request, headers=signed, accept=accept))
                if answer.status == 401 and access is not None and token and not renewed:
                    token, renewed = access.renew(token), True
                elif answer.status == 403 and not forbidden:
                    forbidden = True
                else:
                    return answer if answer.status in request.accept else self._accepted(answer)
        except (AppRefused, EdgeBlocked, UserProblem) as error:
            if access is not None and (stops_user or not isinstance(error, ActionNeeded)):
                access.report(error)
            raise

    def _accepted(self, answer: Answer) -> Answer:
        match answer.status:
            case 401 if self._access is not None:
                # An outage, unless it lasts.
                command = f"aperture trakt connect {shlex.quote(self._user)}"
                raise ActionNeeded(
                    self._user,
                    f"Trakt renews its token and refuses the new one (401); if that lasts, run `{command}`",
                )
            case 401 | 403:
                raise app_refused(answer.status)
            case 420:
                raise ActionNeeded(self._user, "the limit of the account is reached (420); trakt.tv says which")
            case 423:
                deactivated = "x-account-deactivated" in answer.headers
                what = "was deactivated" if deactivated else "is locked"
                raise ActionNeeded(self._user, f"the account on Trakt {what} (423); Trakt's support can unlock it")
            case 426:
                raise ActionNeeded(self._user, "Trakt allows this to VIP members only (426)")
            case _:
                return answer


def _why_incomplete(rows: int, readable: int, counts: set[int | None]) -> str | None:
    counted = counts - {None}
    if len(counted) > 1:
        return "the number of ratings changed while they were read"
    if counted and counted != {rows}:
        return f"Trakt counts {counted.pop()} ratings and sent {rows}"
    return f"{rows - readable} ratings could not be read" if readable < rows else None


def _doubles(ratings: Sequence[TraktRating]) -> str | None:
    """A title that comes twice pushed another one out of a page that was not read yet."""
    titles = {(rating.ids.trakt or rating.ids) for rating in ratings}
    return "a title came twice" if len(titles) < len(ratings) else None


def _not_found(answer: Answer, sent: Sequence[Entry]) -> list[Entry]:
    """Return the entries that Trakt names as not found."""
    fields = expect(answer.json(), dict, "Trakt's answer to ratings")
    echoes = {
        media_type: [as_object(echo.get("ids")) for echo in objects(as_object(fields.get("not_found")).get(plural))]
        for media_type, plural in PLURALS.items()
    }
    return [entry for entry in sent if any(same_title(ids, entry.body()["ids"]) for ids in echoes[entry.media_type])]
