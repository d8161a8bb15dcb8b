"""The one place that wires everything. Tests and the demo build the same graph with other parts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from aperture_dagster.settings import Settings, load_settings

# The beta features that the project stands on, each knowingly; any other still warns.
BETA = ("backfill_policy",)
for feature in BETA:
    warnings.filterwarnings("ignore", message=f".*`{feature}`", category=dg.BetaWarning)


def build_definitions(
    settings: Settings | None = None, *, loggers: Mapping[str, dg.LoggerDefinition] | None = None, **resources: Any
) -> dg.Definitions:
    """Everything that Dagster is told.

    Args:
        settings: default: those of the environment and ``aperture.toml``.
        loggers: where runs tell what they do, besides the event log; default Dagster's console.
        resources: parts that take the place of the usual ones, by name, such as ``clock`` or ``embedders``.

    Raises:
        SettingsError: a setting is misspelt or impossible.
    """
    from aperture_dagster.defs import enrichment, media_server, publishing
    from aperture_dagster.defs.enrichment import checks as enrichment_checks
    from aperture_dagster.defs.media_server import checks as media_server_checks
    from aperture_dagster.defs.popularity.top_picks import top_picks_asset
    from aperture_dagster.defs.taste import assets as taste
    from aperture_dagster.defs.taste import checks as taste_checks
    from aperture_dagster.jobs import build_jobs
    from aperture_dagster.resources.metadata_services import (
        mdblist_service,
        omdb_service,
        tmdb_image_service,
        tmdb_service,
    )
    from aperture_dagster.resources.providers import Clock, Database, Embedders, MediaServers
    from aperture_dagster.schedules import build_schedules
    from aperture_dagster.sensors import build_sensors

    settings = settings or load_settings()
    timezone = settings.schedule_timezone
    database = resources.get("database") or Database(settings)
    clock = resources.get("clock") or Clock()
    jobs = build_jobs()
    return dg.Definitions(
        assets=[
            media_server.media_server,
            media_server.users,
            media_server.movies,
            media_server.series,
            media_server.episodes,
            media_server.watch_history,
            *enrichment.ASSETS,
            taste.embeddings,
            taste.taste_profiles,
            taste.recommendations,
            top_picks_asset(timezone),
            *publishing.ASSETS,
        ],
        asset_checks=[*media_server_checks.CHECKS, *enrichment_checks.CHECKS, *taste_checks.CHECKS],
        jobs=jobs,
        schedules=build_schedules(settings, jobs),
        sensors=build_sensors(settings, jobs),
        resources={
            "settings": settings,
            "database": database,
            "media_servers": MediaServers(settings, database),
            "tmdb_service": tmdb_service(settings, database),
            "tmdb_image_service": tmdb_image_service(settings, database),
            "omdb_service": omdb_service(settings, database, clock),
            "mdblist_service": mdblist_service(settings, database, clock),
            "embedders": Embedders(settings),
            "clock": clock,
        }
        | resources,
        loggers=loggers,
        # A step takes a few hundredths of a second this way; a process of its own costs two seconds.
        executor=dg.in_process_executor,
    )
