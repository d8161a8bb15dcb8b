"""A client of OMDb.

Facts about the API that shaped this module:

- The key is accepted in the query only.
- A spent quota is 401, like a wrong key; only the text tells them apart.
- "Not found" is 200 with ``"Response": "False"``.
- Every value is text, "N/A" if unknown, in JSON that is assembled by hand and sometimes malformed; see
  :func:`parse_json`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import Any

from aperture_dagster.enrichment.omdb.values import awards, count, known, number, out_of, percent
from aperture_dagster.http import errors
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.messages import Answer, expect, objects
from aperture_dagster.http.redaction import redact

# IMDb's first entry, to verify the key with.
ANY_TITLE = "tt0000001"
_IMDB_ID = re.compile(r"tt[0-9]{1,10}")
_SPENT = re.compile(r"limit (?:has been )?reached|(?:request|daily|rate) limit|limit exceeded|quota", re.IGNORECASE)
_KEY = re.compile(r"\bapi ?key\b", re.IGNORECASE)
# "Incorrect IMDb ID." is the answer for ids that OMDb lacks, "Error getting data." for obscure ones.
_NOT_FOUND = re.compile(r"not found|incorrect imdb id|error getting data", re.IGNORECASE)
_PASSING = re.compile(r"something went wrong", re.IGNORECASE)


class Omdb(ServiceClient):
    """OMDb; ``options`` are passed to the transport."""

    def __init__(self, url: str, api_key: str, **options: Any) -> None:
        super().__init__(
            "OMDb",
            url,
            params={"apikey": api_key},
            inspect=partial(inspect, api_key),
            secrets=[api_key],
            setting="OMDB_API_KEY",
            address_setting="APERTURE_OMDB_URL",
            **options,
        )

    def check(self) -> None:
        """Request any title to verify the key; costs one request of the quota. Raises as :meth:`title`."""
        with suppress(errors.NotFound):
            self._fetch(ANY_TITLE)

    def title(self, imdb_id: str) -> dict[str, Any]:
        """Request the columns of ``omdb_ratings`` of a title.

        Raises:
            NotFound: OMDb has no such title; also, and without a request, if the id is not that of a title on IMDb.
            BadAnswer: the answer cannot be parsed, or is about another title.
            QuotaSpent: the day's requests are used up.
            ServiceRefused: OMDb does not accept the key.
            ServiceUnavailable: see :class:`Transport`.
        """
        if not _IMDB_ID.fullmatch(imdb_id):
            raise errors.NotFound(f"OMDb was not asked: {imdb_id!r} is not the IMDb id of a title")
        return parse_title(self._fetch(imdb_id), imdb_id)

    def _fetch(self, imdb_id: str) -> Any:
        return self.transport.get_json("/", {"i": imdb_id, "r": "json"}, lenient=True)


def inspect(api_key: str, answer: Answer) -> None:
    """Raise what an answer of OMDb means, whatever its status; a hook for :class:`Transport`."""
    if answer.status in (401, 403) or (answer.status == 200 and _is_error(answer)):
        message = known(answer.message("Error", lenient=True)) or ""
        raise _meaning(redact(message, [api_key])[:160], refused=answer.status != 200)
    if answer.status == 404:
        # OMDb has one path, and reports unknown titles with 200: this is another server, or OMDb is half down.
        raise errors.TemporaryError("answered 404, as OMDb never does for a title. Check APERTURE_OMDB_URL")


def _is_error(answer: Answer) -> bool:
    if b"false" not in answer.body.lower():
        return False
    response = answer.fields(lenient=True).get("Response")
    return isinstance(response, str) and response.strip().lower() == "false"


def _meaning(message: str, *, refused: bool) -> errors.ServiceError | errors.TemporaryError:
    quoted = f" ({message})" if message else ""
    if _SPENT.search(message):
        return errors.QuotaSpent(
            f"OMDb: the day's requests are used up{quoted}. What was fetched is kept; the rest follows the next day."
        )
    if refused or _KEY.search(message):
        return errors.ServiceRefused(
            f"OMDb: the key was refused{quoted}. Check OMDB_API_KEY; "
            "a new key works only after the link in OMDb's e-mail was opened."
        )
    if _NOT_FOUND.search(message):
        return errors.NotFound(f"OMDb has no such title{quoted}")
    if _PASSING.search(message):
        return errors.TemporaryError(f"answered: {message}")
    return errors.BadAnswer(f"OMDb answered with an unknown error: {message or 'no reason given'}")


def parse_title(answer: Any, imdb_id: str) -> dict[str, Any]:
    """Parse OMDb's answer for a title: the columns of ``omdb_ratings``, None if unknown, never 0.

    Raises:
        BadAnswer: it is not an object, is not marked as an answer, or is about another title.
    """
    answer = expect(answer, dict, "OMDb's answer")
    response = expect(answer.get("Response"), str, "OMDb's answer: Response")
    if response.strip().lower() != "true":
        raise errors.BadAnswer(f"OMDb's answer for {imdb_id}: Response is {response[:40]!r}")
    found = expect(answer.get("imdbID"), str, "OMDb's answer: imdbID").strip()
    # The number may have more leading zeros.
    if not _IMDB_ID.fullmatch(found) or int(found[2:]) != int(imdb_id[2:]):
        raise errors.BadAnswer(f"OMDb was asked for {imdb_id} and answered with {found[:40]!r}")
    ratings = {
        source.lower(): entry.get("Value")
        for entry in reversed(objects(answer.get("Ratings")))
        if (source := known(entry.get("Source")))
    }
    metascore = count(answer.get("Metascore"), most=100)
    of_hundred = out_of(ratings.get("metacritic"), 100)
    rating = number(answer.get("imdbRating"), most=10)
    return {
        "imdb_rating": rating if rating is not None else out_of(ratings.get("internet movie database"), 10),
        "imdb_votes": count(answer.get("imdbVotes")),
        "rotten_tomatoes": percent(ratings.get("rotten tomatoes")),
        "metacritic": metascore if metascore is not None or of_hundred is None else round(of_hundred),
        "awards": known(answer.get("Awards")),
        **awards(answer.get("Awards"))._asdict(),
        "rated": known(answer.get("Rated")),
    }
