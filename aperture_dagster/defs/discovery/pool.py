"""The pool of titles outside the library that were suggested to somebody."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.defs.enrichment.reporting import log_waiting, skipped
from aperture_dagster.defs.enrichment.sources import SOURCE_ASSETS
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server import movies, series, users, watch_history
from aperture_dagster.defs.reporting import materialized
from aperture_dagster.defs.taste.embedding import embed_changed, model_key_of
from aperture_dagster.defs.taste.profiles import taste_profiles
from aperture_dagster.library.discovery import (
    LISTS_PER_DAY,
    MEDIA_TYPES,
    KnownList,
    UserPlan,
    Wanted,
    next_requests,
    plan_details,
    scarce_types,
    wanted_titles,
)
from aperture_dagster.partitions import user_partitions
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.providers import Embedders
from aperture_dagster.resources.tmdb import Tmdb
from aperture_dagster.settings import Settings
from aperture_dagster.sources.discovery import ListsRead, pool_details, read_pages
from aperture_dagster.sources.discovery_plan import plan_users
from aperture_dagster.sources.discovery_trakt import TraktLists, read_trakt
from aperture_dagster.sources.services import MeteredService, Services
from aperture_dagster.sources.tmdb import TMDB
from aperture_dagster.storage.discovery import (
    DETAILS,
    admit,
    clear_priorities,
    details_requested,
    forget_old,
    forget_owned,
    known_titles,
    lists_read,
    owned_ids,
    pool_summary,
    pool_text_rows,
    pool_works,
    read_lists,
    write_suggestions,
)
from aperture_dagster.storage.discovery_inputs import without_trait_ids
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.vectors import register_model
from aperture_dagster.storage.versions import content_version
from aperture_dagster.worklist.engine import Tally, work_through

TMDB_METADATA = tuple(one for one in SOURCE_ASSETS if one.key.path[-1] == TMDB.table)


@dg.asset(
    group_name="discovery",
    deps=[users, movies, series, watch_history, *TMDB_METADATA, taste_profiles, TMDB.name],
    kinds={"tmdb", "numpy", "postgres"},
    pool=TMDB.name,
    metadata={"dagster/table_name": "discovery_pool"},
)
def discovery_pool(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    services: dg.ResourceParam[Services],
    embedders: dg.ResourceParam[Embedders],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """Titles that are not in the library and were suggested to somebody, one row per title, with details from TMDb.

    TMDb's recommendations from what each user liked, and its titles by their genres, keywords and people. Lists are
    read once a day and details once per title, for everybody together. Skipped without a TMDb key.
    """
    with operator_errors(context, settings):
        # Also without TMDb: what the library has got is not suggested, and nothing is kept longer than allowed.
        tidied = _tidy(context, settings, database, clock)
    service = services.get(TMDB)
    if not service.configured:
        return skipped(context, TMDB, _version(database), without="nothing outside the library is suggested")
    with operator_errors(context, settings):
        pool = _Pool(context, settings, database, clock)
        pool.read_trakt()
        with service.open(waiting=log_waiting(context, TMDB)) as client:
            metadata = pool.fill(service, client) | tidied
            metadata["requests"] = client.requests
    with operator_errors(context, settings):
        metadata |= _embed(context, database, embedders)
        return materialized(context, metadata, version=_version(database))


class _Pool:
    """One run: plan, read lists, choose, request details."""

    def __init__(self, context: dg.AssetExecutionContext, settings: Settings, database: Database, clock: Clock) -> None:
        self._context, self._settings, self._database, self._clock = context, settings, database, clock
        self._now = clock.now()
        zone = ZoneInfo(settings.schedule_timezone)
        self._today = datetime.combine(self._now.astimezone(zone).date(), time(), zone)
        with database.transaction() as connection:
            keys = user_partitions(context.instance)
            self._people = list(users_of_partitions(connection, keys).values())
        self._trakt = TraktLists()

    def read_trakt(self) -> None:
        """Read Trakt's recommendations for those who connected it."""
        user_ids = [user.user_id for user in self._people]
        self._trakt = read_trakt(
            self._settings, self._database, self._clock, user_ids, self._context.log, today=self._today
        )

    def fill(self, service: MeteredService[Tmdb], client: Tmdb) -> dict[str, Any]:
        """Bring the pool up to date; return the metadata."""
        settings, now = self._settings, self._now
        day_began = self._today.astimezone(UTC)
        with self._database.transaction() as connection:
            plans, first_pages = plan_users(connection, self._people, settings, self._trakt.lists)
            owned = owned_ids(connection)
            good_since = now - timedelta(days=settings.discovery_ttl_days)
            known = read_lists(connection, since=good_since, today=day_began, now=now)
            lists_left = LISTS_PER_DAY - lists_read(connection, since=day_began, now=now)
            details_left = settings.discovery_details_per_run - details_requested(connection, since=day_began, now=now)
        found, wanted = self._read(client, plans, first_pages, owned, known, lists_left)
        with self._database.transaction() as connection:
            chosen = plan_details(wanted, known_titles(connection, now=now), budget=max(details_left, 0))
            added = admit(connection, chosen, now=now)
        # Before the details: who was suggested what is known even if TMDb goes down meanwhile.
        rows = self._note_suggestions(wanted)
        tally = Tally()
        if chosen.request:
            work = pool_details(service, client, settings, self._clock, budget=len(chosen.request))
            tally = work_through(work, self._database, self._clock, self._context.log)
        with self._database.transaction() as connection:
            clear_priorities(connection)
            sizes, untold = pool_summary(connection), without_trait_ids(connection)
        if untold:
            self._context.log.info(
                f"Of {untold:,} titles in the library, the ids of genres, keywords and people are not known until the "
                "job enrich_metadata has asked TMDb again; until then, fewer lists are read."
            )
        if chosen.left_out:
            self._context.log.info(
                f"{chosen.left_out:,} more titles are left for another day: the details of "
                f"{settings.discovery_details_per_run:,} are requested a day (APERTURE_DISCOVERY_DETAILS_PER_RUN)."
            )
        return {
            "dagster/row_count": sizes["films"] + sizes["series"],
            **sizes,
            "lists_requested": found.read,
            "lists_failed": found.failed + self._trakt.failed,
            "lists_empty": found.suspicious,
            "requests_to_trakt": self._trakt.requests,
            "details_requested": tally.asked,
            "details_not_found": tally.not_found,
            "errors": tally.error,
            "added": added,
            "library_without_trait_ids": untold,
            "left_for_another_day": chosen.left_out,
            "rows_written": tally.rows + added + rows,
        }

    def _read(
        self,
        client: Tmdb,
        plans: Sequence[UserPlan],
        first_pages: dict[int, list[int]],
        owned: dict[str, set[int]],
        known: dict[str, KnownList],
        lists_left: int,
    ) -> tuple[ListsRead, dict[str, list[Wanted]]]:
        """Read the lists of the day; more of them while everybody together has few films or series."""
        total = ListsRead()
        minimum_votes = self._settings.discovery_minimum_votes
        for again in (False, True):
            while True:
                wanted = {
                    plan.user_id: wanted_titles(plan, first_pages, known, owned, minimum_votes=minimum_votes)
                    for plan in plans
                }
                # Who watches films alone may like series, too.
                media_types = scarce_types(wanted) if again else MEDIA_TYPES
                read = read_pages(
                    client,
                    self._database,
                    next_requests(plans, known, media_types=media_types, again=again),
                    known,
                    self._clock,
                    self._context.log,
                    budget=lists_left,
                    today=self._today,
                    total=total,
                )
                if not again or not read:
                    break
        return total, wanted

    def _note_suggestions(self, wanted: dict[str, list[Wanted]]) -> int:
        with self._database.transaction() as connection:
            works = pool_works(connection)
            return sum(write_suggestions(connection, user, own, works).written for user, own in wanted.items())


def _tidy(context: dg.AssetExecutionContext, settings: Settings, database: Database, clock: Clock) -> dict[str, int]:
    """Delete from the pool what the library has got, and what nobody was suggested for long; return how many titles."""
    with database.transaction() as connection:
        owned = forget_owned(connection)
        old = forget_old(connection, wanted_before=clock.now() - timedelta(days=settings.discovery_kept_days))
    if owned or old:
        context.log.info(f"Deleted from the pool: {owned:,} titles that are in the library now, {old:,} old ones.")
    return {"now_in_library": owned, "pruned": old}


def _embed(context: dg.AssetExecutionContext, database: Database, embedders: Embedders) -> dict[str, Any]:
    embedder = embedders.get()
    model_key = model_key_of(embedder)
    with database.transaction() as connection:
        register_model(connection, model_key, embedder.dimensions)
    embedded, refused, _ = embed_changed(
        context.log, database, embedder, model_key, pool_text_rows, "discovery_vectors"
    )
    return {"embedded": embedded, "refused": len(refused)}


def _version(database: Database) -> str:
    with database.transaction() as connection:
        pool = content_version(connection, "discovery_pool", columns=("work_id", *DETAILS))
        lists = content_version(connection, "discovery_suggestions")
        vectors = content_version(connection, "discovery_vectors", columns=("model_key", "work_id", "text_hash"))
    return f"{pool}:{lists}:{vectors}"
