"""Titles outside the library: what users look for, and whether a title may be suggested to anybody, and to one user."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import MediaType
from aperture_dagster.catalogue.parental import certified_age
from aperture_dagster.catalogue.people import User
from aperture_dagster.discovery.plan import ENGLISH, SIMILAR, KnownList, UserPlan, least_votes, queries_for
from aperture_dagster.discovery.pool import owned_ids, owned_under_any_id, settled_ids, settled_titles
from aperture_dagster.enrichment.listed import SuggestedTitle
from aperture_dagster.model import MEDIA_TYPES, clean_tags
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.settings import Settings

# Whether a title outside the library may be suggested: to anybody, and to one user.
#
# The first rule that a title breaks is the reason shown to the operator.


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
# Why a title is not suggested to somebody who can find it all the same.
MATTERS_LITTLE = frozenset({"few votes", "language", "not available at home"})
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


def findable(
    connection: Connection,
    settings: Settings,
    user: User,
    *,
    now: datetime,
    works: Collection[int],
    with_settled: bool = False,
) -> list[int]:
    """Return which titles of the pool a user can find, in the order of ``works``.

    That is, titles that could be suggested to them, and titles that are kept off their suggestions only for a reason
    in :data:`MATTERS_LITTLE`. ``with_settled``: also what they watched, rated, hid or requested.
    """
    why = unsuitable(connection, settings, [user], now=now, works=works)[user.user_id]
    allowed = {None, *MATTERS_LITTLE, *([SETTLED] if with_settled else [])}
    return [work for work in works if why.get(work) in allowed]


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
    blocked, allowed = clean_tags(user.visibility.blocked_tags), clean_tags(user.visibility.allowed_tags)
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


# What discovery plans with: what users like, what sets their taste apart, and the languages that they watch.


# Liked titles per user and media type whose lists at TMDb count, at most: half of them those that are liked most, half
# those that were watched last.
SEEDS = 60
# The most distinctive traits of each kind that are looked for, per user and media type.
GENRES, KEYWORDS, PEOPLE = 4, 5, 5


def plan_users(connection: Connection, user_ids: Sequence[str], settings: Settings) -> dict[str, UserPlan]:
    """Plan what suggests titles to each user, without Trakt."""
    lists, traits = lists_of_liked(connection, user_ids), distinctive_traits(connection, user_ids)
    languages = languages_watched(connection, user_ids, settings.discovery_other_languages)
    settled, owned = settled_ids(connection, user_ids), owned_ids(connection)
    votes, sizes = settings.discovery_minimum_votes, library_sizes(connection)
    # Whoever has no series here does not look for any.
    here: list[MediaType] = [media_type for media_type in MEDIA_TYPES if sizes.get(media_type)]
    plans = {}
    for user_id in user_ids:
        queries = [
            query
            for media_type in here
            for query in queries_for(
                media_type, traits.get((user_id, media_type), {}), languages[user_id], minimum_votes=votes
            )
        ]
        hidden: dict[MediaType, set[int]] = {
            media_type: settled[user_id][media_type] | owned[media_type] for media_type in MEDIA_TYPES
        }
        plans[user_id] = UserPlan(lists.get(user_id, []), queries, hidden, languages[user_id])
    return plans


def lists_of_liked(connection: Connection, user_ids: Sequence[str]) -> dict[str, list[KnownList]]:
    """Return by user TMDb's lists of titles that they like: recommended titles, and similar ones.

    The recommended list of the title of a media type that they like most has weight 1, the similar list of that title
    ``SIMILAR``.
    """
    statement = """
        WITH liked AS (
          SELECT t.user_id, t.media_type, t.weight, m.recommended_tmdb_ids, m.similar_tmdb_ids,
          row_number() OVER (PARTITION BY t.user_id, t.media_type ORDER BY t.weight DESC, t.work_id) AS by_weight,
          row_number() OVER (PARTITION BY t.user_id, t.media_type
            ORDER BY w.last_played_at DESC NULLS LAST, t.work_id) AS by_date
          FROM taste_weights t JOIN tmdb_metadata m USING (work_id)
          LEFT JOIN (SELECT user_id, work_id, max(last_played_at) AS last_played_at FROM watch_state
            WHERE user_id = ANY(:users) GROUP BY 1, 2) w USING (user_id, work_id)
          WHERE t.user_id = ANY(:users) AND t.weight > 0)
        SELECT user_id, media_type, recommended_tmdb_ids AS recommended, similar_tmdb_ids AS similar,
        (weight / max(weight) OVER (PARTITION BY user_id, media_type))::float8 AS weight
        FROM liked WHERE least(by_weight, by_date) <= :most ORDER BY user_id, media_type, by_weight"""
    found: dict[str, list[KnownList]] = {}
    for row in execute(connection, statement, users=list(user_ids), most=SEEDS // 2):
        for numbers, weight in ((row.recommended, row.weight), (row.similar, SIMILAR * row.weight)):
            titles = [SuggestedTitle(number) for number in numbers]
            found.setdefault(row.user_id, []).append(KnownList(row.media_type, weight, titles))
    return found


def distinctive_traits(
    connection: Connection, user_ids: Sequence[str]
) -> dict[tuple[str, MediaType], dict[str, list[int]]]:
    """Return what sets the titles that a user likes apart from the library, by user and media type.

    These are TMDb's ids of genres, keywords and people, by kind, the most distinctive first. People count if they have
    to do with two liked titles or more.
    """
    statement = """
        WITH traits AS MATERIALIZED (
          SELECT m.work_id, w.media_type, k.kind, CAST(t.value AS bigint) AS id
          FROM tmdb_metadata m JOIN works w USING (work_id)
          CROSS JOIN (VALUES ('genres'), ('keywords'), ('people')) k (kind)
          CROSS JOIN LATERAL jsonb_each_text(
            CASE jsonb_typeof(m.trait_ids->k.kind) WHEN 'object' THEN m.trait_ids->k.kind ELSE '{}' END) t),
        usual AS (
          SELECT media_type, kind, id, count(*)::float8 / n.titles AS share FROM traits
          JOIN (SELECT media_type, count(DISTINCT work_id) AS titles FROM traits GROUP BY 1) n USING (media_type)
          GROUP BY media_type, kind, id, n.titles),
        liked AS (
          SELECT user_id, work_id, media_type,
          weight / sum(weight) OVER (PARTITION BY user_id, media_type) AS share FROM taste_weights
          WHERE user_id = ANY(:users) AND weight > 0),
        own AS (
          SELECT l.user_id, t.media_type, t.kind, t.id, sum(l.share) AS share, count(*) AS titles
          FROM liked l JOIN traits t USING (work_id) GROUP BY 1, 2, 3, 4),
        ranked AS (
          SELECT user_id, media_type, kind, id, row_number() OVER (PARTITION BY user_id, media_type, kind
            ORDER BY o.share * ln(o.share / u.share) DESC, id) AS place
          FROM own o JOIN usual u USING (media_type, kind, id)
          WHERE o.share > u.share AND (o.titles > 1 OR kind <> 'people'))
        SELECT user_id, media_type, kind, id FROM ranked
        WHERE place <= CASE kind WHEN 'genres' THEN :genres WHEN 'keywords' THEN :keywords ELSE :people END
        ORDER BY user_id, media_type, kind, place"""
    most = {"genres": GENRES, "keywords": KEYWORDS, "people": PEOPLE}
    found: dict[tuple[str, MediaType], dict[str, list[int]]] = {}
    for row in execute(connection, statement, users=list(user_ids), **most):
        found.setdefault((row.user_id, row.media_type), {}).setdefault(row.kind, []).append(row.id)
    return found


def languages_watched(connection: Connection, user_ids: Sequence[str], least_share: float) -> dict[str, list[str]]:
    """Return by user the original languages with at least this share of their history, the most usual first.

    English is always among them.
    """
    statement = """
        SELECT user_id, language FROM (
          SELECT t.user_id, m.original_language AS language, count(*) AS titles,
          count(*)::float8 / sum(count(*)) OVER (PARTITION BY t.user_id) AS share
          FROM taste_weights t JOIN tmdb_metadata m USING (work_id)
          WHERE t.user_id = ANY(:users) AND m.original_language IS NOT NULL GROUP BY 1, 2) c
        WHERE share >= :least ORDER BY titles DESC, language"""
    found: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
    for row in execute(connection, statement, users=list(user_ids), least=least_share):
        found[row.user_id].append(row.language)
    return {user_id: own if ENGLISH in own else [*own, ENGLISH] for user_id, own in found.items()}


def library_sizes(connection: Connection) -> dict[str, int]:
    """Count the works of the library by media type."""
    statement = "SELECT media_type, count(DISTINCT work_id) AS works FROM present_titles GROUP BY 1"
    return {row.media_type: row.works for row in execute(connection, statement)}
