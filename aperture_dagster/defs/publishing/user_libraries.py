"""The libraries of each user: what they have in common, and the loop that publishes and reports on each."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from aperture_dagster.automation import on_upstream_change
from aperture_dagster.defs.failures import cause_of, operator_errors
from aperture_dagster.defs.markdown import markdown_list
from aperture_dagster.defs.media_server import users
from aperture_dagster.defs.publishing.pages import list_page
from aperture_dagster.defs.publishing.publication import Kind, Publication, Published, is_published, why_not_published
from aperture_dagster.defs.users import UserOutcome, for_each_user, output_without_events, user_asset
from aperture_dagster.instance.pools import MEDIA_SERVER
from aperture_dagster.library.people import User
from aperture_dagster.publishing.outcome import Outcome, ScanTooLong, explain_failures, joined_error
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.providers import MediaServers
from aperture_dagster.settings import Settings
from aperture_dagster.sources.services import Services
from aperture_dagster.sources.tmdb_images import TMDB_IMAGES
from aperture_dagster.storage.people import users_of_partitions
from aperture_dagster.storage.published import AlreadyPublishing, published_version


def user_libraries_asset(
    settings: Settings,
    kind: Kind,
    *,
    name: str,
    lists: dg.AssetsDefinition,
    at_night: Sequence[dg.AssetsDefinition],
    description: str,
) -> dg.AssetsDefinition:
    """Make the asset that publishes the lists of one kind, as libraries with a partition per user.

    Args:
        settings: changes request the asset only while publishing is on.
        kind: what is published.
        name: of the asset.
        lists: the asset with the lists.
        at_night: assets whose changes can wait for the night, since they change an NFO or add an episode.
        description: for the UI; indentation is removed.
    """
    ignored = dg.AssetSelection.assets(*at_night)

    @user_asset(
        name=name,
        description=inspect.cleandoc(description),
        group_name="publishing",
        deps=[lists, users, *at_night],
        kinds={"jellyfin", "emby"},
        pool=MEDIA_SERVER,
        automation_condition=on_upstream_change(ignoring=ignored) if settings.publish else None,
        metadata={"dagster/table_name": "published_entries"},
    )
    def libraries(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        media_servers: dg.ResourceParam[MediaServers],
        services: dg.ResourceParam[Services],
        clock: dg.ResourceParam[Clock],
    ) -> Iterator[dg.MaterializeResult]:
        yield from publish_for_users(context, kind, settings, database, media_servers, services, clock)

    return libraries


def publish_for_users(
    context: dg.AssetExecutionContext,
    kind: Kind,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    services: Services,
    clock: Clock,
) -> Iterator[dg.MaterializeResult]:
    """Publish the lists of the run's users; one user's failure costs only that user."""
    reason = None
    published: Published | None = None
    with operator_errors(context, settings):
        reason = why_not_published(settings)
        if reason is not None:
            context.log.info(reason)
        else:
            with database.transaction() as connection:
                users = users_of_partitions(connection, list(context.partition_keys))
            asked = [user.user_id for user in users.values()]
            with open_publication(context, settings, database, media_servers, services, clock) as publication:
                published = publish_unless_busy(context, publication, kind, only_users=asked)
            if published is None:
                yield output_without_events()
                return
            libraries = [one for one in published.outcomes if one.kind == "library" and not one.retired]
            own = [one for one in libraries if one.owner in asked]
            errors = [one.error for one in own if isinstance(one.error, ScanTooLong)]
            if errors and len(errors) == len(own):
                # One sentence for everybody.
                raise dg.Failure(explain_failures(own), metadata=cause_of(errors), allow_retries=False)

    unreported = [published.requests] if published is not None else []

    def serve(user: User) -> UserOutcome:
        if published is None or not is_published(settings, kind):
            return UserOutcome("off", {"skipped": reason or "skipped: switched off in the settings"})
        outcomes = [one for one in published.outcomes if one.owner == user.user_id and not one.retired]
        error = joined_error(one.error for one in outcomes)
        if error is not None:
            raise error
        with database.transaction() as connection:
            version = published_version(connection, [one.list_key for one in outcomes])
        pages = [list_page(context, settings, database, clock, one) for one in outcomes if one.kind == "library"]
        return UserOutcome(
            version=version,
            metadata={key: value for page in pages for key, value in page.items()} | numbers(outcomes),
            rows_written=sum(one.rows_written for one in outcomes),
            # All users are published together; the first one's turn reports for them.
            requests=unreported.pop() if unreported else 0,
        )

    yield from for_each_user(context, settings, database, serve)


def numbers(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Count what changed in libraries, collections and playlists, for the asset's page."""
    shown: dict[str, Any] = {
        "entries": sum(one.entries for one in outcomes),
        "added": sum(one.added for one in outcomes),
        "changed": sum(one.changed for one in outcomes),
        "removed": sum(one.removed for one in outcomes),
    }
    waiting = sum(one.waiting for one in outcomes)
    skipped = [reason for one in outcomes for reason in one.skipped]
    if waiting:
        shown["waiting"] = waiting
    if skipped:
        shown["skipped"] = len(skipped)
        shown["skipped_titles"] = markdown_list(skipped[:20])
    return shown


def publish_unless_busy(
    context: dg.AssetExecutionContext, publication: Publication, kind: Kind, **how: Any
) -> Published | None:
    """Publish the lists of one kind, unless another process publishes for long: then return None.

    To wait for that would keep others from reading the media server for hours. It is no failure, and nothing is
    recorded: what was never published is requested again at once, and anything else with its next change or at night.
    """
    try:
        return publication.publish([kind], **how)
    except AlreadyPublishing:
        context.log.warning(
            "Another run has been publishing on the media server for a quarter of an hour, so nothing was published "
            "now. The next run publishes."
        )
        return None


@contextmanager
def open_publication(
    context: dg.AssetExecutionContext,
    settings: Settings,
    database: Database,
    media_servers: MediaServers,
    services: Services,
    clock: Clock,
) -> Iterator[Publication]:
    """Connect to what publishing needs."""
    with media_servers.open_writer() as writer:
        fetch = tmdb_picture(services)
        yield Publication(settings, database, writer, clock, context.log, fetch_from_tmdb=fetch)


def tmdb_picture(services: Services) -> Callable[[str], bytes | None]:
    """Return a function that downloads posters from TMDb; without TMDb it finds none."""
    service = services.get(TMDB_IMAGES)

    def fetch(path: str) -> bytes | None:
        if not service.configured:
            return None
        with service.open(waiting=lambda seconds: None) as client:
            return client.logo(path).content

    return fetch
