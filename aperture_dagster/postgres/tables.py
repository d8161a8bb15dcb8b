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


# How a column names a work, and so what becomes of its row when a title of the library turns out to be another work. A
# column that refers to ``works`` says one of these; a test finds those that say nothing.
STAYS_WITH_WORK = {"follows": ()}
"""The row is about the work, or is made anew for every work; of ``titles``, the sync itself decides."""
FOLLOWS_ITEM = {"follows": ("item",)}
"""The row is about the item in ``item_id``, and belongs to the work of that item."""
FOLLOWS_TITLE = {"follows": ("title",)}
"""A user said this of the work. If it had no ids, and all of its titles belong to another work now, the row moves to
that one, unless the user has said something of it already: the other columns of the primary key are equal."""
FOLLOWS_ITEM_AND_TITLE = {"follows": ("item", "title")}
"""Both: a user said this of the item in ``item_id``, or of the work."""


def one_of(column: str, values: Collection[str]) -> CheckConstraint:
    """Allow only these values. Not for values from services: a bad one must not fail a whole page of items."""
    return CheckConstraint(f"{column} IN ({', '.join(map(repr, values))})", name=column)


def between(column: str, low: float, high: float | None = None) -> CheckConstraint:
    """Allow only numbers from ``low`` to ``high``, if given. NaN counts as greater than every number."""
    return CheckConstraint(f"{column} >= {low}" + ("" if high is None else f" AND {column} <= {high}"), name=column)


def written_columns(table: Table) -> tuple[str, ...]:
    """Return the columns that writers must provide: those without a server default."""
    return tuple(column.name for column in table.columns if column.server_default is None)
