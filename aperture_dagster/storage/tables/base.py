"""Shared parts of all tables: the metadata, names of constraints, the type of moments; and a description of columns."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import BigInteger, CheckConstraint, DateTime, MetaData, Sequence, Table
from sqlalchemy.dialects import postgresql

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

MEDIA_TYPES = ("movie", "series")


def one_of(column: str, values: Collection[str]) -> CheckConstraint:
    """Allow only these values. For what this program decides; a bad value of a service must cost only its own item."""
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=column)


def between(column: str, low: float, high: float | None = None) -> CheckConstraint:
    """Allow only numbers from ``low`` to ``high``, if there is one; NaN is above every number."""
    return CheckConstraint(f"{column} >= {low}" + ("" if high is None else f" AND {column} <= {high}"), name=column)


class ColumnSchema(NamedTuple):
    """A column as people read it: PostgreSQL's name of the type, and the comment, which may be empty."""

    name: str
    type: str
    comment: str
    nullable: bool
    is_key: bool


def column_schema(table_name: str) -> list[ColumnSchema]:
    """Describe the columns of a table, in their order.

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
    """List the columns that whoever writes a row fills in: those without a default."""
    return tuple(column.name for column in table.columns if column.server_default is None)
