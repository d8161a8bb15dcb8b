"""Lists as libraries on the media server, where lineage ends."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.servers import MediaServers
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.catalogue import episodes, movies, series, users, watch_history
from aperture_dagster.defs.enrichment import TMDB_METADATA, enriched_metadata
from aperture_dagster.defs.popularity import shows_you_watch
from aperture_dagster.defs.reporting import is_brief, materialized, table
from aperture_dagster.defs.taste import recommendations
from aperture_dagster.defs.users import UserOutcome, for_each_user, user_asset
from aperture_dagster.enrichment.tmdb.images import TmdbImages
from aperture_dagster.enrichment.tmdb.logos import TMDB_IMAGES
from aperture_dagster.instance.failures import cause_of, describe, operator_errors
from aperture_dagster.instance.markdown import course, markdown, markdown_list, poster_row
from aperture_dagster.instance.private import output_without_events
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.publishing.disk.desired import DesiredEntry
from aperture_dagster.publishing.disk.queries import scores_and_reasons
from aperture_dagster.publishing.manifest import AlreadyPublishing, published_version, shown_libraries
from aperture_dagster.publishing.server.outcomes import PublishingOutcome, ScanTooLong, explain_failures
from aperture_dagster.publishing.server.publication import (
    STEMS,
    Kind,
    Publication,
    PublishingResult,
    is_on,
    is_published,
    why_not_published,
)
from aperture_dagster.settings import Settings
from aperture_dagster.worklist.services import MeteredService

# Publishing takes no place in the pool of the media server: runs take turns under a lock of the database, and histories
# are read meanwhile.
SHOWN = 10
SHOWN_BRIEFLY = 3
SHOWN_LIBRARIES = 50
LIBRARIES = "published_libraries"
# How long a run that publishes waits for the server to read what it placed.
READING_SECONDS = 30.0
LABELS = {"movie": "films", "series": "series"}


def page_of(
    context: dg.AssetExecutionContext,
    settings: Settings,
    database: Database,
    clock: Clock,
    outcomes: Sequence[PublishingOutcome],
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """Show libraries, and count what changed in libraries, collections and playlists."""
    today = clock.now().astimezone(ZoneInfo(settings.schedule_timezone)).date()
    page: dict[str, Any] = {}
    for outcome in outcomes:
        if outcome.kind == "library":
            with database.transaction() as connection:
                notes = scores_and_reasons(connection, outcome.list_key, today=today)
            page |= _list_page(context, settings, outcome, notes)
    for name in ("entries", "added", "changed", "removed"):
        page[name] = sum(getattr(one, name) for one in outcomes)
    if waiting := sum(one.waiting for one in outcomes):
        page["waiting"] = waiting
    if unread := sum(one.is_unread for one in outcomes):
        page["being_read"] = unread
    if skipped := [reason for one in outcomes for reason in one.skipped]:
        page |= {"skipped": len(skipped), "skipped_titles": markdown_list(skipped[:20])}
    return page | ({"warnings": markdown_list(warnings)} if warnings else {})


def _list_page(
    context: dg.AssetExecutionContext,
    settings: Settings,
    outcome: PublishingOutcome,
    notes: Mapping[int, tuple[float | None, str]],
) -> dict[str, Any]:
    """Show the top of a library with posters, and what entered, left and moved since the last time."""
    shown = outcome.listed[: SHOWN_BRIEFLY if is_brief(context) else SHOWN]
    label = LABELS.get(outcome.list_key.rpartition("/")[2], "series")
    records = []
    for entry in shown:
        score, reason = notes.get(entry.work_id, (None, ""))
        record = {"rank": entry.rank, "title": entry.title, "change": _change(outcome, entry), "score": score}
        records.append(record | {"because": reason})
    # A column without any value says nothing.
    columns = [name for name in (records[0] if records else ()) if any(one[name] not in (None, "") for one in records)]
    page: dict[str, Any] = {}
    if posters := poster_row(settings, _pictured(shown)):
        page[f"{label}_posters"] = markdown(posters)
    page[label] = table(records, columns)
    if outcome.left:
        page[f"{label}_left"] = ", ".join(outcome.left[:SHOWN])
    return page


def _pictured(entries: Iterable[DesiredEntry]) -> list[tuple[str, str | None]]:
    """Return the titles that have a picture on the media server, with its id there, in rank order."""
    pictures = (
        (entry.title, next((file.picture for file in entry.files if file.picture is not None), None))
        for entry in entries
    )
    return [(title, one.server_item_id) for title, one in pictures if one is not None and one.tag is not None]


def _change(outcome: PublishingOutcome, entry: DesiredEntry) -> str:
    before = outcome.ranks_before.get(entry.work_id)
    if before is None:
        return "new" if outcome.ranks_before else ""
    return course(before, entry.rank)


KINDS = {"jellyfin", "emby"}
TABLE = {"dagster/table_name": "published_entries"}
PICTURES = dg.AssetSelection.assets(TMDB_IMAGES.name)


def library_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The libraries of each kind of list; changes request them only while publishing is on."""
    return [
        user_libraries_asset(
            settings,
            "recommendations",
            recommendations,
            [movies, series, episodes, watch_history, *TMDB_METADATA, enriched_metadata],
            """
            Recommendations as libraries on the media server, one for films and one for series per user, which only
            that user sees.

            Only what differs is written, and only what was placed by this product is ever removed. Libraries of users
            who no longer take part are deleted. Only with `APERTURE_PUBLISH`.
            """,
        ),
        top_picks_libraries_asset(settings),
        user_libraries_asset(
            settings,
            "shows_you_watch",
            shows_you_watch,
            [series, episodes, watch_history, *TMDB_METADATA, enriched_metadata],
            """
            The series that each user watches, as one library per user on the media server, which only that user sees.

            Each series holds its episodes from the next unwatched one on. Only with `APERTURE_PUBLISH`.
            """,
        ),
    ]


def media_server_libraries_asset(published: Sequence[dg.AssetsDefinition]) -> dg.AssetsDefinition:
    """Make the asset that everything published ends up in."""

    @dg.asset(
        group_name="publishing",
        # What was held back is compared with the lists and titles again.
        deps=[*published, users, movies, series, episodes, watch_history, *TMDB_METADATA, enriched_metadata],
        kinds=KINDS,
        metadata={"dagster/table_name": LIBRARIES},
    )
    def media_server_libraries(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
        clock: dg.ResourceParam[Clock],
    ) -> dg.MaterializeResult:
        """The published libraries as the media server shows them, one row per library.

        A run that publishes waits half a minute for the server to read what it placed. What takes longer is left to
        this asset, which shows each library when it has been read. Lists and histories go on meanwhile.
        """
        with operator_errors(context, settings):
            reason = why_not_published(settings)
            if reason is not None:
                context.log.info(reason)
                return materialized(context, {"skipped": reason, "rows_written": 0, "requests": 0}, version="off")
            with media_servers.open_writer() as writer:
                published = Publication(settings, database, writer, clock, context.log).show_when_read()
            if any(outcome.error is not None for outcome in published.outcomes):
                raise failure(published.outcomes, settings)
            with database.transaction() as connection:
                rows = shown_libraries(connection)
                version = content_version(connection, LIBRARIES, columns=("list_key", "name", "missing"))
            metadata = {
                "libraries": table(rows[:SHOWN_LIBRARIES]),
                "dagster/row_count": len(rows),
                "rows_written": sum(outcome.rows_written for outcome in published.outcomes),
                "requests": published.requests,
            }
            return materialized(context, metadata, version=version)

    return media_server_libraries


def user_libraries_asset(
    settings: Settings,
    kind: Kind,
    lists: dg.AssetsDefinition,
    at_night: Sequence[dg.AssetsDefinition],
    description: str,
) -> dg.AssetsDefinition:
    """Make the asset that publishes the lists of one kind, with a partition per user.

    Args:
        settings: changes request the asset only while publishing is on.
        kind: what is published.
        lists: the asset with the lists.
        at_night: assets whose changes can wait for the night, since they change an NFO or add an episode.
        description: for the UI; indentation is removed.
    """
    ignored = dg.AssetSelection.assets(*at_night)

    @user_asset(
        name=f"{STEMS[kind]}_libraries",
        description=inspect.cleandoc(description),
        group_name="publishing",
        deps=[lists, users, *at_night, TMDB_IMAGES.name],
        kinds=KINDS,
        automation_condition=on_upstream_change(ignoring=ignored, additional=PICTURES) if settings.publish else None,
        metadata=TABLE,
    )
    def libraries(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
        tmdb_images: dg.ResourceParam[MeteredService[TmdbImages]],
        clock: dg.ResourceParam[Clock],
    ) -> Iterator[dg.MaterializeResult]:
        yield from publish_for_users(context, settings, database, media_servers, clock, kind, tmdb_images=tmdb_images)

    return libraries


def for_later_asset(settings: Settings) -> dg.AssetsDefinition:
    """Make the asset that publishes what members put aside."""
    # Arrivals and departures of titles can wait for the night.
    at_night = [users, movies, series, episodes, enriched_metadata]
    condition = on_upstream_change(ignoring=dg.AssetSelection.assets(*at_night))

    @user_asset(
        group_name="publishing",
        deps=[watch_history, *at_night],
        kinds=KINDS,
        automation_condition=condition if is_on(settings, "for_later", "playlist") else None,
        metadata={"dagster/table_name": "published_lists"},
    )
    def for_later_playlists(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
        clock: dg.ResourceParam[Clock],
    ) -> Iterator[dg.MaterializeResult]:
        """What each user put aside for later, as one playlist per user on the media server, which only that user sees.

        It holds what is in the library and not watched since, the latest first. Changes on the user's page reach it
        within minutes; titles that arrive or leave, in the night. Only with `APERTURE_PUBLISH`.
        """
        yield from publish_for_users(context, settings, database, media_servers, clock, "for_later")

    return for_later_playlists


def publish_for_users(
    context: dg.AssetExecutionContext,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    clock: Clock,
    kind: Kind,
    *,
    tmdb_images: MeteredService[TmdbImages] | None = None,
) -> Iterator[dg.MaterializeResult]:
    """Publish the lists of one kind of the users of a run, and record each user."""
    # All users are published together; the first one's turn reports the requests.
    requests: list[int] = []
    published = None
    with operator_errors(context, settings):
        reason = why_not_published(settings)
        if reason is not None:
            context.log.info(reason)
        else:
            with database.transaction() as connection:
                asked = [
                    partition.user_id for partition in users_of_partitions(connection, context.partition_keys).values()
                ]
            with media_servers.open_writer() as writer:
                publication = Publication(settings, database, writer, clock, context.log, tmdb_images=tmdb_images)
                published = publish_unless_busy(context, publication, kind, only_users=asked)
            if published is None:
                yield output_without_events()
                return
            requests.append(published.requests)
            of_users = [outcome for outcome in published.outcomes if outcome.owner in asked and not outcome.retired]
            if of_users and all(isinstance(one.error, ScanTooLong) for one in of_users):
                # One sentence for everybody.
                raise failure(of_users, settings)

    def serve(user: User) -> UserOutcome:
        if published is None or not is_published(settings, kind):
            return UserOutcome("off", {"skipped": reason or "skipped: switched off in the settings"})
        outcomes = [outcome for outcome in published.outcomes if outcome.owner == user.user_id and not outcome.retired]
        error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
        if error is not None:
            raise error
        return UserOutcome(
            version=version_of(database, outcomes),
            metadata=page_of(context, settings, database, clock, outcomes),
            rows_written=sum(outcome.rows_written for outcome in outcomes),
            requests=requests.pop() if requests else 0,
        )

    yield from for_each_user(context, settings, database, serve)


def top_picks_libraries_asset(settings: Settings) -> dg.AssetsDefinition:
    """Make the asset that publishes Top Picks."""
    # What changes an NFO, adds an episode or a viewer can wait for the night.
    ignored = dg.AssetSelection.assets(
        users, movies, series, episodes, watch_history, *TMDB_METADATA, enriched_metadata
    )

    @dg.asset(
        group_name="publishing",
        deps=[
            dg.AssetDep("top_picks", partition_mapping=dg.AllPartitionMapping()),
            users,
            movies,
            series,
            episodes,
            dg.AssetDep(watch_history, partition_mapping=dg.AllPartitionMapping()),
            *TMDB_METADATA,
            enriched_metadata,
            TMDB_IMAGES.name,
        ],
        kinds=KINDS,
        automation_condition=on_upstream_change(ignoring=ignored, additional=PICTURES) if settings.publish else None,
        metadata=TABLE,
    )
    def top_picks_libraries(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
        tmdb_images: dg.ResourceParam[MeteredService[TmdbImages]],
        clock: dg.ResourceParam[Clock],
    ) -> dg.MaterializeResult:
        """The latest Top Picks as libraries on the media server, one row per title in one library for films and one for
        series, which everybody who takes part sees.

        They hold only titles that each of them may see. Only with `APERTURE_PUBLISH`.
        """
        with operator_errors(context, settings):
            reason = why_not_published(settings)
            if reason is not None:
                context.log.info(reason)
                return dg.MaterializeResult(
                    metadata={"skipped": reason, "rows_written": 0, "requests": 0}, data_version=dg.DataVersion("off")
                )
            with media_servers.open_writer() as writer:
                publication = Publication(settings, database, writer, clock, context.log, tmdb_images=tmdb_images)
                published = publish_unless_busy(context, publication, "top_picks")
            if published is None:
                return output_without_events()
            outcomes = [outcome for outcome in published.outcomes if not outcome.retired]
            if any(outcome.error is not None for outcome in outcomes):
                raise failure(outcomes, settings)
            metadata = page_of(context, settings, database, clock, outcomes, published.warnings)
            metadata |= {
                "rows_written": sum(outcome.rows_written for outcome in outcomes),
                "requests": published.requests,
            }
            return materialized(context, metadata, version=version_of(database, outcomes))

    return top_picks_libraries


def publish_unless_busy(
    context: dg.AssetExecutionContext, publication: Publication, kind: Kind, **how: Any
) -> PublishingResult | None:
    """Publish the lists of one kind, unless another process publishes for long: then return None.

    It is no failure, and nothing is recorded: what was never published is requested again at once, and anything else
    with its next change or at night. What the server does not read soon is left to ``media_server_libraries``.
    """
    try:
        return publication.publish([kind], seconds=READING_SECONDS, **how)
    except AlreadyPublishing:
        context.log.warning(
            "Another run has been publishing on the media server for a quarter of an hour, so nothing was published "
            "now. The next run publishes."
        )
        return None


def failure(outcomes: Sequence[PublishingOutcome], settings: Settings) -> dg.Failure:
    """Describe the failure of a step whose lists failed, with one sentence for each cause."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    description = explain_failures(outcomes, lambda error: describe(error, settings))
    return dg.Failure(description, metadata=cause_of(errors), allow_retries=False)


def version_of(database: Database, outcomes: Sequence[PublishingOutcome]) -> str:
    """Return the data version of published lists."""
    with database.transaction() as connection:
        return published_version(connection, [outcome.list_key for outcome in outcomes])
