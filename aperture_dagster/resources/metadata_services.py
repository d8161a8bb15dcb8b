"""The sources of facts about titles, as services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aperture_dagster.library.sources import MDBLIST, OMDB, TMDB, TMDB_IMAGES, Source
from aperture_dagster.resources.metered_service import MeteredService
from aperture_dagster.resources.quota import QuotaLedger

# The clients load httpx, so each is imported when it is used.
if TYPE_CHECKING:
    from aperture_dagster.resources.mdblist import MdbList
    from aperture_dagster.resources.omdb import Omdb
    from aperture_dagster.resources.providers import Clock, Database
    from aperture_dagster.resources.tmdb import Tmdb
    from aperture_dagster.resources.tmdb_images import TmdbImages
    from aperture_dagster.settings import Settings


def tmdb_service(settings: Settings, database: Database) -> MeteredService[Tmdb]:
    """Make the service for TMDb."""

    def connect(key: str, **options: Any) -> Tmdb:
        from aperture_dagster.resources.tmdb import Tmdb

        return Tmdb.connect(settings.tmdb_url, key, language=settings.tmdb_language, **options)

    return MeteredService(
        **_common(TMDB, settings, database),
        key=settings.tmdb_api_key,
        connect=connect,
        concurrency=settings.tmdb_concurrency,
        rate=(settings.tmdb_requests, settings.tmdb_period_seconds),
    )


def omdb_service(settings: Settings, database: Database, clock: Clock) -> MeteredService[Omdb]:
    """Make the service for OMDb, whose quota is counted here, because it never reports what is left."""

    def connect(key: str, **options: Any) -> Omdb:
        from aperture_dagster.resources.omdb import Omdb

        return Omdb.connect(settings.omdb_url, key, **options)

    return MeteredService(
        **_common(OMDB, settings, database),
        key=settings.omdb_api_key,
        connect=connect,
        concurrency=settings.omdb_concurrency,
        quota=QuotaLedger(database, clock, OMDB.name, settings.omdb_daily_limit, label=OMDB.label),
    )


def mdblist_service(settings: Settings, database: Database, clock: Clock) -> MeteredService[MdbList]:
    """Make the service for MDBList, which reports its quota. One request at a time: the batch size may change."""

    def connect(key: str, **options: Any) -> MdbList:
        from aperture_dagster.resources.mdblist import MdbList

        return MdbList.connect(settings.mdblist_url, key, **options)

    return MeteredService(
        **_common(MDBLIST, settings, database),
        key=settings.mdblist_api_key,
        connect=connect,
        rate=(settings.mdblist_requests, settings.mdblist_period_seconds),
        quota=QuotaLedger(
            database, clock, MDBLIST.name, settings.mdblist_daily_limit, label=MDBLIST.label, reported=True
        ),
    )


def tmdb_image_service(settings: Settings, database: Database) -> MeteredService[TmdbImages]:
    """Make the service for TMDb's pictures. They need no key, but TMDb, which lists them, does."""

    def connect(key: str, **options: Any) -> TmdbImages:
        from aperture_dagster.resources.tmdb_images import TmdbImages

        largest_bytes = int(settings.logo_largest_megabytes * 1_000_000)
        return TmdbImages.connect(settings.tmdb_image_url, largest_bytes=largest_bytes, **options)

    return MeteredService(
        **_common(TMDB_IMAGES, settings, database),
        key=settings.tmdb_api_key,
        connect=connect,
        concurrency=settings.logo_concurrency,
    )


def _common(source: Source, settings: Settings, database: Database) -> dict[str, Any]:
    return {
        "name": source.name,
        "label": source.label,
        "key_setting": source.key_setting,
        "database": database,
        "options": {"attempts": settings.http_attempts, "first_wait_seconds": settings.http_retry_wait_seconds},
    }
