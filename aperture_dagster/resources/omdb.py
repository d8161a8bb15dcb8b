"""A client of OMDb: ratings of critics and of IMDb's voters, and awards.

Facts about the API that shaped this module:

- The key is accepted in the query only.
- A spent quota is 401, like a wrong key; only the text tells them apart.
- "Not found" is 200 with ``"Response": "False"``.
- Every value is text, "N/A" if unknown, in JSON that is assembled by hand and sometimes malformed; see
  :func:`parse_json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from aperture_dagster.resources import omdb_values as values
from aperture_dagster.resources.client import ServiceClient
from aperture_dagster.resources.errors import BadAnswer, NotFound, QuotaSpent, ServiceError, ServiceRefused
from aperture_dagster.resources.json_text import expect
from aperture_dagster.resources.messages import Answer
from aperture_dagster.resources.redaction import redact
from aperture_dagster.resources.transport import TemporaryError, Transport

# IMDb's first entry, to verify the key with.
ANY_TITLE = "tt0000001"
_IMDB_ID = re.compile(r"tt[0-9]{1,10}")
_SPENT = re.compile(r"limit (?:has been )?reached|(?:request|daily|rate) limit|limit exceeded|quota", re.IGNORECASE)
_KEY = re.compile(r"\bapi ?key\b", re.IGNORECASE)
# "Incorrect IMDb ID." is the answer for ids that OMDb lacks, "Error getting data." for obscure ones.
_NOT_FOUND = re.compile(r"not found|incorrect imdb id|error getting data", re.IGNORECASE)
_PASSING = re.compile(r"something went wrong", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OmdbTitle:
    """OMDb's facts about a title; unknown values are None, never 0. For awards see :class:`~omdb_values.Awards`."""

    imdb_id: str
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
        """Return the row of ``omdb_ratings`` for a work."""
        return {"work_id": work_id} | asdict(self)


class Omdb(ServiceClient):
    """OMDb.

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
        """Request a title to verify the key, whether or not OMDb has it. Costs one request of the daily quota.

        Raises as :meth:`title`, but never NotFound.
        """
        with suppress(NotFound):
            self._fetch(ANY_TITLE)

    def title(self, imdb_id: str) -> OmdbTitle:
        """Request everything about a title.

        Raises:
            NotFound: OMDb has no such title; also, and without a request, if the id is not that of a title on IMDb.
            BadAnswer: the answer cannot be parsed, or is about another title.
            QuotaSpent: the day's requests are used up.
            ServiceRefused: OMDb does not accept the key.
            ServiceUnavailable: see :class:`Transport`.
        """
        if not _IMDB_ID.fullmatch(imdb_id):
            raise NotFound(f"OMDb was not asked: {imdb_id!r} is not the IMDb id of a title")
        return parse_title(self._fetch(imdb_id), imdb_id)

    def _fetch(self, imdb_id: str) -> Any:
        return self.transport.get_json("/", {"i": imdb_id, "r": "json"}, lenient=True)


def inspector(api_key: str) -> Callable[[Answer], None]:
    """Make a hook for :class:`Transport` that raises what an answer of OMDb means, whatever its status."""

    def inspect(answer: Answer) -> None:
        if answer.status in (200, 401, 403):
            message = _error_message(answer)
            if message is not None:
                raise _meaning(redact(message, [api_key])[:160], refused=answer.status != 200)
        if answer.status == 404:
            # OMDb has one path, and reports unknown titles with 200: this is another server, or OMDb is half down.
            raise TemporaryError("answered 404, as OMDb never does for a title. Check APERTURE_OMDB_URL")

    return inspect


def parse_title(answer: Any, imdb_id: str) -> OmdbTitle:
    """Parse OMDb's answer for a title.

    Raises:
        BadAnswer: it is not an object, is not marked as an answer, or is about another title.
    """
    answer = expect(answer, dict, "OMDb's answer")
    response = expect(answer.get("Response"), str, "OMDb's answer: Response")
    if response.strip().lower() != "true":
        raise BadAnswer(f"OMDb's answer for {imdb_id}: Response is {response[:40]!r}")
    found = expect(answer.get("imdbID"), str, "OMDb's answer: imdbID").strip()
    # The number may have more leading zeros.
    if not _IMDB_ID.fullmatch(found) or int(found[2:]) != int(imdb_id[2:]):
        raise BadAnswer(f"OMDb was asked for {imdb_id} and answered with {found[:40]!r}")
    awards = values.awards(answer.get("Awards"))
    ratings = _ratings(answer.get("Ratings"))
    metascore = values.count(answer.get("Metascore"), most=100)
    of_hundred = values.out_of(ratings.get("metacritic"), 100)
    rating = values.number(answer.get("imdbRating"), most=10)
    return OmdbTitle(
        imdb_id=imdb_id,
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
    """Return the ratings by their source, in lower case."""
    entries = value if isinstance(value, list) else []
    return {
        source.lower(): entry.get("Value")
        for entry in reversed(entries)
        if isinstance(entry, dict) and (source := values.known(entry.get("Source")))
    }


def _error_message(answer: Answer) -> str | None:
    """Return OMDb's error message, "" if there is none; None for an answer that is not an error."""
    if answer.status == 200 and b"false" not in answer.body.lower():
        return None
    try:
        content = answer.json(lenient=True)
    except BadAnswer:
        content = None
    fields = content if isinstance(content, dict) else {}
    message = values.known(fields.get("Error")) or ""
    if answer.status == 200:
        response = fields.get("Response")
        is_error = isinstance(response, str) and response.strip().lower() == "false"
        return message if is_error else None
    if not message and content is None and "html" not in answer.content_type:
        message = values.known(answer.text) or ""
    return message


def _meaning(message: str, *, refused: bool) -> ServiceError | TemporaryError:
    quoted = f" ({message})" if message else ""
    if _SPENT.search(message):
        return QuotaSpent(
            f"OMDb: the day's requests are used up{quoted}. What was fetched is kept; the rest follows the next day."
        )
    if refused or _KEY.search(message):
        return ServiceRefused(
            f"OMDb: the key was refused{quoted}. Check OMDB_API_KEY; "
            "a new key works only after the link in OMDb's e-mail was opened."
        )
    if _NOT_FOUND.search(message):
        return NotFound(f"OMDb has no such title{quoted}")
    if _PASSING.search(message):
        return TemporaryError(f"answered: {message}")
    return BadAnswer(f"OMDb answered with an unknown error: {message or 'no reason given'}")
