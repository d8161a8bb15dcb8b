"""What all tables share: metadata, constraint names, helpers for constraints, and descriptions of columns."""

from collections.abc import Collection

from sqlalchemy import CheckConstraint, DateTime, MetaData, Table

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


# How a column names a user, and so what becomes of its rows when that user is forgotten. A foreign key to ``users``
# says the same as ``IS_USER``; a test finds columns that look like one and say nothing.
IS_USER = {"user": "is"}
"""The rows of the user go."""
NAMES_USERS = {"user": "names"}
"""A text for people: the names are taken out of it."""
WHILE_LISTED = {"user": "while listed"}
"""What the media server's own record of a user needs: its rows go once the server no longer lists the user."""
PLACED = {"user": "placed"}
"""What is on the media server for the user: its rows go when that is taken back, which comes first."""


def one_of(column: str, values: Collection[str]) -> CheckConstraint:
    """Allow only these values. Not for values from services: a bad one must not fail a whole page of items."""
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=column)


def between(column: str, low: float, high: float | None = None) -> CheckConstraint:
    """Allow only numbers from ``low`` to ``high``, if given. NaN counts as greater than every number."""
    return CheckConstraint(f"{column} >= {low}" + ("" if high is None else f" AND {column} <= {high}"), name=column)


def written_columns(table: Table) -> tuple[str, ...]:
    """Return the columns that writers must provide: those without a server default."""
    return tuple(column.name for column in table.columns if column.server_default is None)
