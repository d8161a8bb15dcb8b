"""How assets are cut: by user (they come and go) and by day. Titles are never partitions: there are too many."""

from __future__ import annotations

import dagster as dg

USERS = "users"
# Top Picks of a day before this are not asked for; the log of plays of a new installation begins later anyway.
FIRST_DAY = "2024-01-01"
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

users_partitions = dg.DynamicPartitionsDefinition(name=USERS)


def days_partitions(timezone: str) -> dg.DailyPartitionsDefinition:
    """Days in the operator's time zone, today included."""
    return dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone=timezone, end_offset=1)


def range_tags(first: str, last: str) -> dict[str, str]:
    """Tags that make one run serve all partitions between two, in the order of the UI."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}
