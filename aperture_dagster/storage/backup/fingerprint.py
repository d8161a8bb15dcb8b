"""What a database contains, in a form that can be compared: rows and hashes of tables, and the parts of the schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from aperture_dagster.storage.queries import execute, read_rows, read_value

# Rows are hashed as text, which these settings must not change; a large table takes its time.
FORMATS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    # Definitions then name every table with its schema.
    "search_path": "",
    "statement_timeout": "0",
}
REVISION_TABLE = "alembic_version"
# Objects of the database itself, without temporary ones and those that belong to an extension.
_OWN = """
    n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')"""
_RELATIONS = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
_NAME = "format('%I.%I', n.nspname, c.relname)"
_COLUMNS = f"""
    SELECT {_NAME} || '.' || quote_ident(a.attname), concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN 'not null' END, pg_get_expr(e.adbin, e.adrelid))
    FROM {_RELATIONS} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef e ON e.adrelid = c.oid AND e.adnum = a.attnum WHERE c.relkind IN ('r', 'p') AND {_OWN}"""
# Not null is a property of the column, and a constraint only since PostgreSQL 18.
_CONSTRAINTS = f"""
    SELECT {_NAME} || '.' || quote_ident(k.conname), pg_get_constraintdef(k.oid)
    FROM {_RELATIONS} JOIN pg_constraint k ON k.conrelid = c.oid WHERE k.contype <> 'n' AND {_OWN}"""
_INDEXES = f"SELECT {_NAME}, pg_get_indexdef(c.oid) FROM {_RELATIONS} WHERE c.relkind IN ('i', 'I') AND {_OWN}"
_VIEWS = f"SELECT {_NAME}, pg_get_viewdef(c.oid) FROM {_RELATIONS} WHERE c.relkind IN ('v', 'm') AND {_OWN}"
_EXTENSIONS = "SELECT extname, extversion FROM pg_extension"


@dataclass(frozen=True, slots=True)
class Rows:
    """The number of rows of a table, and a hash of them that does not depend on their order."""

    count: int
    hash: str


NO_ROWS = Rows(0, "0")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The contents of a database. Keys are names with their schema; definitions are PostgreSQL's own texts."""

    server_major: int
    revision: str | None
    """The schema's revision; None if it has none."""
    tables: Mapping[str, Rows] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    constraints: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)
    sequences: Mapping[str, tuple[int, bool]] = field(default_factory=dict)
    """The last value of each sequence, and whether it has been used."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """Installed extensions with their versions."""

    @property
    def rows(self) -> int:
        """The number of rows of all tables."""
        return sum(one.count for one in self.tables.values())

    def without_rows(self, tables: Collection[str]) -> Fingerprint:
        """Return the fingerprint of the same database with some tables empty."""
        return replace(self, tables={name: NO_ROWS if name in tables else one for name, one in self.tables.items()})


DEFINITIONS = {"columns": "column", "constraints": "constraint", "indexes": "index", "views": "view"}


def read_fingerprint(connection: Connection) -> Fingerprint:
    """Count and hash everything in the database of a connection, in its current transaction."""
    # Its end takes the settings back.
    with connection.begin_nested() as settings:
        for name, value in FORMATS.items():
            execute(connection, "SELECT set_config(:name, :value, true)", name=name, value=value)
        names = _names(connection, "c.relkind = 'r' AND c.relpersistence <> 't'")
        revision = next((name for name in names if name.rpartition(".")[2] == REVISION_TABLE), None)
        found = Fingerprint(
            server_major=int(read_value(connection, "SHOW server_version_num")) // 10_000,
            revision=read_value(connection, f"SELECT max(version_num) FROM {revision}") if revision else None,
            tables={name: _read_table(connection, name) for name in names},
            columns=_pairs(connection, _COLUMNS),
            constraints=_pairs(connection, _CONSTRAINTS),
            indexes=_pairs(connection, _INDEXES),
            views=_pairs(connection, _VIEWS),
            sequences=read_sequences(connection),
            extensions=_pairs(connection, _EXTENSIONS),
        )
        settings.rollback()
    return found


def read_sequences(connection: Connection) -> dict[str, tuple[int, bool]]:
    """Read the state of all sequences, which does not belong to any transaction."""
    states = {
        name: execute(connection, f"SELECT last_value, is_called FROM {name}").one()
        for name in _names(connection, "c.relkind = 'S' AND c.relpersistence <> 't'")
    }
    return {name: (int(last), bool(used)) for name, (last, used) in states.items()}


def differences(expected: Fingerprint, found: Fingerprint) -> list[str]:
    """Describe everything in which a restored database differs from the one that was dumped; empty if nothing does.

    Definitions are compared word by word between servers of one major version, and by name otherwise. Versions of
    extensions may differ.
    """
    problems: list[str] = []
    if expected.revision != found.revision:
        problems.append(f"the schema has revision {found.revision} instead of {expected.revision}")
    problems += _compare_names("table", expected.tables, found.tables)
    for name, rows in expected.tables.items():
        if name in found.tables and (now := found.tables[name]) != rows:
            counts = f"{now.count:,} rows instead of {rows.count:,}" if now.count != rows.count else "other contents"
            problems.append(f"table {name} has {counts}")
    problems += _compare_names("extension", expected.extensions, found.extensions)
    same_major = expected.server_major == found.server_major
    for part, label in {**DEFINITIONS, "sequences": "sequence"}.items():
        before, after = getattr(expected, part), getattr(found, part)
        problems += _compare_names(label, before, after)
        if same_major or part == "sequences":
            changed = sorted(name for name in before if name in after and before[name] != after[name])
            what = "another value" if part == "sequences" else "another definition"
            problems += [f"{label} {name} has {what}" for name in changed]
    return problems


def _compare_names(label: str, expected: Collection[str], found: Collection[str]) -> list[str]:
    missing = [f"{label} {name} is missing" for name in sorted(set(expected) - set(found))]
    return missing + [f"{label} {name} was not in the dumped database" for name in sorted(set(found) - set(expected))]


def _read_table(connection: Connection, name: str) -> Rows:
    # A sum, unlike an exclusive or, also notices a pair of rows that is missing. MD5 gives the same value on every
    # version and platform.
    digest = "sum(('x' || left(md5(t::text), 16))::bit(64)::bigint)"
    (row,) = read_rows(connection, f"SELECT count(*) AS count, coalesce({digest}, 0)::text AS hash FROM ONLY {name} t")
    return Rows(**row)


def _names(connection: Connection, condition: str) -> list[str]:
    statement = f"SELECT {_NAME} FROM {_RELATIONS} WHERE {condition} AND {_OWN} ORDER BY 1"
    return [row[0] for row in execute(connection, statement)]


def _pairs(connection: Connection, statement: str) -> dict[str, str]:
    return dict(sorted(map(tuple, execute(connection, statement))))
