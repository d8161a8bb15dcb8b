"""The household at a glance: everybody's first titles, what they like, and how much is watched."""

import hashlib
import json
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import HOURLY_CRON, on_upstream_change
from aperture_dagster.defs.catalogue import movies, series, users, watch_history
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.reporting import materialized, poster_row, table
from aperture_dagster.defs.taste import embeddings, recommendations, taste_profiles
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.markdown import Markup, markdown
from aperture_dagster.instance.pictures import genre_panels, week_columns
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import user_partitions
from aperture_dagster.popularity.queries import WEEKS, Overview, read_overview
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings

GENRES = "Share of what each user likes, by genre"
# Lists decide when it is made again; everything else that it shows changes with them, or can wait for the night.
AT_NIGHT = dg.AssetSelection.assets(
    users, movies, series, watch_history, enriched_metadata, taste_profiles
) | dg.AssetSelection.assets("top_picks")


@dg.asset(
    group_name="popularity",
    deps=[
        users, movies, series, enriched_metadata,
        # All users and days, whatever the partitions of the run.
        *(
            dg.AssetDep(one, partition_mapping=dg.AllPartitionMapping())
            for one in (watch_history, taste_profiles, recommendations, "top_picks")
        ),
    ],
    kinds={"postgres"},
    # On a new home, where nobody is known yet, no list is missing either.
    automation_condition=on_upstream_change(ignoring=AT_NIGHT, at_most=HOURLY_CRON, after=[embeddings.key]),
)  # fmt: skip
def household_overview(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """The whole household on one page, one row per user: their first film and series, the top five with reasons, and
    their taste by genre; also plays per week and the Top Picks.

    A view of recommendations, taste_profiles, watch_history and top_picks, without a table of its own. Made every night
    after the lists, and during the day when lists change, at most once an hour.
    """
    now = clock.now().astimezone(ZoneInfo(settings.schedule_timezone))
    with operator_errors(context, settings):
        found = read_overview(settings, database, user_partitions(context.instance), now)
    shown = _shown(found, settings)
    metadata = {key: _entry(value) for key, value in shown.items()}
    version = hashlib.blake2b(json.dumps(shown, default=str, sort_keys=True).encode(), digest_size=8).hexdigest()
    return materialized(context, metadata, version=version)


def _shown(found: Overview, settings: Settings) -> dict[str, Any]:
    """Arrange what the page shows, the most interesting first: rows of tables, pictures as Markdown, and numbers."""
    shown = {
        "watch_first": found.watch_first,
        "posters": poster_row(settings, found.posters),
        "plays": week_columns(found.plays, title=f"Plays per week, last {WEEKS} weeks"),
        "top_picks": found.top_picks,
        "taste_by_genre": genre_panels(found.genres, title=GENRES),
        **found.tops,
    }
    numbers = {"dagster/row_count": found.people, "plays_last_week": found.plays[-2][1]}
    return {key: value for key, value in shown.items() if value} | numbers


def _entry(value: Any) -> Any:
    if isinstance(value, list):
        return table(value)
    return markdown(value) if isinstance(value, Markup) else value
