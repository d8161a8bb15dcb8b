"""The OMDb stand-in: key, daily quota, many kinds of errors, and sometimes invalid JSON.

The real service seems to write JSON by hand. Modelled are raw control characters (0x1F, tab) and invalid escapes in
plots (omdbapi/OMDb-API issues 53 and 322), and unescaped quotation marks in the error about an id that is not a number
(issues 239, 258 and 301).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC

from starlette.responses import Response

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.environment import OMDB_PATH
from aperture_dagster.simulator.omdb.payloads import title_payload
from aperture_dagster.simulator.opinions import share
from aperture_dagster.simulator.responses import JSONResponse, encode_json, html_page, raw_json
from aperture_dagster.simulator.service import Operation, Request, StandIn, Unmodelled
from aperture_dagster.simulator.state import SimulatorState
from aperture_dagster.simulator.world import WorldTitle

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
        if number is not None and number.startswith("tt") and not _IMDB_ID.fullmatch(number):
            # The quotation marks inside the string are not escaped.
            error = f"Conversion from string \"{number[2:]}\" to type 'Double' is not valid."
            text = f'{{"Response":"False","Error":"{error}"}}'
            return raw_json(text.encode())
        if number is None or not _IMDB_ID.fullmatch(number):
            return _refused("Incorrect IMDb ID.")
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
