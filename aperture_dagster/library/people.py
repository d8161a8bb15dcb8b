"""Who takes part, under which partition key, and what follows when somebody comes or goes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

LONGEST_KEY = 40


def partition_key(name: str, user_id: str, taken: Collection[str]) -> str:
    """A partition key that a person recognises and a command line takes: the name, cleaned, and unique.

    It is given once and stays when the user is renamed. Letters and digits of any script stay; what shells and
    Dagster give a meaning to becomes ``-``. A key that would be empty or taken gets a few digits of the user's id.
    """
    clean = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name)).strip("-.")[:LONGEST_KEY].strip("-.")
    # ".." would read as a range, and letters that differ only in case are easily mistaken.
    clean = re.sub(r"\.{2,}", ".", clean)
    lowered = {key.casefold() for key in taken}
    if clean and clean.casefold() not in lowered:
        return clean
    digest = hashlib.sha256(user_id.encode()).hexdigest()
    for length in range(6, len(digest)):
        key = f"{clean or 'user'}-{digest[:length]}"
        if key.casefold() not in lowered:
            return key
    raise AssertionError("no two users share an id")


def takes_part(name: str, *, is_disabled: bool, include: Collection[str], exclude: Collection[str]) -> bool:
    """Whether a user takes part: not excluded, and included by name or, without such a list, not disabled."""
    folded = name.casefold()
    if folded in {other.casefold() for other in exclude}:
        return False
    if include:
        return folded in {other.casefold() for other in include}
    return not is_disabled


class Person(Protocol):
    """What decides whether somebody takes part."""

    @property
    def name(self) -> str:
        """As on the server."""
        ...

    @property
    def is_disabled(self) -> bool:
        """Whether the server lets them in no more."""
        ...

    @property
    def gone(self) -> bool:
        """Whether the server has them no more."""
        ...


Somebody = TypeVar("Somebody", bound=Person)


def who_takes_part(people: Iterable[Somebody], *, include: Collection[str], exclude: Collection[str]) -> list[Somebody]:
    """Of all people ever seen, those who take part now, in their order; see :func:`takes_part`."""
    return [
        person
        for person in people
        if not person.gone and takes_part(person.name, is_disabled=person.is_disabled, include=include, exclude=exclude)
    ]


@dataclass(frozen=True, slots=True)
class PartitionChanges:
    """Partitions to add and to remove, each in order."""

    add: list[str]
    remove: list[str]


def partition_changes(wanted: Iterable[str], existing: Iterable[str], in_flight: Collection[str]) -> PartitionChanges:
    """What makes ``existing`` into ``wanted``; a partition that a run works on now is removed a later time."""
    wanted, existing = list(dict.fromkeys(wanted)), list(existing)
    return PartitionChanges(
        add=[key for key in wanted if key not in set(existing)],
        remove=[key for key in existing if key not in set(wanted) and key not in in_flight],
    )


def email_of(name: str, hint: str | None, operators: dict[str, str]) -> tuple[str | None, str | None]:
    """A user's e-mail and its source: the operator's own mapping, else what the server says if it is an address."""
    for known, email in operators.items():
        if known.casefold() == name.casefold():
            return email, "operator"
    if hint and re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", hint):
        return hint, "media_server"
    return None, None
