"""What USER and TITLE mean on the command line: parsing, matching, and the nearest names.

A title is named by its title, by ``title (year)``, or by an id: ``tmdb:movie:603``, ``tmdb:series:1396``,
``imdb:tt0133093``, ``tvdb:81189`` or ``work:17``. Names are compared without case, accents and punctuation.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from aperture_dagster.catalogue.identity import MediaType, ProviderIds
from aperture_dagster.catalogue.people import User
from aperture_dagster.model.errors import OperatorError

NEAREST = 5
T = TypeVar("T")
_BY_WORD: dict[str, MediaType] = {
    "movie": "movie",
    "film": "movie",
    "series": "series",
    "tv": "series",
    "show": "series",
}
# Whatever follows after a space is the title, as in the lines that list several matches.
_ID = re.compile(r"(?:(tmdb|imdb|tvdb|work):(?:([a-z]+):)?)?(\S+)(?:\s.*)?", re.IGNORECASE | re.DOTALL)
_IMDB_ID, _NUMBER = re.compile(r"tt[0-9]{6,10}"), re.compile(r"[0-9]{1,10}")
_WITH_YEAR = re.compile(r"(.*\S)\s*\((\d{4})\)", re.DOTALL)
# Letters that Unicode does not take apart.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})
_LEAST_LIKENESS = 0.6


@dataclass(frozen=True, slots=True)
class TitleId:
    """A title named by one id; ``media_type`` is None if the text does not say it."""

    ids: ProviderIds
    work_id: int | None = None
    media_type: MediaType | None = None


@dataclass(frozen=True, slots=True)
class TitleName:
    """A title named by its title: as it stands or, if that ends in a year, without it and with that year."""

    name: str
    shorter: str | None = None
    year: int | None = None


@dataclass(frozen=True, slots=True)
class KnownTitle:
    """A title that the database knows.

    ``names`` are all its titles, also the original one, and ``years`` the years that sources give.
    ``title`` is None if only ids are known.
    """

    work_id: int
    media_type: MediaType
    title: str | None
    year: int | None
    ids: ProviderIds
    in_library: bool
    names: frozenset[str] = frozenset()
    years: frozenset[int] = frozenset()

    @property
    def reference(self) -> str:
        """The text that names this title and no other."""
        if self.ids.tmdb_id is not None:
            return f"tmdb:{self.media_type}:{self.ids.tmdb_id}"
        if self.ids.imdb_id is not None:
            return f"imdb:{self.media_type}:{self.ids.imdb_id}"
        if self.ids.tvdb_id is not None:
            return f"tvdb:{self.media_type}:{self.ids.tvdb_id}"
        return f"work:{self.work_id}"

    @property
    def label(self) -> str:
        """The title with its year, or an id."""
        if self.title is None:
            return self.reference
        return self.title if self.year is None else f"{self.title} ({self.year})"


def parse_title_reference(text: str) -> TitleId | TitleName:
    """Parse the TITLE of a command.

    Raises:
        OperatorError: it is empty, or begins like an id and is none (exit code 2).
    """
    text = " ".join(text.split())
    if not text:
        raise OperatorError("The title is empty.", exit_code=2)
    match = _ID.fullmatch(text)
    if match is None or (match[1] is None and not _IMDB_ID.fullmatch(text.lower())):
        with_year = _WITH_YEAR.fullmatch(text)
        return TitleName(text, with_year[1], int(with_year[2])) if with_year else TitleName(text)
    source, kind, value = (match[1] or "imdb").lower(), match[2], match[3].lower()
    media_type = _BY_WORD.get(kind.lower()) if kind else None
    is_valid = (_IMDB_ID if source == "imdb" else _NUMBER).fullmatch(value) is not None
    if not is_valid or (kind and media_type is None):
        raise OperatorError(
            f"{text!r} is not a valid title id: expected one such as tmdb:movie:603, tmdb:series:1396, imdb:tt0133093, "
            "tvdb:81189 or work:17.",
            exit_code=2,
        )
    if source == "work":
        return TitleId(ProviderIds(), int(value), media_type)
    # Films have ids at TheTVDB, too, but their numbers are hardly ever used.
    if source == "tvdb":
        return TitleId(ProviderIds(tvdb_id=int(value)), media_type=media_type or "series")
    ids = ProviderIds(imdb_id=value) if source == "imdb" else ProviderIds(tmdb_id=int(value))
    return TitleId(ids, media_type=media_type)


def match_titles(reference: TitleId | TitleName, known: Iterable[KnownTitle]) -> list[KnownTitle]:
    """Return the known titles that a reference may mean, those of the library first, and each title once."""
    matches = _matches_id if isinstance(reference, TitleId) else _matches_name
    found = [one for one in known if matches(reference, one)]  # pyright: ignore[reportArgumentType]
    distinct: list[KnownTitle] = []
    for one in sorted(found, key=_preference):
        if not any(_is_same(one, other) for other in distinct):
            distinct.append(one)
    return distinct


def nearest_titles(text: str, known: Sequence[KnownTitle]) -> list[KnownTitle]:
    """Return the titles whose names are most like a text, the most similar first."""
    reference = _WITH_YEAR.fullmatch(" ".join(text.split()))
    named = [(name, title) for title in sorted(known, key=_preference) for name in title.names]
    return _nearest(reference[1] if reference else text, named)


def match_users(text: str, users: Sequence[User]) -> list[User]:
    """Return the users whom a text may mean: by id, or else by partition key or name.

    Users who are on the media server win over former ones, and equal names over similar ones.
    """
    text = text.strip()
    by_id = [user for user in users if user.user_id == text]
    by_id = by_id or [user for user in users if _comparable(user.user_id) == _comparable(text)]
    if by_id:
        return by_id
    plain = [user for user in users if text.casefold() in (user.name.casefold(), user.partition_key.casefold())]
    wanted = simplify(text)
    found = plain or [user for user in users if wanted in (simplify(user.name), simplify(user.partition_key))]
    return [user for user in found if not user.gone] or found


def _comparable(user_id: str) -> str:
    """Return an id without the dashes and the case in which it may have been copied."""
    return user_id.replace("-", "").casefold()


def nearest_users(text: str, users: Sequence[User]) -> list[User]:
    """Return the users whose names are most like a text, the most similar first."""
    return _nearest(text, [(user.name, user) for user in users])


def simplify(name: str) -> str:
    """Return a name without case, accents, spaces and punctuation; one of punctuation alone keeps it."""
    folded = unicodedata.normalize("NFKD", name.casefold()).translate(_LETTERS).replace("&", "and")
    return "".join(one for one in folded if one.isalnum()) or "".join(folded.split())


def _matches_id(reference: TitleId, title: KnownTitle) -> bool:
    if reference.media_type is not None and title.media_type != reference.media_type:
        return False
    if reference.work_id is not None:
        return title.work_id == reference.work_id
    return bool(set(reference.ids.present()) & set(title.ids.present()))


def _matches_name(reference: TitleName, title: KnownTitle) -> bool:
    names = {simplify(name) for name in title.names}
    if simplify(reference.name) in names:
        return True
    return (
        reference.shorter is not None
        and reference.year in title.years
        and simplify(reference.shorter) in names
    )  # fmt: skip


def _is_same(one: KnownTitle, other: KnownTitle) -> bool:
    return one.media_type == other.media_type and one.ids.agrees_with(other.ids) is True


def _preference(title: KnownTitle) -> tuple[object, ...]:
    return not title.in_library, title.title is None, -(title.year or 0), -len(title.ids.present()), title.work_id


def _nearest(text: str, named: Iterable[tuple[str, T]]) -> list[T]:
    wanted, by_name = simplify(text), dict[str, list[T]]()
    for name, one in named:
        by_name.setdefault(simplify(name), []).append(one)
    close = difflib.get_close_matches(wanted, by_name, NEAREST, _LEAST_LIKENESS)
    # Longer names that contain the text are no close matches, but usually what was meant.
    longer = sorted((name for name in by_name if len(wanted) >= 3 and wanted in name), key=len)
    found = [one for name in dict.fromkeys([*close, *longer]) for one in by_name[name]]
    return [one for place, one in enumerate(found) if one not in found[:place]][:NEAREST]
