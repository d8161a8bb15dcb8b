"""What discovery plans with: what users like, what sets their taste apart, and the languages that they watch."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import MediaType
from aperture_dagster.discovery.plan import (
    ENGLISH,
    MEDIA_TYPES,
    KnownList,
    UserPlan,
    queries_for,
)
from aperture_dagster.discovery.pool import owned_ids, settled_ids
from aperture_dagster.enrichment.listed import SuggestedTitle
from aperture_dagster.postgres.queries import execute
from aperture_dagster.settings import Settings

# Liked titles per user and media type from which TMDb's recommendations count, at most: half of them those that are
# liked most, half those that were watched last.
SEEDS = 60
# The most distinctive traits of each kind that are looked for, per user and media type.
GENRES, KEYWORDS, PEOPLE = 4, 5, 5


def plan_users(connection: Connection, user_ids: Sequence[str], settings: Settings) -> dict[str, UserPlan]:
    """Plan what suggests titles to each user, without Trakt."""
    lists, traits = recommended_lists(connection, user_ids), distinctive_traits(connection, user_ids)
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


def recommended_lists(connection: Connection, user_ids: Sequence[str]) -> dict[str, list[KnownList]]:
    """Return by user what TMDb recommends from titles that they like; the strongest of a media type has weight 1."""
    statement = """
        WITH liked AS (
          SELECT t.user_id, t.media_type, t.weight, m.recommended_tmdb_ids,
          row_number() OVER (PARTITION BY t.user_id, t.media_type ORDER BY t.weight DESC, t.work_id) AS by_weight,
          row_number() OVER (PARTITION BY t.user_id, t.media_type
            ORDER BY w.last_played_at DESC NULLS LAST, t.work_id) AS by_date
          FROM taste_weights t JOIN tmdb_metadata m USING (work_id)
          LEFT JOIN (SELECT user_id, work_id, max(last_played_at) AS last_played_at FROM watch_state
            WHERE user_id = ANY(:users) GROUP BY 1, 2) w USING (user_id, work_id)
          WHERE t.user_id = ANY(:users) AND t.weight > 0)
        SELECT user_id, media_type, recommended_tmdb_ids AS titles,
        (weight / max(weight) OVER (PARTITION BY user_id, media_type))::float8 AS weight
        FROM liked WHERE least(by_weight, by_date) <= :most ORDER BY user_id, media_type, by_weight"""
    found: dict[str, list[KnownList]] = {}
    for row in execute(connection, statement, users=list(user_ids), most=SEEDS // 2):
        titles = [SuggestedTitle(number) for number in row.titles]
        found.setdefault(row.user_id, []).append(KnownList(row.media_type, row.weight, titles))
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
