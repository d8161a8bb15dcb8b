"""The tests also run as on other days: each of these has what it is for, and a command sees it on the clock."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import pytest

from aperture_dagster_tests.conftest import load_script
from aperture_dagster_tests.marks import why_missing

NOW = datetime(2026, 12, 7, 9, tzinfo=UTC)
CLOCKS = """
import os, subprocess, sys, time
began = time.monotonic()
time.sleep(0.01)
print(time.time(), time.monotonic() - began, began, os.environ["TZ"], flush=True)
# As PostgreSQL's server is started: with few variables.
if len(sys.argv) == 1:
    text = sys.orig_argv[2]
    subprocess.run([sys.executable, "-c", text, "again"], env={"PATH": os.environ["PATH"]}, timeout=60, check=True)
"""


@pytest.fixture(scope="module")
def dates() -> ModuleType:
    return load_script("tools/dates.py")


@pytest.fixture
def library(dates: ModuleType) -> Path:
    """The library that shifts clocks."""
    found = next(filter(Path.is_file, dates.LIBRARIES), None)
    return found or pytest.skip(why_missing("faketime", "faketime"))


SHIFTED_TWICE = pytest.mark.this_day(reason="It shifts the clock itself, from that of the machine.")


def test_each_day_has_what_it_is_for_and_no_zone_is_utc(dates: ModuleType):
    begin = {day: dates.beginning(day, NOW) for day in dates.DAYS}
    assert begin["in-97-days"] == NOW + timedelta(days=97)
    assert (begin["leap-day"].month, begin["leap-day"].day) == (2, 29)
    later = {day: (first.astimezone(UTC) + timedelta(minutes=4), first.tzinfo) for day, first in begin.items()}
    soon = {day: when.astimezone(zone) for day, (when, zone) in later.items()}
    assert begin["new-year"].year + 1 == soon["new-year"].year
    assert begin["summer-time"].utcoffset() != soon["summer-time"].utcoffset()
    assert begin["summer-time"].weekday() == 6
    assert all(first.utcoffset() for first in begin.values())


@SHIFTED_TWICE
@pytest.mark.usefixtures("library")
def test_a_command_and_what_it_starts_see_the_day_and_time_outs_go_on(
    dates: ModuleType, capfd: pytest.CaptureFixture[str]
):
    assert dates.main(["leap-day", "--", sys.executable, "-c", CLOCKS]) == 0
    first = datetime(2028, 2, 29, 12, tzinfo=ZoneInfo("America/St_Johns"))
    own, started = (line.split() for line in capfd.readouterr().out.splitlines()[1:3])
    for now, slept, monotonic, zone in (own, started):
        assert abs(float(now) - first.timestamp()) < 120 and zone == str(first.tzinfo)
        assert 0.01 <= float(slept) < 60 and abs(float(monotonic) - time.monotonic()) < 300


@SHIFTED_TWICE
@pytest.mark.usefixtures("library")
def test_a_command_that_fails_on_one_day_is_said(dates: ModuleType, capfd: pytest.CaptureFixture[str]):
    fails = "import time; raise SystemExit(time.localtime().tm_mon == 2)"
    assert dates.main(["leap-day", "summer-time", "--", sys.executable, "-c", fails]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "FAILED: leap-day"
    assert dates.main(["summer-time", "--", sys.executable, "-c", fails]) == 0


@pytest.mark.parametrize("arguments", [[], ["true"], ["leap-day", "--"], ["someday", "--", "true"]])
def test_without_a_command_or_with_an_unknown_day_nothing_is_run(dates: ModuleType, arguments: list[str]):
    assert dates.main(arguments) == 2
