"""Shared parts of all tables: metadata, constraint names, helpers for constraints, and descriptions of columns."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, Sequence, Table
from sqlalchemy.dialects import postgresql

from aperture_dagster.model.media import MEDIA_TYPES as MEDIA_TYPES

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
Moment = DateTime(timezone=True)
item_ids = Sequence("item_id_seq", metadata=metadata, data_type=BigInteger)


def one_of(column: str, values: Collection[str]) -> CheckConstraint:
    """Allow only these values. Not for values from services: a bad one must not fail a whole page of items."""
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=column)


def between(column: str, low: float, high: float | None = None) -> CheckConstraint:
    """Allow only numbers from ``low`` to ``high``, if given. NaN counts as greater than every number."""
    return CheckConstraint(f"{column} >= {low}" + ("" if high is None else f" AND {column} <= {high}"), name=column)


class ColumnSchema(NamedTuple):
    """Description of a column, with PostgreSQL's type name and the comment, which may be empty."""

    name: str
    type: str
    comment: str
    nullable: bool
    is_key: bool


def column_schema(table_name: str) -> list[ColumnSchema]:
    """Describe the columns of a table, in order.

    Raises:
        KeyError: there is no such table.
    """
    dialect = postgresql.dialect()
    return [
        ColumnSchema(
            column.name,
            column.type.compile(dialect=dialect).lower(),
            column.comment or "",
            bool(column.nullable),
            column.primary_key,
        )
        for column in metadata.tables[table_name].columns
    ]


def written_columns(table: Table) -> tuple[str, ...]:
    """Return the columns that writers must provide: those without a server default."""
    return tuple(column.name for column in table.columns if column.server_default is None)
