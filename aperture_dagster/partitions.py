"""Partitions: by user, which come and go, and by day. There are too many titles to partition by title."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

import dagster as dg

from aperture_dagster.catalogue.history.log_of_plays import read_log_of_plays
from aperture_dagster.settings import Settings

USERS = "users"
# Days before the installation for which Top Picks can also be made, if the log of plays covers them.
HISTORY = timedelta(days=30)
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PARTITION_TAGS = frozenset({PARTITION_TAG, RANGE_START_TAG})
"""A run for certain partitions has one of these."""

users_partitions = dg.DynamicPartitionsDefinition(name=USERS)


def user_partitions(instance: dg.DagsterInstance) -> list[str]:
    """Return the keys of these partitions, in the order of the UI."""
    return list(instance.get_dynamic_partitions(USERS))


def add_user_partitions(instance: dg.DagsterInstance, keys: Sequence[str]) -> None:
    """Add partitions of users, unless they exist."""
    instance.add_dynamic_partitions(USERS, keys)


def days_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Days in the operator's time zone from :func:`first_day` on, today included."""
    timezone = settings.schedule_timezone
    start = first_day(settings, today=datetime.now(ZoneInfo(timezone)).date())
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone=timezone, end_offset=1)


def first_day(settings: Settings, *, today: date) -> date:
    """Return the first day of Top Picks: that of the first play in the log, but not long before the installation.

    Days that nobody will ever ask for would show as missing. Before the first Top Picks, the installation is today.
    """
    log = read_log_of_plays(settings.home_path)
    if log is None:
        return today - HISTORY
    first_play, noted_at = (
        moment.astimezone(ZoneInfo(settings.schedule_timezone)).date() for moment in (log.first_play, log.noted_at)
    )
    # A play may have a date in the future.
    return min(max(first_play, noted_at - HISTORY), today)


def range_tags(first: str, last: str) -> dict[str, str]:
    """Tags that make one run serve all partitions between two, in the order of the UI."""
    return {RANGE_START_TAG: first, RANGE_END_TAG: last}


def contiguous_ranges(partitions: Sequence[str], chosen: Collection[str]) -> list[tuple[str, str]]:
    """Return first and last of each range of ``partitions`` that holds chosen ones only; together they hold all."""
    runs = [list(keys) for is_chosen, keys in groupby(partitions, key=lambda key: key in chosen) if is_chosen]
    return [(keys[0], keys[-1]) for keys in runs]
