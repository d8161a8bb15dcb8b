"""Run a command as on other days: ``python tools/dates.py [DAY …] -- COMMAND``. ``make dates`` runs the tests so.

`libfaketime <https://github.com/wolfcw/libfaketime>`_ shifts the clock of the command and of all that it starts.
The monotonic clock, by which time-outs go, is left alone. No zone is UTC, so that what confuses both fails, too.

While it runs, every Python of this environment begins with ``tools/shifted.py``, which a file ``.pth`` beside its
packages names.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
LIBRARIES = [Path(folder) / "faketime/libfaketime.so.1" for folder in FOLDERS]
SHIFTED = Path(__file__).resolve().parent / "shifted.py"
# When the command begins, as a clock on the wall shows it there, or how many days from now; and the zone.
DAYS: dict[str, tuple[str | timedelta, str]] = {
    "in-97-days": (timedelta(days=97), "Asia/Kolkata"),
    "leap-day": ("2028-02-29T12:00", "America/St_Johns"),
    # Midnight, and with it the month and the year, passes while the tests run.
    "new-year": ("2026-12-31T23:58", "Pacific/Auckland"),
    # A Sunday, on which 02:00 becomes 03:00 while they run.
    "summer-time": ("2027-03-28T01:58", "Europe/Berlin"),
}


def beginning(day: str, now: datetime) -> datetime:
    """Return when a command begins on one of these days, in its zone; ``now`` has a zone, too."""
    when, zone = DAYS[day]
    if isinstance(when, timedelta):
        return (now + when).astimezone(ZoneInfo(zone))
    return datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(zone))


def environment(day: str, library: Path) -> dict[str, str]:
    """Return the variables of a command that begins now, on one of these days."""
    shift = round(beginning(day, datetime.now().astimezone()).timestamp() - time.time())
    return os.environ | {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{shift:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": DAYS[day][1],
    }


@contextlib.contextmanager
def python_shifted() -> Iterator[None]:
    """Let every Python of this environment run ``tools/shifted.py`` first."""
    link = Path(sysconfig.get_path("purelib"), "shifted_clock.pth")
    link.write_text(f"import os, runpy; os.path.exists({str(SHIFTED)!r}) and runpy.run_path({str(SHIFTED)!r})\n")
    try:
        yield
    finally:
        link.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Run the command on each day that is named, or on all; return 1 if it fails on any, 2 if it cannot be run."""
    if "--" not in arguments[:-1]:
        print(__doc__, file=sys.stderr)
        return 2
    chosen, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    if unknown := set(chosen) - DAYS.keys():
        print(f"no such day: {', '.join(sorted(unknown))}; there are {', '.join(DAYS)}", file=sys.stderr)
        return 2
    library = next(filter(Path.is_file, LIBRARIES), None)
    if library is None:
        print("faketime is missing: apt-get install faketime", file=sys.stderr)
        return 2
    failed = []
    for day in chosen or DAYS:
        first = beginning(day, datetime.now().astimezone())
        print(f"== {day}: {first:%A, %d %B %Y, %H:%M} in {DAYS[day][1]}", flush=True)
        with python_shifted():
            if subprocess.run(command, env=environment(day, library), check=False).returncode:
                failed.append(day)
    print(f"FAILED: {', '.join(failed)}" if failed else "passed on each of these days", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
