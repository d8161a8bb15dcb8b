"""The list of allowed deviations from TMDb's specification, with reasons.

A deviation is limited to places and values. Most also have a replacement for the exchange, which is then checked.
A deviation that no longer occurs at one of its places is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from aperture_dagster.simulator.tmdb.payloads import APPENDABLE
from aperture_dagster_tests.contracts.recorder import Exchange

if TYPE_CHECKING:
    from aperture_dagster_tests.contracts.specification import Difference, Specification

Instead = Callable[[Exchange], Iterable[Exchange]]


@dataclass(frozen=True)
class Deviation:
    """An allowed difference from the specification.

    ``where`` are patterns of ``operation place``. ``holds`` limits the differences at these places, and ``instead``
    returns the exchanges to check instead: their requests and responses.
    """

    side: str
    rule: str
    where: tuple[str, ...]
    differs: str
    because: str
    holds: Callable[[Difference], bool] = lambda difference: True
    instead: Instead | None = None

    def place_of(self, difference: Difference) -> str | None:
        """Return the pattern that a difference matches, or None."""
        if (self.side, self.rule) != (difference.side, difference.rule):
            return None
        place = f"{difference.operation} {difference.place}".strip()
        found = next((pattern for pattern in self.where if fnmatchcase(place, pattern)), None)
        return found if found is not None and self.holds(difference) else None

    def __str__(self) -> str:
        return f"{self.side}: {self.differs}"


# Replacements


def _key_in_header(exchange: Exchange) -> Iterable[Exchange]:
    query = dict(exchange.query)
    headers = (*exchange.request_headers, ("authorization", f"Bearer {query.pop('api_key')}"))
    yield exchange.but(request_headers=headers, query=list(query.items()))


_ERROR_CODES = {
    400: {22, 27}, 401: {3, 7, 10, 14}, 404: {6, 34}, 422: {5, 20}, 429: {25},
    500: {11}, 502: {43}, 503: {9, 46}, 504: {24},
}  # fmt: skip


def _error_form(exchange: Exchange) -> Iterable[Exchange]:
    """Check for ``success``, a code of the status, and a text."""
    content = exchange.json()
    assert set(content) == {"success", "status_code", "status_message"}, content
    assert content["success"] is False, content
    assert content["status_code"] in _ERROR_CODES[exchange.status], (exchange.status, content)
    assert content["status_message"] and isinstance(content["status_message"], str), content
    return ()


_WITHOUT_ID = ("recommendations", "similar")


def _parts_by_themselves(exchange: Exchange) -> Iterable[Exchange]:
    """Yield the response without the appended parts, and each part as a response of its own endpoint."""
    yield _details_alone(exchange)
    content = exchange.json()
    missing = [part for part in exchange.appended if part not in content]
    assert not missing, f"{exchange} lacks the requested {missing}"
    parts = {part: content[part] for part in exchange.appended}
    for part, of_part in parts.items():
        known = {} if part in _WITHOUT_ID else {"id": content["id"]}
        yield exchange.but(path=f"{exchange.path}/{part}", query=[], content=known | of_part)


def _details_alone(exchange: Exchange) -> Exchange:
    query = [(name, value) for name, value in exchange.query if name != "append_to_response"]
    content = {name: value for name, value in exchange.json().items() if name not in exchange.appended}
    return exchange.but(query=query, content=content)


def _as_last_episode(exchange: Exchange) -> Iterable[Exchange]:
    """Yield the next episode in place of the last one, which has the same form."""
    alone = _details_alone(exchange)
    content = alone.json()
    yield alone.but(
        content=content | {"last_episode_to_air": content["next_episode_to_air"], "next_episode_to_air": None}
    )


def _as_recommended(exchange: Exchange) -> Iterable[Exchange]:
    """Yield found series as recommended ones, which have the same form."""
    page = {"page": 1, "results": exchange.json()["tv_results"], "total_pages": 1, "total_results": 1}
    yield exchange.but(path="/3/tv/1/recommendations", query=[], content=page)


def _as_similar(exchange: Exchange) -> Iterable[Exchange]:
    """Yield similar titles as recommended ones, which have the same form except for the media type."""
    content = exchange.json()
    types = {entry.pop("media_type") for entry in content["results"]}
    assert types <= {"movie"}, types
    yield exchange.but(path=exchange.path.replace("recommendations", "similar"), content=content)


_OFFERS = ("flatrate", "free", "ads", "rent", "buy")


def _as_flatrate(exchange: Exchange) -> Iterable[Exchange]:
    """Yield the response with each kind of offer in place of flat rates, which are declared everywhere."""
    content = exchange.json()
    for kind in _OFFERS:
        results = {
            country: {"link": offers["link"], "flatrate": offers[kind]}
            for country, offers in content["results"].items()
            if set(offers) <= {"link", *_OFFERS} and kind in offers
        }
        yield exchange.but(content=content | {"results": results})


# The list

_MOVIE, _TV = "GET /3/movie/{movie_id}", "GET /3/tv/{series_id}"

DEVIATIONS: tuple[Deviation, ...] = (
    Deviation(
        "request", "undeclared",
        where=("GET /3/trending/movie/{time_window} query.page", "GET /3/trending/tv/{time_window} query.page"),
        differs="trending titles are read page by page",
        because="The answer has pages, and total_pages says how many; only the parameter is not declared.",
    ),
    Deviation(
        "request", "SecurityNotFound",
        where=("* header.authorization",),
        differs="a version 3 key is in the query",
        because="Only the header is declared; a version 3 key goes into the query as api_key.",
        holds=lambda difference: "api_key" in dict(difference.exchange.query),
        instead=_key_in_header,
    ),
    Deviation(
        "request", "undeclared",
        where=("* query.api_key",),
        differs="a version 3 key is a parameter that no operation declares",
        because="Only the header is declared; a version 3 key goes into the query as api_key.",
        holds=lambda difference: not difference.exchange.header("authorization", of="request"),
        instead=_key_in_header,
    ),
    Deviation(
        "answer", "ResponseNotFound",
        where=tuple(f"* {status}" for status in _ERROR_CODES),
        differs="errors have responses",
        because="Only 200 is declared; errors have their own form, and a code for each meaning.",
        instead=_error_form,
    ),
    Deviation(
        "answer", "undeclared",
        where=tuple(f"{_MOVIE} {part}" for part in APPENDABLE["movie"])
        + tuple(f"{_TV} {part}" for part in APPENDABLE["series"]),
        differs="appended objects are part of the details",
        because="The specification does not model what append_to_response appends; each has an endpoint that does.",
        holds=lambda difference: difference.place in difference.exchange.appended,
        instead=_parts_by_themselves,
    ),
    Deviation(
        "answer", "undeclared",
        where=tuple(f"{_MOVIE}/recommendations {name}" for name in ("page", "results", "total_pages", "total_results")),
        differs="recommendations of films are not empty",
        because="They can be {}, and were so in the example of the specification.",
        instead=_as_similar,
    ),
    Deviation(
        "answer", "unmodelled",
        where=(f"{_MOVIE}/recommendations",),
        differs="recommendations of films are not described",
        because="They can be {}, and were so in the example of the specification.",
        instead=_as_similar,
    ),
    Deviation(
        "answer", "unmodelled",
        where=(f"{_TV} next_episode_to_air",),
        differs="the next episode is not described",
        because="It is an episode or null, and was null in the example of the specification.",
        instead=_as_last_episode,
    ),
    Deviation(
        "answer", "unmodelled",
        where=("GET /3/find/{external_id} tv_results.[*]",),
        differs="found series are not described",
        because="Each media type is a list, and was empty in the example of the specification.",
        instead=_as_recommended,
    ),
    Deviation(
        "answer", "absent",
        where=(f"{_MOVIE}/watch/providers results.??", f"{_TV}/watch/providers results.??"),
        differs="not every country is present",
        because="Countries are keys; those without offers are left out.",
        holds=lambda difference: re.fullmatch("results.[A-Z]{2}", difference.place) is not None,
    ),
    Deviation(
        "answer", "absent",
        where=(f"{_MOVIE}/watch/providers results.??.*", f"{_TV}/watch/providers results.??.*"),
        differs="not every kind of offer is present",
        because="Kinds of offers are keys; those without services are left out.",
        holds=lambda difference: difference.place.rpartition(".")[2] in _OFFERS,
    ),
    Deviation(
        "answer", "undeclared",
        where=(f"{_MOVIE}/watch/providers results.??.*", f"{_TV}/watch/providers results.??.*"),
        differs="more kinds of offers are present",
        because="The same five kinds exist in every country; the example of the specification had some of them.",
        instead=_as_flatrate,
    ),
    Deviation(
        "answer", "type",
        where=(
            f"{_MOVIE} belongs_to_collection", f"{_MOVIE} imdb_id", f"{_MOVIE} production_companies.[*].logo_path",
            f"{_MOVIE}/credits cast.[*].profile_path", f"{_MOVIE}/credits crew.[*].profile_path",
            f"{_MOVIE}/external_ids imdb_id", f"{_MOVIE}/external_ids facebook_id",
            f"{_TV} created_by.[*].profile_path", f"{_TV} last_air_date", f"{_TV} last_episode_to_air",
            f"{_TV} last_episode_to_air.still_path", f"{_TV} networks.[*].logo_path",
            f"{_TV}/aggregate_credits cast.[*].profile_path", f"{_TV}/aggregate_credits crew.[*].profile_path",
            f"{_TV}/external_ids *_id", f"{_TV}/external_ids freebase_mid",
        ),
        differs="unknown values can be null",
        because="The specification declares no nullable field; TMDb sends null, \"\" or 0.",
        holds=lambda difference: difference.value is None,
    ),
    Deviation(
        "answer", "type",
        where=(f"{_TV} seasons.[*].vote_average", "GET /3/discover/tv results.[*].vote_average",
               "GET /3/tv/popular results.[*].vote_average", f"{_TV}/similar results.[*].vote_average"),
        differs="averages have decimal places",
        because="vote_average is a number; it was whole in the examples of the specification.",
        holds=lambda difference: isinstance(difference.value, float),
    ),
)  # fmt: skip


class Comparison:
    """Compares exchanges with the specification. ``met`` collects the places of deviations."""

    def __init__(self, specification: Specification) -> None:
        self._specification = specification
        self.met: set[tuple[Deviation, str]] = set()
        self._seen: set[tuple[str, ...]] = set()

    def unexplained(self, exchange: Exchange, sides: Collection[str] = ("request", "answer")) -> list[Difference]:
        """What differs and may not. Raises AssertionError where a deviation does not keep to its own rules."""
        sides = [side for side in sides if self._is_new(side, exchange)]
        left: list[Difference] = []
        followed: set[Instead] = set()
        for difference in self._specification.differences(exchange, sides):
            deviation, place = _known(difference)
            if deviation is None:
                left.append(difference)
                continue
            self.met.add((deviation, place))
            if deviation.instead is not None and deviation.instead not in followed:
                followed.add(deviation.instead)
                for substitute in deviation.instead(exchange):
                    left += self.unexplained(substitute, (deviation.side,))
        return left

    def _is_new(self, side: str, exchange: Exchange) -> bool:
        """Whether this half was not compared yet: a request that differs in ids and numbers alone is the same."""
        half: tuple[str, ...] = (side, exchange.method)
        if side == "request":
            names = [name for name, _ in exchange.request_headers]
            target = re.sub(r"\b([0-9a-f]{32}|tt\d+|\d+)\b", "…", f"{exchange.path}?{exchange.query_string}")
            half += (target, *names, exchange.request_body.decode())
        else:
            half += (exchange.path, str(exchange.status), *exchange.appended, str(exchange.answer_body))
        is_new = half not in self._seen
        self._seen.add(half)
        return is_new


def _known(difference: Difference) -> tuple[Deviation | None, str]:
    for deviation in DEVIATIONS:
        place = deviation.place_of(difference)
        if place is not None:
            return deviation, place
    return None, ""
