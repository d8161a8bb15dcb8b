"""The ratings of one user after another, in step everywhere: here, on Trakt, and on the media server."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.http.errors import ServiceError
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.ratings.in_force import OWN, TRAKT, ratings_version
from aperture_dagster.ratings.server import lacks_ratings, rate_on_server
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.sync import RatingsReport, RatingsSync


@dataclass(frozen=True, slots=True)
class RatingsKeeper:
    """Keeps users' ratings in step; ``accept_first_sync`` as for :class:`RatingsSync`."""

    settings: Settings
    database: Database
    clock: Clock
    trakt: TraktAccounts
    media_servers: MediaServers
    log: logging.Logger
    accept_first_sync: bool = False

    def serve(self, user: User) -> RatingsReport:
        """Compare a user's ratings with Trakt, if they are connected, and rate on the media server, if that is wanted.

        Raises:
            ServiceError: see :meth:`TraktAccounts.open` and :meth:`RatingsSync.run`.
        """
        # Asked for each user, since one may connect or disconnect meanwhile.
        left_out = self.trakt.why_left_out(user.user_id, user.name)
        if left_out is None:
            with self.trakt.open(user.user_id) as client:
                accept = self.accept_first_sync
                sync = RatingsSync(self.database, self.clock, user, client, self.log, accept_first_sync=accept)
                report = sync.run()
                report.requests = client.requests
        else:
            report = RatingsReport(notes=[left_out], is_left_out=True)
        if self.settings.ratings_to_server and lacks_ratings(self.database, user):
            self._rate_on_server(user, report)
        with self.database.transaction() as connection:
            report.version = ratings_version(connection, user.user_id, OWN, TRAKT)
        return report

    def _rate_on_server(self, user: User, report: RatingsReport) -> None:
        try:
            with self.media_servers.open_writer() as writer:
                written = rate_on_server(self.database, writer, user, log=self.log)
        except ServiceError as error:
            # Ratings on Trakt do not wait for the media server; the next run writes what is missing.
            self.log.warning(f"{user.name}: ratings were not written to the media server: {error}")
            report.notes.append(f"Not written to the media server: {error}")
            return
        report.rows_written += written.written
        if written.note is not None:
            report.notes.append(written.note)
