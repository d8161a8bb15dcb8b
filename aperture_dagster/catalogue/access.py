"""Which titles a user may see: by the policy on the media server, and by parental limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aperture_dagster.media_server.records import ServerLibrary, ServerUser
from aperture_dagster.model import clean_tags


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a work on the server. ``path`` is the path as the server sees it."""

    work_id: int
    item_id: int
    library_id: str
    tags: tuple[str, ...] = ()
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """The access rules of a user.

    ``library_ids`` applies only without ``all_libraries``. Libraries in ``open_library_ids`` have an allowed tag
    themselves, which all of their items inherit. Folders are paths as the server sees them.
    """

    all_libraries: bool = True
    library_ids: tuple[str, ...] = ()
    blocked_tags: tuple[str, ...] = ()
    allowed_tags: tuple[str, ...] = ()
    open_library_ids: tuple[str, ...] = ()
    excluded_folders: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether any copy may be hidden."""
        return not self.all_libraries or bool(self.blocked_tags or self.allowed_tags or self.excluded_folders)


def visible_copies(
    copies: Iterable[Copy], access: Access, preferred: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Return a visible copy of each work that a user may see, ``{work_id: item_id}``.

    It is the one in ``preferred``, the item usually shown, or else the one with the lowest id.
    """
    usual = preferred or {}
    shown: dict[int, int] = {}
    for copy in copies_in_sight(copies, access):
        chosen = shown.get(copy.work_id)
        if chosen is None or copy.item_id == usual.get(copy.work_id):
            shown[copy.work_id] = copy.item_id
        elif chosen != usual.get(copy.work_id):
            shown[copy.work_id] = min(chosen, copy.item_id)
    return shown


def copies_in_sight(copies: Iterable[Copy], access: Access) -> Iterator[Copy]:
    """Yield the copies that a user may see."""
    libraries = None if access.all_libraries else frozenset(access.library_ids)
    blocked, allowed = clean_tags(access.blocked_tags), clean_tags(access.allowed_tags)
    folders = tuple(_as_prefix(folder) for folder in access.excluded_folders)
    for copy in copies:
        if libraries is not None and copy.library_id not in libraries:
            continue
        if blocked or allowed:
            tags = clean_tags(copy.tags)
            if blocked & tags or (allowed and copy.library_id not in access.open_library_ids and not allowed & tags):
                continue
        if folders and copy.path is not None and _as_prefix(copy.path).startswith(folders):
            continue
        yield copy


def hidden_from(users: Iterable[ServerUser], library: ServerLibrary) -> dict[str, list[ServerUser]]:
    """Return which users may not see a library or, where that differs, each of its folders."""

    def may_see(user: ServerUser, path: str | None) -> bool:
        access = Access(user.all_libraries, user.library_ids, excluded_folders=user.excluded_folders)
        return any(copies_in_sight([Copy(0, 0, library.library_id, path=path)], access))

    everybody = list(users)
    blind = {path: [one for one in everybody if not may_see(one, path)] for path in library.locations or (None,)}
    first, *others = blind.values()
    if all(one == first for one in others):
        return {repr(library.name): first}
    return {f"{path} in {library.name!r}": found for path, found in blind.items()}


def _as_prefix(path: str) -> str:
    """Return a path with a trailing slash, so that only paths below it start with it; on Windows, too."""
    return path.replace("\\", "/").rstrip("/") + "/"


# Parental limits: convert official ratings to ages.
#
# Jellyfin stores a user's limit as a number similar to an age. Titles with an unknown rating are hidden from users
# with a limit: a child's list should rather miss a title than show one too many.


AGES = {
    **dict.fromkeys(("G", "TV-Y", "TV-G", "APPROVED", "E", "U", "AL", "L", "T", "0"), 0),
    **dict.fromkeys(("TV-Y7", "TV-Y7-FV"), 7),
    **dict.fromkeys(("PG", "TV-PG"), 10),
    **dict.fromkeys(("PG-13", "M/PG"), 13),
    "TV-14": 14,
    **dict.fromkeys(("R", "M", "TV-MA", "MA"), 17),
    **dict.fromkeys(("NC-17", "X", "XXX", "AO"), 18),
}
# Ratings that mean something else in a country, or exist only there; where Jellyfin has a score for one
# (jellyfin/jellyfin, Emby.Server.Implementations/Localization/Ratings), its score.
AGES_IN: dict[str, dict[str, int]] = {
    "AU": {"EXEMPT": 0, "PG": 15, "M": 15, "MA": 15, "MA 15+": 15, "MA15+": 15, "AV 15+": 15, "R": 18, "R 18+": 18,
           "R18+": 18, "X 18+": 18},
    "BR": {"AL": 0},
    "CA": {"C": 0, "C8": 8, "PG": 8, "TV-PG": 8, "14A": 14, "TV-MA": 18, "18A": 18, "R": 18, "A": 18},
    "DK": {"A": 0, "TILLADT FOR ALLE": 0},
    "ES": {"A": 0, "APTA": 0, "AI": 0, "A/I": 0, "TP": 0, "INFANTIL": 0},
    "FI": {"S": 0, "K-7": 7, "K-12": 12, "K-16": 16, "K-18": 18, "K7": 7, "K12": 12, "K16": 16, "K18": 18},
    "FR": {"TP": 0, "TOUS PUBLICS": 0, "PUBLIC AVERTI": 0},
    "GB": {"ALL": 0, "UC": 0, "PG": 8, "TEEN": 13, "R18": 18},
    "IE": {"PG": 12},
    "IN": {"UA": 12, "U/A": 12, "U/A 7+": 7, "UA 7+": 7, "U/A 13+": 13, "UA 13+": 13, "U/A 16+": 16, "UA 16+": 16,
           "A": 18, "S": 18},
    "IT": {"PER TUTTI": 0, "BA": 0, "VM6": 6, "VM12": 12, "VM14": 14, "VM18": 18},
    "JP": {"PG12": 12, "PG-12": 12, "R15+": 15, "R18+": 18},
    "KR": {"ALL": 0, "EXEMPT": 0, "RESTRICTED SCREENING": 19},
    "MX": {"AA": 0, "A": 0, "B": 12, "B-15": 15, "B15": 15, "C": 18, "D": 18},
    "NL": {"MG6": 6},
    "NO": {"A": 0},
    "NZ": {"PG": 13, "RP13": 13, "R13": 13, "R15": 15, "M": 16, "RP16": 16, "R16": 16, "RP18": 18, "R18": 18, "R": 18},
    "PT": {"PÚBLICOS": 0, "M/3": 3, "M/6": 6, "M/12": 12, "M/14": 14, "M/16": 16, "M/18": 18},
    "SE": {"BTL": 0, "BARNTILLÅTEN": 0},
    "SG": {"PG13": 13, "NC16": 16, "M18": 18, "R21": 21},
}  # fmt: skip
# What distributors write when there is no certification.
NO_RATING = frozenset({"", "NR", "UR", "NOT RATED", "UNRATED"})


def age_of(official_rating: str | None, country: str | None = None) -> int | None:
    """Return the age of a rating such as ``PG-13``, ``TV-MA``, ``FSK-12`` or ``12A``; None if unknown.

    ``country`` (ISO 3166) is where the rating was given, if that is known.
    """
    rating = (official_rating or "").strip().upper()
    known = AGES_IN.get(country, {}) if country is not None else {}
    if rating in known:
        return known[rating]
    if rating in AGES:
        return AGES[rating]
    # Most other countries use the age itself: "FSK-12", "DE-6", "GB-12A", "12+".
    found = re.fullmatch(r"(?:[A-Z]{2,4}[-/ ])?(\d{1,2})\s*[A+]?", rating)
    if found:
        return int(found.group(1))
    origin, dash, rest = rating.partition("-")
    return AGES.get(rest) if dash and len(origin) == 2 else None


def within_limit(official_rating: str | None, limit: int | None) -> bool:
    """Return whether a user with this limit (None: no limit) may see a title with this rating."""
    if limit is None:
        return True
    age = age_of(official_rating)
    return age is not None and age <= limit


def certified_age(certifications: Mapping[str, Sequence[str]], countries: Sequence[str]) -> int | None:
    """Return the age of the strictest certification in the first of ``countries`` that has one; None if unrated.

    Editions of a title have certifications of their own, so a country may have several. One that is not known may be
    stricter than all others, so the title counts as unrated.
    """
    for country in countries:
        given = {one.strip().upper() for one in certifications.get(country, ())} - NO_RATING
        if given:
            ages = [age_of(one, country) for one in given]
            known = [age for age in ages if age is not None]
            return max(known) if len(known) == len(ages) else None
    return None
