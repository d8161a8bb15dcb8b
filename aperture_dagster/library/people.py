"""Which users take part, their partition keys, and the partitions to add and remove."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from aperture_dagster.library.access import Access

MAX_KEY_LENGTH = 40


def partition_key(name: str, user_id: str, taken: Collection[str]) -> str:
    """Return a unique partition key that is recognisable and safe on a command line: the cleaned name.

    Characters with a meaning in shells or Dagster become ``-``; letters and digits of any script are kept. If the key
    would be empty or taken, digits of a hash of the user's id are appended.
    """
    clean = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name)).strip("-.")[:MAX_KEY_LENGTH].strip("-.")
    # ".." would look like a partition range, and keys that differ only in case are easily confused.
    clean = re.sub(r"\.{2,}", ".", clean)
    lowered = {key.casefold() for key in taken}
    if clean and clean.casefold() not in lowered:
        return clean
    digest = hashlib.sha256(user_id.encode()).hexdigest()
    for length in range(6, len(digest)):
        key = f"{clean or 'user'}-{digest[:length]}"
        if key.casefold() not in lowered:
            return key
    raise AssertionError(f"two users have the id {user_id}")


@dataclass(frozen=True, slots=True)
class User:
    """A user ever seen on the media server; ``gone`` if it no longer lists them."""

    user_id: str
    partition_key: str
    name: str
    is_disabled: bool
    is_administrator: bool
    max_parental_rating: int | None
    access: Access
    gone: bool


def participants(users: Iterable[User], *, include: Collection[str], exclude: Collection[str]) -> list[User]:
    """Return the users who take part: those on the server who are in ``include``, or enabled if it is empty.

    Nobody in ``exclude`` takes part. Names are compared without case.
    """
    included, excluded = ({name.casefold() for name in names} for names in (include, exclude))

    def takes_part(user: User) -> bool:
        name = user.name.casefold()
        allowed = name in included if included else not user.is_disabled
        return allowed and name not in excluded and not user.gone

    return [user for user in users if takes_part(user)]


@dataclass(frozen=True, slots=True)
class PartitionChanges:
    """Partitions to add and to remove, in order."""

    add: list[str]
    remove: list[str]


def partition_changes(wanted: Iterable[str], existing: Iterable[str], in_flight: Collection[str]) -> PartitionChanges:
    """Return how to turn ``existing`` into ``wanted``. A partition with a run in progress is removed another time."""
    wanted, existing = list(dict.fromkeys(wanted)), list(existing)
    return PartitionChanges(
        add=[key for key in wanted if key not in set(existing)],
        remove=[key for key in existing if key not in set(wanted) and key not in in_flight],
    )


def email_of(name: str, hint: str | None, operators: dict[str, str]) -> tuple[str | None, str | None]:
    """Return a user's e-mail address and its source: the operator's mapping, else the server's hint if it is valid."""
    for known, email in operators.items():
        if known.casefold() == name.casefold():
            return email, "operator"
    if hint and re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", hint):
        return hint, "media_server"
    return None, None
