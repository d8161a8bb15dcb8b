"""A client of OMDb: ratings of critics and of IMDb's voters, and awards.

Habits of the service that shaped this file:

- The key is accepted in the query only.
- A spent day is 401, as is a wrong key; only the text tells them apart.
- "Not found" is 200 with ``"Response": "False"``.
- Every value is text, "N/A" for unknown, in JSON that is written by hand: see :func:`parse_json` for what that costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

from aperture_dagster.resources import omdb_values as values
from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer, NotFound, QuotaSpent, ServiceError, ServiceRefused
from aperture_dagster.resources.json_text import expect
from aperture_dagster.resources.messages import Answer
from aperture_dagster.resources.redaction import redact
from aperture_dagster.resources.transport import TemporaryError, Transport

# IMDb's first entry: as good as any to see whether the key is taken.
ANY_TITLE = "tt0000001"
_IMDB_ID = re.compile(r"tt[0-9]{1,10}")
_SPENT = re.compile(r"limit (?:has been )?reached|(?:request|daily|rate) limit|limit exceeded|quota", re.IGNORECASE)
_KEY = re.compile(r"\bapi ?key\b", re.IGNORECASE)
# "Incorrect IMDb ID." is said of ids that IMDb has and OMDb has not; "Error getting data." of obscure ones.
_NOT_FOUND = re.compile(r"not found|incorrect imdb id|error getting data", re.IGNORECASE)
_PASSING = re.compile(r"something went wrong", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OmdbTitle:
    """What OMDb says of a title; a field that it does not know is None, and never 0 for it.

    ``year`` is the first of a series; the numbers of awards are as :class:`~omdb_values.Awards` has them.
    """

    imdb_id: str
    media_type: str | None
    title: str | None
    year: int | None
    imdb_rating: float | None
    imdb_votes: int | None
    rotten_tomatoes: int | None
    metacritic: int | None
    awards: str | None
    award_wins: int | None
    award_nominations: int | None
    oscars_won: int | None
    oscar_nominations: int | None
    emmys_won: int | None
    emmy_nominations: int | None
    rated: str | None
    released: date | None
    runtime_minutes: int | None
    box_office_dollars: int | None

    def as_row(self, work_id: int) -> dict[str, Any]:
        """The row of ``omdb_ratings`` for a work."""
        return {"work_id": work_id} | {name: getattr(self, name) for name in ROW_FIELDS}


# What the catalogue and TMDb know better is not kept.
ROW_FIELDS = tuple(name for name in OmdbTitle.__slots__ if name not in ("media_type", "title", "year"))


class Omdb(ServiceClient):
    """OMDb over HTTP.

    Args:
        transport: to its address, with the key, the limit, the quota, and :func:`inspector`.
    """

    @classmethod
    def connect(
        cls,
        url: str,
        api_key: str,
        **options: Any,
    ) -> Omdb:
        """Make a client; ``options`` are passed to the transport."""
        return cls(
            Transport(
                "OMDb",
                url,
                params={"apikey": api_key},
                inspect=inspector(api_key),
                secrets=[api_key],
                setting="OMDB_API_KEY",
                address_setting="APERTURE_OMDB_URL",
                **options,
            )
        )

    def check(self) -> None:
        """Ask for one title, whichever it finds, to see whether the key is taken. Costs one request of the day's.

        Raises as :meth:`title`, but never NotFound.
        """
        try:
            self._ask(ANY_TITLE)
        except NotFound:
            return

    def title(self, imdb_id: str) -> OmdbTitle:
        """Everything about a title, in one request.

        Raises:
            NotFound: OMDb has no such title; also, and without a request, for what is no IMDb id of a title.
            BadAnswer: the answer cannot be read, or is about another title.
            QuotaSpent: the day's requests are used up.
            ServiceRefused: OMDb does not take the key.
            ServiceUnavailable: see :class:`Transport`.
        """
        if not _IMDB_ID.fullmatch(imdb_id):
            raise NotFound(f"OMDb was not asked: {imdb_id!r} is no IMDb id of a title")
        return read_title(self._ask(imdb_id), imdb_id)

    def _ask(self, imdb_id: str) -> Any:
        return self.transport.get_json("/", {"i": imdb_id, "r": "json"}, lenient=True)


def inspector(api_key: str) -> Callable[[Answer], None]:
    """A hook for :class:`Transport` that raises what an answer of OMDb means, whatever its status."""

    def inspect(answer: Answer) -> None:
        if answer.status in (200, 401, 403):
            said = _error_of(answer)
            if said is not None:
                raise _meaning(redact(said, [api_key])[:160], refused=answer.status != 200)
        if answer.status == 404:
            # It has one page, and says "not found" in words: this is another server, or it is half down.
            raise TemporaryError("answered 404, which OMDb does for no title. Check APERTURE_OMDB_URL")

    return inspect


def read_title(answer: Any, imdb_id: str) -> OmdbTitle:
    """OMDb's answer for a title, read.

    Raises:
        BadAnswer: it is not an object, does not say whether it is an answer, or is about another title.
    """
    answer = expect(answer, dict, "OMDb's answer")
    response = expect(answer.get("Response"), str, "OMDb's answer: Response")
    if response.strip().lower() != "true":
        raise BadAnswer(f"OMDb's answer for {imdb_id}: Response is {response[:40]!r}")
    found = expect(answer.get("imdbID"), str, "OMDb's answer: imdbID").strip()
    # Some write the number with more zeros before it.
    if not _IMDB_ID.fullmatch(found) or int(found[2:]) != int(imdb_id[2:]):
        raise BadAnswer(f"OMDb was asked for {imdb_id} and answered with {found[:40]!r}")
    awards = values.awards(answer.get("Awards"))
    first_and_last = values.years(answer.get("Year"))
    ratings = _ratings(answer.get("Ratings"))
    metascore = values.count(answer.get("Metascore"), most=100)
    of_hundred = values.out_of(ratings.get("metacritic"), 100)
    rating = values.number(answer.get("imdbRating"), most=10)
    return OmdbTitle(
        imdb_id=imdb_id,
        media_type=values.known(answer.get("Type")),
        title=values.known(answer.get("Title")),
        year=first_and_last.first if first_and_last else None,
        imdb_rating=rating if rating is not None else values.out_of(ratings.get("internet movie database"), 10),
        imdb_votes=values.count(answer.get("imdbVotes")),
        rotten_tomatoes=values.percent(ratings.get("rotten tomatoes")),
        metacritic=metascore if metascore is not None or of_hundred is None else round(of_hundred),
        awards=values.known(answer.get("Awards")),
        award_wins=awards.wins,
        award_nominations=awards.nominations,
        oscars_won=awards.oscars_won,
        oscar_nominations=awards.oscar_nominations,
        emmys_won=awards.emmys_won,
        emmy_nominations=awards.emmy_nominations,
        rated=values.known(answer.get("Rated")),
        released=values.day(answer.get("Released")),
        runtime_minutes=values.minutes(answer.get("Runtime")),
        box_office_dollars=values.dollars(answer.get("BoxOffice")),
    )


def _ratings(value: Any) -> dict[str, Any]:
    """The values by who gives them, in small letters."""
    entries = value if isinstance(value, list) else []
    return {
        source.lower(): entry.get("Value")
        for entry in reversed(entries)
        if isinstance(entry, dict) and (source := values.known(entry.get("Source")))
    }


def _error_of(answer: Answer) -> str | None:
    """What went wrong in OMDb's words, "" where it has none for it; None for an answer that is no error."""
    if answer.status == 200 and b"false" not in answer.body.lower():
        return None
    try:
        content = answer.json(lenient=True)
    except BadAnswer:
        content = None
    fields = content if isinstance(content, dict) else {}
    words = values.known(fields.get("Error")) or ""
    if answer.status == 200:
        response_field = fields.get("Response")
        is_error = isinstance(response_field, str) and response_field.strip().lower() == "false"
        return words if is_error else None
    if not words and content is None and "html" not in answer.headers.get("content-type", ""):
        words = values.known(answer.text) or ""
    return words


def _meaning(said: str, *, refused: bool) -> ServiceError | TemporaryError:
    in_brackets = f" ({said})" if said else ""
    if _SPENT.search(said):
        return QuotaSpent(
            f"OMDb: the day's requests are used up{in_brackets}. What was fetched is kept; "
            "it goes on when the next day begins."
        )
    if refused or _KEY.search(said):
        return ServiceRefused(
            f"OMDb: the key was refused{in_brackets}. Check OMDB_API_KEY; "
            "a new key is taken only after the link in OMDb's mail was opened."
        )
    if _NOT_FOUND.search(said):
        return NotFound(f"OMDb has no such title{in_brackets}")
    if _PASSING.search(said):
        return TemporaryError(f"answered: {said}")
    return BadAnswer(f"OMDb answered with an error that is not known: {said or 'no reason given'}")
