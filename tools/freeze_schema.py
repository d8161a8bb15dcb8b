"""Freeze the first schema for the first release: ``make freeze-schema`` writes it as SQL beside its migration.

From then on, the schema is changed by new migrations. Later runs refuse, because released migrations do not change.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy import MetaData, create_mock_engine
from sqlalchemy.schema import ExecutableDDLElement

from aperture_dagster.postgres.migrate import MIGRATIONS
from aperture_dagster.schema import metadata

(_REVISION,) = (MIGRATIONS / "versions").glob("v*_first_schema.py")
FROZEN = _REVISION.with_suffix(".sql")


def statements_of(declared: MetaData) -> str:
    """Return the statements that create all tables, indexes, comments and views."""
    statements: list[str] = []

    def collect(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        compiled = str(statement.compile(dialect=engine.dialect)).strip().replace("\t", "    ")
        statements.append("\n".join(line.rstrip() for line in compiled.splitlines()) + ";\n")

    engine = create_mock_engine("postgresql+psycopg://", collect)
    declared.create_all(engine, checkfirst=False)
    return "".join(statements)


def freeze(file: Path = FROZEN) -> None:
    """Write the first schema. Raises FileExistsError: it is frozen already."""
    with file.open("x", encoding="utf-8") as output:
        output.write(statements_of(metadata))


if __name__ == "__main__":
    try:
        freeze()
    except FileExistsError:
        sys.exit(f"{FROZEN.name} is there: the first schema is frozen. Write a new migration instead.")
