"""Fill the pool: read lists of titles outside the library from TMDb, choose the best, and request their details."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import MediaType, ProviderIds
from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.plan import KnownList, UserPlan, chosen_titles, count_unread, next_requests
from aperture_dagster.discovery.pool import (
    DETAILS,
    FRESH_FOR,
    POOL,
    SEEN_FRESH_FOR,
    admit,
    lists_read,
    only_seen_works,
    pool_population,
    pool_summary,
    read_lists,
    write_details,
    write_list,
)
from aperture_dagster.discovery.seen import SEEN, SeenTitles, admit_seen
from aperture_dagster.discovery.suitability import plan_users, today_of
from aperture_dagster.enrichment.listed import SuggestedPage, SuggestedTitle
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.http.errors import BadAnswer, RequestRejected, ServicePaused, ServiceUnavailable
from aperture_dagster.imports.importing import recognise_names
from aperture_dagster.model import Clock, Progress
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.trakt.recommendations import stored_recommendations
from aperture_dagster.worklist.engine import Tally, work_through
from aperture_dagster.worklist.fetches import DueItem, forget_former
from aperture_dagster.worklist.services import MeteredService
from aperture_dagster.worklist.work_list import Attempt, OneByOne

# Requests for lists per day, for all users together.
LISTS_PER_DAY = 80
# A list that cannot be read is left out; after so many in a row, no other is tried.
FAILURES_UNTIL_DOWN = 3
# Details age by whole days: a run that begins a little earlier than the last one must not find half of them due.
SLACK = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Filling:
    """One run that fills the pool."""

    settings: Settings
    database: Database
    clock: Clock
    log: logging.Logger

    def plan(self, users: Sequence[User]) -> dict[str, UserPlan]:
        """Plan what suggests titles to users, with what Trakt recommended to them."""
        user_ids = [user.user_id for user in users]
        with self.database.transaction() as connection:
            plans = plan_users(connection, user_ids, self.settings)
            recommended = stored_recommendations(connection, self.settings, user_ids)
        return {
            user: replace(plan, lists=[*plan.lists, *_as_lists(recommended.get(user, {}))])
            for user, plan in plans.items()
        }

    def fill(
        self, service: MeteredService[Tmdb], client: Tmdb, users: Sequence[User], plans: Mapping[str, UserPlan]
    ) -> dict[str, int]:
        """Bring the pool up to date; return figures.

        Raises:
            ServiceUnavailable: TMDb is down; what was read is stored.
            ServiceRefused: the key was refused.
        """
        now, own = self.clock.now(), [plans[user.user_id] for user in users]
        with self.database.transaction() as connection:
            known = read_lists(connection, now=now)
        figures = self._read_lists(client, own, known)
        chosen = chosen_titles(own, known, self.settings.discovery_minimum_votes)
        seen = work_through(SeenTitles(service, client, self.clock), self.database, self.clock, self.log)
        with self.database.transaction() as connection:
            forget_former(connection, SEEN)
            added = admit(connection, chosen, now=now) + admit_seen(connection)
            only_seen = only_seen_works(connection)
        tally = Tally()
        if chosen or only_seen:
            work = Details(service, client, now, self.clock, only_seen)
            tally = work_through(work, self.database, self.clock, self.log)
        with self.database.transaction() as connection:
            # What members have seen elsewhere must be known before anything is suggested.
            recognised = seen.ok + recognise_names(connection, now=now)
            sizes = pool_summary(connection)
        return {
            "dagster/row_count": sizes["films"] + sizes["series"],
            **sizes,
            **figures,
            "seen_looked_up": seen.asked,
            "details_requested": tally.asked,
            "details_not_found": tally.not_found,
            "errors": tally.error,
            "added": added,
            "recognised": recognised,
            "rows_written": tally.rows + added + recognised,
        }

    def _read_lists(self, client: Tmdb, plans: Sequence[UserPlan], known: dict[str, SuggestedPage]) -> dict[str, int]:
        """Read the lists of the day, each of which is stored as it comes and added to ``known``; return figures."""
        now = self.clock.now()
        day_began = day_of(now, self.settings)
        with self.database.transaction() as connection:
            budget = LISTS_PER_DAY - lists_read(connection, since=day_began, now=now)
        read = failed = in_a_row = 0
        due = min(count_unread(plans, known), max(budget, 0))
        progress = Progress(self.log, "lists of titles outside the library", due)
        progress.begin()
        for query, page in next_requests(plans, known, self.settings.discovery_minimum_votes):
            if read + failed >= budget or in_a_row >= FAILURES_UNTIL_DOWN:
                break
            request = query.request(page)
            try:
                answer = client.discover(query.media_type, query.filters, page, today=day_began.date())
            except ServicePaused:
                raise
            except (ServiceUnavailable, BadAnswer, RequestRejected) as error:
                failed, in_a_row = failed + 1, in_a_row + 1
                if in_a_row >= FAILURES_UNTIL_DOWN and isinstance(error, ServiceUnavailable):
                    raise
                self.log.warning(f"{request} could not be read and is left out: {error}")
                continue
            in_a_row = 0
            with self.database.transaction() as connection:
                write_list(connection, request, query.media_type, answer, now=self.clock.now())
            known[request] = answer
            read += 1
            progress.add()
        if in_a_row >= FAILURES_UNTIL_DOWN:
            self.log.warning("No other list was tried in this run.")
        return {"lists_requested": read, "lists_failed": failed}


class Details(OneByOne[Tmdb]):
    """Asks TMDb about the titles outside the library that are wanted now."""

    what = "titles outside the library"

    def __init__(
        self,
        service: MeteredService[Tmdb],
        client: Tmdb,
        wanted_at: datetime,
        clock: Clock,
        only_seen: Collection[int],
    ) -> None:
        source = replace(POOL, population=pool_population(wanted_at))
        super().__init__(source, service, client)
        self.language, self._clock, self._only_seen = client.language, clock, only_seen

    def ask_about(self, item: DueItem) -> Attempt:
        """Ask about a title."""
        media_type: MediaType = "movie" if item.kind == "movie" else "series"
        return Attempt(item, "ok", answer=self.client.pool_title(media_type, item.tmdb_id or 0))

    def store(self, connection: Connection, attempts: Sequence[Attempt]) -> int:
        """Write details; return how many rows changed."""
        details = {attempt.item.item: attempt.answer for attempt in attempts}
        return write_details(connection, details, now=self._clock.now())

    def ttl(self, attempt: Attempt, now: datetime) -> timedelta:
        """Return how long details stay fresh; longer for titles that only count for tastes and are never suggested."""
        return SEEN_FRESH_FOR if attempt.item.item in self._only_seen else FRESH_FOR - SLACK


def _as_lists(recommended: Mapping[MediaType, Sequence[ProviderIds]]) -> list[KnownList]:
    """Return what Trakt recommends to a user, each list as strong as TMDb's for what they like most."""
    return [
        KnownList(media_type, 1.0, [SuggestedTitle(ids.tmdb_id, ids.imdb_id, ids.tvdb_id) for ids in titles])
        for media_type, titles in recommended.items()
    ]


def day_of(now: datetime, settings: Settings) -> datetime:
    """Return when the day began in the operator's time zone."""
    return datetime.combine(today_of(now, settings), time(), ZoneInfo(settings.schedule_timezone))


def pool_version(connection: Connection) -> str:
    """Return a hash of what suggestions are made from."""
    pool = content_version(connection, "discovery_pool", columns=("work_id", *DETAILS))
    vectors = content_version(connection, "discovery_vectors", columns=("model_key", "work_id", "text_hash"))
    return f"{pool}:{vectors}"
