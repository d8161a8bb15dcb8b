"""The least that the same work takes: httpx, json and COPY alone, or the model of the vectors alone, on the same data.

Each floor requests what the asset requests, parses the JSON, takes one value after the other without looking at it, and
copies the rows into a temporary table. Nothing is checked, compared, retried, paced or recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import httpx

from aperture_dagster.enrichment.tmdb.client import APPENDED
from aperture_dagster.media_server.jellyfin.reader import JellyfinReader
from aperture_dagster.media_server.reader import STATES_PER_PAGE
from aperture_dagster.postgres.connection import open_engine
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.settings import Settings
from aperture_dagster.taste.ranking.text import title_text
from aperture_dagster.taste.static_vectors import StaticVectors
from aperture_dagster.taste.vectors import text_rows
from load.figures import measured

PAGE = 500
# A request to such a source is as any other, so that a sample is enough.
REQUESTS_MEASURED = 4_000
TITLE = (
    "Id", "Name", "OriginalTitle", "SortName", "ProductionYear", "PremiereDate", "EndDate", "Overview",
    "OfficialRating", "CommunityRating", "CriticRating", "RunTimeTicks", "Status", "Path", "DateCreated",
)  # fmt: skip
EPISODE = ("Id", "SeriesId", "Name", "ParentIndexNumber", "IndexNumber", "PremiereDate", "RunTimeTicks", "Path")
STATE = ("Played", "PlayCount", "PlaybackPositionTicks", "LastPlayedDate", "IsFavorite", "Rating")


class Floor:
    """The floors of a library whose server, services and database the settings name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = open_engine(settings)
        key = settings.media_server_api_key
        headers = {"Authorization": f'MediaBrowser Token="{key.get_secret_value() if key else ""}"'}
        self.server = httpx.Client(base_url=settings.media_server_url or "", headers=headers, timeout=600)
        self.others = httpx.Client(timeout=600)

    def listing(self, query: dict[str, str], page: int = PAGE) -> Iterator[dict[str, Any]]:
        """Yield the items of a listing."""
        query = {name[0].lower() + name[1:]: value for name, value in {**JellyfinReader.listing_query, **query}.items()}
        query |= {"recursive": "true", "sortBy": "DateCreated,SortName", "enableImages": "false"}
        start = 0
        while True:
            window = {"startIndex": str(start), "limit": str(page)}
            answer = json.loads(self.server.get("/Items", params=query | window).content)
            yield from answer["Items"]
            start += page
            if start >= answer["TotalRecordCount"]:
                return

    def copy(self, columns: int, rows: Iterable[Sequence[Any]]) -> None:
        """Copy rows of so many values into a temporary table."""
        names = ", ".join(f"c{number}" for number in range(columns))
        with self.engine.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE floor ({names.replace(',', ' text,')} text) ON COMMIT DROP"
            )
            driver: Any = connection.connection.dbapi_connection
            with driver.cursor() as cursor, cursor.copy(f"COPY floor ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)

    def items(self, item_type: str) -> float:
        """List the items of one type of all libraries."""
        episode = item_type == "Episode"
        names = EPISODE if episode else TITLE
        fields = JellyfinReader.episode_fields if episode else JellyfinReader.title_fields
        libraries = json.loads(self.server.get("/Library/VirtualFolders").content)
        for library in libraries:
            query = {
                "ParentId": library["ItemId"],
                "IncludeItemTypes": item_type,
                "Fields": fields,
                "EnableUserData": "false",
            }
            self.copy(len(names), ([item.get(name) for name in names] for item in self.listing(query)))
        return 1.0

    def history(self) -> float:
        """List what each user played, started, marked or rated."""
        users = json.loads(self.server.get("/Users").content)
        for user in users:
            base = {"UserId": user["Id"], "EnableUserData": "true"}
            for one in ("IsPlayed", "IsResumable", "IsFavorite"):
                query = base | {"Filters": one, "IncludeItemTypes": "Movie,Episode"}
                self.copy(1 + len(STATE), map(_state, self.listing(query, STATES_PER_PAGE)))
            query = base | {"IncludeItemTypes": "Series"}
            self.copy(1 + len(STATE), map(_state, self.listing(query, STATES_PER_PAGE)))
        return 1.0

    def tmdb(self) -> float:
        """Request each title of TMDb; return by how much the sample is smaller than the list."""
        key, paths = self.settings.tmdb_api_key, {"movie": "movie", "series": "tv"}
        token = {"Authorization": f"Bearer {key.get_secret_value() if key else ''}"}

        def answer(work: dict[str, Any]) -> tuple[str]:
            url = f"{self.settings.tmdb_url}/{paths[work['media_type']]}/{work['tmdb_id']}"
            params = {"append_to_response": APPENDED[work["media_type"]], "language": self.settings.tmdb_language}
            found = self.others.get(url, params=params, headers=token)
            json.loads(found.content)
            return (found.text,)

        return self._each("tmdb_id", 2, answer)

    def omdb(self) -> float:
        """Request each title of OMDb; return by how much the sample is smaller than the list."""
        key = self.settings.omdb_api_key

        def answer(work: dict[str, Any]) -> list[Any]:
            params = {"apikey": key.get_secret_value() if key else "", "i": work["imdb_id"], "r": "json"}
            found = json.loads(self.others.get(self.settings.omdb_url + "/", params=params).content)
            return [found.get(name) for name in ("imdbID", "imdbRating", "Awards", "Released")]

        return self._each("imdb_id", 5, answer)

    def _each(self, key: str, columns: int, answer: Callable[[dict[str, Any]], Sequence[Any]]) -> float:
        with self.engine.connect() as connection:
            works = read_rows(connection, f"SELECT * FROM works WHERE {key} IS NOT NULL ORDER BY md5(work_id::text)")

        def answers() -> Iterator[list[Any]]:
            for work in works[:REQUESTS_MEASURED]:
                # OMDb does not escape everything.
                with suppress(ValueError):
                    yield [work["work_id"], *answer(work)]

        self.copy(columns, answers())
        return max(len(works) / REQUESTS_MEASURED, 1.0)

    def embeddings(self) -> float:
        """Embed the texts; reading them is not part of it."""
        with self.engine.connect() as connection:
            self.texts = [[title_text(row) for row in rows] for rows in text_rows(connection, batch=500)]
        return 1.0

    def embed(self) -> None:
        """Embed what :meth:`embeddings` read."""
        model = StaticVectors()
        for texts in self.texts:
            model.embed(texts)


def _state(item: dict[str, Any]) -> list[Any]:
    data = item["UserData"]
    return [item["Id"], *(data.get(name) for name in STATE)]


def measure(settings: Settings, name: str) -> float:
    """Return the CPU seconds of a floor: that of an asset by its name, for the whole of its data."""
    floor = Floor(settings)
    work: dict[str, Callable[[], float]] = {
        "movies": lambda: floor.items("Movie"),
        "series": lambda: floor.items("Series"),
        "episodes": lambda: floor.items("Episode"),
        "watch_history": floor.history,
        "tmdb_metadata": floor.tmdb,
        "omdb_ratings": floor.omdb,
    }
    if name == "embeddings":
        floor.embeddings()
        with measured() as used:
            floor.embed()
        return used.cpu
    with measured() as used:
        times = work[name]()
    return used.cpu * times
