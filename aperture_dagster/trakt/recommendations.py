"""What Trakt recommends to users who connected it: one request per media type and day."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.http.errors import ServiceError, ServicePaused, ServiceRefused
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model import MEDIA_TYPES, Clock
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version, execute, read_rows
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts, why_off
from aperture_dagster.trakt.tables import trakt_recommendations

# A list that could not be read again for so long no longer counts.
KEPT_FOR = timedelta(days=60)


@dataclass(slots=True)
class RecommendationsReport:
    """What a look at Trakt's recommendations did.

    Attributes:
        known: lists that are stored.
        written: lists that were read.
        requests: sent to Trakt.
        failed: users whose lists could not be read.
        off: why Trakt was not asked, in a sentence; None if it was.
    """

    known: int = 0
    written: int = 0
    requests: int = 0
    failed: int = 0
    off: str | None = None


def refresh_recommendations(
    settings: Settings,
    database: Database,
    clock: Clock,
    accounts: TraktAccounts,
    user_ids: Sequence[str],
    log: logging.Logger,
    *,
    day_began: datetime,
) -> RecommendationsReport:
    """Read and store the recommendations of Trakt for each user who connected an account; a failure keeps the last
    lists. Nothing is read while Trakt is off or only kept in step (``trakt_sync_only``).
    """
    report = RecommendationsReport(off=_why_off(settings))
    if report.off is not None:
        return report
    connected = set(accounts.connected_users())
    for user_id in user_ids:
        if user_id not in connected:
            continue
        try:
            _refresh_of(report, database, clock, accounts, user_id, day_began)
        except ServiceError as error:
            report.failed += 1
            log.warning(f"Trakt's recommendations could not be read, and the last ones are kept: {error}")
            if isinstance(error, (ServiceRefused, ServicePaused)):
                # The same for everybody.
                break
    with database.transaction() as connection:
        statement = "DELETE FROM trakt_recommendations WHERE read_at < :before"
        execute(connection, statement, before=clock.now() - KEPT_FOR)
        report.known = sum(len(lists) for lists in stored_recommendations(connection, settings, user_ids).values())
    return report


def _refresh_of(
    report: RecommendationsReport,
    database: Database,
    clock: Clock,
    accounts: TraktAccounts,
    user_id: str,
    day_began: datetime,
) -> None:
    """Ask Trakt for the lists of a user that were not read today."""
    with database.transaction() as connection:
        read_at = _read_at(connection, user_id)
    due: list[MediaType] = [
        media_type for media_type in MEDIA_TYPES if (last := read_at.get(media_type)) is None or last < day_began
    ]
    if not due:
        return
    with accounts.open(user_id) as client:
        for media_type in due:
            report.requests += 1
            titles = [title.ids.elsewhere for title in client.recommendations(media_type) or ()]
            with database.transaction() as connection:
                _write(connection, user_id, media_type, titles, now=clock.now())
            report.written += 1


def _read_at(connection: Connection, user_id: str) -> dict[str, datetime]:
    """Return when each list of a user was read, by media type."""
    statement = "SELECT media_type, read_at FROM trakt_recommendations WHERE user_id = :user"
    return {row.media_type: row.read_at for row in execute(connection, statement, user=user_id)}


def _write(
    connection: Connection, user_id: str, media_type: MediaType, titles: Sequence[ProviderIds], *, now: datetime
) -> None:
    """Store a list. An empty one keeps the titles before, since it is no news, but it was asked for today."""
    row = {"user_id": user_id, "media_type": media_type, "titles": [asdict(ids) for ids in titles], "read_at": now}
    statement = "UPDATE trakt_recommendations SET read_at = :now WHERE user_id = :user AND media_type = :type"
    if titles or not execute(connection, statement, user=user_id, type=media_type, now=now).rowcount:
        upsert(connection, trakt_recommendations, [row])


def stored_recommendations(
    connection: Connection, settings: Settings, user_ids: Sequence[str]
) -> dict[str, Mapping[MediaType, list[ProviderIds]]]:
    """Return the titles of Trakt's last answers that had any, by user and media type, the best first.

    There are none while Trakt is off or only kept in step, or once the user has disconnected.
    """
    if _why_off(settings) is not None:
        return {}
    statement = """
        SELECT r.user_id, r.media_type, r.titles FROM trakt_recommendations r JOIN trakt_accounts a USING (user_id)
        WHERE r.user_id = ANY(:users) ORDER BY r.user_id, r.media_type"""
    lists: dict[str, dict[MediaType, list[ProviderIds]]] = {}
    for row in read_rows(connection, statement, users=list(user_ids)):
        titles = [ProviderIds(**ids) for ids in row["titles"]]
        lists.setdefault(row["user_id"], {})[row["media_type"]] = titles
    return {**lists}


def recommendations_version(connection: Connection) -> str:
    """Return a hash of what Trakt recommended to all users."""
    return content_version(connection, "trakt_recommendations", columns=("user_id", "media_type", "titles"))


def _why_off(settings: Settings) -> str | None:
    """Say in a sentence why Trakt recommends nothing; None if it may."""
    if settings.trakt_sync_only:
        return "Trakt is only kept in step (APERTURE_TRAKT_SYNC_ONLY), and suggests nothing."
    return why_off(settings)
