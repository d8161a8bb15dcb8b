"""Whether a title outside the library may be suggested: to anybody, and to one user.

The first rule that a title breaks is the reason shown to the operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from aperture_dagster.library.access import clean_tags
from aperture_dagster.library.parental import certified_age

ENGLISH = "en"
# TMDb's flag for adult titles is incomplete and late, so that lists without them still hold some.
EROTIC_KEYWORDS = clean_tags(
    (
        "adult film", "adult video", "erotic film", "erotic movie", "erotica", "gay pornography", "hardcore",
        "hardcore porn", "hentai", "pink film", "porn", "porno", "pornographic film", "pornographic video",
        "roman porno", "sex film", "sexploitation", "softcore", "softcore porn", "xxx",
    )
)  # fmt: skip
NOT_OUT = frozenset({"Rumored", "Planned", "In Production", "Post Production", "Canceled"})
# A series that was cancelled, or of which more is being made, can be watched.
SERIES_NOT_OUT = frozenset({"Rumored", "Planned"})
# A release that can be watched at home.
AT_HOME = ("digital", "physical", "tv")
# By then, a film has long been out at home, even where TMDb knows of no such release.
IN_CINEMAS = timedelta(days=180)
# Where few people vote, fewer votes say as much.
OTHER_LANGUAGES_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class PoolTitle:
    """What the rules need to know about a title of the pool; the mappings are by country."""

    work_id: int
    media_type: str
    is_adult: bool = False
    genres: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    status: str | None = None
    release_date: date | None = None
    language: str | None = None
    votes: int = 0
    certifications: Mapping[str, Sequence[str]] | None = None
    releases: Mapping[str, Mapping[str, str]] | None = None
    providers: Mapping[str, Mapping[str, Sequence[str]]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdRules:
    """What is suggested to nobody. ``country`` is the operator's; ``certified_by`` are countries whose certification
    counts, in this order.
    """

    today: date
    country: str
    certified_by: tuple[str, ...]
    only_available: bool = True
    minimum_votes: int = 0
    excluded_genres: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRules:
    """What is not suggested to one user. ``languages`` are those that they watch; tags are as in their policy."""

    limit: int | None = None
    languages: frozenset[str] = frozenset({ENGLISH})
    blocked_tags: frozenset[str] = frozenset()
    allowed_tags: frozenset[str] = frozenset()


def why_for_nobody(title: PoolTitle, rules: HouseholdRules) -> str | None:
    """Return why a title is suggested to nobody; None if it may be suggested."""
    if title.is_adult:
        return "adult"
    if EROTIC_KEYWORDS & clean_tags((*title.keywords, *title.genres)):
        return "erotic"
    if not is_out(title, rules.today, rules.country):
        return "not released"
    if rules.only_available and not is_at_home(title, rules.today, rules.country):
        return "not available at home"
    if title.votes < least_votes(title.language, rules.minimum_votes):
        return "few votes"
    if rules.excluded_genres and rules.excluded_genres & clean_tags(title.genres):
        return "excluded genre"
    return None


def why_not_for_user(title: PoolTitle, rules: UserRules, certified_by: Sequence[str]) -> str | None:
    """Return why a title that may be suggested is not suggested to a user; None if it is."""
    if rules.limit is not None:
        age = certified_age(title.certifications or {}, certified_by)
        # Stricter than the media server, which may show titles without a rating to users with a limit.
        if age is None:
            return "no age rating"
        if age > rules.limit:
            return "above the parental limit"
    if rules.blocked_tags or rules.allowed_tags:
        tags = clean_tags((*title.genres, *title.keywords))
        if rules.blocked_tags & tags:
            return "blocked tag"
        if rules.allowed_tags and not rules.allowed_tags & tags:
            return "no allowed tag"
    if title.language is not None and title.language not in rules.languages:
        return "language"
    return None


def left_out(work_ids: Iterable[int], why: Mapping[int, str | None]) -> list[bool]:
    """Return for each title whether it is left out, by ``why`` it is; one about which nothing is known is."""
    return [why.get(work_id, "nothing is known") is not None for work_id in work_ids]


def least_votes(language: str | None, minimum: int) -> int:
    """Return the votes that a title in a language needs."""
    return minimum if language in (None, ENGLISH) else round(minimum * OTHER_LANGUAGES_SHARE)


def is_out(title: PoolTitle, today: date, country: str) -> bool:
    """Return whether a title has been released, anywhere; a film in the cinemas of ``country``, if that is known."""
    not_out = NOT_OUT if title.media_type == "movie" else SERIES_NOT_OUT
    if title.status in not_out or title.release_date is None or title.release_date > today:
        return False
    releases = (title.releases or {}).get(country, {})
    return not releases or min(releases.values()) <= today.isoformat() or bool(_streams(title, country))


def is_at_home(title: PoolTitle, today: date, country: str) -> bool:
    """Return whether a title that is out can be watched at home in a country.

    A film can if it streams, was released digitally, on disc or on television, or came to cinemas long ago. A series
    is made for the home.
    """
    if title.media_type != "movie" or _streams(title, country):
        return True
    releases = (title.releases or {}).get(country, {})
    if any(releases[way] <= today.isoformat() for way in AT_HOME if way in releases):
        return True
    in_cinemas = releases.get("theatrical")
    first = date.fromisoformat(in_cinemas) if in_cinemas is not None else title.release_date
    return first is not None and first <= today - IN_CINEMAS


def languages_of(counts: Mapping[str, float], least_share: float) -> frozenset[str]:
    """Return the languages with at least this share of a history, and English; ``counts`` are titles by language."""
    total = sum(counts.values())
    return frozenset({ENGLISH} | {one for one, count in counts.items() if total and count >= least_share * total})


def _streams(title: PoolTitle, country: str) -> Mapping[str, Sequence[str]]:
    return (title.providers or {}).get(country, {})
