"""OMDb as a source: ratings of critics and of IMDb's voters, and awards."""

from __future__ import annotations

from datetime import datetime, timedelta

from aperture_dagster.enrichment.merge import gives
from aperture_dagster.enrichment.omdb.client import Omdb
from aperture_dagster.enrichment.source import TitlesOneByOne, TitleSource
from aperture_dagster.worklist.fetches import DueItem
from aperture_dagster.worklist.work_list import Attempt

TTL = timedelta(days=30)


class OmdbTitles(TitlesOneByOne[Omdb]):
    """Asks OMDb about titles by their IMDb id."""

    def ask_about(self, item: DueItem) -> Attempt:
        """Ask about a title."""
        return Attempt(item, "ok", answer=self.client.title(item.imdb_id or ""))

    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long an answer remains good."""
        return TTL


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
    titles=OmdbTitles,
)
