"""What Trakt recommends to users who connected it: one request per media type and day."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aperture_dagster.catalogue.identity import MediaType
from aperture_dagster.discovery.plan import MEDIA_TYPES, KnownList
from aperture_dagster.discovery.pool import read_list, write_list
from aperture_dagster.enrichment.listed import SuggestedPage, SuggestedTitle
from aperture_dagster.http.errors import ServiceError, ServicePaused, ServiceRefused
from aperture_dagster.model.clock import Clock
from aperture_dagster.model.moments import is_future
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.accounts import TraktAccounts
from aperture_dagster.ratings.stored_accounts import recommendations_of
from aperture_dagster.settings import Settings


@dataclass(slots=True)
class TraktLists:
    """Recommendations by user, as of the last answer with any, and the requests that it took."""

    lists: dict[str, dict[MediaType, Sequence[SuggestedTitle]]] = field(default_factory=dict)
    requests: int = 0
    failed: int = 0

    def of(self, user_id: str) -> list[KnownList]:
        """Return the lists of a user, each as strong as the titles recommended from what they like most."""
        return [KnownList(media_type, 1.0, titles) for media_type, titles in self.lists.get(user_id, {}).items()]


def read_trakt(
    settings: Settings,
    database: Database,
    clock: Clock,
    user_ids: Sequence[str],
    log: logging.Logger,
    *,
    day_began: datetime,
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
    for user_id in (one for one in user_ids if one in known):
        own = found.lists[user_id] = {}
        due: list[MediaType] = []
        for media_type in MEDIA_TYPES:
            with database.transaction() as connection:
                last = read_list(connection, recommendations_of(user_id) + media_type)
            own[media_type] = last[0].entries if last is not None else ()
            if last is None or last[1] < day_began or is_future(last[1], clock.now()):
                due.append(media_type)
        if not due or user_id not in connected:
            continue
        try:
            with accounts.open(user_id) as client:
                for media_type in due:
                    found.requests += 1
                    ids = (one.ids.elsewhere for one in client.recommendations(media_type) or ())
                    titles = tuple(SuggestedTitle(one.tmdb_id, one.imdb_id, one.tvdb_id) for one in ids)
                    # An empty answer is no news, but it was asked for today.
                    own[media_type] = titles or own[media_type]
                    page = SuggestedPage(tuple(own[media_type]), has_more=False)
                    with database.transaction() as connection:
                        write_list(
                            connection, recommendations_of(user_id) + media_type, media_type, page, now=clock.now()
                        )
        except ServiceError as error:
            found.failed += 1
            log.warning(f"Trakt's recommendations could not be read, and the last ones are kept: {error}")
            if isinstance(error, (ServiceRefused, ServicePaused)):
                # The same for everybody.
                break
    return found
