"""MDBList: scores of many sites, keywords, and where titles stream."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from aperture_dagster.enrichment.merge import Gives, gives
from aperture_dagster.enrichment.queries import ListedTitle, ListPage
from aperture_dagster.enrichment.source import TitleSource, store_titles
from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import RequestRejected, redact
from aperture_dagster.http.messages import Answer, as_object, expect, objects, one_line, retry_after_seconds, unique
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import Attempt, WorkList
from aperture_dagster.worklist.queue import DueItem, batch_size, remember_batch_size
from aperture_dagster.worklist.services import MeteredService

if TYPE_CHECKING:
    from aperture_dagster.worklist.services import QuotaLedger


# A client of MDBList: scores of many sites, keywords, and streaming services, for many titles in one request.
#
# Facts about the API that shaped this module:
#
# - The key is accepted in the query only.
# - A batch costs one request of the daily quota, whatever its size. Titles that MDBList does not know are absent from
#   the answer, whose order is arbitrary.
# - The largest batch depends on the account; a larger one may be refused with the status of a wrong key.
# - A spent quota is 429, or 200 with an error in the body; there is also a limit over some minutes, reported as 429.
# - Letterboxd's value is out of 10 in batches and out of 5 elsewhere.
# - A page of a list costs one request of the quota, too, and holds up to 1,000 entries. Films and series are apart; an
#   entry's ``id`` is its TMDb id, and its ``rank`` stays that of the list when another order is requested.


Provider = Literal["imdb", "tmdb"]
Id = TypeVar("Id", bound=int | str)
TYPES: dict[MediaType, str] = {"movie": "movie", "series": "show"}
# The sizes that are tried after a refusal; every account is said to be allowed ten.
BATCH_STEPS = (100, 50, 10, 1)
ALWAYS_ALLOWED = 10
SIZE_STATUSES = frozenset({400, 403, 413})
LARGEST_COUNT = 2**31 - 1
LARGEST_PAGE = 1000
LIST_PARTS: dict[MediaType, str] = {"movie": "movies", "series": "shows"}
LETTERBOXD = "letterboxd"
ACCOUNT_FIELDS = {"user_id", "username", "user_name"}
# There is also a limit over five minutes.
LONGEST_WINDOW_SECONDS = 15 * 60
_SPENT = re.compile(r"limit (?:has been )?(?:reached|exceeded)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,16})?")
# The sources in ``ratings[]``, with the column that they fill and the best value on their scale.
SCALES: dict[str, tuple[str, float]] = {
    "imdb": ("imdb_rating", 10),
    "trakt": ("trakt", 100),
    "letterboxd": (LETTERBOXD, 5),
    "tomatoes": ("rotten_tomatoes", 100),
    "popcorn": ("rotten_tomatoes_audience", 100),
    "tomatoesaudience": ("rotten_tomatoes_audience", 100),
    "audience": ("rotten_tomatoes_audience", 100),
    "metacritic": ("metacritic", 100),
}


class BatchTooLarge(errors.RequestRejected):
    """MDBList refuses a batch of ``size`` ids, probably for its size; ``smaller`` is the next size to try."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.smaller = next(step for step in BATCH_STEPS if step < size)


class NoSuchPath(errors.RequestRejected):
    """404 for a path, as another server would also answer."""


@dataclass(slots=True)
class MdbListAnswer(Generic[Id]):
    """The columns of ``mdblist_scores`` of each title in a batch, without the work.

    MDBList does not know an id that is in neither ``found`` nor ``unreadable``, provided that ``doubtful`` is 0: an
    entry without an id, or with one that was not requested, may belong to any of them.
    """

    found: dict[Id, dict[str, Any]] = field(default_factory=dict)
    unreadable: dict[Id, str] = field(default_factory=dict)
    doubtful: int = 0


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
            sort: an order of MDBList with its direction, such as ``score.desc``; None: that of the list.
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


def parse_titles(answer: Any, provider: Provider, requested: dict[str, Id]) -> MdbListAnswer[Id]:
    """Parse the answer for a batch; ``requested`` holds the ids by their text. Raises BadAnswer unless it is a list."""
    result: MdbListAnswer[Id] = MdbListAnswer()
    for entry in expect(answer, list, "MDBList's answer"):
        one = requested.get(_id_of(entry, provider))
        if one is None:
            result.doubtful += 1
        elif one not in result.found:
            try:
                result.found[one] = parse_title(entry)
                result.unreadable.pop(one, None)
            except errors.BadAnswer as error:
                result.unreadable[one] = str(error)
    return result


def parse_list(answer: Any, media_type: MediaType, *, end: int) -> ListPage:
    """Parse a page of a list that ends before the entry ``end``.

    Raises:
        BadAnswer: it is not one.
    """
    answer = expect(answer, dict, "MDBList's list")
    part = LIST_PARTS[media_type]
    titles = []
    for entry in objects(expect(answer.get(part), list, f"MDBList's list: {part}")):
        ids = as_object(entry.get("ids"))
        tmdb_id = _whole(ids.get("tmdb"), LARGEST_COUNT) or _whole(entry.get("id"), LARGEST_COUNT)
        imdb_id = one_line(ids.get("imdb")) or one_line(entry.get("imdb_id"))
        if tmdb_id is not None or imdb_id is not None:
            titles.append(ListedTitle(tmdb_id, imdb_id))
    pagination = as_object(answer.get("pagination"))
    has_more, total = pagination.get("has_more"), _whole(pagination.get("total"), LARGEST_COUNT)
    # Of a page that says neither, everything was requested at once.
    return ListPage(tuple(titles), has_more if isinstance(has_more, bool) else total is not None and total > end)


def parse_title(entry: Any) -> dict[str, Any]:
    """Parse an entry of a batch: the columns of ``mdblist_scores``, each score on its own site's scale.

    Raises:
        BadAnswer: it is not an object, or a list in it is something else.
    """
    entry = expect(entry, dict, "the entry")
    scores: dict[str, float | None] = {name: None for name, _ in SCALES.values()}
    imdb_votes = None
    for rating in _list(entry, "ratings"):
        source = str(rating.get("source")).strip().lower()
        if source not in SCALES:
            continue
        name, best = SCALES[source]
        if scores[name] is None:
            scores[name] = _letterboxd(rating) if source == LETTERBOXD else _on_scale(rating.get("value"), best)
        if source == "imdb":
            imdb_votes = _whole(rating.get("votes"), LARGEST_COUNT)
    lists = ("keywords", "streams")
    return {
        "score": _whole(entry.get("score"), 100),
        **scores,
        "imdb_votes": imdb_votes,
        **{name: unique(one_line(one.get("name")) for one in _list(entry, name)) for name in lists},
        "certification": one_line(entry.get("certification")),
    }


def _letterboxd(rating: dict[str, Any]) -> float | None:
    """Return the rating out of 5. ``value`` is out of 10 in batches and out of 5 elsewhere; ``score`` is out of 100."""
    score = _on_scale(rating.get("score"), 100)
    return None if score is None else round(score / 20, 2)


def _id_of(entry: Any, provider: Provider) -> str:
    found = as_object(as_object(entry).get("ids")).get(provider)
    return str(found).strip() if isinstance(found, (int, str)) else ""


def _list(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = entry.get(name)
    return [] if value is None else objects(expect(value, list, name))


def _on_scale(value: Any, best: float) -> float | None:
    """Parse a number or its text, above 0 and at most ``best``, to four decimals; 0 means unknown."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= best:
        return None
    return round(float(value), 4) or None


def _whole(value: Any, most: int) -> int | None:
    found = _on_scale(value, most)
    return round(found) or None if found is not None else None


def _count_in(header: str | None) -> int | None:
    text = (header or "").strip()
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


# MDBList: scores of many sites, keywords, and where titles stream.


TTL = timedelta(days=7)
# Titles per request; reduced when MDBList refuses it.
BATCH = 100
# Requests per second.
RATE = (3, 1.0)
# Each batch is tried several times before it counts as failed, so two failed batches are no accident.
BATCHES_UNTIL_DOWN = 2


def _work_list(settings: Settings, service: MeteredService[MdbList], client: MdbList) -> WorkList:
    batches = _Batches(client, service.database, BATCH)
    return WorkList(
        source=MDBLIST,
        ask=batches.ask,
        store=store_titles(MDBLIST.name),
        ttl=lambda attempt, now: TTL,
        cancel=client.cancel,
        quota=service.quota,
        unit_size=lambda: batches.size,
        # A request holds titles of one media type, by ids of one provider.
        group=lambda item: (item.kind, item.imdb_id is not None),
        failures_until_down=BATCHES_UNTIL_DOWN,
    )


class _Batches:
    """Asks about titles in batches as large as MDBList accepts."""

    def __init__(self, client: MdbList, database: Database, size: int) -> None:
        self._client, self._database = client, database
        with database.transaction() as connection:
            remembered = batch_size(connection, MDBLIST.name)
        self.size = min(size, remembered or size)

    def ask(self, unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        """Ask about a unit of titles of one media type and provider; split a batch that is refused into smaller ones.

        If a single id is refused by itself, the batch was refused because of that id, and not because of its size.
        """
        batches = deque(_parts(unit, self.size))
        accepted, refused_ids = self.size, 0
        while batches:
            batch = batches.popleft()
            try:
                answer = self._ask(batch)
            except BatchTooLarge as refused:
                accepted = min(accepted, refused.smaller)
                batches.extendleft(reversed(_parts(batch, refused.smaller)))
            except RequestRejected as error:
                refused_ids += 1
                yield [Attempt(item, "error", detail=str(error)) for item in batch]
            else:
                yield [_attempt(item, answer) for item in batch]
        if accepted < self.size and not refused_ids:
            # Only after all were accepted: a wrong key first looks like a batch that is too large.
            self.size = accepted
            with self._database.transaction() as connection:
                remember_batch_size(connection, MDBLIST.name, self.size)

    def _ask(self, batch: Sequence[DueItem]) -> MdbListAnswer:
        media_type = "movie" if batch[0].kind == "movie" else "series"
        if batch[0].imdb_id is not None:
            return self._client.titles(media_type, "imdb", [item.imdb_id or "" for item in batch])
        return self._client.titles(media_type, "tmdb", [item.tmdb_id or 0 for item in batch])


def _parts(items: Sequence[DueItem], size: int) -> list[Sequence[DueItem]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _attempt(item: DueItem, answer: MdbListAnswer) -> Attempt:
    asked = item.imdb_id if item.imdb_id is not None else item.tmdb_id
    if asked in answer.found:
        return Attempt(item, "ok", answer=answer.found[asked])
    if asked in answer.unreadable:
        return Attempt(item, "error", detail=f"MDBList's answer: {answer.unreadable[asked]}")
    if answer.doubtful:
        detail = "MDBList's answer held titles without ids, or that were not asked for, of which this may be one"
        return Attempt(item, "error", detail=detail)
    return Attempt(item, "not_found", detail=f"unknown to MDBList as {asked}")


MDBLIST: TitleSource[MdbList] = TitleSource(
    name="mdblist",
    label="MDBList",
    asks_by="imdb_or_tmdb",
    # One request at a time, since the size of the next batch may depend on the last.
    connect=lambda settings, key, **options: MdbList(settings.mdblist_url, key, **options),
    key=lambda settings: settings.mdblist_api_key,
    key_setting="MDBLIST_API_KEY",
    url=lambda settings: settings.mdblist_url,
    without_key="titles have no scores and keywords from MDBList",
    rate=lambda settings: RATE,
    # Of a free key, until MDBList reports the limit of this one.
    daily_limit=lambda settings: 1000,
    reports_quota=True,
    table="mdblist_scores",
    about="MDBList: scores of many sites, keywords, where titles stream.",
    description="""\
MDBList's scores of each title in the library, one row per work: its own score, Trakt, Letterboxd, Rotten Tomatoes'
critics and audience, Metacritic, keywords, where it streams.

A hundred titles per request; if MDBList accepts fewer, that is remembered. Stays within the daily quota that MDBList
reports. Skipped without an MDBList key.""",
    gives=(
        *gives(30, "imdb_rating", "imdb_votes", "rotten_tomatoes", "rotten_tomatoes_audience", "metacritic"),
        *gives(30, "letterboxd", "trakt", "streams", mdblist_score="score", official_rating="certification"),
        Gives("keywords", rank=30, joined=True),
    ),
    work_list=_work_list,
    cron="0 7 * * *",
)
