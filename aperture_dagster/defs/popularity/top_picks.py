"""What is popular in the household."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.catalogue.log_of_plays import note_log_of_plays
from aperture_dagster.catalogue.watch_states import first_play
from aperture_dagster.defs.catalogue import movies, series, watch_history
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.reporting import arranged, course, log_totals, materialized
from aperture_dagster.defs.users import log_materialization, output_without_events, partial_failure
from aperture_dagster.instance.failures import describe, operator_errors
from aperture_dagster.instance.markdown import markdown_table
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.model.clock import Clock
from aperture_dagster.partitions import HISTORY, days_partitions
from aperture_dagster.popularity.top_picks import MEDIA_TYPES, NOUNS, Made, Picker, missed_days, source_of
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import course_of_ranks, read_items
from aperture_dagster.worklist.services import Services


def top_picks_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset, with days of the operator's time zone for partitions, downstream of the services that it asks."""
    timezone = ZoneInfo(settings.schedule_timezone)
    # It waits in no pool: enrichment can hold that for hours, and a late list is worse than one of the day before.
    services_asked = sorted({name for one in MEDIA_TYPES if (name := source_of(settings, one).service) is not None})

    @dg.asset(
        group_name="popularity",
        deps=[
            movies,
            series,
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
        services: dg.ResourceParam[Services],
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
                picker = Picker(settings, today, read_items(connection))
                began = first_play(connection)
            if days[-1] >= picker.today:
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
                note_log_of_plays(settings.shared_path, began, now=now)
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
        made: dict[MediaType, Made] = {one: picker.make(connection, day, one) for one in MEDIA_TYPES}
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
