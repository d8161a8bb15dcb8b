"""TMDb as a source: facts, people, keywords and votes of titles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from aperture_dagster.enrichment.merge import Gives, gives
from aperture_dagster.enrichment.source import Titles, TitleSource
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.http.errors import NotFound
from aperture_dagster.worklist.due import ttl_for
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster.worklist.work_list import Attempt, outcome_of

TTL = timedelta(days=30)
# Votes and episodes of a title younger than a year still change.
YOUNG_TTL = timedelta(days=7)


class TmdbTitles(Titles[Tmdb]):
    """Asks TMDb about titles by any id that it knows."""

    def __init__(self, source: TitleSource[Tmdb], service: MeteredService[Tmdb], client: Tmdb) -> None:
        super().__init__(source, service, client)
        self.language = client.language

    def ask(self, unit: Sequence[DueItem]) -> Iterator[list[Attempt]]:
        """Ask about each title of a unit by itself."""
        for title in unit:
            yield [_ask_title(self.client, title)]

    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long an answer remains good."""
        return ttl_for(attempt.answer["release_date"], attempt.item.year, now=now, ttl=TTL, young_ttl=YOUNG_TTL)


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
TMDb's facts about each title in the library, one row per work.

One request per title, only for those that are due: never asked first, then the most overdue. Each answer
is stored as it comes, so a run that is stopped is continued by the next. Skipped without a TMDb key.""",
    gives=(
        # Descriptions come from TMDb first. Its votes are never replaced by IMDb's: those are ten times as many, and a
        # title counted elsewhere would seem more popular.
        *gives(10, "title", "original_title", "tmdb_id", "imdb_id", "tvdb_id", "overview", "tagline", "genres"),
        *gives(10, "directors", "creators", "countries", "runtime_minutes", "release_date", "status"),
        *gives(10, "vote_average", "vote_count", "popularity", "collection_name", "poster_path"),
        *gives(10, "next_episode", "trailers", language="original_language"),
        Gives("year", "release_date", rank=10, read=_year),
        Gives("cast", rank=10, read=_names),
        Gives("companies", rank=10, read=_names),
        Gives("networks", rank=10, read=_names),
        # Keywords are opinions, of which more are better.
        Gives("keywords", rank=10, joined=True),
    ),
    titles=TmdbTitles,
)
