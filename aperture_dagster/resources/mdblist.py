"""A client of MDBList: scores of many sites, keywords, and where titles stream, many titles in one request.

Habits of the service that shaped this file:

- The key is accepted in the query only.
- A batch costs one request of the day's quota, whatever its size. Titles that MDBList does not know are absent from
  the answer, whose order means nothing.
- How many ids a batch may have depends on the account; a larger one may be refused with the status of a wrong key.
- A spent day is 429, or 200 with an error in the body; requests are counted over some minutes, too, with 429.
- Letterboxd's value is out of 10 in batches and out of 5 elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Literal, TypeVar

from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import (
    BadAnswer,
    NotFound,
    QuotaSpent,
    Redirected,
    RequestRejected,
    ServiceRefused,
)
from aperture_dagster.resources.json_text import expect
from aperture_dagster.resources.media_server.records import MediaType
from aperture_dagster.resources.messages import Answer, retry_after_seconds
from aperture_dagster.resources.quota import Quota
from aperture_dagster.resources.redaction import redact
from aperture_dagster.resources.transport import Transport

Provider = Literal["imdb", "tmdb", "trakt", "tvdb", "mal"]
Id = TypeVar("Id", bound=int | str)
TYPES: dict[MediaType, str] = {"movie": "movie", "series": "show"}
# Where a refused batch is tried again with fewer; every account is said to be allowed ten.
BATCH_STEPS = (100, 50, 10, 1)
ALWAYS_ALLOWED = 10
SIZE_STATUSES = frozenset({400, 403, 413})
LARGEST_COUNT = 2**31 - 1
HIGHEST_AGE = 21
LETTERBOXD = "letterboxd"
# The service counts requests over five minutes, too.
LONGEST_WINDOW_SECONDS = 15 * 60
_SPENT = re.compile(r"limit (?:has been )?(?:reached|exceeded)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,16})?")


class BatchTooLarge(RequestRejected):
    """MDBList refuses a batch, probably for its size; ``asked`` ids were in it, and ``smaller`` is the size to try."""

    def __init__(self, message: str, asked: int) -> None:
        super().__init__(message)
        self.asked = asked
        self.smaller = next(step for step in BATCH_STEPS if step < asked)


@dataclass(frozen=True, slots=True)
class MdbListTitle:
    """What MDBList says of a title, each score on its own site's scale; what it does not know is None or empty."""

    score: int | None
    score_average: int | None
    imdb_rating: float | None
    imdb_votes: int | None
    trakt: float | None
    letterboxd: float | None
    rotten_tomatoes: float | None
    rotten_tomatoes_audience: float | None
    metacritic: float | None
    metacritic_user: float | None
    roger_ebert: float | None
    tmdb_score: float | None
    my_anime_list: float | None
    keywords: list[str]
    streams: list[str]
    watch_providers: list[str]
    certification: str | None
    age_rating: int | None

    def as_row(self, work_id: int) -> dict[str, Any]:
        """The row of ``mdblist_scores`` for a work."""
        return {"work_id": work_id} | {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class MdbListAnswer(Generic[Id]):
    """One batch.

    An id that is in neither ``found`` nor ``unreadable`` MDBList does not have, provided that ``doubtful`` is 0: an
    entry without an id, or about another id than those asked for, may have been meant for any of them.
    """

    found: dict[Id, MdbListTitle] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unreadable: dict[Id, str] = field(default_factory=dict)
    doubtful: int = 0


@dataclass(frozen=True, slots=True)
class MdbListAccount:
    """Whose key it is, and how many requests a day it allows; what MDBList does not say is None."""

    name: str | None
    plan: str | None
    rate_limit: int | None
    rate_limit_remaining: int | None


# The sources of ``ratings[]``, by the field that they fill, and the best value on their scale.
SCALES: dict[str, tuple[str, float]] = {
    "imdb": ("imdb_rating", 10),
    "trakt": ("trakt", 100),
    "letterboxd": (LETTERBOXD, 5),
    "tomatoes": ("rotten_tomatoes", 100),
    "popcorn": ("rotten_tomatoes_audience", 100),
    "tomatoesaudience": ("rotten_tomatoes_audience", 100),
    "audience": ("rotten_tomatoes_audience", 100),
    "metacritic": ("metacritic", 100),
    "metacriticuser": ("metacritic_user", 10),
    "rogerebert": ("roger_ebert", 4),
    "tmdb": ("tmdb_score", 100),
    "myanimelist": ("my_anime_list", 10),
}


class MdbList(ServiceClient):
    """MDBList over HTTP.

    Args:
        transport: to its address, with the key, the limit, the quota, and :func:`inspector`.
        batch_size: ids that one request may ask about.
    """

    def __init__(self, transport: Transport, *, batch_size: int = BATCH_STEPS[0]) -> None:
        super().__init__(transport)
        self.batch_size = batch_size
        # Documented both ways; the one that is accepted stays.
        self._path_endings: tuple[str, ...] = ("", "/")

    @classmethod
    def connect(
        cls,
        url: str,
        api_key: str,
        *,
        quota: Quota | None = None,
        batch_size: int = BATCH_STEPS[0],
        **options: Any,
    ) -> MdbList:
        """Make a client; ``options`` are passed to the transport.

        What MDBList reports of its daily quota is passed on to ``quota``.
        """
        transport = Transport(
            "MDBList",
            url,
            params={"apikey": api_key},
            quota=quota,
            inspect=inspector(api_key, quota),
            secrets=[api_key],
            setting="MDBLIST_API_KEY",
            address_setting="APERTURE_MDBLIST_URL",
            **{"timeout_seconds": 60, **options},
        )
        return cls(transport, batch_size=batch_size)

    def check(self) -> None:
        """Ask whose key it is, to see whether it is taken; may cost one request of the day's. Raises as
        :meth:`account`.
        """
        self.account()

    def account(self) -> MdbListAccount:
        """Whose key it is, and how many requests it allows.

        Raises:
            BadAnswer: the answer says nothing of an account.
            ServiceRefused: MDBList does not take the key (401, 403).
            QuotaSpent, ServiceUnavailable: see :meth:`titles`.
        """
        try:
            answer = self.transport.get_json("/user")
        except _Refused as refused:
            raise refused.meaning() from None
        return read_account(answer)

    def titles(self, media_type: MediaType, provider: Provider, ids: Sequence[Id]) -> MdbListAnswer[Id]:
        """What MDBList has of ``batch_size`` titles at most, in one request, by the ids that they were asked by.

        A batch refused with 400, 403 or 413 may be too large for the account, whatever the text says. 403 is also said
        of a wrong key; what tells the two apart is a smaller batch: one of ten ids or fewer every account may ask
        for, so that a 403 for that means the key. Whoever steps down from 100 knows after three requests.

        Raises:
            BatchTooLarge: refused, and fewer ids may be taken.
            ServiceRefused: MDBList does not take the key: 401, or 403 for ten ids or fewer.
            RequestRejected: even one id is refused.
            QuotaSpent: the day's requests are used up.
            BadAnswer: the answer is no list of titles; a single bad entry is only a problem.
            ServiceUnavailable: see :class:`Transport`.
            ValueError: more ids than ``batch_size``.
        """
        asked = {str(one): one for one in ids}
        if len(asked) > self.batch_size:
            raise ValueError(f"{len(asked)} ids asked for at once, and {self.batch_size} allowed")
        if not asked:
            return MdbListAnswer()
        body = {"ids": list(asked.values()), "append_to_response": ["keyword"]}
        try:
            answer = self._post(f"/{provider}/{TYPES[media_type]}", body)
        except _Refused as refused:
            raise refused.meaning(len(asked)) from None
        except NotFound:
            return MdbListAnswer()
        return read_titles(answer, provider, asked)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """POST to ``path``, with or without a slash at its end. Raises the first refusal when both are refused."""
        refusal: RequestRejected | None = None
        for ending in self._path_endings:
            try:
                answer = self.transport.post_json(path + ending, body, repeatable=True)
            except (Redirected, NoSuchPath) as error:
                refusal = refusal or error
            else:
                self._path_endings = (ending,)
                return answer
        assert refusal is not None
        raise refusal


class NoSuchPath(RequestRejected):
    """404 for a path; another server would answer so, too."""


class _Refused(Exception):
    """A refusal, before it is known what of."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status, self.said = status, f": {said}" if said else ""

    def meaning(self, asked: int = 1) -> ServiceRefused | RequestRejected:
        """What it means for a request that asked about so many titles."""
        if self.status == 401 or (self.status == 403 and asked <= ALWAYS_ALLOWED):
            return ServiceRefused(f"MDBList: the key was refused ({self.status}){self.said}. Check MDBLIST_API_KEY.")
        if asked > 1:
            return BatchTooLarge(f"MDBList refuses {asked} titles at once ({self.status}){self.said}", asked)
        return RequestRejected(f"MDBList: answered {self.status}{self.said}")


def inspector(api_key: str, quota: Quota | None = None) -> Callable[[Answer], None]:
    """A hook for :class:`Transport` that raises what an answer of MDBList means beyond its status."""

    def inspect(answer: Answer) -> None:
        limit, remaining = (_count_in(answer.headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining"))
        said = redact(_words(answer), [api_key])[:160]
        if answer.status == 429:
            wait = retry_after_seconds(answer.headers)
            if remaining != 0 or (wait is not None and wait <= LONGEST_WINDOW_SECONDS):
                # Too many within some minutes: not the end of the day, whose numbers these are not.
                return
        if quota is not None and limit and remaining is not None and remaining <= limit:
            quota.report(limit, remaining)
        if answer.status == 429:
            raise _spent_day("")
        if answer.status == 401 or answer.status in SIZE_STATUSES:
            raise _Refused(answer.status, said)
        if answer.status == 404:
            if "item not found" in said.lower():
                raise NotFound(f"MDBList has no such title: {said}")
            raise NoSuchPath(f"MDBList: answered 404{f': {said}' if said else ''}. Check APERTURE_MDBLIST_URL")
        if answer.status == 200 and said:
            raise (
                _spent_day(f" ({said})")
                if _SPENT.search(said)
                else BadAnswer(f"MDBList answered with an error: {said}")
            )

    return inspect


def _spent_day(said: str) -> QuotaSpent:
    return QuotaSpent(
        f"MDBList: the day's requests are used up{said}. What was fetched is kept; it goes on when the next day begins."
    )


def read_account(answer: Any) -> MdbListAccount:
    """MDBList's answer for an account, whose fields have had several names.

    Raises:
        BadAnswer: it is not an object, or holds nothing of an account.
    """
    answer = expect(answer, dict, "MDBList's account")
    limit = _first_count(answer, "rate_limit", "api_requests")
    remaining = _first_count(answer, "rate_limit_remaining")
    used = _first_count(answer, "api_requests_count")
    if remaining is None and limit is not None and used is not None:
        remaining = max(limit - used, 0)
    account = MdbListAccount(
        name=_text(answer.get("username")) or _text(answer.get("user_name")),
        plan=_text(answer.get("plan")) or _text(answer.get("patron_status")),
        rate_limit=limit,
        rate_limit_remaining=remaining,
    )
    if account == MdbListAccount(None, None, None, None) and not answer.get("user_id"):
        raise BadAnswer("MDBList's answer says nothing of an account")
    return account


def read_titles(answer: Any, provider: Provider, asked: dict[str, Id]) -> MdbListAnswer[Id]:
    """MDBList's answer for a batch, joined to what was ``asked`` (the ids by their text) by the entries' own ids.

    Raises:
        BadAnswer: it is no list.
    """
    result: MdbListAnswer[Id] = MdbListAnswer()
    doubtful = 0
    for place, entry in enumerate(expect(answer, list, "MDBList's answer"), 1):
        known_as = _id_of(entry, provider)
        where = f"entry {place} of {len(answer)}"
        if known_as is None:
            doubtful += 1
            result.problems.append(f"{where} has no {provider} id")
        elif known_as not in asked:
            doubtful += 1
            result.problems.append(f"{where} is about {provider} {known_as[:40]!r}, which was not asked for")
        elif asked[known_as] in result.found:
            result.problems.append(f"{where} is about {provider} {known_as}, as was one before it")
        else:
            try:
                result.found[asked[known_as]] = read_title(entry)
                result.unreadable.pop(asked[known_as], None)
            except BadAnswer as error:
                result.problems.append(f"{where}, {provider} {known_as}: {error}")
                result.unreadable[asked[known_as]] = str(error)
    return replace(result, doubtful=doubtful)


def read_title(entry: Any) -> MdbListTitle:
    """One entry of a batch.

    Raises:
        BadAnswer: it is no object, or a list in it is something else.
    """
    entry = expect(entry, dict, "the entry")
    scores: dict[str, float | None] = {name: None for name, _ in SCALES.values()}
    imdb_votes = None
    for rating in _list(entry, "ratings"):
        source = rating.get("source")
        if not isinstance(source, str) or (source := source.strip().lower()) not in SCALES:
            continue
        name, best = SCALES[source]
        if scores[name] is None:
            scores[name] = _letterboxd(rating) if source == LETTERBOXD else _on_scale(rating.get("value"), best)
        if source == "imdb":
            imdb_votes = _whole(rating.get("votes"), LARGEST_COUNT)
    return MdbListTitle(
        score=_whole(entry.get("score"), 100),
        score_average=_whole(entry.get("score_average"), 100),
        imdb_votes=imdb_votes,
        keywords=_names(entry, "keywords"),
        streams=_names(entry, "streams"),
        watch_providers=_names(entry, "watch_providers"),
        certification=_text(entry.get("certification")),
        age_rating=_whole(entry.get("age_rating"), HIGHEST_AGE),
        **scores,
    )


def _letterboxd(rating: dict[str, Any]) -> float | None:
    """A mark out of 5. ``value`` is out of 10 in batches and out of 5 elsewhere; ``score`` is out of 100 in both."""
    score = _on_scale(rating.get("score"), 100)
    return None if score is None else round(score / 20, 2)


def _id_of(entry: Any, provider: Provider) -> str | None:
    ids = entry.get("ids") if isinstance(entry, dict) else None
    found = ids.get(provider) if isinstance(ids, dict) else None
    if isinstance(found, bool) or not isinstance(found, (int, str)):
        return None
    return str(found).strip() or None


def _list(entry: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = entry.get(name)
    if value is None:
        return []
    return [one for one in expect(value, list, name) if isinstance(one, dict)]


def _names(entry: dict[str, Any], name: str) -> list[str]:
    return _unique(_text(one.get("name")) for one in _list(entry, name))


def _unique(names: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def _text(value: Any) -> str | None:
    return " ".join(value.split()) or None if isinstance(value, str) else None


def _on_scale(value: Any, best: float) -> float | None:
    """A number or its text, above 0 and no more than ``best``, to four decimals; 0 is MDBList's word for unknown."""
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


def _first_count(answer: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = answer.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT:
            return value
        if isinstance(value, str) and (found := _count_in(value)) is not None:
            return found
    return None


def _words(answer: Answer) -> str:
    """What went wrong in the service's words, wherever it says it; markup says nothing to the operator."""
    if answer.body[:200].lstrip()[:1] == b"{":
        try:
            content = answer.json()
        except BadAnswer:
            return ""
        return next((words for name in ("error", "detail") if (words := _text(content.get(name)))), "")
    is_text = answer.status != 200 and "html" not in answer.headers.get("content-type", "")
    return (_text(answer.text) or "") if is_text else ""
