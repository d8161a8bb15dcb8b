"""What the household as a whole watches."""

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server import movies, series, watch_history
from aperture_dagster.defs.reporting import materialized, table
from aperture_dagster.partitions import days_partitions
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage.history import read_plays
from aperture_dagster.storage.lists import read_items, replace_top_picks, top_picks_table
from aperture_dagster.storage.versions import content_version

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

MEDIA_TYPES = ("movie", "series")
# When nobody watched anything in the window (a holiday), it is widened up to so many times its length.
WIDEST = 12
SHOWN = ("rank", "title", "year", "viewers", "plays", "completion", "score", "relaxed")


def top_picks_asset(timezone: str) -> dg.AssetsDefinition:
    """The asset, with days of the operator's time zone for partitions."""

    @dg.asset(
        group_name="popularity",
        deps=[
            movies,
            series,
            dg.AssetDep(watch_history, partition_mapping=dg.AllPartitionMapping()),
            enriched_metadata,
        ],
        partitions_def=days_partitions(timezone),
        kinds={"numpy", "postgres"},
        metadata={"dagster/table_name": "top_picks"},
    )
    def top_picks(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
    ) -> dg.MaterializeResult:
        """What the household watched most in the 30 days before the day, 10 titles per media type and day.

        Made from the log of plays up to the day's beginning, so a past day comes out the same whenever it is made.
        """
        day = date.fromisoformat(context.partition_key)
        written = 0
        counts: dict[str, Any] = {}
        with operator_errors(context, settings), database.transaction() as connection:
            items = read_items(connection)
            for media_type in MEDIA_TYPES:
                picks, window = _picks(connection, items, media_type, day, timezone, settings)
                written += replace_top_picks(connection, day, media_type, picks).written
                counts[f"{media_type}_picks"] = len(picks)
                counts[f"{media_type}_window_days"] = window
                counts[f"{media_type}_relaxed"] = sum(pick["relaxed"] for pick in picks)
            shown = top_picks_table(connection, day)
            version = content_version(connection, "top_picks", day=day)
        lists = {
            name: table([{column: row[column] for column in SHOWN} for row in shown if row["media_type"] == media_type])
            for media_type, name in (("movie", "films"), ("series", "series"))
        }
        return materialized(
            context, lists | {"dagster/row_count": len(shown)} | counts | {"rows_written": written}, version=version
        )

    return top_picks


def _picks(
    connection: "Connection", items: "pd.DataFrame", media_type: str, day: date, timezone: str, settings: Settings
) -> tuple[list[dict[str, Any]], int]:
    """The rows of one list, and how many days it looked back on."""
    from aperture_dagster.ranking.popularity import local_top_picks

    until = datetime.combine(day, time.min, ZoneInfo(timezone))
    window = settings.top_picks_window_days
    widest = window * WIDEST
    while True:
        plays = read_plays(connection, since=until - timedelta(days=window), until=until)
        found = local_top_picks(
            plays,
            items,
            as_of=until,
            window_days=window,
            min_viewers=settings.top_picks_minimum_viewers,
            limit=settings.top_picks_per_list,
            media_type=media_type,
        )
        if len(found) or window >= widest:
            break
        window = min(window * 2, widest)
    copies = dict(zip(items["work_id"], items["item_id"], strict=True))
    rows = [
        {
            "day": day,
            "media_type": media_type,
            "rank": int(pick["rank"]),
            "work_id": int(pick["work_id"]),
            "item_id": int(copies[pick["work_id"]]),
            "viewers": int(pick["viewers"]),
            "plays": int(pick["plays"]),
            "completion": round(float(pick["completion"]), 4),
            "score": round(float(pick["score"]), 4),
            "relaxed": bool(pick["relaxed"]),
        }
        for pick in found.to_dict("records")
    ]
    return rows, window
