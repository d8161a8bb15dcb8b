"""USER and TITLE on the command line: exactly one, or a message that says how to name it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.queries import read_titles_to_name
from aperture_dagster.catalogue.references import (
    KnownTitle,
    TitleId,
    match_titles,
    match_users,
    nearest_titles,
    nearest_users,
    parse_title_reference,
)
from aperture_dagster.catalogue.stored_users import read_users
from aperture_dagster.catalogue.works import works_for
from aperture_dagster.model.errors import OperatorError

AMBIGUOUS, UNKNOWN = 2, 1
SHOWN_MATCHES = 20


def find_user(connection: Connection, text: str) -> User:
    """Find the user whom a text names by name, partition key or id; a former user only if no present one matches.

    Raises:
        OperatorError: several match (exit code 2), or none (exit code 1).
    """
    users = sorted(read_users(connection), key=lambda user: user.gone)
    found = match_users(text, users)
    if len(found) == 1:
        return found[0]
    if found:
        raise OperatorError(
            "\n".join(
                [f"Several users are called {text!r}. Repeat the command with the id of one:", *_user_lines(found)]
            ),
            exit_code=AMBIGUOUS,
        )
    if not users:
        raise OperatorError(f"No user is called {text!r}: no users were read from the media server yet.")
    names = ", ".join(user.name for user in nearest_users(text, users))
    hint = f"Did you mean {names}?" if names else "`aperture show` lists their names."
    raise OperatorError(f"No user is called {text!r}. {hint}", exit_code=UNKNOWN)


def find_title(connection: Connection, text: str, *, create: bool = False) -> KnownTitle:
    """Find the title that a text names, in the library or outside it; its title is an id if nothing else is known.

    ``create``: make a work for an id that is not known yet; the connection must be inside a transaction, and holds the
    lock of the catalogue until its end.

    Raises:
        OperatorError: several match (exit code 2), none does (exit code 1), or the text is no id (exit code 2).
    """
    reference = parse_title_reference(text)
    known = read_titles_to_name(connection)
    found = match_titles(reference, known)
    if len(found) == 1:
        return replace(found[0], title=found[0].title or found[0].reference)
    if found:
        lines = [f"{one.reference}  {one.label}{', in the library' if one.in_library else ''}" for one in found]
        if len(lines) > SHOWN_MATCHES:
            lines[SHOWN_MATCHES:] = [f"… and {len(lines) - SHOWN_MATCHES} more: name the year, too."]
        raise OperatorError(
            "\n".join([f"{text!r} may be any of these titles. Repeat the command with one:", *lines]),
            exit_code=AMBIGUOUS,
        )
    if isinstance(reference, TitleId):
        return _create(connection, reference, text, create=create)
    near = nearest_titles(text, known)
    if near:
        lines = [f"{one.reference}  {one.label}" for one in near]
        raise OperatorError("\n".join([f"No title is called {text!r}. Did you mean one of these?", *lines]))
    raise OperatorError(
        f"No title is called {text!r}. A title that is not known yet needs an id, such as tmdb:movie:603."
    )


def _create(connection: Connection, reference: TitleId, text: str, *, create: bool) -> KnownTitle:
    if not create or reference.work_id is not None:
        raise OperatorError(f"No title with the id {text!r} is known.", exit_code=UNKNOWN)
    media_type = reference.media_type
    if media_type is None:
        (_, value), *_ = reference.ids.present()
        source = "imdb" if reference.ids.imdb_id else "tmdb"
        raise OperatorError(
            f"No title with the id {text!r} is known: say whether it is {source}:movie:{value} or "
            f"{source}:series:{value}."
        )
    (work_id,) = works_for(connection, media_type, [reference.ids])
    if work_id is None:
        raise OperatorError(f"The id {text!r} belongs to several titles here.")
    known = KnownTitle(work_id, media_type, None, None, reference.ids, in_library=False)
    return replace(known, title=known.reference)


def _user_lines(users: list[User]) -> list[str]:
    return [f"{user.user_id}  {user.name}{' (no longer on the media server)' if user.gone else ''}" for user in users]
