"""OMDb as a source: ratings of critics and of IMDb's voters, and awards."""

from __future__ import annotations

from datetime import timedelta

from aperture_dagster.enrichment.merge import gives
from aperture_dagster.enrichment.omdb.client import Omdb
from aperture_dagster.enrichment.source import TitleSource, store_titles
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster.worklist.work_list import Attempt, WorkList, one_by_one

TTL = timedelta(days=30)


def _work_list(settings: Settings, service: MeteredService[Omdb], client: Omdb) -> WorkList:
    def ask(title: DueItem) -> Attempt:
        return Attempt(title, "ok", answer=client.title(title.imdb_id or ""))

    return WorkList(
        source=OMDB,
        ask=one_by_one(ask),
        store=store_titles(OMDB.name),
        ttl=lambda attempt, now: TTL,
        cancel=client.cancel,
        quota=service.quota,
        concurrency=service.concurrency,
    )


OMDB: TitleSource[Omdb] = TitleSource(
    name="omdb",
    label="OMDb",
    asks_by="imdb",
    connect=lambda settings, key, **options: Omdb(settings.omdb_url, key, **options),
    key=lambda settings: settings.omdb_api_key,
    key_setting="OMDB_API_KEY",
    url=lambda settings: settings.omdb_url,
    without_key="titles have no critics' scores and awards from OMDb",
    concurrency=3,
    # OMDb does not report what is left, so we count.
    daily_limit=lambda settings: settings.omdb_daily_limit,
    table="omdb_ratings",
    about="OMDb: Rotten Tomatoes, Metacritic, IMDb's ratings, awards.",
    description="""\
OMDb's ratings of each title in the library that has an IMDb id, one row per work: Rotten Tomatoes, Metacritic, IMDb's
rating and votes, awards.

One request per title, within the daily quota, which is counted across runs and restarts. When it is used up, the step
succeeds, and the next day's runs continue. Skipped without an OMDb key.""",
    gives=(
        # Scores that several sources pass on come from OMDb first: it reads them from the sites themselves.
        *gives(20, "imdb_rating", "imdb_votes", "rotten_tomatoes", "metacritic"),
        *gives(20, "awards", "award_wins", "award_nominations", "oscars_won"),
        *gives(20, official_rating="rated"),
    ),
    work_list=_work_list,
)
