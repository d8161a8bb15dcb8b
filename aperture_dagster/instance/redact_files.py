"""A forgotten user's name in the files of the home."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aperture_dagster.instance.run_files import FOLDERS_OF_RUNS
from aperture_dagster.maintenance.forgetting import Person
from aperture_dagster.maintenance.redaction import Redactor


def redact_files(home: Path, person: Person, *, gone: set[str]) -> int:
    """Take a person out of logs and files of runs, those of ``gone`` runs as a whole; return how many files changed."""
    changed = 0
    for name in FOLDERS_OF_RUNS:
        for run in gone:
            path = home / "dagster" / name / run
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
                changed += 1
    redactor = person.redactor()
    return changed + sum(_redact_file(path, redactor) for path in _texts(home))


def _texts(home: Path) -> Iterator[Path]:
    """Yield the logs of the home, of its programs and of the embedded database, and what steps printed or passed on."""
    for pattern in ("*.log", "postgres/log", *(f"dagster/{name}/**/*" for name in FOLDERS_OF_RUNS)):
        for path in home.glob(pattern):
            if path.is_file() and not path.is_symlink():
                yield path


def _redact_file(path: Path, redactor: Redactor) -> bool:
    """Delete the lines of a file that name the person, in place: a program may be writing to its end."""
    with suppress(OSError), path.open("r+b") as file:
        lines = file.read().split(b"\n")
        kept = [line for line in lines if not redactor.is_named_in(line.decode("utf-8", "replace"))]
        if len(kept) < len(lines):
            file.seek(0)
            file.write(b"\n".join(kept))
            file.truncate()
            return True
    return False
