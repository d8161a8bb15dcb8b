"""Freeze what a release promises: ``make freeze`` writes it as files, and later versions are tested against them.

That is the first schema as SQL beside its migration, since later changes are migrations, and the backup of a household
with the present schema, which every later version has to restore and migrate. What is frozen already is left alone. The
names that stay are in ``aperture_dagster_tests/promises.json``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sqlalchemy import MetaData, create_mock_engine
from sqlalchemy.schema import ExecutableDDLElement

from aperture_dagster.postgres.migrate import HEAD_REVISION, MIGRATIONS
from aperture_dagster.schema import metadata

PROJECT = Path(__file__).resolve().parents[1]
(_REVISION,) = (MIGRATIONS / "versions").glob("v*_first_schema.py")
FROZEN = _REVISION.with_suffix(".sql")
HOUSEHOLDS = PROJECT / "aperture_dagster_tests" / "postgres" / "releases"
"""Backups of households, one for each schema that was released, named after its revision."""
WORLD = "generated:movies=60,series=6,episodes=40,users=3,plays=200"


def statements_of(declared: MetaData) -> str:
    """Return the statements that create all tables, indexes, comments and views."""
    statements: list[str] = []

    def collect(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        compiled = str(statement.compile(dialect=engine.dialect)).strip().replace("\t", "    ")
        statements.append("\n".join(line.rstrip() for line in compiled.splitlines()) + ";\n")

    engine = create_mock_engine("postgresql+psycopg://", collect)
    declared.create_all(engine, checkfirst=False)
    return "".join(statements)


def freeze_schema(file: Path = FROZEN) -> bool:
    """Write the first schema unless it is there; tell whether it was written."""
    if file.exists():
        return False
    file.write_text(statements_of(metadata), encoding="utf-8")
    return True


def keep_household(folder: Path = HOUSEHOLDS) -> bool:
    """Write the backup that a demo makes with the present schema unless it is there; tell whether it was written.

    Raises CalledProcessError: the demo failed.
    """
    file = folder / f"{HEAD_REVISION}.sql.gz"
    if file.exists():
        return False
    with tempfile.TemporaryDirectory() as home:
        program = str(Path(sys.executable).with_name("aperture"))
        subprocess.run([program, "demo", "--home", home, "--world", WORLD], check=True, stdout=subprocess.DEVNULL)
        (backup,) = Path(home, "backups").glob("*.sql.gz")
        folder.mkdir(exist_ok=True)
        shutil.copyfile(backup, file)
    return True


def main() -> int:
    """Freeze everything, say what was written, and return 0."""
    written = {"the first schema": freeze_schema(), f"a household with the schema {HEAD_REVISION}": keep_household()}
    print("\n".join(f"{'Frozen' if is_new else 'Frozen before'}: {what}." for what, is_new in written.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
