"""Forget a user: what the product's database holds of them, and the note by which an interrupted run is finished.

Which columns name a user is declared with the tables: by a foreign key to ``users``, or by ``info``
(:mod:`aperture_dagster.postgres.tables`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import hold_user, read_users, remove_user
from aperture_dagster.files.private import write_file
from aperture_dagster.maintenance.redaction import Redactor
from aperture_dagster.members.choices import choices_of
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.schema import metadata
from aperture_dagster.settings import Settings

USERS = "users"
NOTE = "forgetting.json"
"""The file of the home that names who is being forgotten, until nothing of them is left."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to forget.

    Args:
        user_id: on the media server.
        key: of their partitions.
        name: the present one.
        names: everything that they are called in texts, ids included.
        kept: what others are called, which stays even if it holds one of ``names``.
    """

    user_id: str
    key: str
    name: str
    names: tuple[str, ...] = field(repr=False)
    kept: tuple[str, ...] = field(default=(), repr=False)

    def redactor(self) -> Redactor:
        """Return what takes their names out of texts."""
        return Redactor(self.names, kept=self.kept)


def describe_person(connection: Connection, settings: Settings, user: User) -> Person:
    """Return a stored user as somebody to forget, with all of their names."""
    chosen, user_id = choices_of(connection, user.user_id), user.user_id
    email = read_value(connection, "SELECT email FROM users WHERE user_id = :user", user=user_id)
    on_trakt = read_value(connection, "SELECT trakt_user FROM trakt_accounts WHERE user_id = :user", user=user_id)
    names = [user.user_id, _with_dashes(user_id), user.partition_key, user.name, *user.former_names, email, on_trakt]
    names += [chosen.address]
    if chosen.list_name is not None:
        # By itself it may be any word.
        names += [
            template.format(username=chosen.list_name, type=label)
            for kind, template in settings.publish_names.items()
            for label in ("Movies", "Series", "TV Series")
            if kind != "top_picks"
        ]
    others = [one for one in read_users(connection) if one.user_id != user_id]
    kept = [name for other in others for name in (other.name, other.partition_key, *other.former_names)]
    return Person(user_id, user.partition_key, user.name, tuple(filter(None, names)), tuple(kept))


def _with_dashes(user_id: str) -> str | None:
    """Return an id in the other form that servers write."""
    plain = user_id.replace("-", "")
    if len(plain) != 32:
        return None
    return plain if "-" in user_id else "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))


# What the tables hold of a user.


class UserColumn(NamedTuple):
    """A column that names users; ``how`` is as declared."""

    table: Table
    name: str
    how: str


def user_columns() -> list[UserColumn]:
    """Return every column that names users, those of tables that refer to others first; ``users`` itself is missing."""
    return [
        UserColumn(table, column.name, how)
        for table in reversed(metadata.sorted_tables)
        for column in table.columns
        if (how := "is" if _refers_to_users(column) else column.info.get("user")) is not None
    ]


def _refers_to_users(column: Any) -> bool:
    return any(key.target_fullname == "users.user_id" for key in column.foreign_keys)


def count_rows(connection: Connection, user_id: str) -> dict[str, int]:
    """Count the rows of a user by table, the largest number first; tables without any are left out."""
    counts: dict[str, int] = {}
    for column in user_columns():
        if column.how in ("is", "while listed"):
            statement = f"SELECT count(*) FROM {column.table.name} WHERE {_condition(column)}"
            counts[column.table.name] = read_value(connection, statement, user=user_id)
    return {name: count for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count}


def placed_lists(connection: Connection, user_id: str) -> list[str]:
    """Return the names of what is on the media server for a user: libraries, collections and playlists."""
    named: list[str] = []
    for table in dict.fromkeys(column.table for column in user_columns() if column.how == "placed"):
        columns = [column for column in user_columns() if column.table is table and column.how == "placed"]
        condition = " OR ".join(_condition(column) for column in columns)
        rows = read_rows(connection, f"SELECT name FROM {table.name} WHERE {condition} ORDER BY name", user=user_id)
        named += [row["name"] for row in rows]
    return named


def forget_rows(connection: Connection, person: Person, *, is_listed: bool) -> int:
    """Delete what the database holds of a user, and take their names out of texts; return how many rows.

    ``is_listed``: the media server still has them, so their own row stays, and what their settings there need.

    Raises:
        StillPlaced: something is on the media server for them.
    """
    # As writers do, who then wait for the row, and find that it is gone.
    lock_history(connection, person.user_id)
    hold_user(connection, person.user_id)
    if placed := placed_lists(connection, person.user_id):
        raise StillPlaced(placed)
    redactor, rows = person.redactor(), 0
    for column in user_columns():
        if column.how == "is" or (column.how == "while listed" and not is_listed):
            statement = f"DELETE FROM {column.table.name} WHERE {_condition(column)}"
            rows += execute(connection, statement, user=person.user_id).rowcount
        elif column.how == "names":
            rows += _redact(connection, column, redactor)
    return rows + remove_user(connection, person.user_id, is_listed=is_listed)


class StillPlaced(Exception):
    """Something is on the media server for a user who is to be forgotten; ``names`` are those of its lists."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def _condition(column: UserColumn) -> str:
    if column.how == "placed" and column.name != "user_id":
        return f"position('/' || :user || '/' IN {column.name} || '/') > 0"
    return f"{column.name} = :user"


def _redact(connection: Connection, column: UserColumn, redactor: Redactor) -> int:
    (key,) = column.table.primary_key.columns.keys()
    statement = f"SELECT {key} AS key, {column.name} AS text FROM {column.table.name} WHERE {column.name} IS NOT NULL"
    changed = 0
    for row in read_rows(connection, statement):
        if (text := redactor.text(row["text"])) != row["text"]:
            execute(
                connection,
                f"UPDATE {column.table.name} SET {column.name} = :text WHERE {key} = :key",
                text=text,
                key=row["key"],
            )
            changed += 1
    return changed


# Who is being forgotten: noted in the home while there is no row in the database any more.


def read_note(home: Path) -> list[Person]:
    """Return who is being forgotten; nobody if nothing was interrupted."""
    try:
        rows = json.loads((home / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [Person(**{**row, "names": tuple(row["names"]), "kept": tuple(row["kept"])}) for row in rows]


def write_note(home: Path, persons: Sequence[Person]) -> None:
    """Note who is being forgotten; without anybody, the file goes."""
    rows = [asdict(person) for person in persons]
    if rows:
        write_file(home / NOTE, json.dumps(rows).encode())
    else:
        (home / NOTE).unlink(missing_ok=True)
