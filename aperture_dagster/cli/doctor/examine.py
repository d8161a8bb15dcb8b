"""All examinations, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from aperture_dagster.cli.doctor.database import examine_clock, examine_database
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.cli.doctor.installation import examine_backups, examine_home, examine_time_zone
from aperture_dagster.cli.doctor.media_server import examine_media_server
from aperture_dagster.cli.doctor.network import examine_certificates, examine_proxies
from aperture_dagster.cli.doctor.publishing import examine_publishing
from aperture_dagster.cli.doctor.running import examine_running
from aperture_dagster.cli.doctor.services import (
    examine_alerts,
    examine_crowd,
    examine_embedder,
    examine_seerr,
    examine_title_source,
    examine_trakt,
)
from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.http.errors import ServiceError, ServiceNotConfigured
from aperture_dagster.http.redaction import redact
from aperture_dagster.model import Clock
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings


def examine(settings: Settings, only: Collection[str] | None = None) -> Iterator[Finding]:
    """Examine one thing after the other, or ``only`` these; the failure of one hides none of the others."""
    database, clock = Database(settings), Clock()
    # Generators: each begins its work when its turn comes.
    checks = {
        "home": examine_home(settings),
        "database": examine_database(database),
        "clock": examine_clock(database, clock),
        "time zone": examine_time_zone(settings),
        "backups": examine_backups(settings, clock),
        "media server": examine_media_server(settings, database, clock),
        "certificates": examine_certificates(settings, clock),
        "publishing": examine_publishing(settings, database),
        "proxies": examine_proxies(settings),
        **{source.label: examine_title_source(source, settings, database, clock) for source in SOURCES},
        "Seerr": examine_seerr(settings, database, clock),
        "Trakt": examine_trakt(settings, database, clock),
        "embedder": examine_embedder(settings),
        "crowd": examine_crowd(settings, database, clock),
        "alerts": examine_alerts(settings),
        "running": examine_running(settings),
    }
    for what, check in checks.items():
        if only is not None and what not in only:
            continue
        try:
            yield from check
        except ServiceNotConfigured as error:
            yield Finding(what, "failed" if what in _wanted(settings) else "off", str(error))
        except (ServiceError, OSError, OperatorError) as error:
            yield Finding(what, "failed", str(error))
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(what, "failed", redact(message, settings.secret_values()))


def _wanted(settings: Settings) -> set[str]:
    """Return what is not just left unconfigured: for these, a missing setting is a mistake."""
    half_configured = settings.media_server_url is not None or settings.media_server_api_key is not None
    return {"embedder", *(["media server"] if half_configured else []), *(["publishing"] if settings.publish else [])}
