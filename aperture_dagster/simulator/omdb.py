"""A stand-in for OMDb."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date
from typing import Any

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.opinions import Opinion, opinions, share
from aperture_dagster.simulator.responses import JSONResponse, encode_json, html_page, raw_json
from aperture_dagster.simulator.service import Operation, Request, StandIn, Unmodelled
from aperture_dagster.simulator.settings import OMDB_PATH
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.tmdb.titles import picture_path
from aperture_dagster.simulator.world import WorldTitle

UNKNOWN = "N/A"
_SHORT_PLOT = 200
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LANGUAGES = {
    "en": "English", "fr": "French", "de": "German", "ja": "Japanese", "es": "Spanish", "it": "Italian",
    "ko": "Korean", "zh": "Mandarin", "cn": "Cantonese", "sv": "Swedish", "da": "Danish", "pt": "Portuguese",
}  # fmt: skip
_COUNTRIES = {
    "US": "United States", "United States of America": "United States", "GB": "United Kingdom", "FR": "France",
    "DE": "Germany", "JP": "Japan",
}  # fmt: skip
_HONOURS = {"movie": ("Oscar", "Golden Globe", "BAFTA Award"), "series": ("Primetime Emmy", "Golden Globe", "Emmy")}


def title_payload(title: WorldTitle, today: date) -> dict[str, Any]:
    """Return everything about a film or series."""
    ratings = opinions(title)
    imdb, metacritic = ratings.get("imdb"), ratings.get("metacritic")
    is_movie = title.media_type == "movie"
    facts: dict[str, Any] = {
        "Title": title.title,
        "Year": _years(title, today),
        "Rated": _known(title.official_rating),
        "Released": _day(title.release_date),
        "Runtime": _runtime(title),
        "Genre": _joined(title.genres),
        "Director": _joined(title.directors if is_movie else ()),
        "Writer": _joined(_writers(title)),
        "Actors": _joined([member.name for member in title.cast[:4]]),
        "Plot": _plot(title.overview),
        "Language": _joined([_LANGUAGES.get(title.language, title.language)] if title.language else ()),
        "Country": _joined([_COUNTRIES.get(code, code) for code in title.countries]),
        "Awards": awards(title),
        "Poster": UNKNOWN
        if share(title.key, "omdb|poster") < 0.1
        else f"https://m.media-amazon.com/images/M{picture_path(title.key, 'omdb')}",
        "Ratings": _ratings(ratings),
        "Metascore": f"{metacritic.value:.0f}" if metacritic else UNKNOWN,
        "imdbRating": f"{imdb.value:.1f}" if imdb else UNKNOWN,
        "imdbVotes": f"{imdb.votes:,}" if imdb else UNKNOWN,
        "imdbID": title.imdb_id,
        "Type": "movie" if is_movie else "series",
    }
    if is_movie:
        number = stable_number(f"{title.key}|box office")
        facts |= {
            "DVD": UNKNOWN,
            "BoxOffice": f"${number % 400_000_000 + 1_000:,}" if number % 5 < 3 else UNKNOWN,
            "Production": UNKNOWN,
            "Website": UNKNOWN,
        }
    else:
        facts["totalSeasons"] = str(len(title.episodes_per_season)) if title.episodes_per_season else UNKNOWN
    return facts | {"Response": "True"}


def awards(title: WorldTitle) -> str:
    """Return a title's awards, in one of the service's many forms; unknown for almost a third of the titles."""
    form = share(title.key, "awards")
    if form < 0.3:
        return UNKNOWN
    number = stable_number(f"{title.key}|awards|numbers")
    wins, nominations, honours = 1 + number % 40, 1 + (number >> 8) % 90, 1 + (number >> 16) % 4
    honour = _HONOURS[title.media_type][(number >> 24) % 3]
    if form < 0.4:
        return f"{_counted(wins, 'win')} total" if form < 0.35 else _counted(nominations, "nomination")
    total = f"{_counted(wins, 'win')} & {_counted(nominations, 'nomination')} total"
    if form < 0.6:
        return total
    if form < 0.75:
        return f"Won {_counted(honours, honour)}. {total}"
    if form < 0.9:
        return f"Nominated for {_counted(honours, honour)}. {total}"
    # An older form.
    return f"Won {_counted(honours, honour)}. Another {total.removesuffix(' total')}."


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _known(text: str | None) -> str:
    return text or UNKNOWN


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) or UNKNOWN


def _writers(title: WorldTitle) -> list[str]:
    names = list(title.writers or (title.creators if title.media_type == "series" else ()))
    return [f"{name} (screenplay by)" if stable_number(f"{title.key}|{name}") % 5 == 0 else name for name in names]


def _plot(text: str) -> str:
    if len(text) <= _SHORT_PLOT:
        return _known(text)
    return text[: _SHORT_PLOT - 3].rsplit(" ", 1)[0] + "..."


def _years(title: WorldTitle, today: date) -> str:
    """Return a film's year, or a series' first and last year, joined by an en dash, open while it runs."""
    if not title.year:
        return UNKNOWN
    if title.media_type == "movie":
        return str(title.year)
    if (title.status or "").lower() in ("continuing", "returning series", "in production"):
        return f"{title.year}\u2013"
    last = min(today.year, title.year + max(0, len(title.episodes_per_season) - 1))
    return f"{title.year}\u2013{last}" if last > title.year else str(title.year)


def _day(text: str | None) -> str:
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        return UNKNOWN
    return f"{day.day:02d} {_MONTHS[day.month - 1]} {day.year}"


def _runtime(title: WorldTitle) -> str:
    minutes = title.runtime_minutes
    if not minutes:
        return UNKNOWN
    if minutes >= 60 and stable_number(f"{title.key}|runtime") % 6 == 0:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{minutes} min"


def _ratings(ratings: dict[str, Opinion]) -> list[dict[str, str]]:
    forms = (
        ("imdb", "Internet Movie Database", "{:.1f}/10"),
        ("tomatoes", "Rotten Tomatoes", "{:.0f}%"),
        ("metacritic", "Metacritic", "{:.0f}/100"),
    )
    return [
        {"Source": name, "Value": form.format(ratings[site].value)} for site, name, form in forms if site in ratings
    ]


# The OMDb stand-in: key, daily quota, many kinds of errors, and sometimes invalid JSON.
#
# The real service seems to write JSON by hand. Modelled are raw control characters (0x1F, tab) and invalid escapes in
# plots (omdbapi/OMDb-API issues 53 and 322).


_IMDB_ID = re.compile(r"tt\d+")
# Inserted into a plot before encoding, and replaced afterwards.
_MARK = "\ue000"
_MALFORMED = (b"\x1f", b"\t", b"\\s", b"\\'")
_PARAMETERS = ("apikey", "i", "r")


class OmdbService(StandIn):
    """OMDb over a state. Every request with the key counts against the daily quota, even without an id."""

    name = "omdb"

    def __init__(self, state: SimulatorState) -> None:
        super().__init__(state, [Operation("GET", path, self._title, _PARAMETERS) for path in ("/", OMDB_PATH)])
        self._by_imdb: dict[str, WorldTitle] = {}
        self._version = -1

    def refuse(self, request: Request, operation: Operation | None) -> Response | None:
        """Refuse requests without the key."""
        self._state.rates["omdb"].arrive()
        key = request.query.get("apikey")
        if operation is None or key == self._state.settings.omdb_key:
            return None
        return _refused("No API key provided." if key is None else "Invalid API key!", 401)

    def unknown(self, request: Request) -> Response:
        """Answer 404: there is only one path."""
        return html_page("Not Found", 404)

    def subjects(self, request: Request) -> Sequence[str]:
        """Return the IMDb id."""
        imdb_id = request.query.get("i")
        return (imdb_id,) if imdb_id else ()

    def error(self, status: int) -> Response:
        """Return OMDb's own error (200: an internal one, 401: the key), or else the page of a proxy."""
        if status == 200:
            return _refused("Something went wrong.")
        return _refused("Invalid API key!", 401) if status == 401 else html_page(f"Error {status}", status)

    def knows(self, title: WorldTitle) -> bool:
        """Return whether OMDb knows a title: not without an IMDb id, and not some obscure ones."""
        obscure = self._state.settings.omdb_unknown_share
        return bool(title.imdb_id) and share(title.key, "omdb") >= obscure

    def _title(self, request: Request) -> Response:
        if not self._state.quotas["omdb"].take():
            return _refused("Request limit reached!", 401)
        form, number = request.query.get("r"), request.query.get("i")
        if form not in (None, "json"):
            raise Unmodelled(f"r={form}")
        if number is None or not _IMDB_ID.fullmatch(number):
            raise Unmodelled(f"i={number}")
        title = self._titles.get(number)
        if title is None:
            # It uses both messages for unknown ids.
            return _refused("Incorrect IMDb ID." if stable_number(number) % 4 == 0 else "Error getting data.")
        content = title_payload(title, self._state.today.astimezone(UTC).date())
        if share(title.key, "omdb|malformed") >= self._state.settings.omdb_malformed_share:
            return JSONResponse(content)
        content["Plot"] = content["Plot"].replace(" ", f" {_MARK}", 1)
        invalid = _MALFORMED[stable_number(title.key) % len(_MALFORMED)]
        return raw_json(encode_json(content).replace(_MARK.encode(), invalid))

    @property
    def _titles(self) -> dict[str, WorldTitle]:
        if self._version != self._state.titles_version:
            self._by_imdb = {}
            for title in self._state.titles.values():
                if title.imdb_id and self.knows(title):
                    self._by_imdb.setdefault(title.imdb_id, title)
            self._version = self._state.titles_version
        return self._by_imdb


def _refused(error: str, status: int = 200) -> Response:
    return JSONResponse({"Response": "False", "Error": error}, status)
