"""Titles outside the library: the pool, what each user may like of it, and requests through Seerr."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.catalogue import movies, series, users, watch_history
from aperture_dagster.defs.daily_checks import daily_check
from aperture_dagster.defs.enrichment import TMDB_METADATA, enriched_metadata
from aperture_dagster.defs.ratings import trakt as trakt_service
from aperture_dagster.defs.ratings import trakt_ratings
from aperture_dagster.defs.reporting import (
    is_brief,
    log_waiting,
    materialized,
    skipped,
    table,
)
from aperture_dagster.defs.taste.lists import embedder as embedder_service
from aperture_dagster.defs.taste.lists import embeddings, taste_profiles
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.discovery.fill import Filling, day_of, pool_version
from aperture_dagster.discovery.pool import count_pool_texts, forget_old, pool_text_rows
from aperture_dagster.discovery.requests import RequestDesk, RequestedBest
from aperture_dagster.discovery.seerr import SEERR, Seerr, requests_are_off
from aperture_dagster.discovery.suggestions import (
    candidate_table,
    requests_table,
    where_to_stream,
    why_suggested,
)
from aperture_dagster.discovery.suitability import FORBIDDEN, OWNED, SETTLED, unsuitable_suggestions
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.imports.importing import recognise_names
from aperture_dagster.instance.failures import MissingPrerequisite, operator_errors
from aperture_dagster.instance.markdown import Markup, markdown_list, markdown_table, score_table
from aperture_dagster.instance.pools import TRAKT
from aperture_dagster.jobs import Group, Job
from aperture_dagster.model import Clock, shortened, titled
from aperture_dagster.partitions import user_partitions
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.taste.changes import program_hash
from aperture_dagster.taste.configured_embedder import Embedders
from aperture_dagster.taste.crowd import read_crowd
from aperture_dagster.taste.embed import embed_changed, model_in_use, model_key_of
from aperture_dagster.taste.lists import users_with_taste
from aperture_dagster.taste.vectors import register_model
from aperture_dagster.trakt.accounts import TraktAccounts
from aperture_dagster.trakt.recommendations import recommendations_version, refresh_recommendations
from aperture_dagster.worklist.services import MeteredService

GENERATE_SUGGESTIONS = Job(
    "generate_discovery_suggestions",
    "Look for titles outside the library, and suggest to each user what they may like.",
    ("trakt_recommendations", "discovery_pool", "discovery_candidates"),
    cron="0 6 * * *",
    why="After tastes have been renewed.",
    scope="users",
    first_run=True,
    needs=("taste_profiles", "tmdb_metadata"),
)


@dg.asset(
    group_name="discovery",
    deps=[trakt_service, users],
    kinds={"trakt", "postgres"},
    pool=TRAKT,
    metadata={"dagster/table_name": "trakt_recommendations"},
)
def trakt_recommendations(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    trakt: dg.ResourceParam[TraktAccounts],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """What Trakt recommends to each user who connected it, one row per user and media type, for suggestions from
    outside the library.

    Read once a day. If Trakt cannot be read, the last answer stays. Skipped while Trakt is off, or only kept in step.
    """
    with operator_errors(context, settings):
        with database.transaction() as connection:
            people = users_of_partitions(connection, user_partitions(context.instance)).values()
        report = refresh_recommendations(
            settings, database, clock, trakt, [user.user_id for user in people], context.log,
            day_began=day_of(clock.now(), settings),
        )  # fmt: skip
        with database.transaction() as connection:
            version = recommendations_version(connection)
        metadata: dict[str, Any] = {
            "dagster/row_count": report.known,
            "rows_written": report.written,
            "requests": report.requests,
            "lists_failed": report.failed,
        }
        if report.off is not None:
            context.log.info(report.off)
            metadata["skipped"] = report.off
        return materialized(context, metadata, version=version)


@dg.asset(
    group_name="discovery",
    deps=[
        TMDB.name, embedder_service, users, movies, series, watch_history, trakt_ratings, *TMDB_METADATA,
        taste_profiles, trakt_recommendations,
    ],
    kinds={"tmdb", "numpy", "postgres"},
    pool=TMDB.name,
    metadata={"dagster/table_name": "discovery_pool"},
)  # fmt: skip
def discovery_pool(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    tmdb: dg.ResourceParam[MeteredService[Tmdb]],
    embedder: dg.ResourceParam[Embedders],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """Titles that are not in the library and were suggested to somebody, one row per title, with details from TMDb.

    TMDb's recommendations from what each user liked, and its titles by their genres, keywords and people. Lists are
    read once and details once per title, for everybody together. Skipped without a TMDb key.
    """
    with operator_errors(context, settings), database.transaction() as connection:
        # Also without TMDb: nothing is kept longer than allowed, and the library may have got what somebody has seen.
        pruned = forget_old(connection, now=clock.now())
        recognise_names(connection, now=clock.now())
        version = pool_version(connection)
        keys = user_partitions(context.instance)
        people = list(users_of_partitions(connection, keys).values())
    if not tmdb.configured:
        return skipped(context, TMDB, version, without="nothing outside the library is suggested")
    with operator_errors(context, settings):
        filling = Filling(settings, database, clock, context.log)
        plans = filling.plan(people)
        with tmdb.open(waiting=log_waiting(context, TMDB)) as client:
            figures = filling.fill(tmdb, client, people, plans)
            requests = client.requests
        model = embedder.get()
        model_key = model_key_of(model)
        with database.transaction() as connection:
            register_model(connection, model_key, model.dimensions)
            titles = count_pool_texts(connection)
        embedded, refused, _ = embed_changed(
            context.log, database, model, model_key, pool_text_rows, "discovery_vectors", total=titles
        )
        with database.transaction() as connection:
            version = pool_version(connection)
        figures |= {"pruned": pruned, "requests": requests}
        return materialized(context, figures | {"embedded": embedded, "refused": len(refused)}, version=version)


SHOWN = 4
POSTER = "w92"
LONGEST_TITLE = 40
# TMDb's terms ask for both.
ATTRIBUTION = "Data from TMDb, which does not endorse this product; streaming from JustWatch."
# The pool is filled at night with the day's tastes; what else has changed can wait for the next one, except for limits.
AT_NIGHT = dg.AssetSelection.assets(
    movies, series, watch_history, enriched_metadata, *TMDB_METADATA, embeddings, taste_profiles, trakt_ratings
)


@user_asset(
    group_name="discovery",
    deps=[
        users, movies, series, watch_history, trakt_ratings, *TMDB_METADATA, enriched_metadata, embeddings,
        taste_profiles, discovery_pool,
    ],
    kinds={"numpy", "postgres"},
    automation_condition=on_upstream_change(ignoring=AT_NIGHT, required=dg.AssetSelection.assets(taste_profiles)),
    code_version=program_hash("discovery"),
    metadata={"dagster/table_name": "discovery_candidates"},
)  # fmt: skip
def discovery_candidates(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """Titles outside the library that each user may like, 50 per user and media type, each with the reason, where it
    streams, and the parts of its score.

    Nothing owned, watched, rated, dismissed or requested; nothing above the user's parental limit; only what can be
    watched at home. Made every night from discovery_pool; replaced whole, in one transaction.
    """
    from aperture_dagster.discovery.scoring import score_pool

    with operator_errors(context, settings):
        with database.transaction() as connection:
            learned, model_key = users_with_taste(connection), model_in_use(connection)
            asked = list(users_of_partitions(connection, list(context.partition_keys)).values())
        scored = score_pool(
            settings, database, clock, asked, model_key, lambda titles: read_crowd(context.log, settings, titles)
        )

    def serve(user: User) -> UserOutcome:
        if user.user_id not in learned:
            raise MissingPrerequisite("No taste has been learned yet: materialize taste_profiles first.")
        with database.transaction() as connection:
            counts = scored.replace_list(connection, user)
            rows = candidate_table(connection, user.user_id, country=settings.country)
            version = content_version(connection, "discovery_candidates", user_id=user.user_id)
        reasons = Counter(scored.unsuitable[user.user_id].values())
        metadata = _shown_lists(context, settings, rows) | {
            "film_suggestions": sum(row["media_type"] == "movie" for row in rows),
            "series_suggestions": sum(row["media_type"] == "series" for row in rows),
            "left_out": markdown_table([{"why": why, "titles": count} for why, count in reasons.most_common()]),
        }
        if not is_brief(context):
            metadata["attribution"] = ATTRIBUTION
        if scored.is_empty:
            metadata["note"] = "The pool is empty: materialize discovery_pool, which needs a TMDb key."
        return UserOutcome(version, rows_written=counts.written, metadata=metadata)

    yield from for_each_user(context, settings, database, serve)


def _shown_lists(
    context: dg.AssetExecutionContext, settings: Settings, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Show the top of a user's films and series: posters, reasons and services; only titles in runs of automation."""
    from aperture_dagster.taste.ranking.config import COMPONENTS

    shown: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    for media_type, name in (("movie", "films"), ("series", "series")):
        own = [row for row in rows if row["media_type"] == media_type][:SHOWN]
        if is_brief(context):
            shown[name] = markdown_list(map(titled, own), numbered=True)
            continue
        shown[name] = markdown_table(
            [
                {
                    "rank": row["rank"],
                    "poster": _poster(settings, row["poster_path"]),
                    "title": titled({**row, "title": shortened(row["title"], LONGEST_TITLE)}),
                    "why": why_suggested(row),
                    "stream": where_to_stream(row["providers"]),
                }
                for row in own
            ]
        )
        scores[f"{name}_score"] = score_table(own, COMPONENTS)
    return shown | scores


def _poster(settings: Settings, path: str | None) -> Markup:
    """Return Markdown that shows a small poster from TMDb; empty without one."""
    return Markup(f"![]({settings.tmdb_image_url}/{POSTER}{quote(path)})" if path else "")


seerr_service = dg.AssetSpec(
    SEERR.name,
    group_name="discovery",
    description="Seerr, Jellyseerr or Overseerr itself: where titles are requested.",
    kinds={"seerr"},
)
SEND_REQUESTS = Job(
    "send_requests",
    "Request each user's best suggestions through Seerr, a few per week, if that is turned on.",
    ("seerr_requests",),
    cron="0 9 * * *",
    why="After the night's suggestions, when somebody can still take a request back.",
    scope="users",
    off_if=requests_are_off,
)


@user_asset(
    group_name="discovery",
    deps=[
        seerr_service, users, movies, series, watch_history, trakt_ratings, *TMDB_METADATA, taste_profiles,
        discovery_pool, discovery_candidates,
    ],
    kinds={"postgres"},
    pool=SEERR.name,
    metadata={"dagster/table_name": "seerr_requests"},
)  # fmt: skip
def seerr_requests(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    seerr: dg.ResourceParam[MeteredService[Seerr]],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """What was requested on Seerr for each user and what became of it, one row per user and title.

    Sends the best suggestions as that user, within a limit per week and the user's quota on Seerr. Off unless
    `requests_per_week` is set.
    """
    off = requests_are_off(settings)
    if off is not None:
        context.log.info(off)
    with ExitStack() as stack:
        desk: RequestDesk | None = None
        if off is None:
            with operator_errors(context, settings):
                desk = RequestDesk(stack.enter_context(seerr.open()), database, clock)
        sent_before = 0

        def serve(user: User) -> UserOutcome:
            nonlocal sent_before
            if desk is None:
                return UserOutcome("off", {"skipped": off or "off"})
            result = desk.request_best(user, settings)
            _log(context, user, result)
            with database.transaction() as connection:
                shown = requests_table(connection, user.user_id)
                version = content_version(connection, "seerr_requests", user_id=user.user_id)
            sent_before, sent = desk.http_requests, desk.http_requests - sent_before
            return UserOutcome(version, _metadata(result, shown), result.changes, requests=sent)

        yield from for_each_user(context, settings, database, serve)


def _log(context: dg.AssetExecutionContext, user: User, result: RequestedBest) -> None:
    for sent in result.sent:
        context.log.info(f"Requested {sent.title} for {user.name}: {sent.state}.")
    for reason in result.reasons:
        context.log.info(f"{user.name}: {reason}")


def _metadata(result: RequestedBest, shown: list[dict[str, Any]]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "requests_sent": len(result.sent),
        "states": table(shown),
    }
    if result.reasons:
        metadata["reasons"] = markdown_list(result.reasons[:20])
    return metadata


SHOWN_TITLES = 20
REMEDY = "run the job generate_discovery_suggestions"


# It looks at all users, so it does not belong to a run that serves one; and it runs when some users failed.
@daily_check(
    asset=discovery_candidates,
    description=f"Nothing is suggested that its user's parental limit or tags forbid. If something is, {REMEDY}. What "
    "has come into the library since, or was watched, rated, dismissed or requested, is only counted: at night, other "
    "titles take its place.",
)
def suit_their_users(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.AssetCheckResult:
    """Fail when a list holds what its user's limit or tags forbid now, and count what became pointless."""
    with database.transaction() as connection:
        users = users_of_partitions(connection, user_partitions(context.instance)).values()
        found = unsuitable_suggestions(connection, settings, list(users), now=clock.now())
    forbidden = sum(row["why"] in FORBIDDEN for row in found)
    known = sum(row["why"] in (OWNED, SETTLED) for row in found)
    problem = f"{forbidden:,} suggestions are above their user's limit or have a blocked tag: {REMEDY}."
    shown = [row for row in found if row["why"] in (*FORBIDDEN, OWNED, SETTLED)]
    metadata: dict[str, Any] = {"forbidden": forbidden, "known": known}
    return dg.AssetCheckResult(
        passed=not forbidden,
        description=problem if forbidden else None,
        metadata=metadata | ({"titles": table(shown[:SHOWN_TITLES])} if shown else {}),
    )


CHECKS = (suit_their_users,)


GROUP = Group(
    assets=(seerr_service, trakt_recommendations, discovery_pool, discovery_candidates, seerr_requests),
    checks=CHECKS,
    jobs=(GENERATE_SUGGESTIONS, SEND_REQUESTS),
)
