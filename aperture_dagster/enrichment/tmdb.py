"""TMDb: facts, people, keywords and votes of titles, logos of studios, and titles outside the library."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection

from aperture_dagster.enrichment.merge import Gives, gives
from aperture_dagster.enrichment.populations import COLLECTIONS, STUDIOS
from aperture_dagster.enrichment.queries import (
    DiscoverFilters,
    ListedTitle,
    ListPage,
    SuggestedPage,
    note_stored,
    note_tried,
    write_collections,
)
from aperture_dagster.enrichment.source import TitleSource, store_titles
from aperture_dagster.enrichment.tmdb_titles import (
    POOL_APPENDED,
    discover_params,
    ids_of,
    parse_entries,
    parse_pool_title,
    parse_title,
    text_of,
)
from aperture_dagster.files.private import write_file
from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import BadAnswer, NotFound, ServiceRefused
from aperture_dagster.http.messages import Answer, Request, expect, objects
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.engine import Attempt, WorkList, one_by_one, outcome_of
from aperture_dagster.worklist.queue import DueItem, Source, ttl_for
from aperture_dagster.worklist.services import MeteredService, Service

if TYPE_CHECKING:
    from aperture_dagster.enrichment.pictures import PictureFacts

# A client of The Movie Database (TMDb), version 3.
#
# Facts about the API that shaped this module:
#
# - An overview without a translation is ``""``.
# - The key is sent in a header where possible, because URLs are logged everywhere.
# - ``/discover`` answers filters with ids that do not exist with an empty list.


PATHS: dict[MediaType, str] = {"movie": "/movie", "series": "/tv"}
ListName = Literal["popular", "trending", "top_rated"]
# TMDb refuses pages beyond this one.
LAST_PAGE = 500
APPENDED: dict[MediaType, str] = {
    "movie": "keywords,credits,external_ids,recommendations,similar",
    "series": "keywords,aggregate_credits,external_ids,recommendations,similar",
}
# The language in which TMDb's texts are most complete.
MAIN_LANGUAGE = "en-US"


class Tmdb(ServiceClient):
    """TMDb, with texts in ``language``; ``options`` are passed to the transport."""

    def __init__(self, url: str, api_key: str, *, language: str = MAIN_LANGUAGE, **options: Any) -> None:
        # A read access token is sent in a header; a version 3 key only fits the query, and is redacted.
        is_token = len(api_key) > 40 or not api_key.isalnum()
        super().__init__(
            "TMDb",
            url,
            headers={"Authorization": f"Bearer {api_key}"} if is_token else {},
            params={} if is_token else {"api_key": api_key},
            inspect=inspect_address,
            secrets=[api_key],
            setting="TMDB_API_KEY",
            address_setting="APERTURE_TMDB_URL",
            **options,
        )
        self.language = language

    def check(self) -> None:
        """Request TMDb's configuration to verify the key.

        Raises:
            ServiceRefused: the key is not accepted, or the address is not TMDb's.
            ServiceUnavailable: see :class:`Transport`.
        """
        try:
            answer = expect(self.transport.get_json("/configuration"), dict, "/configuration")
            expect(answer.get("images"), dict, "images")
        except (NotFound, BadAnswer) as error:
            raise _another_server(str(error)) from None

    def title(self, media_type: MediaType, tmdb_id: int) -> dict[str, Any]:
        """Request the columns of ``tmdb_metadata`` of a title; once more if the overview is not translated.

        Raises:
            NotFound: TMDb has no such title.
            BadAnswer: the answer cannot be parsed, or is about another title.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        return self._complete(
            media_type, parse_title(self._details(media_type, tmdb_id, APPENDED[media_type]), media_type)
        )

    def pool_title(self, media_type: MediaType, tmdb_id: int) -> dict[str, Any]:
        """Request the columns of ``discovery_pool`` that describe a title, as :meth:`title` does.

        It is one request: keywords, people, ids, recommendations, certifications, releases and streaming services
        come with it.
        """
        return self._complete(
            media_type, parse_pool_title(self._details(media_type, tmdb_id, POOL_APPENDED[media_type]), media_type)
        )

    def find(self, media_type: MediaType, *, imdb_id: str | None = None, tvdb_id: int | None = None) -> int | None:
        """Return the TMDb id of a title with another id, or None. TVDb ids are for series only."""
        for value, source in ((imdb_id, "imdb_id"), (tvdb_id if media_type == "series" else None, "tvdb_id")):
            if value is None:
                continue
            answer = expect(self.transport.get_json(f"/find/{value}", {"external_source": source}), dict, "TMDb's find")
            results = answer.get("movie_results" if media_type == "movie" else "tv_results")
            if found := ids_of(expect(results, list, "TMDb's find: results")):
                return found[0]
        return None

    def collection(self, collection_id: int) -> dict[str, Any]:
        """Request the columns of ``tmdb_collections``, films in order of release; raises as :meth:`title`."""
        answer = self._get("/collection", collection_id)
        # Unreleased parts have "" for a date, which would sort first.
        parts = [part for part in objects(answer.get("parts")) if isinstance(part.get("id"), int)]
        parts.sort(key=lambda part: (str(part.get("release_date") or "9999"), part["id"]))
        return {
            "collection_id": collection_id,
            "name": text_of(answer.get("name")) or "",
            **{name: text_of(answer.get(name)) for name in ("overview", "poster_path", "backdrop_path")},
            "part_tmdb_ids": [part["id"] for part in parts],
        }

    def listed(self, media_type: MediaType, name: ListName, page: int = 1) -> ListPage:
        """Request a page (from 1 on, 20 titles each) of one of TMDb's own lists; trending is that of the week.

        Raises:
            BadAnswer: the answer is not a page of a list.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        path = PATHS[media_type]
        path = f"/trending{path}/week" if name == "trending" else f"{path}/{name}"
        try:
            answer = expect(self.transport.get_json(path, {"page": page}), dict, f"TMDb's {path}")
        except NotFound as error:
            raise BadAnswer(f"TMDb has no list {path}: {error}") from None
        results = expect(answer.get("results"), list, f"TMDb's {path}: results")
        pages = expect(answer.get("total_pages"), int, f"TMDb's {path}: total_pages")
        titles = tuple(ListedTitle(tmdb_id=number) for number in ids_of(results))
        return ListPage(titles, has_more=bool(results) and page < min(pages, LAST_PAGE))

    def discover(self, media_type: MediaType, filters: DiscoverFilters, page: int = 1, *, today: date) -> SuggestedPage:
        """Request a page (from 1 on, 20 titles each) of the titles that pass ``filters`` and are out ``today``.

        Raises:
            BadAnswer: the answer is not a page of a list.
            ServiceUnavailable, ServiceRefused: see :class:`Transport`.
        """
        path = f"/discover{PATHS[media_type]}"
        params = {"page": page, "language": self.language, **discover_params(media_type, filters, today=today)}
        try:
            answer = expect(self.transport.get_json(path, params), dict, f"TMDb's {path}")
        except NotFound as error:
            raise BadAnswer(f"TMDb has no {path}: {error}") from None
        results = expect(answer.get("results", []), list, f"TMDb's {path}: results")
        pages = answer.get("total_pages")
        last = min(pages, LAST_PAGE) if isinstance(pages, int) else page
        return SuggestedPage(tuple(parse_entries(results, media_type)), has_more=bool(results) and page < last)

    def _details(self, media_type: MediaType, tmdb_id: int, appended: str) -> dict[str, Any]:
        return self._get(PATHS[media_type], tmdb_id, append_to_response=appended)

    def _complete(self, media_type: MediaType, title: dict[str, Any]) -> dict[str, Any]:
        """Add the overview in English if there is none in the operator's language, with one more request."""
        if title["overview"] is None and not self.language.startswith("en"):
            answer = self._get(PATHS[media_type], title["tmdb_id"], language=MAIN_LANGUAGE)
            title["overview"] = text_of(answer.get("overview"))
        return title

    def _get(self, path: str, wanted: int, **params: str) -> dict[str, Any]:
        """Request something by its id. Raises BadAnswer for an answer about something else."""
        path = f"{path}/{wanted}"
        answer = expect(self.transport.get_json(path, {"language": self.language, **params}), dict, "TMDb's answer")
        if answer.get("id") != wanted:
            raise BadAnswer(f"TMDb was asked for {path} and answered with {answer.get('id')!r:.40}")
        return answer


def inspect_address(answer: Answer) -> None:
    """Raise ServiceRefused for a 404 that is not TMDb's own, so that no title is considered unknown."""
    if answer.status == 404 and "status_code" not in answer.fields():
        raise _another_server("404 without a status_code")


def _another_server(reason: str) -> ServiceRefused:
    return ServiceRefused(
        f"What answers at APERTURE_TMDB_URL is not TMDb's API ({reason}): "
        "unset it, or set it to an address such as https://api.themoviedb.org/3."
    )


# The image host of The Movie Database: logos of companies and networks.
#
# It needs no key and states no limit; the size is a part of the path. A logo whose original is an SVG can be requested
# as a PNG (developer.themoviedb.org/docs/image-basics), which is what media servers display.


LOGO_SIZE = "w500"
LARGEST_BYTES = 5_000_000
# One file name, as TMDb writes it: nothing that leads to another path or another host.
_PATH = re.compile(r"/[A-Za-z0-9_-]{1,100}(?:\.[A-Za-z0-9_-]{1,20}){1,3}")
_SVG = re.compile(r"\.svg$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as downloaded, and what it is by its content."""

    content: bytes
    facts: PictureFacts

    @property
    def sha256(self) -> str:
        """The checksum of the content."""
        return hashlib.sha256(self.content).hexdigest()


class TmdbImages(ServiceClient):
    """TMDb's image host. Larger pictures than ``largest_bytes`` are refused; ``options`` go to the transport."""

    def __init__(self, url: str, *, largest_bytes: int = LARGEST_BYTES, **options: Any) -> None:
        super().__init__(
            "TMDb's pictures",
            url,
            headers={"Accept": "image/png, image/jpeg"},
            address_setting="APERTURE_TMDB_IMAGE_URL",
            **options,
        )
        self._largest_bytes = largest_bytes

    def logo(self, path: str) -> Picture:
        """Download a logo, at most 500 pixels wide. ``path`` is the one that TMDb's API returns, such as ``/name.png``.

        Raises:
            NotFound: the host has no such picture.
            BadAnswer: the answer is not a picture, or too large, or ``path`` is not a file name (no request is sent).
            ServiceUnavailable, ServiceRefused, RequestRejected: see :class:`Transport`.
        """
        from aperture_dagster.enrichment.pictures import NotAPicture, check_picture

        if not _PATH.fullmatch(path):
            raise BadAnswer(f"TMDb's pictures: {path[:100]!r} is not the path of a picture; it was not requested")
        request = Request("GET", f"/{LOGO_SIZE}{_SVG.sub('.png', path)}", max_bytes=self._largest_bytes)
        content = self.transport.send(request).body
        try:
            return Picture(content, check_picture(content))
        except NotAPicture as error:
            raise BadAnswer(f"TMDb's pictures: {path} was rejected: {error}") from None


# TMDb as a source: facts, people, keywords, votes and collections of titles; logos of companies and networks.


TTL = timedelta(days=30)
# Votes and episodes of a title younger than a year still change.
YOUNG_TTL = timedelta(days=7)


def _work_list(settings: Settings, service: MeteredService[Tmdb], client: Tmdb) -> WorkList:
    def ttl(attempt: Attempt, now: datetime) -> timedelta:
        return ttl_for(attempt.answer["release_date"], attempt.item.year, now=now, ttl=TTL, young_ttl=YOUNG_TTL)

    return WorkList(
        source=TMDB,
        language=client.language,
        ask=lambda unit: ([_ask_title(client, title)] for title in unit),
        store=store_titles(TMDB.name),
        ttl=ttl,
        cancel=client.cancel,
        concurrency=service.concurrency,
    )


def _collections(service: MeteredService[Tmdb], client: Tmdb) -> WorkList:
    def store(connection: Connection, attempts: Sequence[Attempt]) -> int:
        return write_collections(connection, [attempt.answer for attempt in attempts]).written

    return WorkList(
        source=TMDB_COLLECTIONS,
        language=client.language,
        ask=one_by_one(lambda item: Attempt(item, "ok", answer=client.collection(item.item))),
        store=store,
        ttl=lambda attempt, now: TTL,
        cancel=client.cancel,
        concurrency=service.concurrency,
        what="collections",
    )


def _ask_title(client: Tmdb, title: DueItem) -> Attempt:
    media_type = "movie" if title.kind == "movie" else "series"
    found: int | None = None

    def ask() -> Attempt:
        nonlocal found
        if title.tmdb_id is not None:
            try:
                return Attempt(title, "ok", answer=client.title(media_type, title.tmdb_id))
            except NotFound:
                # TMDb merges and deletes ids; the title may still be found by another one.
                if title.imdb_id is None and title.tvdb_id is None:
                    raise
        found = client.find(media_type, imdb_id=title.imdb_id, tvdb_id=title.tvdb_id)
        if found is None or found == title.tmdb_id:
            found = None
            raise NotFound(f"unknown to TMDb as {title.tmdb_id or title.imdb_id or title.tvdb_id}")
        return Attempt(title, "ok", answer=client.title(media_type, found))

    attempt = outcome_of(title, ask)
    # Recorded even if the rest failed, so that it need not be looked up again.
    attempt.found_id = found
    return attempt


def _names(entries: Sequence[dict[str, Any]]) -> list[str]:
    return [entry["name"] for entry in entries]


def _year(day: date) -> int:
    return day.year


TMDB: TitleSource[Tmdb] = TitleSource(
    name="tmdb",
    label="TMDb",
    asks_by="any_known",
    connect=lambda settings, key, **options: Tmdb(settings.tmdb_url, key, language=settings.tmdb_language, **options),
    key=lambda settings: settings.tmdb_api_key,
    key_setting="TMDB_API_KEY",
    url=lambda settings: settings.tmdb_url,
    language=lambda settings: settings.tmdb_language,
    without_key="titles keep what the media server says about them",
    concurrency=8,
    rate=lambda settings: (settings.tmdb_requests, 10),
    table="tmdb_metadata",
    about="The Movie Database: facts, people, keywords, votes of titles.",
    description="""\
TMDb's facts about each title in the library, one row per work, and about the collections that they belong to.

One request per title and collection, only for those that are due: never asked first, then the most overdue. Each answer
is stored as it comes, so a run that is stopped is continued by the next. Skipped without a TMDb key.""",
    gives=(
        # Descriptions come from TMDb first. Its votes are never replaced by IMDb's: those are ten times as many, and a
        # title counted elsewhere would seem more popular.
        *gives(10, "title", "original_title", "tmdb_id", "imdb_id", "tvdb_id", "overview", "tagline", "genres"),
        *gives(10, "directors", "creators", "countries", "runtime_minutes", "release_date", "status"),
        *gives(10, "vote_average", "vote_count", "popularity", "collection_name", "poster_path"),
        *gives(10, "next_episode", language="original_language"),
        Gives("year", "release_date", rank=10, read=_year),
        Gives("cast", rank=10, read=_names),
        Gives("companies", rank=10, read=_names),
        Gives("networks", rank=10, read=_names),
        # Keywords are opinions, of which more are better.
        Gives("keywords", rank=10, joined=True),
    ),
    work_list=_work_list,
    also=_collections,
)
# Collections have a kind of their own on TMDb's list.
TMDB_COLLECTIONS = Source(name=TMDB.name, label=TMDB.label, population=COLLECTIONS)


# TMDb's pictures: the logos of the companies and networks behind the library's titles.


# A changed logo has another path and is fetched at once; this is for files that went bad on the server.
LOGO_TTL = timedelta(days=365)
SUFFIXES = {"png": "png", "jpeg": "jpg"}


def logos(service: MeteredService[TmdbImages], client: TmdbImages, folder: Path) -> WorkList:
    """Return the work list of logos, which are stored in ``folder``."""

    def ask(studio: DueItem) -> Attempt:
        if studio.logo_path is None:
            return Attempt(studio, "not_found")
        try:
            return Attempt(studio, "ok", answer=client.logo(studio.logo_path))
        except ServiceRefused as error:
            # Without a key there is none to refuse: picture stores answer 403 for pictures that do not exist.
            return Attempt(studio, "error", detail=str(error))

    def store(connection: Connection, attempts: Sequence[Attempt]) -> int:
        rows = []
        for attempt in attempts:
            picture, studio = attempt.answer, attempt.item
            name = f"{studio.kind}-{studio.item}.{SUFFIXES[picture.facts.format]}"
            write_file(folder / name, picture.content)
            rows.append(
                {
                    "kind": studio.kind,
                    "studio_id": studio.item,
                    "stored_path": studio.logo_path,
                    "file_name": name,
                    "picture_kind": picture.facts.format,
                    "sha256": picture.sha256,
                    "bytes": len(picture.content),
                }
            )
        return note_stored(connection, rows)

    def note(connection: Connection, attempts: Sequence[Attempt]) -> None:
        note_tried(connection, [attempt.item.key for attempt in attempts if attempt.outcome == "not_found"])

    return WorkList(
        source=TMDB_IMAGES,
        ask=one_by_one(ask),
        store=store,
        note=note,
        ttl=lambda attempt, now: LOGO_TTL,
        cancel=client.cancel,
        concurrency=service.concurrency,
        what="logos",
    )


TMDB_IMAGES: Service[TmdbImages] = Service(
    name="tmdb_images",
    label="TMDb's pictures",
    population=STUDIOS,
    # Pictures need no key, but only TMDb says which there are.
    connect=lambda settings, key, **options: TmdbImages(settings.tmdb_image_url, **options),
    key=lambda settings: settings.tmdb_api_key,
    key_setting="TMDB_API_KEY",
    url=lambda settings: settings.tmdb_image_url,
    without_key="there are no logos",
    concurrency=4,
)
