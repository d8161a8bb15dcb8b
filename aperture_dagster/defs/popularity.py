"""What is popular in the household, where each user is in their series, the household at a glance, and their jobs."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.automation import HOURLY_CRON, on_upstream_change
from aperture_dagster.catalogue.history.log_of_plays import note_log_of_plays
from aperture_dagster.catalogue.history.plays import first_play
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.defs.catalogue import episodes, movies, series, users, watch_history
from aperture_dagster.defs.daily_checks import fresh_for_every_user
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.reporting import is_brief, log_totals, materialized, table, warn_unless
from aperture_dagster.defs.taste import embeddings, recommendations
from aperture_dagster.defs.users import (
    UserOutcome,
    for_each_user,
    log_materialization,
    partial_failure,
    user_asset,
)
from aperture_dagster.enrichment.mdblist.client import MdbList
from aperture_dagster.enrichment.mdblist.source import MDBLIST
from aperture_dagster.enrichment.tmdb.client import Tmdb
from aperture_dagster.enrichment.tmdb.source import TMDB
from aperture_dagster.instance.failures import describe, operator_errors
from aperture_dagster.instance.markdown import (
    Markup,
    arranged,
    course,
    markdown,
    markdown_list,
    markdown_table,
    poster_row,
    week_columns,
)
from aperture_dagster.instance.private import output_without_events
from aperture_dagster.jobs import PUBLISHED, Group, Job
from aperture_dagster.maintenance.status import describe_household
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model import MEDIA_TYPES, Clock
from aperture_dagster.partitions import HISTORY, days_partitions, user_partitions
from aperture_dagster.popularity.household import Overview, read_overview
from aperture_dagster.popularity.series import episode_label
from aperture_dagster.popularity.shows import ShowLists, outdated_shows, shows_table
from aperture_dagster.popularity.stored_picks import course_of_ranks
from aperture_dagster.popularity.top_picks import NOUNS, Made, Picker, missed_days, source_of
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.queries import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import read_items
from aperture_dagster.worklist.services import MeteredService

__all__ = ["group", "shows_you_watch"]


# Where something may wait for the operator.
SHOWN_WAITING = ("discovery_pool", *PUBLISHED)
# Lists decide when it is made again; everything else that it shows changes with them, or can wait for the night.
OVERVIEW_AT_NIGHT = dg.AssetSelection.assets(users, movies, series, watch_history, enriched_metadata, *SHOWN_WAITING)


@dg.asset(
    group_name="popularity",
    deps=[
        users, movies, series, enriched_metadata, *SHOWN_WAITING,
        # All users, whatever the partitions of the run.
        *(
            dg.AssetDep(one, partition_mapping=dg.AllPartitionMapping())
            for one in (watch_history, recommendations)
        ),
    ],
    kinds={"postgres"},
    # On a new home, where nobody is known yet, no list is missing either.
    automation_condition=on_upstream_change(ignoring=OVERVIEW_AT_NIGHT, at_most=HOURLY_CRON, after=[embeddings.key]),
)  # fmt: skip
def household_overview(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """The whole household on one page: what has changed and what waits for you, one row per user with their first film
    and series, and plays per week.

    A view of recommendations and watch_history, without a table of its own. Made every night after the lists, and
    during the day when lists change, at most once an hour.
    """
    now = clock.now().astimezone(ZoneInfo(settings.schedule_timezone))
    with operator_errors(context, settings):
        found = read_overview(settings, database, user_partitions(context.instance), now)
        with database.transaction() as connection:
            got, waiting = describe_household(connection, settings, since=now - timedelta(days=1), now=now)
    shown = _overview_page(found, settings)
    more = "`aperture status` says more: failed jobs and checks, the next runs, backups."
    metadata = {"status": markdown_list([*got, *waiting, more])} | {key: _entry(value) for key, value in shown.items()}
    version = hashlib.blake2b(json.dumps(shown, default=str, sort_keys=True).encode(), digest_size=8).hexdigest()
    return materialized(context, metadata, version=version)


def _overview_page(found: Overview, settings: Settings) -> dict[str, Any]:
    """Arrange what the page shows, the most interesting first: rows of tables, pictures as Markdown, and numbers."""
    shown = {
        "watch_first": found.watch_first,
        "posters": poster_row(settings, found.posters),
        "plays_per_week": week_columns(found.plays),
    }
    numbers = {"dagster/row_count": found.people, "plays_last_week": found.plays[-2][1]}
    return {key: value for key, value in shown.items() if value} | numbers


def _entry(value: Any) -> Any:
    if isinstance(value, list):
        return table(value)
    return markdown(value) if isinstance(value, Markup) else value


SHOWN = 20
SHOWN_BRIEFLY = 5
# A new status or air date can wait for the night; a new episode cannot.
SERIES_AT_NIGHT = dg.AssetSelection.assets(series, enriched_metadata)


@user_asset(
    group_name="popularity",
    deps=[users, series, episodes, watch_history, enriched_metadata],
    kinds={"postgres"},
    automation_condition=on_upstream_change(ignoring=SERIES_AT_NIGHT, first=False),
    metadata={"dagster/table_name": "shows_you_watch"},
)
def shows_you_watch(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.MaterializeResult]:
    """Where each user is in the series that they watch, one row per user and series: the next episode, how many they
    are behind, and when the next one airs.

    By last activity, the latest first; only what the user may see. From the history and the library's episodes, made
    every night and when an episode is watched or arrives.
    """
    now = clock.now().astimezone(ZoneInfo(settings.schedule_timezone))
    with operator_errors(context, settings), database.transaction() as connection:
        lists = ShowLists.read(connection, settings, now)

    def serve(user: User) -> UserOutcome:
        with database.transaction() as connection:
            written = lists.renew(connection, user)
            shown = shows_table(connection, user.user_id, today=now.date())
            version = content_version(connection, "shows_you_watch", user_id=user.user_id)
        metadata = {
            "series": _list_of_series(context, shown),
            "episodes_behind": sum(row["behind"] for row in shown),
        }
        return UserOutcome(version, rows_written=written, metadata=metadata)

    yield from for_each_user(context, settings, database, serve)


@dg.asset_check(
    asset=shows_you_watch,
    description="Every next episode is in the library, and had not been watched when the list was made. If not, "
    "materialize shows_you_watch again.",
)
def lead_to_unwatched_episodes(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
) -> dg.AssetCheckResult:
    """Warn of entries that lead nowhere, or to what the user has seen."""
    with database.transaction() as connection:
        stored = users_of_partitions(connection, user_partitions(context.instance))
        outdated = outdated_shows(connection, [user.user_id for user in stored.values()])
    problem = f"{len(outdated):,} next episodes are gone or were watched: materialize shows_you_watch."
    metadata = {"outdated": len(outdated)} | ({"entries": table(outdated[:SHOWN])} if outdated else {})
    return warn_unless(not outdated, problem if outdated else "", metadata)


def _list_of_series(context: dg.AssetExecutionContext, rows: list[dict[str, Any]]) -> dg.MetadataValue:
    """Show the top of the list: a table, or a few lines in runs that a change started."""
    labels = [episode_label(row["next_season"], row["next_number"]) or row["next_title"] for row in rows]
    if is_brief(context):
        lines = [f"{row['title']}: {label or 'all watched'}" for row, label in zip(rows, labels, strict=True)]
        return markdown_list(lines[:SHOWN_BRIEFLY], numbered=True)
    return table(
        [
            {
                "rank": row["rank"],
                "title": row["title"],
                "next episode": label,
                "behind": row["behind"],
                "next air date": row["next_air_date"],
                "days until": row["days_until"],
            }
            for row, label in zip(rows[:SHOWN], labels, strict=False)
        ]
    )


def top_picks_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset, with days of the operator's time zone for partitions, downstream of the services that it asks."""
    timezone = ZoneInfo(settings.schedule_timezone)
    # It waits in no pool: enrichment can hold that for hours, and a late list is worse than one of the day before.
    services_asked = sorted({name for type_ in MEDIA_TYPES if (name := source_of(settings, type_).service) is not None})

    @dg.asset(
        group_name="popularity",
        deps=[
            users,
            movies,
            series,
            episodes,
            dg.AssetDep(watch_history, partition_mapping=dg.AllPartitionMapping()),
            enriched_metadata,
            *services_asked,
        ],
        partitions_def=days_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        kinds={"numpy", "postgres"},
        output_required=False,
        metadata={"dagster/table_name": "top_picks"},
    )
    def top_picks(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        database: dg.ResourceParam[Database],
        tmdb: dg.ResourceParam[MeteredService[Tmdb]],
        mdblist: dg.ResourceParam[MeteredService[MdbList]],
        clock: dg.ResourceParam[Clock],
    ) -> Iterator[dg.MaterializeResult]:
        """What is popular in the household, 10 titles per media type and day: from the plays of the 30 days before, a
        list of TMDb or MDBList, or both.

        Made every night from the log of plays up to the day's beginning, so a past day comes out the same whenever it
        is made. Days of the last month on which no run could make it are made up for. An external list is that of the
        day on which it is read; if it cannot be read, the last one stays.
        """
        now = clock.now()
        days = sorted(date.fromisoformat(key) for key in context.partition_keys)
        today = now.astimezone(timezone).date()
        if days == [today]:
            made_before = map(date.fromisoformat, context.instance.get_materialized_partitions(context.asset_key))
            days = [*missed_days(made_before, today, within=HISTORY), today]
        with operator_errors(context, settings):
            with database.transaction() as connection:
                taking_part = users_of_partitions(connection, user_partitions(context.instance)).values()
                user_ids = [user.user_id for user in taking_part]
                picker = Picker(settings, today, read_items(connection), user_ids)
                began = first_play(connection)
            if days[-1] >= picker.today:
                services = {TMDB.name: tmdb, MDBLIST.name: mdblist}
                picker.read_outside(services, waiting=lambda seconds: _log_waiting(context, seconds))
            made: dict[date, _Day] = {}
            failed: dict[date, Exception] = {}
            for number, day in enumerate(days, start=1):
                try:
                    made[day] = _make(database, picker, day)
                except Exception as error:
                    failed[day] = error
                    context.log.error(f"{day}: {describe(error, settings)}")
                    if isinstance(error, DatabaseError):
                        # It would hit every other day, too.
                        failed |= dict.fromkeys(days[number:], error)
                        break
            if began is not None:
                note_log_of_plays(settings.home_path, began, now=now)
            if not made:
                raise next(iter(failed.values()))
            _log_notes(context, made)
            if len(days) == 1:
                yield materialized(context, made[days[0]].page(picker), version=made[days[0]].version)
                return
            if not failed:
                yield output_without_events()
            for day, one in made.items():
                page = one.page(picker, with_tables=day == max(made))
                log_materialization(context, day.isoformat(), page, version=one.version)
            log_totals(context, {"days": len(made), "rows written": sum(one.written for one in made.values())})
            if failed:
                what = f"{len(failed)} of {len(days)} days could not be made"
                raise partial_failure(what, "day", {str(day): why for day, why in failed.items()}, settings)

    return top_picks


@dataclass(frozen=True, slots=True)
class _Day:
    """The lists of a day as they were made, how ranks have moved, and a hash of the content."""

    day: date
    made: dict[MediaType, Made]
    course: list[dict[str, Any]]
    version: str

    @property
    def written(self) -> int:
        """Rows that changed."""
        return sum(one.written for one in self.made.values())

    def page(self, picker: Picker, *, with_tables: bool = True) -> dict[str, Any]:
        """The metadata of the day's partition; what a person wants to see first comes first."""
        metadata: dict[str, Any] = {}
        for media_type, one in self.made.items():
            rows = [row for row in self.course if row["media_type"] == media_type]
            if with_tables:
                metadata[NOUNS[media_type].lower()] = markdown_table([_narrow(row) for row in rows])
            metadata |= {
                f"{media_type}_picks": one.picks,
                f"{media_type}_new": sum(row["yesterday"] is None for row in rows),
                f"{media_type}_watched": sum(row["plays"] > 0 for row in rows),
                f"{media_type}_window_days": one.window_days,
                f"{media_type}_relaxed": one.relaxed,
                f"{media_type}_source": one.source or "none",
            }
            if one.kept:
                metadata[f"{media_type}_kept"] = " ".join(one.notes)
            elif one.is_warning:
                metadata[f"{media_type}_without_outside"] = " ".join(one.notes)
        return arranged(
            metadata
            | {
                "dagster/row_count": sum(one.picks for one in self.made.values()),
                "rows_written": self.written,
                "requests": picker.requests if self.day == picker.today else 0,
            }
        )


def _make(database: Database, picker: Picker, day: date) -> _Day:
    """Make the lists of a day, in a transaction of its own."""
    with database.transaction() as connection:
        made: dict[MediaType, Made] = {type_: picker.make(connection, day, type_) for type_ in MEDIA_TYPES}
        return _Day(day, made, course_of_ranks(connection, day), content_version(connection, "top_picks", day=day))


def _log_notes(context: dg.AssetExecutionContext, made: Mapping[date, _Day]) -> None:
    """Log what the operator should know of the latest day; the pages of the others say it for theirs."""
    latest = made[max(made)]
    where = f" ({latest.day})" if len(made) > 1 else ""
    for media_type, one in latest.made.items():
        for note in one.notes:
            level = logging.WARNING if one.is_warning else logging.INFO
            context.log.log(level, f"{NOUNS[media_type]}: {note}{where}")


def _log_waiting(context: dg.AssetExecutionContext, seconds: float) -> None:
    if seconds < 1:
        context.log.info("Another run is asking the same service; waiting for it for up to a minute.")


def _narrow(row: dict[str, Any]) -> dict[str, Any]:
    """Return a title's row of the page: its rank, how that changed since yesterday, and what was watched."""
    before, rank = row["yesterday"], row["rank"]
    return {
        "rank": rank,
        "title": row["title"],
        "moved": "new" if before is None else course(before, rank),
        "a week ago": row["week_ago"],
        "viewers": row["viewers"],
        "plays": row["plays"],
    }


JOBS = (
    Job(
        "refresh_top_picks",
        "Rank what is popular in the household, or on a list from outside, and publish that if it is turned on.",
        ("top_picks", "top_picks_libraries"),
        cron="0 5 * * *",
        why="Each day has its own list, from the plays of the days before.",
        scope="day",
        first_run=True,
        needs=("watch_history",),
        # The first user's history is there before the others'.
        after=("watch_history",),
    ),
    Job(
        "sync_watching_libraries",
        "Find where each user is in the series that they watch, and publish that if it is turned on.",
        ("shows_you_watch", "shows_you_watch_libraries"),
        cron="30 5 * * *",
        why="After episodes and plays have been read, when hardly anybody watches.",
        scope="users",
    ),
    Job(
        "refresh_household_overview",
        "Show the whole household on one page: everybody's first titles, and plays per week.",
        ("household_overview",),
        cron="30 5 * * *",
        why="After the night's lists. Automation renews it within an hour of a change.",
    ),
)


# What each user has of their own, and the nightly job that makes it.
MADE_BY = {
    "taste_profiles": "generate_recommendations",
    "recommendations": "generate_recommendations",
    "shows_you_watch": "sync_watching_libraries",
    "discovery_candidates": "generate_discovery_suggestions",
}


def group(settings: Settings) -> Group:
    """The group, with days of the operator's time zone, and Top Picks from the configured sources."""
    return Group(
        assets=(top_picks_asset(settings), shows_you_watch, household_overview),
        checks=(lead_to_unwatched_episodes, fresh_for_every_user(household_overview, MADE_BY)),
        jobs=JOBS,
    )
