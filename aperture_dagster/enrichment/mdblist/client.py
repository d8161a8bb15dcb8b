"""A client of MDBList: scores of many sites, keywords, and streaming services, for many titles in one request.

Facts about the API that shaped this module:

- The key is accepted in the query only.
- A batch costs one request of the daily quota, whatever its size. Titles that MDBList does not know are absent from
  the answer, whose order is arbitrary.
- The largest batch depends on the account; a larger one may be refused with the status of a wrong key.
- A spent quota is 429, or 200 with an error in the body; there is also a limit over some minutes, reported as 429.
- Letterboxd's value is out of 10 in batches and out of 5 elsewhere.
- A page of a list costs one request of the quota, too, and holds up to 1,000 entries. Films and series are apart; an
  entry's ``id`` is its TMDb id, and its ``rank`` is its place in the list's own order, whatever order is requested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from aperture_dagster.enrichment.listed import ListPage
from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.messages import Answer, expect, retry_after_seconds
from aperture_dagster.http.redaction import redact
from aperture_dagster.media_server.records import MediaType

if TYPE_CHECKING:
    from aperture_dagster.worklist.quota import QuotaLedger
from aperture_dagster.enrichment.mdblist.answers import Id, MdbListAnswer, Provider, parse_list, parse_titles

TYPES: dict[MediaType, str] = {"movie": "movie", "series": "show"}
# The sizes that are tried after a refusal; every account is said to be allowed ten.
BATCH_STEPS = (100, 50, 10, 1)
ALWAYS_ALLOWED = 10
SIZE_STATUSES = frozenset({400, 403, 413})
LARGEST_PAGE = 1000
ACCOUNT_FIELDS = {"user_id", "username", "user_name"}
# There is also a limit over five minutes.
LONGEST_WINDOW_SECONDS = 15 * 60
_SPENT = re.compile(r"limit (?:has been )?(?:reached|exceeded)", re.IGNORECASE)


class BatchTooLarge(errors.RequestRejected):
    """MDBList refuses a batch of ``size`` ids, probably for its size; ``smaller`` is the next size to try."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.smaller = next(step for step in BATCH_STEPS if step < size)


class NoSuchPath(errors.RequestRejected):
    """404 for a path, as another server would also answer."""


class MdbList(ServiceClient):
    """MDBList; ``options`` are passed to the transport. What it reports of its daily quota goes to ``quota``."""

    def __init__(self, url: str, api_key: str, *, quota: QuotaLedger | None = None, **options: Any) -> None:
        super().__init__(
            "MDBList",
            url,
            params={"apikey": api_key},
            quota=quota,
            inspect=partial(inspect, api_key, quota),
            secrets=[api_key],
            setting="MDBLIST_API_KEY",
            address_setting="APERTURE_MDBLIST_URL",
            **{"timeout_seconds": 60, **options},
        )
        # Documented both ways; the one that works is kept.
        self._path_endings: tuple[str, ...] = ("", "/")

    def check(self) -> None:
        """Request the account of the key, to verify it; may cost one request of the day's quota.

        Raises:
            BadAnswer: the answer does not describe an account.
            ServiceRefused, QuotaSpent, ServiceUnavailable: see :meth:`titles`.
        """
        try:
            answer = self.transport.get_json("/user")
        except _Refused as refused:
            raise refused.meaning() from None
        # The fields have had several names.
        if not ACCOUNT_FIELDS & expect(answer, dict, "MDBList's account").keys():
            raise errors.BadAnswer("MDBList's answer does not describe an account")

    def titles(self, media_type: MediaType, provider: Provider, ids: Sequence[Id]) -> MdbListAnswer[Id]:
        """Request titles, keyed in the answer by the given ids.

        A batch refused with 400, 403 or 413 may be too large for the account, whatever the text says. 403 may also mean
        a wrong key: for ten ids or fewer, which every account may request, it does.

        Raises:
            BatchTooLarge: refused, and fewer ids may be accepted.
            ServiceRefused: MDBList does not accept the key: 401, or 403 for ten ids or fewer.
            RequestRejected: even one id is refused.
            QuotaSpent: the day's requests are used up.
            BadAnswer: the answer is not a list of titles; a single bad entry costs only itself.
            ServiceUnavailable: see :class:`Transport`.
        """
        requested = {str(one): one for one in ids}
        if not requested:
            return MdbListAnswer()
        body = {"ids": list(requested.values()), "append_to_response": ["keyword"]}
        try:
            answer = self._post(f"/{provider}/{TYPES[media_type]}", body)
        except _Refused as refused:
            raise refused.meaning(len(requested)) from None
        except errors.NotFound:
            return MdbListAnswer()
        return parse_titles(answer, provider, requested)

    def listed(
        self, media_type: MediaType, name: str, *, sort: str | None = None, offset: int = 0, limit: int = LARGEST_PAGE
    ) -> ListPage:
        """Request a page of a list, without its titles of the other media type.

        Args:
            media_type: of the titles.
            name: the list's number, or ``user/slug``.
            sort: an order of MDBList with its direction, such as ``score.desc``; None: the list's own order.
            offset: entries before the page.
            limit: entries of the page, at most 1,000.

        Raises:
            NotFound: there is no such list.
            ServiceRefused: MDBList does not accept the key, or the list is private.
            BadAnswer: the answer is not a page of a list; an entry without ids is left out.
            QuotaSpent, ServiceUnavailable: see :meth:`titles`.
        """
        by, _, order = (sort or "").partition(".")
        params = {"limit": limit, "offset": offset} | ({"sort": by, "order": order} if sort else {})
        path = f"/lists/{name}/items"
        try:
            answer = self._either_path(path, lambda path: self.transport.get_json(path, params))
        except _Refused as refused:
            if refused.status == 403:
                message = f"MDBList: the list {name} was refused (403){refused.message}. Is it private?"
                raise errors.ServiceRefused(f"{message} If not, check MDBLIST_API_KEY.") from None
            raise refused.meaning() from None
        except (errors.NotFound, NoSuchPath):
            raise errors.NotFound(f"MDBList has no list {name}") from None
        return parse_list(answer, media_type, end=offset + limit)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._either_path(path, lambda path: self.transport.post_json(path, body, repeatable=True))

    def _either_path(self, path: str, send: Callable[[str], Any]) -> Any:
        """Send to ``path``, with or without a trailing slash. Raises the first refusal if both are refused."""
        refusal: errors.RequestRejected | None = None
        for ending in self._path_endings:
            try:
                answer = send(path + ending)
            except (errors.Redirected, NoSuchPath) as error:
                refusal = refusal or error
            else:
                self._path_endings = (ending,)
                return answer
        assert refusal is not None
        raise refusal


class _Refused(Exception):
    """A refusal whose reason depends on the size of the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, f": {message}" if message else ""

    def meaning(self, size: int = 1) -> errors.ServiceRefused | errors.RequestRejected:
        """Return what it means for a request with so many ids."""
        if self.status == 401 or (self.status == 403 and size <= ALWAYS_ALLOWED):
            return errors.ServiceRefused(
                f"MDBList: the key was refused ({self.status}){self.message}. Check MDBLIST_API_KEY."
            )
        if size > 1:
            return BatchTooLarge(f"MDBList refuses {size} titles at once ({self.status}){self.message}", size)
        return errors.RequestRejected(f"MDBList: answered {self.status}{self.message}")


def inspect(api_key: str, quota: QuotaLedger | None, answer: Answer) -> None:
    """Raise what an answer of MDBList means beyond its status, and report its quota; a hook for :class:`Transport`."""
    limit, remaining = (_count_in(answer.headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining"))
    wait = retry_after_seconds(answer.headers)
    if answer.status == 429 and (remaining != 0 or (wait is not None and wait <= LONGEST_WINDOW_SECONDS)):
        # The limit over some minutes; these are not the numbers of the day.
        return
    if quota is not None and limit and remaining is not None and remaining <= limit:
        quota.report(limit, remaining)
    if answer.status == 429:
        raise _quota_spent("")
    if answer.status == 200 and not answer.is_object:
        return
    message = redact(answer.message("error", "detail"), [api_key])[:160]
    if answer.status == 401 or answer.status in SIZE_STATUSES:
        raise _Refused(answer.status, message)
    if answer.status == 404:
        if "item not found" in message.lower():
            raise errors.NotFound(f"MDBList has no such title: {message}")
        raise NoSuchPath(f"MDBList: answered 404{f': {message}' if message else ''}. Check APERTURE_MDBLIST_URL")
    if answer.status == 200 and message:
        if _SPENT.search(message):
            raise _quota_spent(f" ({message})")
        raise errors.BadAnswer(f"MDBList answered with an error: {message}")


def _quota_spent(message: str) -> errors.QuotaSpent:
    return errors.QuotaSpent(
        f"MDBList: the day's requests are used up{message}. What was fetched is kept; the rest follows the next day."
    )


def _count_in(header: str | None) -> int | None:
    text = (header or "").strip()
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
