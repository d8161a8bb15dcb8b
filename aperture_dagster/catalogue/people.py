"""The users of the media server: which of them take part, what the settings call them, and their partition keys."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.settings.services import MediaServerSettings

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
    """A user ever seen on the media server; ``gone`` if it no longer lists them.

    ``former_names`` are those before renames, the latest last. ``operators_email`` is the address that the operator
    gave, as of the last sync.
    """

    user_id: str
    partition_key: str
    name: str
    is_disabled: bool
    is_administrator: bool
    max_parental_rating: int | None
    visibility: Visibility
    gone: bool
    former_names: tuple[str, ...] = ()
    operators_email: str | None = None


def former_names(user: User, name: str) -> tuple[str, ...]:
    """Return the former names of a user whom the server now lists as ``name``. Case does not make another name."""
    names = [one for one in user.former_names if one.casefold() != name.casefold()]
    if user.name.casefold() != name.casefold():
        names = [one for one in names if one.casefold() != user.name.casefold()] + [user.name]
    return tuple(names)


def as_listed(known: Iterable[User], names: Mapping[str, str], still_there: Collection[str] | None) -> list[User]:
    """Return all users ever seen, new ones included, as the server lists them now: ``names`` by id.

    Who is not ``still_there`` is gone; None if the list may be incomplete.
    """
    users = {user.user_id: user for user in known}
    for user_id, name in names.items():
        user = users.get(user_id) or User(user_id, "", name, False, False, None, Visibility(), gone=False)
        users[user_id] = replace(user, name=name, former_names=former_names(user, name), gone=False)
    if still_there is None:
        return list(users.values())
    return [replace(user, gone=user.user_id not in still_there) for user in users.values()]


def users_named(users: Iterable[User], names: Iterable[str]) -> dict[str, list[User]]:
    """Find the users that the settings mean by each of ``names``, compared without case.

    A name means who has it now. If nobody on the server has it, it means who had it before being renamed, and at last
    somebody who is gone.
    """
    users = list(users)

    def meant(name: str) -> list[User]:
        present = [user for user in users if not user.gone]
        for some, look in ((present, _has), (present, _had), (users, _had)):
            found = [user for user in some if look(user, name)]
            if found:
                return found
        return []

    return {name: meant(name) for name in names}


def _has(user: User, name: str) -> bool:
    return user.name.casefold() == name.casefold()


def _had(user: User, name: str) -> bool:
    return name.casefold() in {one.casefold() for one in (user.name, *user.former_names)}


def who_takes_part(settings: MediaServerSettings, users: Iterable[User]) -> list[User]:
    """Return the users who take part, by the settings."""
    return participants(users, include=settings.include_users, exclude=settings.exclude_users)


def participants(users: Iterable[User], *, include: Collection[str], exclude: Collection[str]) -> list[User]:
    """Return the users who take part: those on the server who are in ``include``, or enabled if it is empty.

    Nobody in ``exclude`` takes part. See :func:`users_named` for who is meant by a name.
    """
    users = list(users)
    included, excluded = (
        {user.user_id for found in users_named(users, names).values() for user in found} for names in (include, exclude)
    )

    def takes_part(user: User) -> bool:
        allowed = user.user_id in included if include else not user.is_disabled
        return allowed and user.user_id not in excluded and not user.gone

    return [user for user in users if takes_part(user)]


def operators_emails(users: Sequence[User], emails: Mapping[str, str]) -> dict[str, str]:
    """Return the addresses that the operator gave by name, by user id; the users have their present names.

    Who got an address under a name keeps it, even if somebody else bears that name now: it must not be shown to them,
    nor their letters be sent to it. An address given for a present name comes before one for a former name.
    """
    names = {name.casefold() for name in emails}
    former: dict[str, str] = {}
    present: dict[str, str] = {}
    for name, meant in users_named(users, emails).items():
        holders = [
            user
            for user in users
            if user.operators_email == emails[name]
            and _had(user, name)
            and user.name.casefold() not in names
            and not user.gone
        ]
        for user in holders or meant:
            (present if _has(user, name) else former)[user.user_id] = emails[name]
    return former | present


def email_of(operators: str | None, hint: str | None) -> tuple[str | None, str | None]:
    """Return a user's e-mail address and its source: the operator's, else the server's hint if it is an address."""
    if operators is not None:
        return operators, "operator"
    if hint and is_email(hint):
        return hint, "media_server"
    return None, None


def is_email(text: str) -> bool:
    """Tell whether a text has the form of an e-mail address."""
    return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text) is not None
