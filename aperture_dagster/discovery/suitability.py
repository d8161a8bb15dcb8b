"""Whether a title outside the library may be suggested: to anybody, and to one user.

The first rule that a title breaks is the reason shown to the operator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.catalogue.parental import certified_age
from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.inputs import languages_watched
from aperture_dagster.discovery.plan import ENGLISH, least_votes
from aperture_dagster.discovery.pool import owned_under_any_id, settled_titles
from aperture_dagster.model.tags import clean_tags
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.settings import Settings

# The certification of this country counts when a title has none in the operator's: TMDb knows most of them.
FALLBACK_COUNTRY = "US"
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


@dataclass(frozen=True, slots=True)
class PoolTitle:
    """What the rules need to know about a title of the pool; the mappings are by country."""

    work_id: int
    media_type: str
    is_adult: bool = False
    genres: Sequence[str] = ()
    keywords: Sequence[str] = ()
    status: str | None = None
    release_date: date | None = None
    language: str | None = None
    votes: int = 0
    certifications: Mapping[str, Sequence[str]] | None = None
    releases: Mapping[str, Mapping[str, str]] | None = None
    providers: Mapping[str, Mapping[str, Sequence[str]]] | None = None


# Reasons that are about the user's limits. Others are matters of taste, or of what has been watched meanwhile.
FORBIDDEN = frozenset({"no age rating", "above the parental limit", "blocked tag", "no allowed tag"})
OWNED, SETTLED = "in the library", "watched, rated, dismissed or requested"


def unsuitable(
    connection: Connection,
    settings: Settings,
    users: Sequence[User],
    *,
    now: datetime,
    works: Collection[int] | None = None,
) -> dict[str, dict[int, str]]:
    """Return by user which titles of the pool must not be suggested to them now, and why; of ``works`` alone if given.

    Lists are made at night; limits, tags, dismissals and the library may have changed since.
    """
    user_ids = [user.user_id for user in users]
    titles, today = read_pool_titles(connection, works), today_of(now, settings)
    owned, settled = owned_under_any_id(connection, works), settled_titles(connection, user_ids, works)
    languages = languages_watched(connection, user_ids, settings.discovery_other_languages)
    for_nobody = {title.work_id: why_for_nobody(title, settings, today) for title in titles}
    found: dict[str, dict[int, str]] = {}
    for user in users:
        # What is not known yet cannot be judged.
        why = dict.fromkeys(works or (), "its details are not known")
        for title in titles:
            reason = (
                # What is forbidden to somebody is reported as such, whatever else speaks against it.
                why_forbidden(title, user, settings.country)
                or (OWNED if title.work_id in owned else None)
                or (SETTLED if title.work_id in settled[user.user_id] else None)
                or for_nobody[title.work_id]
                or ("language" if (title.language or ENGLISH) not in languages[user.user_id] else None)
            )
            why.pop(title.work_id, None)
            if reason is not None:
                why[title.work_id] = reason
        found[user.user_id] = why
    return found


def unsuitable_suggestions(
    connection: Connection, settings: Settings, users: Sequence[User], *, now: datetime
) -> list[dict[str, str]]:
    """List what is suggested to users and must not be by now: ``user``, ``title`` and ``why``."""
    statement = """
        SELECT c.user_id, c.work_id, p.title FROM discovery_candidates c JOIN discovery_pool p USING (work_id)
        WHERE c.user_id = ANY(:users) ORDER BY c.user_id, c.media_type, c.rank"""
    names = {user.user_id: user.name for user in users}
    listed = read_rows(connection, statement, users=list(names))
    why = unsuitable(connection, settings, users, now=now, works=[row["work_id"] for row in listed])
    return [
        {"user": names[row["user_id"]], "title": row["title"], "why": reason}
        for row in listed
        if (reason := why[row["user_id"]].get(row["work_id"])) is not None
    ]


def today_of(now: datetime, settings: Settings) -> date:
    """Return the date in the operator's time zone."""
    return now.astimezone(ZoneInfo(settings.schedule_timezone)).date()


def read_pool_titles(connection: Connection, works: Collection[int] | None = None) -> list[PoolTitle]:
    """Read what decides whether a title with details may be suggested, by work id; of all titles or of some."""
    statement = """
        SELECT work_id, media_type, coalesce(is_adult, false) AS is_adult, coalesce(genres, '{}') AS genres,
        coalesce(keywords, '{}') AS keywords, status, release_date, original_language AS language,
        coalesce(vote_count, 0) AS votes, certifications, releases, providers
        FROM discovery_pool WHERE fetched_at IS NOT NULL
        AND (CAST(:works AS bigint[]) IS NULL OR work_id = ANY(:works)) ORDER BY work_id"""
    chosen = None if works is None else list(works)
    return [PoolTitle(**row) for row in read_rows(connection, statement, works=chosen)]


def why_for_nobody(title: PoolTitle, settings: Settings, today: date) -> str | None:
    """Return why a title is suggested to nobody; None if it may be suggested."""
    if title.is_adult:
        return "adult"
    if EROTIC_KEYWORDS & clean_tags((*title.keywords, *title.genres)):
        return "erotic"
    if not is_out(title, today, settings.country):
        return "not released"
    if settings.discovery_only_available and not is_at_home(title, today, settings.country):
        return "not available at home"
    if title.votes < least_votes(title.language, settings.discovery_minimum_votes):
        return "few votes"
    if settings.discovery_exclude_genres and clean_tags(settings.discovery_exclude_genres) & clean_tags(title.genres):
        return "excluded genre"
    return None


def why_forbidden(title: PoolTitle, user: User, country: str) -> str | None:
    """Return why a user's limit or tags forbid a title; None if they do not."""
    if user.max_parental_rating is not None:
        age = certified_age(title.certifications or {}, (country, FALLBACK_COUNTRY))
        # Stricter than the media server, which may show titles without a rating to users with a limit.
        if age is None:
            return "no age rating"
        if age > user.max_parental_rating:
            return "above the parental limit"
    blocked, allowed = clean_tags(user.access.blocked_tags), clean_tags(user.access.allowed_tags)
    if blocked or allowed:
        tags = clean_tags((*title.genres, *title.keywords))
        if blocked & tags:
            return "blocked tag"
        if allowed and not allowed & tags:
            return "no allowed tag"
    return None


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


def _streams(title: PoolTitle, country: str) -> Mapping[str, Sequence[str]]:
    return (title.providers or {}).get(country, {})
