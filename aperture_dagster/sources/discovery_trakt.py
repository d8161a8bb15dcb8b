"""What Trakt recommends to users who connected it: one request per media type and day."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aperture_dagster.library.discovery import MEDIA_TYPES, MediaType
from aperture_dagster.library.listed import SuggestedPage, SuggestedTitle
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.ratings.client import Trakt
from aperture_dagster.ratings.stored_accounts import recommendations_of
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import ServiceError, ServicePaused, ServiceRefused
from aperture_dagster.settings import Settings
from aperture_dagster.storage.discovery import read_list, write_list


@dataclass(slots=True)
class TraktLists:
    """Recommendations by user and media type, as of the last answer with any, and the requests that it took."""

    lists: dict[str, dict[MediaType, tuple[SuggestedTitle, ...]]] = field(default_factory=dict)
    requests: int = 0
    failed: int = 0


def read_trakt(
    settings: Settings,
    database: Database,
    clock: Clock,
    user_ids: Sequence[str],
    log: logging.Logger,
    *,
    today: datetime,
) -> TraktLists:
    """Read what Trakt recommends to those of these users who connected it; a failure keeps the last lists.

    Nothing is read, and earlier lists do not count, while Trakt is off or only kept in step (``trakt_sync_only``).
    """
    found = TraktLists()
    accounts = TraktAccounts(settings, database, clock)
    if settings.trakt_sync_only or accounts.why_off() is not None:
        return found
    known = {one.user_id for one in accounts.accounts()}
    connected = set(accounts.connected_users())
    for user_id in user_ids:
        if user_id not in known:
            continue
        due = _known(database, user_id, found, today=today, now=clock.now())
        if not due or user_id not in connected:
            continue
        try:
            with accounts.open(user_id) as client:
                try:
                    _read(client, database, clock, user_id, due, found)
                finally:
                    found.requests += client.requests
        except ServiceError as error:
            found.failed += 1
            log.warning(f"Trakt's recommendations could not be read, and the last ones are kept: {error}")
            if isinstance(error, (ServiceRefused, ServicePaused)):
                # The same for everybody.
                break
    return found


def _known(database: Database, user_id: str, found: TraktLists, *, today: datetime, now: datetime) -> list[MediaType]:
    """Take in a user's last lists; return the media types that are due."""
    due: list[MediaType] = []
    with database.transaction() as connection:
        for media_type in MEDIA_TYPES:
            known = read_list(connection, _request(user_id, media_type), today=today, now=now)
            if known is not None:
                found.lists.setdefault(user_id, {})[media_type] = known.entries
            if known is None or not known.read_today:
                due.append(media_type)
    return due


def _read(
    client: Trakt, database: Database, clock: Clock, user_id: str, due: Sequence[MediaType], found: TraktLists
) -> None:
    for media_type in due:
        titles = client.recommendations(media_type)
        own = found.lists.setdefault(user_id, {})
        if titles:
            ids = (one.ids.elsewhere for one in titles)
            own[media_type] = tuple(SuggestedTitle(one.tmdb_id, one.imdb_id, one.tvdb_id) for one in ids)
        # An empty answer is no news, but it was asked for today.
        page = SuggestedPage(own.get(media_type, ()), has_more=False)
        with database.transaction() as connection:
            write_list(connection, _request(user_id, media_type), media_type, page, now=clock.now())


def _request(user_id: str, media_type: MediaType) -> str:
    return recommendations_of(user_id) + media_type
