"""What a database contains, in a form that can be compared: rows and hashes of tables, and the parts of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute

SHOWN = 5
# Rows are hashed as text, which these settings must not change; a large table takes its time.
_FORMATS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    # Definitions then name every table with its schema.
    "search_path": "",
    "statement_timeout": "0",
}
# Objects of the database itself, without temporary ones and those that belong to an extension.
_OWN = """
    n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')"""
_RELATIONS = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
_NAME = "format('%I.%I', n.nspname, c.relname)"
_DEFINITIONS = f"""
    SELECT 'column ' || {_NAME} || '.' || quote_ident(a.attname), concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN 'not null' END, pg_get_expr(e.adbin, e.adrelid))
    FROM {_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef e ON e.adrelid = c.oid AND e.adnum = a.attnum WHERE c.relkind IN ('r', 'p') AND {_OWN}
    UNION ALL SELECT 'constraint ' || {_NAME} || '.' || quote_ident(k.conname), pg_get_constraintdef(k.oid)
    FROM {_RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid WHERE {_OWN}
    UNION ALL SELECT 'index ' || {_NAME}, pg_get_indexdef(c.oid)
    FROM {_RELATIONS} WHERE c.relkind IN ('i', 'I') AND {_OWN}
    UNION ALL SELECT 'view ' || {_NAME}, pg_get_viewdef(c.oid)
    FROM {_RELATIONS} WHERE c.relkind IN ('v', 'm') AND {_OWN}"""


@dataclass(frozen=True, slots=True)
class Rows:
    """The number of rows of a table, and a hash of them that does not depend on their order."""

    count: int
    hash: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The contents of a database: rows by table, and definitions of everything else as PostgreSQL writes them."""

    tables: Mapping[str, Rows]
    definitions: Mapping[str, str]

    @property
    def rows(self) -> int:
        """The number of rows of all tables."""
        return sum(one.count for one in self.tables.values())


def read_fingerprint(connection: Connection) -> Fingerprint:
    """Count and hash everything in the database of a connection, in its current transaction."""
    # Its end takes the settings back.
    with connection.begin_nested() as settings:
        for name, value in _FORMATS.items():
            execute(connection, "SELECT set_config(:name, :value, true)", name=name, value=value)
        tables = {name: _read_table(connection, name) for name in _names(connection, "r")}
        definitions = {name: str(definition) for name, definition in execute(connection, _DEFINITIONS)}
        settings.rollback()
    return Fingerprint(tables, definitions)


def read_sequences(connection: Connection) -> dict[str, int]:
    """Read which number each sequence gives next. Sequences belong to no transaction, and may go on at any time."""
    next_number = "SELECT last_value + is_called::int FROM "
    return {name: execute(connection, next_number + name).scalar_one() for name in _names(connection, "S")}


def differences(expected: Fingerprint, found: Fingerprint) -> list[str]:
    """Describe everything in which a restored database differs from the one that was dumped; empty if nothing does."""
    problems: list[str] = []
    for name in sorted(expected.tables.keys() | found.tables.keys()):
        before, now = expected.tables.get(name), found.tables.get(name)
        if before is None or now is None:
            problems.append(f"table {name} {'is missing' if now is None else 'was not in the dumped database'}")
        elif before.count != now.count:
            problems.append(f"table {name} has {now.count:,} rows instead of {before.count:,}")
        elif before != now:
            problems.append(f"table {name} has other contents")
    changed = sorted(name for name, _ in expected.definitions.items() ^ found.definitions.items())
    return problems + [f"{name} is another" for name in dict.fromkeys(changed)]


def _read_table(connection: Connection, name: str) -> Rows:
    # A sum, unlike an exclusive or, also notices a pair of rows that is missing. MD5 gives the same value on every
    # version and platform.
    digest = "sum(('x' || left(md5(t::text), 16))::bit(64)::bigint)"
    count, digested = execute(connection, f"SELECT count(*), coalesce({digest}, 0)::text FROM ONLY {name} t").one()
    return Rows(count, digested)


def _names(connection: Connection, kind: str) -> list[str]:
    """Return the names of our lasting tables ("r") or sequences ("S"), with their schemas."""
    statement = f"SELECT {_NAME} FROM {_RELATIONS} WHERE c.relkind = '{kind}' AND c.relpersistence <> 't' AND {_OWN}"
    return sorted(name for (name,) in execute(connection, statement))
