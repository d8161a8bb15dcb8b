"""What members chose for themselves on their page: names, letters, and genres that they do not want."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select

from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.members.tables import member_choices
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute

LONGEST_NAME = 40
# Library names become folders on the server.
_NOT_IN_NAMES = frozenset('"<>|:*?\\/')


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of a member.

    Args:
        publish: whether their own lists are on the media server, if the operator publishes any.
        list_name: what stands for their name in the names of these; None: their name on the server.
        excluded_genres: of which no title is on their lists.
        newsletter: whether they get one.
        address: e-mail address that it is sent to; None: the one that is known of them.
        language: in which it is, such as ``de-AT``.
        together: whether others may count them in for evenings together, and note what they watched then.
        favourites: whether what they liked counts for the household's favourites of a year.
    """

    publish: bool = True
    list_name: str | None = None
    excluded_genres: tuple[str, ...] = ()
    newsletter: bool = False
    address: str | None = field(default=None, repr=False)
    language: str | None = None
    together: bool = False
    favourites: bool = False


def read_choices(connection: Connection) -> dict[str, Choices]:
    """Return the choices by user; who chose nothing is missing."""
    names = tuple(Choices.__dataclass_fields__)
    rows = connection.execute(select(member_choices)).mappings()
    found = {row["user_id"]: Choices(**{name: row[name] for name in names}) for row in rows}
    return {one: replace(choices, excluded_genres=tuple(choices.excluded_genres)) for one, choices in found.items()}


def choices_of(connection: Connection, user_id: str) -> Choices:
    """Return the choices of a user."""
    return read_choices(connection).get(user_id, Choices())


def who_shares_favourites(connection: Connection) -> set[str]:
    """Return the users who let what they liked count for the household's favourites of a year."""
    return set(execute(connection, "SELECT user_id FROM member_choices WHERE favourites").scalars())


def write_choices(connection: Connection, user_id: str, choices: Choices) -> None:
    """Replace the choices of a user."""
    row: dict[str, Any] = {"user_id": user_id, **asdict(choices), "excluded_genres": list(choices.excluded_genres)}
    upsert(connection, member_choices, [row], columns=list(row))


def clean_name(text: str) -> str | None:
    """Return a name without what a server would replace in the name of a library; None if nothing is left.

    Invisible characters go, too: with them, two names could look the same, or turn the text after them around.
    """
    plain = "".join(one for one in unicodedata.normalize("NFC", text) if unicodedata.category(one) != "Cf")
    kept = "".join(" " if one in _NOT_IN_NAMES or not one.isprintable() else one for one in plain)
    return " ".join(kept.split())[:LONGEST_NAME].strip(" .") or None


def is_plain_email(text: str) -> bool:
    """Tell whether a text is one e-mail address of the usual form, and nothing that could be taken for more."""
    return len(text) <= 200 and re.fullmatch(r"[A-Za-z0-9._+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", text) is not None


def is_taken(connection: Connection, name: str, user_id: str) -> bool:
    """Tell whether somebody else is called like this on the server, or chose to be."""
    choices = read_choices(connection)
    others = [user for user in read_users(connection) if not user.gone and user.user_id != user_id]
    names = {(choices.get(other.user_id, Choices()).list_name or other.name).casefold() for other in others}
    return name.casefold() in names | {other.name.casefold() for other in others}


def genres_to_choose(connection: Connection, chosen: Collection[str] = ()) -> list[str]:
    """Return the genres of the library's titles and those ``chosen`` before that it has lost, by name."""
    # Many titles have the same genres together.
    statement = """
        SELECT DISTINCT unnest(genres) FROM (SELECT DISTINCT coalesce(e.genres, t.genres) AS genres
          FROM present_titles t LEFT JOIN enriched_metadata e USING (work_id)) g"""
    return sorted({*execute(connection, statement).scalars(), *chosen})


def end_letters(connection: Connection, key: str) -> None:
    """End the letters of whoever has this key, if anybody has."""
    statement = "UPDATE member_choices SET newsletter = false, updated_at = now() WHERE unsubscribe_key = :key"
    execute(connection, statement, key=key)
