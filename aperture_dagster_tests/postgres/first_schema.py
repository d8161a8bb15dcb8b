"""Write the first migration from the table definitions: ``python -m aperture_dagster_tests.postgres.first_schema``.

Only until the first release. From then on a schema is changed by a new migration, and this file goes.
"""

from itertools import groupby
from pathlib import Path

from sqlalchemy import create_mock_engine
from sqlalchemy.schema import ExecutableDDLElement

from aperture_dagster.postgres import migrations
from aperture_dagster.schema import metadata

FILE = Path(migrations.__file__).parent / "versions" / "v1_first_schema.sql"


def first_schema() -> str:
    """Return the statements that create everything in the table definitions."""
    statements: list[str] = []

    def collect(statement: ExecutableDDLElement, *_: object, **__: object) -> None:
        lines = str(statement.compile(dialect=engine.dialect)).strip().replace("\t", "    ").splitlines()
        # Each table begins a paragraph.
        space = "\n" if lines[0].startswith("CREATE TABLE") else ""
        statements.append(space + "\n".join(line.rstrip() for line in lines))

    engine = create_mock_engine("postgresql+psycopg://", collect)
    metadata.create_all(engine, checkfirst=False)
    # SQLAlchemy keeps the indexes of a table in a set.
    runs = groupby(statements, key=lambda text: text.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX")))
    ordered = (text for is_index, run in runs for text in (sorted(run) if is_index else run))
    return "".join(f"{text};\n" for text in ordered)


if __name__ == "__main__":
    FILE.write_text(first_schema(), encoding="utf-8")
